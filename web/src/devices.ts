// Camera, microphone and speaker: which are chosen, the ones opened before the call, and the
// controls to choose others.
import {
  createAudioAnalyser,
  createLocalAudioTrack,
  createLocalTracks,
  createLocalVideoTrack,
  type LocalAudioTrack,
  type LocalVideoTrack,
  Room,
  supportsAudioOutputSelection,
  Track,
  VideoPresets,
} from "livekit-client";
import { bothNotices, type Device, deviceNotice } from "./errors.ts";
import { el, type Notice, toast } from "./ui.ts";

const STORE = "hearth.devices";

interface Wishes {
  mic: boolean;
  camera: boolean;
  audioinput?: string;
  videoinput?: string;
  audiooutput?: string;
}

export const DEVICE_OF = { audioinput: "microphone", videoinput: "camera", audiooutput: "speaker" } as const satisfies Record<
  MediaDeviceKind,
  Device
>;

/** What this person sends: wishes that outlive the page, and tracks that live until the call takes them. */
export class LocalMedia {
  mic: LocalAudioTrack | undefined;
  camera: LocalVideoTrack | undefined;
  /** Why there is no picture, if not by choice. */
  cameraNotice: Notice | undefined;
  /** Called whenever something above changed. */
  onchange = () => {};
  /** Resolves when nothing is being opened. Requests run one after the other. */
  ready: Promise<void> = Promise.resolve();

  private wishes = load();
  private closed = false;

  get wantsMic(): boolean {
    return this.wishes.mic;
  }

  get wantsCamera(): boolean {
    return this.wishes.camera;
  }

  /** Opens what is wished for; both together, so that the browser asks once. */
  open(): Promise<void> {
    this.closed = false;
    return this.enqueue(async () => {
      if (this.wishes.mic && this.wishes.camera && !this.mic && !this.camera) {
        try {
          const tracks = await createLocalTracks({ audio: this.audioOptions(), video: this.videoOptions() });
          this.mic = tracks.find((track) => track.kind === Track.Kind.Audio) as LocalAudioTrack | undefined;
          this.camera = tracks.find((track) => track.kind === Track.Kind.Video) as LocalVideoTrack | undefined;
        } catch {
          // One of the two is missing or refused: asked one by one below, each failure has its own words.
        }
      }
      const mic = this.wishes.mic && !this.mic ? await this.openMic() : undefined;
      const camera = this.wishes.camera && !this.camera ? await this.openCamera() : undefined;
      const notices = bothNotices(mic, camera);
      this.cameraNotice = notices.camera;
      if (notices.mic) toast(notices.mic);
    });
  }

  setMic(on: boolean): Promise<void> {
    this.save({ mic: on });
    return this.enqueue(async () => {
      if (on && !this.mic) say(await this.openMic(), "microphone");
      if (!on) {
        this.mic?.stop();
        this.mic = undefined;
      }
    });
  }

  setCamera(on: boolean): Promise<void> {
    this.save({ camera: on });
    return this.enqueue(async () => {
      this.cameraNotice = undefined;
      if (on && !this.camera) this.cameraNotice = say(await this.openCamera(), "camera");
      if (!on) {
        this.camera?.stop();
        this.camera = undefined;
      }
    });
  }

  chosen(kind: MediaDeviceKind): string | undefined {
    return this.wishes[kind];
  }

  /** Remembers a device without opening it. */
  remember(kind: MediaDeviceKind, id: string): void {
    this.save({ [kind]: id });
  }

  /** Remembers whether mic and camera are on, for the next call. */
  rememberOn(mic: boolean, camera: boolean): void {
    this.save({ mic, camera });
  }

  choose(kind: MediaDeviceKind, id: string): Promise<void> {
    this.remember(kind, id);
    return this.enqueue(async () => {
      const track = kind === "audioinput" ? this.mic : kind === "videoinput" ? this.camera : undefined;
      try {
        await track?.setDeviceId(id);
      } catch (cause) {
        say(cause, DEVICE_OF[kind]);
      }
    });
  }

  /** Hands the open tracks over; whoever takes them stops them. */
  take(): { mic: LocalAudioTrack | undefined; camera: LocalVideoTrack | undefined } {
    const { mic, camera } = this;
    this.mic = undefined;
    this.camera = undefined;
    this.closed = true;
    return { mic, camera };
  }

  audioOptions() {
    const id = this.wishes.audioinput;
    return { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...(id ? { deviceId: id } : {}) };
  }

