// Where to connect and with which pass: address bar, pasted token, or a pass made here.
//
// A pass (token) is a JWT that says who may enter which room. Real ones come from a backend that
// keeps the API secret. Only on this very machine, and only with the well-known development key,
// the page signs one itself; that key protects nothing.

/** What the link that opened the page asked for. */
export interface Params {
  room: string;
  name: string;
  token: string;
  url: string;
  /** Enter at once, without the lobby. */
  join: boolean;
  /** Two peer connections, as clients before the single one did. */
  v0: boolean;
}

/** What a pass says about itself. Not verified: that is the server's work. */
export interface Pass {
  identity: string;
  name: string;
  room: string;
  /** Unix seconds. */
  expires: number | undefined;
}

const DEV_KEY = "devkey";
const DEV_SECRET = "secret";
const DEV_PASS_SECONDS = 6 * 3600;
const MAX_NAME = 60;

/**
 * Reads the address bar and takes the token out of it, so that it is neither copied along with the
 * address nor seen on a shared screen. It stays with the history entry: a reload finds it again.
 */
export function takeParams(): Params {
  const query = new URLSearchParams(location.search);
  const kept = (history.state as { token?: unknown } | null)?.token;
  const token = (query.get("token") ?? (typeof kept === "string" ? kept : "")).trim();
  if (query.has("token")) {
    query.delete("token");
    replaceQuery(query, token);
  }
  const flag = (name: string) => ["1", "true", ""].includes(query.get(name) ?? "no");
  return {
    room: (query.get("room") ?? "").trim(),
    name: (query.get("name") ?? "").trim().slice(0, MAX_NAME),
    token,
    url: (query.get("url") ?? "").trim(),
    join: flag("join"),
    v0: flag("v0"),
  };
}

/** Once somebody is in: a reload finds the room again. The token stays out of the address: it goes where that of a link is, into this tab's history. */
export function keepCall({ room, url, token }: Params): void {
  const query = new URLSearchParams(location.search);
  query.set("room", room);
  if (isHome(url)) query.delete("url");
  else query.set("url", url);
  replaceQuery(query, token);
}

/** After somebody left: a reload must not throw them back into the call. */
export function forgetJoin(): void {
  const query = new URLSearchParams(location.search);
  if (!query.has("join")) return;
  query.delete("join");
  const kept = (history.state as { token?: string } | null)?.token;
  replaceQuery(query, kept ?? "");
}

function replaceQuery(query: URLSearchParams, token: string): void {
  const rest = query.toString();
  history.replaceState(token ? { token } : null, "", location.pathname + (rest ? `?${rest}` : "") + location.hash);
}

/** The server this page came from. */
export function homeServer(): string {
  const here = new URL(".", location.href);
  return `${here.protocol === "https:" ? "wss:" : "ws:"}//${here.host}${here.pathname.replace(/\/$/, "")}`;
}

/** The address typed by a person, as one the client takes; nothing if it cannot be one. */
export function serverUrl(typed: string): string | undefined {
  const text = typed.trim();
  if (!text) return homeServer();
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const guess = isLoopback(text.split(/[/:]/)[0] ?? "") ? "ws://" : "wss://";
  try {
    const url = new URL(hasScheme ? text : guess + text);
    if (!["ws:", "wss:", "http:", "https:"].includes(url.protocol)) return undefined;
    const secure = url.protocol === "wss:" || url.protocol === "https:";
    return `${secure ? "wss:" : "ws:"}//${url.host}${url.pathname.replace(/\/$/, "")}`;
  } catch {
    return undefined;
  }
}

/** Whether a server is the one this page came from. */
export function isHome(url: string): boolean {
  return url === homeServer();
}

/** Whether a link may enter without a click: not to a stranger's server with this page's camera. */
export function mayEnterAtOnce(url: string): boolean {
  return isHome(url) || (isOnlyHere() && isLoopback(new URL(url).hostname));
}

/** Whether a browser would refuse to reach this server from here, whatever it is. */
export function isBlockedMix(url: string): boolean {
  return location.protocol === "https:" && url.startsWith("ws:") && !isLoopback(new URL(url).hostname);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host.endsWith(".localhost") || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Whether the page was opened at an address that no other machine can use. */
export function isOnlyHere(): boolean {
  return isLoopback(location.hostname);
}

/** Whether the page may sign a pass itself: only on this machine. */
export function canSign(): boolean {
  return isOnlyHere() && globalThis.crypto?.subtle !== undefined;
}

/** Reads a pass without verifying it; nothing if it is none. */
export function readPass(token: string): Pass | undefined {
  const part = token.trim().split(".");
  if (part.length !== 3 || !part[1]) return undefined;
  try {
    const bytes = Uint8Array.from(atob(part[1].replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims !== "object" || claims === null) return undefined;
    const { sub, name, exp, video } = claims as Record<string, unknown>;
    const room = typeof video === "object" && video !== null ? (video as Record<string, unknown>).room : undefined;
    const text = (value: unknown) => (typeof value === "string" ? value : "");
    return { identity: text(sub), name: text(name), room: text(room), expires: typeof exp === "number" ? exp : undefined };
  } catch {
    return undefined;
  }
}

/** Whether a pass is over. The server gives a minute of grace; so does this. */
export function isExpired(pass: Pass): boolean {
  return pass.expires !== undefined && pass.expires + 60 < Date.now() / 1000;
}

/** Signs a pass with the development key (HS256). */
export async function signDevPass(room: string, name: string): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: DEV_KEY,
    sub: identityFor(name),
    name,
    nbf: now - 30,
    exp: now + DEV_PASS_SECONDS,
    video: { roomJoin: true, room, canPublish: true, canSubscribe: true, canPublishData: true },
  };
  const encoder = new TextEncoder();
  const json = (value: unknown) => base64url(encoder.encode(JSON.stringify(value)));
  const signed = `${json({ alg: "HS256", typ: "JWT" })}.${json(claims)}`;
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(DEV_SECRET), algorithm, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, encoder.encode(signed));
  return `${signed}.${base64url(new Uint8Array(signature))}`;
}

/** Two people may have one name, so the identity gets a random end. */
function identityFor(name: string): string {
  const base = name.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  const random = crypto.getRandomValues(new Uint8Array(4));
  return `${base || "guest"}-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function base64url(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** The link for others: it names the room, never a pass. */
export function inviteLink(room: string, url: string): string {
  const link = new URL(location.pathname, location.origin);
  link.searchParams.set("room", room);
  if (!isHome(url)) link.searchParams.set("url", url);
  return link.href;
}

const FIRST = ["amber", "quiet", "bright", "gentle", "silver", "velvet", "golden", "mellow", "northern", "winter"];
const SECOND = ["harbor", "meadow", "lantern", "cabin", "orchard", "river", "kettle", "window", "garden", "valley"];

/** A room name that is easy to say aloud. */
export function freshRoomName(): string {
  const [a = 0, b = 0, c = 0] = crypto.getRandomValues(new Uint8Array(3));
  return `${FIRST[a % FIRST.length]}-${SECOND[b % SECOND.length]}-${10 + (c % 90)}`;
}
