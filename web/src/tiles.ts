// The people and screens of a call, as tiles. Every change redraws from what the room knows, so a
// lost or doubled event leaves nothing wrong on the screen.
import { ConnectionQuality, type Participant, type Room, RoomEvent, Track, type TrackPublication } from "livekit-client";
import { bars, icon } from "./icons.ts";
import { grid, type Rect, stage } from "./layout.ts";
import { displayName, el, iconButton, setIconButton, showAvatar, videoElement } from "./ui.ts";

const QUALITY_WORDS: Partial<Record<ConnectionQuality, string>> = {
  [ConnectionQuality.Poor]: "Weak connection",
  [ConnectionQuality.Lost]: "Connection lost",
};

/** One person's camera, or one shared screen. */
class Tile {
  readonly element: HTMLElement;
  lastSpoke = 0;
  private readonly video = videoElement();
  private readonly avatar = el("div", { class: "avatar", "aria-hidden": "true" });
  private readonly name = el("span", { class: "tile-name", test: "tile-name" });
  private readonly muted = el("span", { class: "badge muted", test: "tile-muted", role: "img", "aria-label": "Microphone off" }, icon("micOff"));
  private readonly quality = el("span", { class: "badge quality", role: "img" }, bars());
  private readonly paused = el("p", { class: "paused" }, "Picture paused: slow connection");
  private readonly pin: HTMLButtonElement;
  private shown: Track | undefined;

  constructor(readonly participant: Participant, readonly source: Track.Source, onpin: () => void) {
    this.pin = iconButton("pin", "Make larger", "pin", onpin, "pin");
    this.element = el(
      "article",
      { class: "tile", test: "tile", "data-identity": participant.identity, "data-source": source },
      this.video,
      el("div", { class: "tile-off" }, this.avatar),
      this.paused,
      this.pin,
      el("div", { class: "tile-foot" }, this.muted, this.name, this.quality),
    );
    this.element.classList.toggle("screen", this.isScreen);
  }

  get isScreen(): boolean {
    return this.source === Track.Source.ScreenShare;
  }

  draw(pinned: boolean, only: boolean): void {
    const person = this.participant;
    const publication = person.getTrackPublication(this.source);
    const name = displayName(person);
    this.show(visibleTrack(publication), person.isLocal && !this.isScreen);
    const micOff = !this.isScreen && !person.isMicrophoneEnabled;
    const speaking = !this.isScreen && person.isSpeaking && person.isMicrophoneEnabled;
    if (speaking) this.lastSpoke = Date.now();
    const title = this.isScreen ? (person.isLocal ? "Your screen" : `${name}’s screen`) : person.isLocal ? `${name} (you)` : name;
    this.name.textContent = title;
    showAvatar(this.avatar, name);
    this.muted.hidden = !micOff;
    this.element.classList.toggle("speaking", speaking);
    this.element.dataset.muted = String(micOff);
    const quality = QUALITY_WORDS[person.connectionQuality];
    this.quality.hidden = this.isScreen || person.connectionQuality === ConnectionQuality.Unknown;
    this.quality.dataset.quality = person.connectionQuality;
    this.quality.setAttribute("aria-label", quality ?? "Good connection");
    this.quality.title = quality ?? "Good connection";
    this.element.setAttribute("aria-label", [title, micOff && "microphone off", quality].filter(Boolean).join(", "));
    setIconButton(this.pin, "pin", pinned ? `Back to the grid` : `Make ${title} larger`);
    this.pin.dataset.on = String(pinned);
    // What is alone cannot be larger.
    this.pin.hidden = only;
  }

  place(rect: Rect | undefined): void {
    this.element.hidden = rect === undefined;
    if (!rect) return;
    const { style } = this.element;
    style.left = `${rect.x}px`;
    style.top = `${rect.y}px`;
    style.width = `${rect.width}px`;
    style.height = `${rect.height}px`;
    this.element.classList.toggle("small", rect.width < 200);
  }

  remove(): void {
    this.show(undefined, false);
    this.element.remove();
  }

  private show(track: Track | undefined, mirrored: boolean): void {
    if (track !== this.shown) {
      this.shown?.detach(this.video);
      track?.attach(this.video);
      this.shown = track;
    }
    this.video.classList.toggle("mirrored", mirrored);
    this.element.classList.toggle("with-video", track !== undefined);
    this.paused.hidden = track?.streamState !== Track.StreamState.Paused;
  }
}

function visibleTrack(publication: TrackPublication | undefined): Track | undefined {
  return publication && !publication.isMuted ? publication.track : undefined;
}