  videoOptions() {
    const id = this.wishes.videoinput;
    return { resolution: VideoPresets.h720.resolution, ...(id ? { deviceId: id } : {}) };
  }

  /** What went wrong, if anything did. */
  private async openMic(): Promise<unknown> {
    try {
      this.mic = await createLocalAudioTrack(this.audioOptions());
      return undefined;
    } catch (cause) {
      return cause;
    }
  }

  private async openCamera(): Promise<unknown> {
    try {
      this.camera = await createLocalVideoTrack(this.videoOptions());
      return undefined;
    } catch (cause) {
      return cause;
    }
  }

  private enqueue(work: () => Promise<void>): Promise<void> {
    this.ready = this.ready.then(async () => {
      if (!this.closed) await work();
      this.onchange();
    });
    return this.ready;
  }

  private save(change: Partial<Wishes>): void {
    Object.assign(this.wishes, change);
    try {
      localStorage.setItem(STORE, JSON.stringify(this.wishes));
    } catch {
      // A private window: the wishes last as long as the page.
    }
  }
}

function load(): Wishes {
  const wishes: Wishes = { mic: true, camera: true };
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    if (typeof stored === "object" && stored !== null) Object.assign(wishes, stored);
  } catch {
    // Nothing stored, or nothing may be: the defaults do.
  }
  return wishes;
}

function say(cause: unknown, device: Device): Notice | undefined {
  const notice = cause === undefined ? undefined : deviceNotice(cause, device);
  if (notice) toast(notice);
  return notice;
}

/** One select per kind of device, kept up to date while devices come and go. */
export class DevicePicker {
  readonly element = el("div", { class: "devices" });
  private readonly selects = new Map<MediaDeviceKind, HTMLSelectElement>();
  private readonly refreshSoon = () => void this.refresh();

  constructor(
    private readonly current: (kind: MediaDeviceKind) => string | undefined,
    onchoose: (kind: MediaDeviceKind, id: string) => void,
    extra: Partial<Record<MediaDeviceKind, HTMLElement>> = {},
  ) {
    for (const kind of ["audioinput", "videoinput", "audiooutput"] as const) {
      if (kind === "audiooutput" && !supportsAudioOutputSelection()) continue;
      const name = DEVICE_OF[kind];
      const select = el("select", { test: `device-${name}`, onchange: () => onchoose(kind, select.value) });
      this.selects.set(kind, select);
      const label = name.charAt(0).toUpperCase() + name.slice(1);
      this.element.append(el("label", { class: "field" }, el("span", {}, label), select, extra[kind]));
    }
    navigator.mediaDevices?.addEventListener("devicechange", this.refreshSoon);
  }

  async refresh(): Promise<void> {
    for (const [kind, select] of this.selects) {
      const devices = await Room.getLocalDevices(kind, false).catch(() => []);
      const known = devices.filter((device) => device.deviceId);
      const chosen = this.current(kind);
      select.replaceChildren(
        ...known.map((device, index) =>
          el("option", { value: device.deviceId }, device.label || `${DEVICE_OF[kind]} ${index + 1}`),
        ),
      );
      if (known.length === 0) {
        const words = devices.length > 0 ? "Allow access to choose" : `No ${DEVICE_OF[kind]} found`;
        select.append(el("option", { value: "" }, words));
      }
      select.disabled = known.length === 0;
      if (known.some((device) => device.deviceId === chosen)) select.value = chosen ?? "";
    }
  }

  close(): void {
    navigator.mediaDevices?.removeEventListener("devicechange", this.refreshSoon);
  }
}

/** A bar that follows the microphone, to see that it hears something. */
export class MicMeter {
  readonly element = el("div", { class: "meter", "aria-hidden": "true" }, el("span", {}));
  private stop: (() => void) | undefined;
  private track: MediaStreamTrack | undefined;

  follow(mic: LocalAudioTrack | undefined): void {
    if (mic?.mediaStreamTrack === this.track) return;
    this.stop?.();
    this.stop = undefined;
    this.track = mic?.mediaStreamTrack;
    this.show(0);
    if (!mic) return;
    const { calculateVolume, cleanup } = createAudioAnalyser(mic, { cloneTrack: true, smoothingTimeConstant: 0.6 });
    const timer = setInterval(() => this.show(calculateVolume()), 80);
    this.stop = () => {
      clearInterval(timer);
      void cleanup();
    };
  }

  private show(volume: number): void {
    this.element.style.setProperty("--level", String(Math.min(1, volume * 1.6)));
  }
}
