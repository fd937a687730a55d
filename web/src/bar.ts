// The row of buttons below a call: what one sends, what one sees, and the way out.
import { type LocalParticipant, type Room, RoomEvent, Track } from "livekit-client";
import { type Device, deviceNotice } from "./errors.ts";
import { el, iconButton, setIconButton, setOn, toast } from "./ui.ts";

const REDRAW_ON = [
  RoomEvent.Connected, RoomEvent.Reconnected, RoomEvent.TrackMuted, RoomEvent.TrackUnmuted, RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished, RoomEvent.ParticipantPermissionsChanged,
] as const;

export interface BarActions {
  chat: () => void;
  people: () => void;
  settings: () => void;
  leave: () => void;
  /** Something sent was turned on or off. */
  changed: () => void;
}

/** The bar. */
export class Bar {
  readonly chat: HTMLButtonElement;
  readonly people: HTMLButtonElement;
  readonly element: HTMLElement;
  private readonly mic = iconButton("mic", "Mute microphone", "mute", () => void this.toggle("microphone"), "device");
  private readonly camera = iconButton("camera", "Turn off camera", "camera", () => void this.toggle("camera"), "device");
  private readonly screen = iconButton("screen", "Share screen", "screen", () => void this.toggle("screen"));
  private readonly busy = new Set<Device>();

  constructor(private readonly room: Room, private readonly actions: BarActions) {
    this.chat = iconButton("chat", "Chat", "chat-toggle", actions.chat);
    this.people = iconButton("people", "People", "people", actions.people);
    for (const button of [this.chat, this.people]) {
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-controls", "panel");
    }
    const settings = iconButton("settings", "Devices", "settings", actions.settings);
    settings.setAttribute("aria-haspopup", "dialog");
    this.screen.hidden = !("getDisplayMedia" in (navigator.mediaDevices ?? {}));
    this.element = el(
      "div",
      { class: "bar", role: "group", "aria-label": "Call controls" },
      el("div", { class: "bar-group" }, this.mic, this.camera, this.screen),
      el("div", { class: "bar-group" }, this.chat, this.people, settings),
      iconButton("leave", "Leave the call", "leave", actions.leave, "danger"),
    );
    for (const event of REDRAW_ON) room.on(event, this.draw);
    this.draw();
  }

  /** Puts the keyboard on the first button that works: the microphone's, unless the token forbids it. */
  focus(): void {
    this.element.querySelector<HTMLElement>("button:enabled:not([hidden])")?.focus({ preventScroll: true });
  }

  close(): void {
    for (const event of REDRAW_ON) this.room.off(event, this.draw);
  }

  private readonly draw = () => {
    const me = this.room.localParticipant;
    this.show(this.mic, "microphone", me.isMicrophoneEnabled, ["mic", "Mute microphone"], ["micOff", "Turn on microphone"]);
    this.show(this.camera, "camera", me.isCameraEnabled, ["camera", "Turn off camera"], ["cameraOff", "Turn on camera"]);
    this.show(this.screen, "screen", me.isScreenShareEnabled, ["screenOff", "Stop sharing"], ["screen", "Share screen"]);
  };

  private show(
    button: HTMLButtonElement,
    device: Device,
    on: boolean,
    whenOn: Parameters<typeof setIconButton> extends [unknown, ...infer Rest] ? Rest : never,
    whenOff: Parameters<typeof setIconButton> extends [unknown, ...infer Rest] ? Rest : never,
  ): void {
    const allowed = maySend(this.room.localParticipant, device);
    const [name, label] = on ? whenOn : whenOff;
    setIconButton(button, name, allowed ? label : `${label} (not allowed by your token)`);
    setOn(button, on);
    button.disabled = !allowed;
    // Not `disabled`: that would take the keyboard away from the button while it works.
    button.setAttribute("aria-busy", String(this.busy.has(device)));
  }

  private async toggle(device: Device): Promise<void> {
    if (this.busy.has(device)) return;
    this.busy.add(device);
    this.draw();
    const me = this.room.localParticipant;
    try {
      if (device === "microphone") await me.setMicrophoneEnabled(!me.isMicrophoneEnabled);
      if (device === "camera") await me.setCameraEnabled(!me.isCameraEnabled);
      if (device === "screen") {
        await me.setScreenShareEnabled(!me.isScreenShareEnabled, { audio: true, contentHint: "detail", selfBrowserSurface: "exclude" });
      }
    } catch (cause) {
      const notice = deviceNotice(cause, device);
      if (notice) toast(notice);
    }
    this.busy.delete(device);
    this.draw();
    this.actions.changed();
  }
}

const SOURCE = { microphone: Track.Source.Microphone, camera: Track.Source.Camera, screen: Track.Source.ScreenShare } as const;

/** Whether the token lets this person send from that device. */
export function maySend(me: LocalParticipant, device: Device): boolean {
  const permissions = me.permissions;
  if (!permissions || device === "speaker") return true;
  if (!permissions.canPublish) return false;
  const only = permissions.canPublishSources.map((source) => Track.sourceFromProto(source));
  return only.length === 0 || only.includes(SOURCE[device]);
}
