// A call: the room, what is on the screen while it lasts, and what is said about it.
import { type DisconnectReason, type LocalTrack, type RemoteTrack, Room, RoomEvent, Track } from "livekit-client";
import { Bar, maySend } from "./bar.ts";
import { Chat } from "./chat.ts";
import type { LocalMedia } from "./devices.ts";
import { deviceNotice, disconnectNotice } from "./errors.ts";
import { icon } from "./icons.ts";
import { People } from "./people.ts";
import { Settings } from "./settings.ts";
import { Tiles } from "./tiles.ts";
import { inviteLink, isOnlyHere } from "./token.ts";
import { copyLink, displayName, el, type Notice, toast } from "./ui.ts";

/** A room that is not connected yet. */
export function newRoom(media: LocalMedia, v0: boolean): Room {
  const speaker = media.chosen("audiooutput");
  return new Room({
    adaptiveStream: true,
    dynacast: true,
    singlePeerConnection: !v0,
    audioCaptureDefaults: media.audioOptions(),
    videoCaptureDefaults: media.videoOptions(),
    ...(speaker ? { audioOutput: { deviceId: speaker } } : {}),
  });
}

const SMALL_CIRCLE = 8;

type Panel = "chat" | "people";

/** The call view of a connected room. */
export class Call {
  readonly element: HTMLElement;

  private readonly tiles: Tiles;
  private readonly chat: Chat;
  private readonly people: People;
  private readonly settings: Settings;
  private readonly bar: Bar;
  private readonly banner = el("div", { class: "banner", test: "banner", role: "status", hidden: true });
  private readonly soundButton: HTMLButtonElement;
  private readonly sounds = el("div", { hidden: true });
  private readonly panel = el("aside", { class: "panel", id: "panel", hidden: true });
  private readonly panelTitle = el("h2", {});
  private open: Panel | undefined;

