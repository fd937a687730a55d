// What a user would notice of a track: whether there is video and whether it moves, which tone is heard.

/** Looks at one video track. */
class Eye {
  #canvas = new OffscreenCanvas(64, 36);
  #last = null;
  /** When the first frame was shown, on this page's clock. */
  first = null;
  shown = { since: 0, last: 0, gap: 0, frames: 0, decodedBefore: 0 };

  constructor(track) {
    this.track = track;
    this.element = track.attach();
    this.element.muted = true;
    this.element.style.width = '160px';
    document.body.append(this.element);
    this.#onFrame();
  }

  #onFrame() {
    this.element.requestVideoFrameCallback((now, { presentationTime }) => {
      const { shown } = this;
      this.first ??= presentationTime;
      shown.gap = Math.max(shown.gap, presentationTime - shown.last);
      shown.last = presentationTime;
      shown.frames += 1;
      this.#onFrame();
    });
  }

  /** From now on, counts frames and looks for the longest time without a new one. */
  async stare() {
    const { frames } = await inbound(this.track);
    const now = performance.now();
    this.shown = { since: now, last: now, gap: 0, frames: 0, decodedBefore: frames };
  }

  /** The statistics of `stare`; times in milliseconds. */
  async watched() {
    const { frames, freezes, lost } = await inbound(this.track);
    const now = performance.now();
    const { shown } = this;
    return {
      ms: Math.round(now - shown.since),
      gap: Math.round(Math.max(shown.gap, now - shown.last)),
      shown: shown.frames,
      decoded: frames - shown.decodedBefore,
      width: this.element.videoWidth,
      freezes,
      lost,
    };
  }

  async look() {
    const stats = await inbound(this.track);
    const context = this.#canvas.getContext('2d', { willReadFrequently: true });
    const ready = this.element.videoWidth > 0 && this.element.readyState >= 2;
    if (ready) context.drawImage(this.element, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    const brightness = Array.from({ length: data.length / 4 }, (_, i) =>
      0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
    const mean = brightness.reduce((sum, value) => sum + value, 0) / brightness.length;
    const variance = brightness.reduce((sum, value) => sum + (value - mean) ** 2, 0) / brightness.length;
    const last = this.#last ?? brightness;
    const change = brightness.reduce((sum, value, i) => sum + Math.abs(value - last[i]), 0) / brightness.length;
    this.#last = brightness;
    return {
      ...stats,
      width: this.element.videoWidth,
      height: this.element.videoHeight,
      brightness: Math.round(mean),
      variance: Math.round(variance),
      change: Math.round(change * 100) / 100,
    };
  }

  close() {
    this.track.detach(this.element);
    this.element.remove();
  }
}

/** Listens to one audio track. */
class Ear {
  constructor(track) {
    this.track = track;
    // Chromium gives a remote track to WebAudio only while an element plays it.
    this.element = track.attach();
    document.body.append(this.element);
    this.context = new AudioContext({ sampleRate: 48_000 });
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 8192;
    this.analyser.smoothingTimeConstant = 0;
    this.context.createMediaStreamSource(new MediaStream([track.mediaStreamTrack])).connect(this.analyser);
  }

  /** The loudest frequency, its level in dB, and how far it stands out of the rest in dB. */
  async listen() {
    if (this.context.state !== 'running') await this.context.resume();
    const bins = new Float32Array(this.analyser.frequencyBinCount);
    this.analyser.getFloatFrequencyData(bins);
    let peak = 0;
    for (let i = 1; i < bins.length; i += 1) if (bins[i] > bins[peak]) peak = i;
    const level = Math.max(bins[peak], -200);
    const usual = Math.max([...bins].sort((a, b) => a - b)[bins.length >> 1], -200);
    const stats = await inbound(this.track);
    const hz = (peak * this.context.sampleRate) / this.analyser.fftSize;
    const at = Math.round(performance.now());
    return { ...stats, at, hz: Math.round(hz), level: Math.round(level), prominence: Math.round(level - usual) };
  }

  close() {
    this.track.detach(this.element);
    this.element.remove();
    this.context.close();
  }
}

/** The part of the receiver's statistics that tests ask for. */
async function inbound(track) {
  const receiver = track.receiver;
  const report = receiver ? await receiver.getStats() : new Map();
  const entries = [...report.values()];
  const stream = entries.find((entry) => entry.type === 'inbound-rtp' && entry.kind === track.kind);
  if (!stream) return { frames: 0, packets: 0 };
  const codec = entries.find((entry) => entry.id === stream.codecId);
  return {
    frames: stream.framesDecoded ?? 0,
    packets: stream.packetsReceived ?? 0,
    lost: stream.packetsLost ?? 0,
    freezes: stream.freezeCount ?? 0,
    frozen: stream.totalFreezesDuration ?? 0,
    keyFrames: stream.keyFramesDecoded ?? 0,
    codec: codec?.mimeType ?? '',
  };
}
