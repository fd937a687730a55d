// Why sound and picture cannot get through, in the server's words: it knows which packets of this browser arrived.
import type { Notice } from "./ui.ts";

/** Older explanations belong to another attempt. */
const FRESH_SECONDS = 90;
const PATIENCE_MS = 3_000;

/** `notice` with what the server says about the connection of the bearer of `token`; as it is if it says nothing. */
export async function explained(notice: Notice, url: string, token: string): Promise<Notice> {
  const said = await ask(url, token).catch(() => undefined);
  return said ? { ...notice, detail: said } : notice;
}

async function ask(url: string, token: string): Promise<string | undefined> {
  const address = new URL(url);
  address.protocol = address.protocol === "wss:" || address.protocol === "https:" ? "https:" : "http:";
  address.pathname = `${address.pathname.replace(/\/$/, "")}/rtc/diagnosis`;
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(address, { headers, signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) return undefined;
  const said = (await answer.json()) as { explanation?: unknown; age_seconds?: unknown };
  const fresh = typeof said.age_seconds === "number" && said.age_seconds <= FRESH_SECONDS;
  return fresh && typeof said.explanation === "string" ? said.explanation : undefined;
}
