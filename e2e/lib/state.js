// What the server says of itself.

import { AccessToken } from 'livekit-server-sdk';

/** The numbers of its TCP connections, from `/debug/state`. */
export async function connections(server) {
  const access = new AccessToken(server.keys.apiKey, server.keys.apiSecret);
  access.addGrant({ roomList: true });
  const headers = { authorization: `Bearer ${await access.toJwt()}` };
  const answer = await fetch(`${server.http}/debug/state`, { headers });
  return (await answer.json()).connections;
}
