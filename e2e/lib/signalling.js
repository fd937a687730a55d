// Signalling messages in words.

import { SignalRequest, SignalResponse } from '@livekit/protocol';

/** One entry of page/trace.js, decoded. */
export function readable({ base64, ...entry }) {
  if (!base64) return entry;
  const bytes = Buffer.from(base64, 'base64');
  const type = entry.way === 'in' ? SignalResponse : SignalRequest;
  try {
    return { ...entry, message: type.fromBinary(bytes).toJson() };
  } catch (error) {
    return { ...entry, undecoded: base64, error: String(error) };
  }
}