const REDRAW_ON = [
  RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected, RoomEvent.ParticipantNameChanged,
  RoomEvent.TrackPublished, RoomEvent.TrackUnpublished, RoomEvent.TrackSubscribed, RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackMuted, RoomEvent.TrackUnmuted, RoomEvent.LocalTrackPublished, RoomEvent.LocalTrackUnpublished,
  RoomEvent.TrackStreamStateChanged, RoomEvent.ActiveSpeakersChanged, RoomEvent.ConnectionQualityChanged,
  RoomEvent.Connected, RoomEvent.Reconnected,
] as const;

/** All tiles of a room. */
export class Tiles {
  readonly element = el("section", { class: "tiles", test: "tiles", "aria-label": "People in this call" });
  /** Tiles that the strip beside a large tile has no room for. */
  private readonly hiddenCount = el("p", { class: "hidden-count", hidden: true });
  private readonly tiles = new Map<string, Tile>();
  private readonly resizes = new ResizeObserver(() => this.arrange());
  private pinned: string | undefined;
  private planned = false;

  constructor(private readonly room: Room, private readonly alone: HTMLElement) {
    this.element.append(alone, this.hiddenCount);
    for (const event of REDRAW_ON) room.on(event, this.redraw);
    this.resizes.observe(this.element);
    this.redraw();
  }

  close(): void {
    for (const event of REDRAW_ON) this.room.off(event, this.redraw);
    this.resizes.disconnect();
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
  }

  /** Many events come at once; they are drawn together. */
  private readonly redraw = () => {
    if (this.planned) return;
    this.planned = true;
    queueMicrotask(() => {
      this.planned = false;
      this.sync();
      this.arrange();
    });
  };

  private sync(): void {
    const wanted = new Map<string, () => Tile>();
    for (const participant of this.people()) {
      const want = (source: Track.Source) => {
        const key = `${source} ${participant.sid} ${participant.identity}`;
        wanted.set(key, () => new Tile(participant, source, () => this.togglePin(key)));
      };
      if (visibleTrack(participant.getTrackPublication(Track.Source.ScreenShare))) want(Track.Source.ScreenShare);
      want(Track.Source.Camera);
    }
    for (const [key, tile] of this.tiles) {
      if (wanted.has(key)) continue;
      tile.remove();
      this.tiles.delete(key);
      if (this.pinned === key) this.pinned = undefined;
    }
    for (const [key, make] of wanted) {
      if (this.tiles.has(key)) continue;
      const tile = make();
      this.tiles.set(key, tile);
      // Read and tabbed through in the order seen: oneself comes last.
      const me = [...this.tiles.values()].find((other) => other.participant.isLocal && other !== tile);
      this.element.insertBefore(tile.element, tile.participant.isLocal ? null : (me?.element ?? null));
    }
    if (this.tiles.size === 1) this.pinned = undefined;
    const large = this.large();
    for (const [key, tile] of this.tiles) tile.draw(key === large, this.tiles.size === 1);
  }

  /** Others in the order they came, then oneself. */
  private people(): Participant[] {
    const joined = (person: Participant) => person.joinedAt?.getTime() ?? 0;
    const others = [...this.room.remoteParticipants.values()].sort((a, b) => joined(a) - joined(b));
    return this.room.localParticipant.identity ? [...others, this.room.localParticipant] : others;
  }

  /** What is shown large: what was chosen by hand, else the newest screen, others' before one's own. */
  private large(): string | undefined {
    if (this.pinned !== undefined && (this.pinned === "" || this.tiles.has(this.pinned))) return this.pinned;
    const screens = [...this.tiles].filter(([, tile]) => tile.isScreen);
    const others = screens.filter(([, tile]) => !tile.participant.isLocal);
    return (others.at(-1) ?? screens.at(-1))?.[0];
  }

  private togglePin(key: string): void {
    this.pinned = this.large() === key ? "" : key;
    this.redraw();
  }

  private arrange(): void {
    const area = { x: 0, y: 0, width: this.element.clientWidth, height: this.element.clientHeight };
    if (area.width < 50 || area.height < 50) return;
    this.alone.hidden = this.room.remoteParticipants.size > 0;
    const main = this.tiles.get(this.large() ?? "");
    const order = [...this.tiles.values()].sort((a, b) => Number(a.participant.isLocal) - Number(b.participant.isLocal));
    const rest = order.filter((tile) => tile !== main);
    if (!main) {
      const rects = grid(rest.length, area);
      rest.forEach((tile, index) => tile.place(rects[index]));
      this.hiddenCount.hidden = true;
      return;
    }
    const { main: large, strip } = stage(rest.length, area);
    if (strip.length < rest.length) rest.sort((a, b) => b.lastSpoke - a.lastSpoke);
    main.place(large);
    rest.forEach((tile, index) => tile.place(strip[index]));
    const hidden = rest.length - strip.length;
    this.hiddenCount.textContent = `+${hidden} more`;
    this.hiddenCount.hidden = hidden === 0;
  }
}
