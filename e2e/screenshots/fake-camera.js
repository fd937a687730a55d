// Runs in a page before its own scripts: the camera shows a drawn person in a drawn room.

/** `look` names colours and hair; see screenshots.js. */
export function fakeCamera(look) {
  const { mediaDevices } = navigator;
  const original = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = async ({ audio, video }) => {
    const stream = await original({ audio, video });
    const camera = stream.getVideoTracks()[0];
    if (!camera) return stream;
    const [drawn] = draw().captureStream(15).getVideoTracks();
    // What is asked about devices is answered by the camera that stands behind.
    drawn.getSettings = () => ({ ...camera.getSettings(), width: 1280, height: 720 });
    drawn.applyConstraints = async () => {};
    const voices = audio && look.speaks ? voice().getAudioTracks() : stream.getAudioTracks();
    return new MediaStream([...voices, drawn]);
  };

  function voice() {
    const context = new AudioContext();
    const output = context.createMediaStreamDestination();
    const oscillator = new OscillatorNode(context, { frequency: 180 });
    oscillator.connect(output);
    oscillator.start();
    return output.stream;
  }

  function draw() {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
    const c = canvas.getContext('2d');
    const shape = (colour, path) => {
      c.fillStyle = colour;
      c.beginPath();
      path();
      c.fill();
    };
    const disc = (colour, x, y, rx, ry = rx, from = 0, to = 2 * Math.PI) =>
      shape(colour, () => c.ellipse(x, y, rx, ry, 0, from, to));
    const box = (colour, x, y, width, height, radius = 0) => shape(colour, () => c.roundRect(x, y, width, height, radius));

    function room() {
      box(look.wall, 0, 0, 1280, 720);
      if (look.window) {
        box('#f4efe6', 120, 60, 300, 380, 8);
        box(look.window, 138, 78, 264, 344, 4);
        disc('#ffffffb0', 330, 150, 34);
        box('#f4efe6', 264, 78, 12, 344);
        box('#f4efe6', 138, 240, 264, 12);
      } else {
        for (const [shelf, y] of [220, 400].entries()) {
          for (const [i, colour] of look.books.entries()) {
            const height = 110 + ((i * 7 + shelf * 5) % 4) * 12;
            box(colour, 80 + 42 * i, y - height, 34, height, 3);
          }
          box('#0000003a', 60, y, 330, 14, 4);
        }
      }
      box('#00000030', 1010, 330, 14, 390);
      shape(look.lamp, () => {
        c.moveTo(950, 340);
        c.lineTo(985, 210);
        c.lineTo(1050, 210);
        c.lineTo(1085, 340);
      });
    }

    function person(time) {
      const x = 660 + 6 * Math.sin(time);
      const y = 320 + 4 * Math.sin(1.3 * time);
      const { long, bun } = look;
      if (bun) disc(look.hair, x, y - 170, 62);
      if (long) box(look.hair, x - 140, y - 90, 280, 330, 120);
      box(look.shirt, x - 235, y + 205, 470, 420, 150);
      box(look.skin, x - 48, y + 90, 96, 150, 44);
      shape('#0000001c', () => c.ellipse(x, y + 128, 50, 26, 0, 0, Math.PI));
      disc(look.skin, x, y, 118, 142);
      shape(look.hair, () => c.ellipse(x, y - 42, 128, 118, 0, Math.PI, 2 * Math.PI));
      shape(look.hair, () => c.ellipse(x - 60, y - 44, 78, 40, -0.35, 0, 2 * Math.PI));
      if (look.beard) shape(look.hair, () => c.ellipse(x, y + 56, 104, 92, 0, 0, Math.PI));
      for (const side of [-44, 44]) {
        disc('#2a1f1c', x + side, y + 4, 10, 12);
        if (look.glasses) {
          c.lineWidth = 7;
          c.strokeStyle = '#2a2a33';
          c.beginPath();
          c.arc(x + side, y + 6, 34, 0, 2 * Math.PI);
          c.stroke();
        }
      }
      disc(look.beard ? '#f3d9cc' : '#9c3f3a', x, y + 62, 34, 20, 0, Math.PI);
    }

    setInterval(() => {
      room();
      person(performance.now() / 1000);
    }, 66);
    return canvas;
  }
}
