// Who is in the call, as a list.
import { type Participant, type Room, RoomEvent } from "livekit-client";
import { icon, type IconName } from "./icons.ts";
import { displayName, el, showAvatar } from "./ui.ts";

const REDRAW_ON = [
  RoomEvent.Connected, RoomEvent.Reconnected, RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantNameChanged, RoomEvent.TrackMuted, RoomEvent.TrackUnmuted, RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished, RoomEvent.LocalTrackPublished, RoomEvent.LocalTrackUnpublished,
] as const;

/** The list of people. */
export class People {
  private readonly list = el("ul", { class: "people", "aria-label": "People in this call" });
  readonly element = el("div", { class: "panel-body" }, this.list);
  /** Called when somebody comes or goes. */
  oncount = (_count: number) => {};

  constructor(private readonly room: Room) {
    for (const event of REDRAW_ON) room.on(event, this.draw);
  }

  readonly draw = () => {
    const others = [...this.room.remoteParticipants.values()];
    others.sort((a, b) => displayName(a).localeCompare(displayName(b)));
    const everyone: Participant[] = [this.room.localParticipant, ...others];
    this.list.replaceChildren(...everyone.map((person) => this.row(person)));
    this.oncount(everyone.length);
  };

  close(): void {
    for (const event of REDRAW_ON) this.room.off(event, this.draw);
  }

  private row(person: Participant): HTMLElement {
    const name = displayName(person);
    const avatar = el("span", { class: "avatar", "aria-hidden": "true" });
    showAvatar(avatar, name);
    const mic = person.isMicrophoneEnabled;
    const camera = person.isCameraEnabled;
    const sign = (on: boolean, words: string, name: IconName) =>
      el("span", { class: `sign${on ? "" : " off"}`, role: "img", "aria-label": words, title: words }, icon(name));
    return el(
      "li",
      { test: "person" },
      avatar,
      el("span", { class: "person-name" }, name, person.isLocal && el("em", {}, "you")),
      person.isScreenShareEnabled && sign(true, "Shares the screen", "screen"),
      sign(mic, mic ? "Microphone on" : "Microphone off", mic ? "mic" : "micOff"),
      sign(camera, camera ? "Camera on" : "Camera off", camera ? "camera" : "cameraOff"),
    );
  }
}
