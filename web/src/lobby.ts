// Before the call: who you are, which room, how you look and sound.
import { DevicePicker, type LocalMedia, MicMeter } from "./devices.ts";
import { icon } from "./icons.ts";
import * as token from "./token.ts";
import { clearToasts, el, iconButton, type Notice, setIconButton, setOn, showAvatar, videoElement } from "./ui.ts";

/** What is needed to enter. */
export interface Ticket {
  url: string;
  token: string;
  room: string;
  /** Signed by this page with the development key. */
  signedHere: boolean;
}

const NAME_STORE = "hearth.name";

/** The lobby view. `onjoin` gets a ticket; until it settles, the form waits. */
export class Lobby {
  readonly element: HTMLElement;

  private readonly name = el("input", { test: "name-input", name: "name", autocomplete: "name", maxlength: 60, placeholder: "How others see you" });
  private readonly room = el("input", { test: "room-input", name: "room", autocomplete: "off", maxlength: 100, spellcheck: "false" });
  private readonly url = el("input", { test: "url-input", name: "url", inputmode: "url", autocomplete: "off", spellcheck: "false", placeholder: token.homeServer() });
  private readonly pass = el("textarea", { test: "token-input", name: "token", rows: 3, autocomplete: "off", spellcheck: "false", placeholder: "Paste the token you were given" });
  private readonly join = el("button", { type: "submit", class: "primary", test: "join" }, "Join");
  private readonly problem = el("p", { class: "problem", id: "problem", test: "problem", role: "alert", hidden: true });
  private readonly note = el("div", { class: "note" });
  private readonly more: HTMLDetailsElement;
  private readonly video = videoElement({ class: "mirrored", "aria-label": "Your camera preview" });
  private readonly avatar = el("div", { class: "avatar", "aria-hidden": "true" });
  private readonly placeholder = el("p", { class: "preview-hint", test: "preview-hint", role: "status" });
  private readonly preview: HTMLElement;
  private readonly micButton = iconButton("mic", "", "lobby-mute", () => void this.media.setMic(!this.media.mic), "device");
  private readonly cameraButton = iconButton("camera", "", "lobby-camera", () => void this.media.setCamera(!this.media.camera), "device");
  private readonly meter = new MicMeter();
  private readonly devices: DevicePicker;

  constructor(
    params: token.Params,
    private readonly media: LocalMedia,
    private readonly onjoin: (ticket: Ticket) => Promise<void>,
  ) {
    this.name.value = params.name || stored();
    this.room.value = params.room || token.freshRoomName();
    this.url.value = params.url;
    this.pass.value = params.token;
    this.preview = el(
      "div",
      { class: "preview" },
      this.video,
      el("div", { class: "preview-off" }, this.avatar, this.placeholder),
      el("div", { class: "preview-bar" }, this.micButton, this.cameraButton, this.meter.element),
    );
    this.devices = new DevicePicker(
      (kind) => media.chosen(kind),
      (kind, id) => void media.choose(kind, id),
    );
    this.more = el(
      "details",
      { test: "own-server", open: !token.canSign() && !params.token },
      el("summary", {}, "Server and token"),
      el("label", { class: "field" }, el("span", {}, "Server address"), this.url),
      el("label", { class: "field" }, el("span", {}, "Token"), this.pass),
    );
    this.element = this.view(params);
    this.name.addEventListener("input", () => this.showPerson());
    for (const field of [this.url, this.pass]) field.addEventListener("input", () => this.showPass());
    media.onchange = () => this.showMedia();
    this.showPass();
    this.showMedia();
    void media.open();
  }

  /** Says why there is no call, next to the button that starts one. */
  say(notice: Notice | undefined): void {
    const detail = notice?.detail && el("small", {}, `The server says: ${notice.detail}`);
    this.problem.replaceChildren(notice?.text ?? "", detail || "");
    this.problem.hidden = !notice;
    this.problem.dataset.kind = notice?.kind ?? "";
    this.problem.scrollIntoView({ block: "nearest" });
  }

  /** Presses Join. */
  async submit(): Promise<void> {
    clearToasts();
    this.say(undefined);
    const ticket = await this.ticket();
    if (!ticket) return;
    this.setBusy(true);
    try {
      await this.onjoin(ticket);
    } finally {
      this.setBusy(false);
    }
  }

  /** Puts the keyboard where the next step is. */
  focus(): void {
    (this.name.value || this.name.disabled ? this.join : this.name).focus({ preventScroll: true });
  }

  close(): void {
    this.media.onchange = () => {};
    this.meter.follow(undefined);
    this.devices.close();
    this.element.remove();
  }

