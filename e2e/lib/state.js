// What the server says of itself.

import { AccessToken } from 'livekit-server-sdk';

/** All of `/debug/state`. */
export async function state(server) {
  const access = new AccessToken(server.keys.apiKey, server.keys.apiSecret);
  access.addGrant({ roomList: true });
  const headers = { authorization: `Bearer ${await access.toJwt()}` };
  const answer = await fetch(`${server.http}/debug/state`, { headers });
  return answer.json();
}

/** The numbers of its TCP connections. */
export async function connections(server) {
  return (await state(server)).connections;
}
