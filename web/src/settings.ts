// Choosing devices during a call.
import { type LocalAudioTrack, type Room, Track } from "livekit-client";
import { DEVICE_OF, DevicePicker, type LocalMedia, MicMeter } from "./devices.ts";
import { deviceNotice } from "./errors.ts";
import { icon } from "./icons.ts";
import { el, toast } from "./ui.ts";

/** The settings dialog. */
export class Settings {
  readonly element: HTMLDialogElement;
  private readonly meter = new MicMeter();
  private readonly devices: DevicePicker;

  constructor(private readonly room: Room, private readonly media: LocalMedia) {
    this.devices = new DevicePicker(
      (kind) => room.getActiveDevice(kind) ?? media.chosen(kind),
      (kind, id) => void this.choose(kind, id),
      { audioinput: this.meter.element },
    );
    this.element = el(
      "dialog",
      { class: "card settings", test: "settings-dialog", "aria-labelledby": "settings-title" },
      el("header", {}, el("h2", { id: "settings-title" }, "Devices"),
        el("button", { type: "button", class: "round plain", "aria-label": "Close", title: "Close", onclick: () => this.element.close() }, icon("close"))),
      this.devices.element,
    );
    this.element.addEventListener("click", (event) => {
      // A click on the dialog itself is one beside its contents: on the backdrop.
      if (event.target === this.element) this.element.close();
    });
    this.element.addEventListener("close", () => this.meter.follow(undefined));
  }

  show(): void {
    this.element.showModal();
    void this.devices.refresh();
    this.follow();
  }

  close(): void {
    this.element.close();
    this.meter.follow(undefined);
    this.devices.close();
  }

  private follow(): void {
    const mic = this.room.localParticipant.getTrackPublication(Track.Source.Microphone);
    this.meter.follow(mic && !mic.isMuted ? (mic.track as LocalAudioTrack | undefined) : undefined);
  }

  private async choose(kind: MediaDeviceKind, id: string): Promise<void> {
    try {
      await this.room.switchActiveDevice(kind, id);
      this.media.remember(kind, id);
    } catch (cause) {
      const notice = deviceNotice(cause, DEVICE_OF[kind]);
      if (notice) toast(notice);
    }
    void this.devices.refresh();
    this.follow();
  }
}
