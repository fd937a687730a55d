// Text beside the call. Messages travel as data packets on the topic LiveKit's own components use,
// so people in other clients read them too.
import { type Participant, type Room, RoomEvent, type TextStreamHandler } from "livekit-client";
import { icon } from "./icons.ts";
import { displayName, el, toast } from "./ui.ts";

const PACKET_TOPIC = "lk-chat-topic";
const STREAM_TOPIC = "lk.chat";
const MAX_LENGTH = 2000;
const MAX_MESSAGES = 500;
/** Messages of one person this close together share one heading. */
const SAME_BREATH_MS = 120_000;

interface Message {
  id: string;
  text: string;
  at: number;
  from: string;
  name: string;
  own: boolean;
}

/** The chat panel. */
export class Chat {
  readonly element: HTMLElement;
  /** Called when the number of unread messages changes. */
  onunread = (_count: number) => {};

  private readonly log = el("ol", { class: "messages", role: "log", "aria-label": "Messages", "aria-live": "polite", tabindex: 0 });
  private readonly empty = el("p", { class: "empty" }, "Nothing written yet. Messages go to everyone in the call and are gone when it ends.");
  private readonly input = el("textarea", { test: "chat-input", rows: 1, maxlength: MAX_LENGTH, placeholder: "Write a message", "aria-label": "Message", enterkeyhint: "send" });
  private readonly send = el("button", { type: "submit", class: "round send", title: "Send", "aria-label": "Send", test: "chat-send" }, icon("send"));
  private readonly seen = new Set<string>();
  private last: Message | undefined;
  private unread = 0;
  private open = false;

  constructor(private readonly room: Room) {
    const form = el("form", { class: "composer" }, this.input, this.send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.submit();
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.submit();
    });
    this.input.addEventListener("input", () => this.fit());
    this.element = el("div", { class: "panel-body chat" }, this.empty, this.log, form);
    room.on(RoomEvent.DataReceived, this.handleData);
    room.on(RoomEvent.ChatMessage, this.handleChatMessage);
    room.on(RoomEvent.ParticipantPermissionsChanged, this.showPermission);
    room.registerTextStreamHandler(STREAM_TOPIC, this.handleStream);
    this.showPermission();
  }

  setOpen(open: boolean): void {
    this.open = open;
    if (!open) return;
    this.setUnread(0);
    this.fit();
    this.log.scrollTop = this.log.scrollHeight;
    this.input.focus({ preventScroll: true });
  }

  close(): void {
    this.room.off(RoomEvent.DataReceived, this.handleData);
    this.room.off(RoomEvent.ChatMessage, this.handleChatMessage);
    this.room.off(RoomEvent.ParticipantPermissionsChanged, this.showPermission);
    this.room.unregisterTextStreamHandler(STREAM_TOPIC);
  }

  private readonly showPermission = () => {
    const allowed = this.room.localParticipant.permissions?.canPublishData ?? true;
    this.input.disabled = !allowed;
    this.send.disabled = !allowed;
    this.input.placeholder = allowed ? "Write a message" : "You may read, but not write";
  };

  private readonly handleData = (payload: Uint8Array, sender: Participant | undefined, _kind: unknown, topic?: string) => {
    if (topic !== PACKET_TOPIC) return;
    try {
      const packet: unknown = JSON.parse(new TextDecoder().decode(payload));
      if (typeof packet !== "object" || packet === null) return;
      const { id, message } = packet as Record<string, unknown>;
      // `ignoreLegacy`: the same text also comes as a stream, with the same id.
      if ("ignoreLegacy" in packet && packet.ignoreLegacy === true) return;
      if (typeof message === "string") this.add(typeof id === "string" ? id : crypto.randomUUID(), message, sender);
    } catch {
      // Not ours: anybody may send anything on any topic.
    }
  };

  private readonly handleChatMessage = (message: { id: string; message: string }, sender?: Participant) => {
    if (!sender?.isLocal) this.add(message.id, message.message, sender);
  };

  private readonly handleStream: TextStreamHandler = (reader, { identity }) => {
    const read = async () => {
      let text = "";
      for await (const chunk of reader) {
        text += chunk;
        if (text.length > MAX_LENGTH) break;
      }
      this.add(reader.info.id, text, this.room.getParticipantByIdentity(identity));
    };
    // A stream that breaks off is no message.
    read().catch(() => undefined);
  };

  private async submit(): Promise<void> {
    const text = this.input.value.trim();
    if (!text || this.send.disabled) return;
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    const packet = { id, timestamp: Date.now(), message: text };
    this.input.value = "";
    this.fit();
    try {
      const payload = new TextEncoder().encode(JSON.stringify(packet));
      await this.room.localParticipant.publishData(payload, { reliable: true, topic: PACKET_TOPIC });
      this.add(id, text, this.room.localParticipant);
    } catch {
      if (!this.input.value) this.input.value = text;
      toast({ text: "Your message was not sent. Try again.", kind: "warning" });
    }
  }

  private add(id: string, raw: string, sender: Participant | undefined): void {
    const text = raw.slice(0, MAX_LENGTH).trim();
    if (!text || this.seen.has(id)) return;
    this.seen.add(id);
    const own = sender?.isLocal ?? false;
    const name = own ? "You" : sender ? displayName(sender) : "The server";
    const message: Message = { id, text, own, name, from: sender?.identity ?? "", at: Date.now() };
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
    this.log.append(this.view(message));
    if (this.log.children.length > MAX_MESSAGES) this.log.firstElementChild?.remove();
    if (this.seen.size > MAX_MESSAGES * 2) this.seen.delete(this.seen.values().next().value ?? "");
    this.last = message;
    this.empty.hidden = true;
    if (atEnd || own) this.log.scrollTop = this.log.scrollHeight;
    if (!this.open && !own) this.setUnread(this.unread + 1);
  }

  private view(message: Message): HTMLElement {
    const follows = this.last?.from === message.from && message.at - this.last.at < SAME_BREATH_MS;
    const time = new Date(message.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return el(
      "li",
      { class: `message${message.own ? " own" : ""}${follows ? " follows" : ""}`, test: "chat-message" },
      el("span", { class: "message-head" }, el("strong", {}, message.name), el("time", {}, time)),
      el("span", { class: "message-text" }, ...withLinks(message.text)),
    );
  }

  private setUnread(count: number): void {
    this.unread = count;
    this.onunread(count);
  }

  /** The input grows with its text, up to a few lines. */
  private fit(): void {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, 120)}px`;
  }
}

/** Web addresses become links; everything else stays text. */
function withLinks(text: string): (Node | string)[] {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?')\]])/g).map((part, index) =>
    index % 2 === 1 ? el("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part) : part,
  );
}