  private view(params: token.Params): HTMLElement {
    const invited = params.room !== "" || params.token !== "";
    const form = el(
      "form",
      { class: "card", novalidate: true, "aria-describedby": "problem" },
      el("h1", {}, invited ? "Ready to join?" : "Start a call"),
      el("p", { class: "lead" }, invited ? "Check your picture and sound, then come in." : "Pick a room name. Anyone with the link can come to the same room."),
      el("label", { class: "field" }, el("span", {}, "Your name"), this.name),
      el("label", { class: "field" }, el("span", {}, "Room"), this.room),
      this.problem,
      this.join,
      this.note,
      this.more,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.submit();
    });
    return el(
      "main",
      { class: "lobby", test: "lobby" },
      el("header", { class: "brand" }, el("span", { class: "flame", "aria-hidden": "true" }), "Hearth"),
      el("div", { class: "columns" }, el("section", { class: "self", "aria-label": "Camera and microphone" }, this.preview, this.devices.element), form),
      el("footer", {}, el("a", { href: "licenses.txt", target: "_blank", rel: "noreferrer" }, "Open-source notices")),
    );
  }

  private async ticket(): Promise<Ticket | undefined> {
    const refuse = (text: string, field: HTMLElement) => {
      this.say({ text, kind: "error" });
      if (this.more.contains(field)) this.more.open = true;
      field.focus();
      return undefined;
    };
    const url = token.serverUrl(this.url.value);
    if (!url) return refuse("That is not a server address. It looks like wss://calls.example.org.", this.url);
    if (token.isBlockedMix(url)) return refuse("This page came over https, so the server address must start with wss://.", this.url);
    const pasted = this.pass.value.trim();
    if (pasted) {
      const pass = token.readPass(pasted);
      if (!pass) return refuse("That is not a token. A token has three parts with dots between them.", this.pass);
      if (token.isExpired(pass)) {
        this.say({ text: "Your token has expired. Ask for a new link.", kind: "error" });
        return undefined;
      }
      return { url, token: pasted, room: pass.room, signedHere: false };
    }
    if (!token.canSign()) return refuse("You need a token to enter. Ask whoever invited you.", this.pass);
    const name = this.name.value.trim();
    const room = this.room.value.trim();
    if (!name) return refuse("Say who you are first.", this.name);
    if (!room) return refuse("The room needs a name.", this.room);
    store(name);
    return { url, room, token: await token.signDevPass(room, name), signedHere: true };
  }

  /** A token already says who and where: then those fields only show it. */
  private showPass(): void {
    const pass = this.pass.value.trim() ? token.readPass(this.pass.value) : undefined;
    for (const [field, value] of [[this.name, pass?.name || pass?.identity], [this.room, pass?.room]] as const) {
      if (pass) field.value = value ?? "";
      field.disabled = pass !== undefined;
    }
    const url = token.serverUrl(this.url.value);
    const lines: HTMLElement[] = [];
    if (url && !token.isHome(url)) {
      lines.push(el("p", {}, icon("info"), el("span", {}, "This call is on ", el("strong", {}, new URL(url).host), ".")));
    }
    if (pass) {
      lines.push(el("p", {}, icon("check"), el("span", {}, "Your token says who you are and which room you may enter.")));
    } else if (token.canSign()) {
      const words = "This page runs on your own machine, so it signs your token itself. Anyone can do that: never use this key on a public server.";
      lines.push(el("p", { test: "dev-key" }, icon("warning"), el("span", {}, el("strong", {}, "Development key. "), words)));
    }
    this.note.replaceChildren(...lines);
    this.showPerson();
  }

  private showPerson(): void {
    showAvatar(this.avatar, this.name.value);
  }

  private showMedia(): void {
    const { mic, camera } = this.media;
    setIconButton(this.micButton, mic ? "mic" : "micOff", mic ? "Mute microphone" : "Turn on microphone");
    setOn(this.micButton, mic !== undefined);
    setIconButton(this.cameraButton, camera ? "camera" : "cameraOff", camera ? "Turn off camera" : "Turn on camera");
    setOn(this.cameraButton, camera !== undefined);
    this.preview.classList.toggle("live", camera !== undefined);
    const words = this.media.cameraNotice?.text ?? "Your camera is off";
    if (this.placeholder.textContent !== words) this.placeholder.textContent = words;
    const stream = camera ? camera.mediaStreamTrack : undefined;
    const shown = (this.video.srcObject as MediaStream | null)?.getVideoTracks()[0];
    if (shown !== stream) this.video.srcObject = stream ? new MediaStream([stream]) : null;
    this.meter.follow(mic);
    void this.devices.refresh();
  }

  private setBusy(busy: boolean): void {
    this.join.disabled = busy;
    this.join.textContent = busy ? "Joining…" : "Join";
    this.element.setAttribute("aria-busy", String(busy));
  }
}

function stored(): string {
  try {
    return localStorage.getItem(NAME_STORE) ?? "";
  } catch {
    return "";
  }
}

function store(name: string): void {
  try {
    localStorage.setItem(NAME_STORE, name);
  } catch {
    // A private window: the name is asked for again next time.
  }
}
