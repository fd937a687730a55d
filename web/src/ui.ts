// Small pieces every view is made of: elements, buttons, toasts.
import { icon, type IconName } from "./icons.ts";

export type Child = Node | string | null | undefined | false;
type Handler = (event: never) => void;
type Attributes = Record<string, string | number | boolean | undefined | Handler>;

/** Makes an element. `on…` attributes are listeners, `true` is an empty attribute, `false` none. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value as EventListener);
    } else {
      element.setAttribute(name === "test" ? "data-testid" : name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return element;
}

/** A silent picture. Sound is played elsewhere; a muted video may always start. */
export function videoElement(attributes: Attributes = {}): HTMLVideoElement {
  const video = el("video", { autoplay: true, playsinline: true, ...attributes });
  video.muted = true;
  return video;
}

/** A round button with an icon; its name is spoken and shown as a tooltip. */
export function iconButton(name: IconName, label: string, test: string, onclick: () => void, kind = ""): HTMLButtonElement {
  const button = el("button", { type: "button", class: `round ${kind}`.trim(), test, onclick });
  setIconButton(button, name, label);
  return button;
}

/** Changes what a button of `iconButton` shows and says. */
export function setIconButton(button: HTMLButtonElement, name: IconName, label: string): void {
  if (button.dataset.icon !== name) {
    button.dataset.icon = name;
    button.querySelector(".icon")?.remove();
    button.prepend(icon(name));
  }
  if (button.title !== label) {
    button.title = label;
    button.setAttribute("aria-label", label);
  }
}

/** Shows whether what a button stands for is on. */
export function setOn(button: HTMLButtonElement, on: boolean): void {
  button.dataset.on = String(on);
}

export interface Notice {
  text: string;
  kind: "info" | "good" | "warning" | "error";
  /** For who looks into it; toasts leave it out. */
  detail?: string;
  /** The server may know why: packets of the call did not get through. */
  blocked?: boolean;
}

/** Errors stay until they are dismissed or the next attempt begins. */
const STAYS_MS = { info: 4000, good: 4000, warning: 10_000, error: undefined };
const MAX_TOASTS = 3;
const ICONS = { info: "info", good: "check", warning: "warning", error: "warning" } as const;

/** Says something in passing. The same words twice are one toast. */
export function toast(notice: Notice): void {
  const region = document.getElementById("toasts");
  if (!region) return;
  for (const shown of region.children) {
    if (shown.querySelector(".toast-text")?.textContent === notice.text) shown.remove();
  }
  const close = el("button", { type: "button", class: "toast-close", "aria-label": "Dismiss" }, icon("close"));
  const box = el(
    "div",
    { class: `toast ${notice.kind}`, test: "toast", role: notice.kind === "error" ? "alert" : "status" },
    icon(ICONS[notice.kind]),
    el("span", { class: "toast-text" }, notice.text),
    close,
  );
  let timer = 0;
  const start = () => {
    clearTimeout(timer);
    const stays = STAYS_MS[notice.kind];
    if (stays !== undefined) timer = window.setTimeout(() => box.remove(), stays);
  };
  const hold = () => clearTimeout(timer);
  box.addEventListener("pointerenter", hold);
  box.addEventListener("focusin", hold);
  box.addEventListener("pointerleave", start);
  box.addEventListener("focusout", start);
  close.addEventListener("click", () => box.remove());
  region.append(box);
  while (region.children.length > MAX_TOASTS) region.firstElementChild?.remove();
  start();
}

/** Takes all toasts away. */
export function clearToasts(): void {
  document.getElementById("toasts")?.replaceChildren();
}

/** At most two letters to stand for a person without a picture. */
function initials(name: string): string {
  const words = name.split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  return letters.map((word) => (word ? [...word][0] : "")).join("").toUpperCase() || "?";
}

/** Far enough apart to tell people by, and dark enough for light letters. */
const COLOURS = ["#a12f31", "#a95f23", "#5f5a18", "#38833e", "#035f5c", "#207da5", "#294c9f", "#7e5ec1", "#6f2e73", "#b84b7c"] as const;

/** Gives an avatar the letters and the colour of a person; everybody sees them alike. */
export function showAvatar(avatar: HTMLElement, name: string): void {
  let sum = 7;
  // Modulo a prime: every character counts, and so does its place.
  for (const char of name) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 65_521;
  avatar.textContent = initials(name);
  avatar.style.setProperty("--colour", COLOURS[sum % COLOURS.length] ?? COLOURS[0]);
}

/** The name to show for somebody. */
export function displayName(person: { name?: string; identity: string }): string {
  return person.name?.trim() || person.identity || "Guest";
}

/** Copies a link; where the browser forbids it, shows it for copying by hand. `onlyHere`: nobody else can use it. */
export async function copyLink(link: string, onlyHere: boolean): Promise<void> {
  const limit = "The link works on this machine only: others need this page at an address that they can reach.";
  try {
    await navigator.clipboard.writeText(link);
    if (onlyHere) toast({ text: `Copied. ${limit}`, kind: "warning" });
    else toast({ text: "Link copied. Send it to the people you want to meet.", kind: "good" });
  } catch {
    window.prompt(onlyHere ? `${limit} Copy it:` : "Copy this link:", link);
  }
}
