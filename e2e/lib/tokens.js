// Access tokens, for the keys of `--dev` unless others are given.

import { AccessToken, RoomServiceClient } from 'livekit-server-sdk';

import { API_KEY, API_SECRET } from './server.js';

/** A token that lets `identity` into `room`; `grant` is merged into the video grant. */
export function token(identity, room, grant = {}, keys = { apiKey: API_KEY, apiSecret: API_SECRET }) {
  const access = new AccessToken(keys.apiKey, keys.apiSecret, { identity, name: `${identity} (test)`, ttl: '10m' });
  access.addGrant({ room, roomJoin: true, canPublish: true, canSubscribe: true, canPublishData: true, ...grant });
  return access.toJwt();
}

/** The server API as an operator's program calls it. */
export function roomService(server) {
  return new RoomServiceClient(server.http, server.keys.apiKey, server.keys.apiSecret);
}
