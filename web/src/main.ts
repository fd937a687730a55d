// The page: from the lobby into a call and back.
import { setLogLevel, type Room } from "livekit-client";
import "./style.css";
import "./lobby.css";
import "./call.css";
import "./panel.css";
import "./toasts.css";
import "./narrow.css";
import { Call, newRoom } from "./call.ts";
import { LocalMedia } from "./devices.ts";
import { explained } from "./diagnosis.ts";
import { joinNotice } from "./errors.ts";
import { Lobby, type Ticket } from "./lobby.ts";
import { forgetJoin, keepCall, mayEnterAtOnce, serverUrl, takeParams } from "./token.ts";
import type { Notice } from "./ui.ts";

declare global {
  interface Window {
    /** For tests and the curious: the room of this page, once there is one. */
    hearth: { room: Room | undefined };
  }
}

setLogLevel("warn");
window.hearth = { room: undefined };
const app = document.getElementById("app") ?? document.body;
const params = takeParams();
const media = new LocalMedia();

function showLobby(notice?: Notice): Lobby {
  document.title = params.room ? `${params.room} · Hearth` : "Hearth";
  const lobby = new Lobby(params, media, (ticket) => enter(lobby, ticket));
  app.replaceChildren(lobby.element);
  lobby.say(notice);
  lobby.focus();
  return lobby;
}

async function enter(lobby: Lobby, ticket: Ticket): Promise<void> {
  await media.ready;
  const room = newRoom(media, params.v0);
  window.hearth.room = room;
  try {
    await room.connect(ticket.url, ticket.token);
  } catch (cause) {
    console.warn("joining failed", cause);
    window.hearth.room = undefined;
    const notice = joinNotice(cause, ticket.signedHere);
    lobby.say(notice);
    if (notice?.blocked) lobby.say(await explained(notice, ticket.url, ticket.token));
    return;
  }
  lobby.close();
  params.room = room.name || ticket.room;
  params.url = ticket.url;
  params.token = ticket.signedHere ? "" : ticket.token;
  keepCall(params);
  document.title = `${params.room} · Hearth`;
  const call = new Call(room, media, ticket.url, (notice) => void leave(notice, ticket));
  app.replaceChildren(call.element);
  call.focus();
  await call.publish();
}

async function leave(notice: Notice | undefined, ticket: Ticket): Promise<void> {
  window.hearth.room = undefined;
  forgetJoin();
  const lobby = showLobby(notice ?? { text: "You left the call.", kind: "info" });
  if (notice?.blocked) lobby.say(await explained(notice, ticket.url, ticket.token));
}

const lobby = showLobby();
const url = serverUrl(params.url);
if (params.join && url && mayEnterAtOnce(url)) void lobby.submit();