  constructor(
    private readonly room: Room,
    private readonly media: LocalMedia,
    url: string,
    private readonly onend: (notice: Notice | undefined) => void,
  ) {
    const copy = (kind: string, test: string) =>
      el("button", { type: "button", class: kind, test, onclick: () => void copyLink(inviteLink(room.name, url), isOnlyHere()) }, icon("link"), el("span", {}, "Copy link"));
    const alone = el("div", { class: "alone" }, el("p", {}, "You are the only one here."), copy("primary small", "copy-link-alone"));
    this.tiles = new Tiles(room, alone);
    this.chat = new Chat(room);
    this.people = new People(room);
    this.settings = new Settings(room, media);
    this.bar = new Bar(room, {
      chat: () => this.toggle("chat"),
      people: () => this.toggle("people"),
      settings: () => this.settings.show(),
      leave: () => void room.disconnect(),
      changed: () => media.rememberOn(room.localParticipant.isMicrophoneEnabled, room.localParticipant.isCameraEnabled),
    });
    this.soundButton = el("button", { type: "button", class: "primary sound", test: "start-sound", hidden: true, onclick: () => void room.startAudio() }, icon("speaker"), "Turn on sound");
    const count = el("span", { class: "count", test: "count" });
    this.people.oncount = (people) => {
      count.textContent = people === 1 ? "1 person" : `${people} people`;
    };
    this.chat.onunread = (unread) => this.showUnread(unread);
    this.element = el(
      "main",
      { class: "call", test: "call" },
      el("header", { class: "top" }, el("span", { class: "flame", "aria-hidden": "true" }), el("h1", { test: "room-name" }, room.name), count, copy("quiet", "copy-link")),
      this.banner,
      el("div", { class: "middle" }, this.tiles.element, this.makePanel()),
      this.soundButton,
      this.bar.element,
      this.settings.element,
      this.sounds,
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.open && !this.settings.element.open) this.toggle(this.open);
    });
    this.listen();
    this.people.draw();
    this.showSound();
    for (const person of room.remoteParticipants.values()) {
      for (const publication of person.audioTrackPublications.values()) {
        if (publication.track) this.play(publication.track as RemoteTrack);
      }
    }
  }

  /** Puts the keyboard where the next step is. */
  focus(): void {
    this.bar.focus();
  }

  /** Sends what was opened in the lobby. */
  async publish(): Promise<void> {
    const { mic, camera } = this.media.take();
    await Promise.all([this.publishOne(mic, "microphone"), this.publishOne(camera, "camera")]);
  }

  private async publishOne(track: LocalTrack | undefined, device: "microphone" | "camera"): Promise<void> {
    if (!track) return;
    const me = this.room.localParticipant;
    if (!maySend(me, device)) {
      track.stop();
      return;
    }
    try {
      await me.publishTrack(track);
    } catch (cause) {
      track.stop();
      // Nobody wants to hear about the microphone of a call that is over.
      if (this.room.state === "disconnected") return;
      console.warn(`publishing the ${device} failed`, cause);
      const notice = deviceNotice(cause, device);
      if (notice) toast(notice);
    }
  }

  private listen(): void {
    this.room
      .on(RoomEvent.TrackSubscribed, this.play)
      .on(RoomEvent.TrackUnsubscribed, (track) => {
        if (track.kind === Track.Kind.Audio) for (const element of track.detach()) element.remove();
      })
      .on(RoomEvent.AudioPlaybackStatusChanged, () => this.showSound())
      .on(RoomEvent.Reconnecting, () => this.showLost())
      .on(RoomEvent.SignalReconnecting, () => this.showLost())
      .on(RoomEvent.Reconnected, () => this.showBack())
      .on(RoomEvent.ParticipantConnected, (person) => this.announce(`${displayName(person)} joined.`))
      .on(RoomEvent.ParticipantDisconnected, (person) => this.announce(`${displayName(person)} left.`))
      .on(RoomEvent.MediaDevicesError, (cause, kind) => {
        const device = kind === "audioinput" ? "microphone" : kind === "videoinput" ? "camera" : undefined;
        const notice = device && deviceNotice(cause, device);
        if (notice) toast(notice);
      })
      .on(RoomEvent.Disconnected, (reason) => this.end(reason));
  }

  /** Who comes and goes is worth a word only while the circle is small. */
  private announce(text: string): void {
    if (this.room.remoteParticipants.size <= SMALL_CIRCLE) toast({ text, kind: "info" });
  }

  private readonly play = (track: RemoteTrack) => {
    if (track.kind === Track.Kind.Audio) this.sounds.append(track.attach());
  };

  private showSound(): void {
    this.soundButton.hidden = this.room.canPlaybackAudio;
  }

  private showLost(): void {
    if (!this.banner.hidden) return;
    this.banner.replaceChildren(el("span", { class: "spinner", "aria-hidden": "true" }), "Connection lost. Reconnecting…");
    this.banner.hidden = false;
  }

  private showBack(): void {
    if (this.banner.hidden) return;
    this.banner.hidden = true;
    toast({ text: "You are connected again.", kind: "good" });
  }

  private makePanel(): HTMLElement {
    const close = el("button", { type: "button", class: "round plain", "aria-label": "Close panel", title: "Close", onclick: () => this.open && this.toggle(this.open) }, icon("close"));
    this.panel.append(el("header", {}, this.panelTitle, close), this.chat.element, this.people.element);
    return this.panel;
  }

  private toggle(panel: Panel): void {
    const before = this.open;
    this.open = before === panel ? undefined : panel;
    this.panel.hidden = this.open === undefined;
    this.panelTitle.textContent = this.open === "people" ? "People" : "Chat";
    this.panel.setAttribute("aria-label", this.panelTitle.textContent);
    this.chat.element.hidden = this.open !== "chat";
    this.people.element.hidden = this.open !== "people";
    for (const name of ["chat", "people"] as const) {
      this.bar[name].setAttribute("aria-expanded", String(this.open === name));
    }
    this.chat.setOpen(this.open === "chat");
    if (this.open === "people") this.panel.querySelector("button")?.focus();
    if (this.open === undefined && before) this.bar[before].focus();
  }

  private showUnread(unread: number): void {
    const button = this.bar.chat;
    button.querySelector(".unread")?.remove();
    if (unread > 0) button.append(el("span", { class: "unread", test: "unread", "aria-hidden": "true" }, unread > 99 ? "99+" : String(unread)));
    button.setAttribute("aria-label", unread > 0 ? `Chat, ${unread} unread` : "Chat");
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${this.room.name} · Hearth`;
  }

  private end(reason: DisconnectReason | undefined): void {
    this.tiles.close();
    this.chat.close();
    this.people.close();
    this.settings.close();
    this.bar.close();
    this.room.removeAllListeners();
    this.element.remove();
    this.onend(disconnectNotice(reason));
  }
}
