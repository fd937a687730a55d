// What went wrong, in words for people: what happened, and what they can do.
import {
  ConnectionError,
  ConnectionErrorReason,
  DeviceUnsupportedError,
  DisconnectReason,
  LivekitError,
  MediaDeviceFailure,
} from "livekit-client";
import type { Notice } from "./ui.ts";

export type Device = "camera" | "microphone" | "speaker" | "screen";

const warning = (text: string): Notice => ({ text, kind: "warning" });
const error = (text: string): Notice => ({ text, kind: "error" });

/** A camera, microphone or screen could not be had. Nothing, if the person simply said no. */
export function deviceNotice(cause: unknown, device: Device): Notice | undefined {
  // What the browser refuses has the browser's own error type; the rest failed on the way to the server.
  if (cause instanceof LivekitError && !(cause instanceof DeviceUnsupportedError)) return sendNotice(device);
  if (device === "screen") return screenNotice(cause);
  if (device === "speaker") return warning("The browser could not switch to that speaker. Sound stays where it was.");
  if (!window.isSecureContext || !navigator.mediaDevices) {
    return error("Browsers only allow camera and microphone on https pages and on localhost. Open this page that way.");
  }
  const failure = cause instanceof Error ? MediaDeviceFailure.getFailure(cause) : undefined;
  switch (failure) {
    case MediaDeviceFailure.PermissionDenied:
      return warning(`The browser blocks your ${device}. Allow it with the icon next to the address, then turn it on again.`);
    case MediaDeviceFailure.NotFound:
      return warning(`No ${device} was found. Plug one in, or join without it.`);
    case MediaDeviceFailure.DeviceInUse:
      return warning(`Your ${device} is busy. Close the other program that uses it, then turn it on again.`);
    case MediaDeviceFailure.Other:
    case undefined:
      return warning(`Your ${device} could not be started. Try another one in the settings.`);
  }
}

/** Both at once, as when the browser's question was answered with no: one reason for both is said once, as the camera's. */
export function bothNotices(mic: unknown, camera: unknown): { mic?: Notice | undefined; camera?: Notice | undefined } {
  const both = (failure: MediaDeviceFailure) =>
    [mic, camera].every((cause) => cause instanceof Error && MediaDeviceFailure.getFailure(cause) === failure);
  const notices = {
    mic: mic === undefined ? undefined : deviceNotice(mic, "microphone"),
    camera: camera === undefined ? undefined : deviceNotice(camera, "camera"),
  };
  if (notices.mic?.text === notices.camera?.text) return { camera: notices.camera };
  if (both(MediaDeviceFailure.PermissionDenied)) {
    return { camera: warning("The browser blocks your camera and microphone. Allow them with the icon next to the address.") };
  }
  if (both(MediaDeviceFailure.NotFound)) {
    return { camera: warning("No camera or microphone was found. Plug one in, or join without them.") };
  }
  return notices;
}

/** Something was captured, but the server did not take it. */
function sendNotice(device: Device): Notice {
  const sense = device === "microphone" ? "hear you" : device === "camera" ? "see you" : "see your screen";
  return error(`Others cannot ${sense}: your ${device} did not reach the server. Try again.`);
}

function screenNotice(cause: unknown): Notice | undefined {
  const name = cause instanceof Error ? cause.name : "";
  // Closing the browser's picker also arrives as "not allowed".
  if (name === "NotAllowedError" || name === "AbortError") return undefined;
  return warning("Your screen could not be shared. The browser or the system does not allow it.");
}

/** Entering the call failed. `signedHere`: with the development key. */
export function joinNotice(cause: unknown, signedHere: boolean): Notice | undefined {
  if (!(cause instanceof ConnectionError)) {
    return error("Joining did not work. Check the server address and try again.");
  }
  const status = typeof cause.status === "number" ? cause.status : undefined;
  switch (cause.reason) {
    case ConnectionErrorReason.NotAllowed:
      return refusedNotice(cause.message, status, signedHere);
    case ConnectionErrorReason.Cancelled:
      return undefined;
    case ConnectionErrorReason.LeaveRequest:
      return (
        disconnectNotice(cause.context as DisconnectReason) ?? error("The server ended the call before it began. Try again.")
      );
    case ConnectionErrorReason.InternalError:
    case ConnectionErrorReason.ServerUnreachable:
    case ConnectionErrorReason.Timeout:
    case ConnectionErrorReason.WebSocket:
    case ConnectionErrorReason.ServiceNotFound:
      if (!navigator.onLine) return error("You are offline. Check your connection and try again.");
      if (status === 503) return error("The server is full. Try again in a moment.");
      if (/pc connection|peer ?connection|ICE/i.test(cause.message)) {
        return { ...error("The server answers, but sound and picture cannot get through."), blocked: true };
      }
      return error("The server cannot be reached. Check the address and that it is running, then try again.");
  }
}

function refusedNotice(message: string, status: number | undefined, signedHere: boolean): Notice {
  if (signedHere && /API key|signature/i.test(message)) {
    return error("This server does not take the development key. Paste a token for it instead.");
  }
  if (/expired/i.test(message)) return error("Your token has expired. Ask for a new link.");
  if (/not valid yet/i.test(message)) return error("Your token is not valid yet. Check the clock of this device.");
  if (status === 404 || /does not exist/i.test(message)) return error("There is no such room. Ask for a new link.");
  if (/permission/i.test(message)) return error("Your token does not allow you to enter this room.");
  if (/limit|full/i.test(message)) return error("The room is full.");
  // The client library puts its own words in front of the server's.
  const detail = message.replace("could not establish signal connection: ", "").trim();
  return { ...error("The server does not accept your token. Ask for a new link."), detail };
}

/** The call is over. Nothing, if the person left on purpose. */
export function disconnectNotice(reason: DisconnectReason | undefined): Notice | undefined {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return undefined;
    case DisconnectReason.DUPLICATE_IDENTITY:
      return warning("You joined from another tab or device, so this one left the call.");
    case DisconnectReason.PARTICIPANT_REMOVED:
      return warning("You were removed from the call.");
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return { text: "The call was ended.", kind: "info" };
    case DisconnectReason.SERVER_SHUTDOWN:
      return error("The server is restarting. Join again in a moment.");
    case DisconnectReason.JOIN_FAILURE:
    case DisconnectReason.STATE_MISMATCH:
    case DisconnectReason.SIGNAL_CLOSE:
    case DisconnectReason.CONNECTION_TIMEOUT:
      return { ...error("The connection was lost. Check your network and join again."), blocked: true };
    // The other reasons belong to telephony and moves between regions, and newer servers add more.
    default:
      return error("The call ended unexpectedly. You can join again.");
  }
}
