// Tones and pictures as numbers: made for publishing, judged when received.

/** Samples `at..at+count` of a sine. */
export function tonePart(hz, at, count, sampleRate) {
  return Int16Array.from({ length: count }, (_, i) => 9_000 * Math.sin((2 * Math.PI * hz * (at + i)) / sampleRate));
}

/** The loudest frequency between 100 and 2,000 Hz, and how far it stands out of the rest in dB. */
export function hearTone({ packets, samples }, sampleRate) {
  const grid = Array.from({ length: 381 }, (_, i) => 100 + 5 * i);
  const levels = grid.map((hz) => level(samples, hz, sampleRate));
  const peak = levels.reduce((best, value, i) => (value > levels[best] ? i : best), 0);
  const usual = [...levels].sort((a, b) => a - b)[levels.length >> 1];
  const round = Math.round;
  return { packets, hz: grid[peak], level: round(levels[peak]), prominence: round(levels[peak] - usual) };
}

/** Level of one frequency in dB of full scale (Goertzel, Hann window). */
function level(samples, hz, sampleRate) {
  const turn = (2 * Math.PI * hz) / sampleRate;
  let [re, im] = [0, 0];
  for (let i = 0; i < samples.length; i += 1) {
    const windowed = (samples[i] / 32_768) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / samples.length));
    re += windowed * Math.cos(turn * i);
    im += windowed * Math.sin(turn * i);
  }
  return 10 * Math.log10(Math.max((re * re + im * im) / Math.max(samples.length, 1) ** 2, 1e-20));
}

/** A picture of four coloured quarters with a white bar that moves from frame to frame. */
export function picturePart(width, height, number) {
  const pixels = new Uint8Array(width * height * 4);
  const bar = (number * 8) % width;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const at = 4 * (y * width + x);
      const inBar = x >= bar && x < bar + 32;
      pixels[at] = inBar || x < width / 2 ? 230 : 20;
      pixels[at + 1] = inBar || y < height / 2 ? 200 : 30;
      pixels[at + 2] = inBar ? 255 : 60;
      pixels[at + 3] = 255;
    }
  }
  return pixels;
}

/** What a person would notice of the last frame. */
export function seePicture({ frames, frame }, sdk) {
  const planar = frame.type === sdk.VideoBufferType.I420 ? frame : frame.convert(sdk.VideoBufferType.I420);
  const { width, height } = planar;
  const brightness = planar.data.subarray(0, width * height).filter((_, i) => i % 37 === 0);
  const mean = brightness.reduce((sum, value) => sum + value, 0) / brightness.length;
  const variance = brightness.reduce((sum, value) => sum + (value - mean) ** 2, 0) / brightness.length;
  return { frames, width, height, brightness: Math.round(mean), variance: Math.round(variance) };
}
