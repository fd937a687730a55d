// Who cannot connect is told why, on the page; the operator reads the same in the log.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';

import { AccessToken } from 'livekit-server-sdk';

import { Chromium } from '../lib/browsers.js';
import { eventually } from '../lib/eventually.js';
import { fixture } from '../lib/fixture.js';
import { WITHOUT_NAMESPACES } from '../lib/namespace.js';
import { Server } from '../lib/server.js';
import { token } from '../lib/tokens.js';

/** An address for documentation, which nobody has. */
const NOBODY = '203.0.113.7';
const place = fixture({ nodeIp: NOBODY, roomShare: null });

describe('A connection that fails', () => {
  test('is explained on the page, in the log and to the operator', { timeout: 120_000 }, async () => {
    const { server } = place;
    const pass = await token('ada', 'unreached', {}, server.keys);
    const { page, close } = await (await place.browser(Chromium)).openPage(`http://localhost:${server.port}/?token=${pass}`);
    const why = new RegExp(`No packet of the client reached ${NOBODY}:${server.udpPort} \\(UDP\\)`);
    try {
      await page.getByTestId('join').click();
      const problem = page.getByTestId('problem');
      await eventually(async () => why.test(await problem.textContent()), { timeout: 60_000, what: 'the page says why' });
      assert.match(await problem.textContent(), /sound and picture cannot get through.*The server says: No packet/);
      await eventually(() => server.log.split('\n').some((line) => /INFO/.test(line) && why.test(line) && /participant=/.test(line)), { what: 'the log says why' });
    } finally {
      await close();
    }
    const operator = new AccessToken(server.keys.apiKey, server.keys.apiSecret, { ttl: '5m' });
    operator.addGrant({ roomList: true });
    const state = await (await fetch(`${server.http}/debug/state`, { headers: { authorization: `Bearer ${await operator.toJwt()}` } })).json();
    const [said] = state.not_connected;
    assert.deepEqual([said.room, said.participant], ['unreached', 'ada']);
    assert.match(said.explanation, why);
  });

  test('is explained to its own participant only', { timeout: 30_000 }, async () => {
    const { server } = place;
    const ask = async (headers) => fetch(`${server.http}/rtc/diagnosis`, { headers });
    assert.equal((await ask({})).status, 401);
    const other = await ask({ authorization: `Bearer ${await token('ben', 'unreached', {}, server.keys)}` });
    assert.deepEqual([other.status, await other.json()], [200, { explanation: null }]);
  });

  test('is explained when UDP dies in mid-call', { timeout: 120_000, skip: WITHOUT_NAMESPACES }, async () => {
    const server = await Server.start({ ownHost: true, roomShare: null });
    const browser = await Chromium.launch();
    try {
      const pass = await token('ada', 'cut', {}, server.keys);
      const { page } = await browser.openPage(`${server.http}/?token=${pass}`);
      await page.getByTestId('join').click();
      await page.getByTestId('call').waitFor();
      await eventually(() => /Joined.*identity="?ada/.test(server.log), { what: 'being connected' });
      const [command, ...rest] = server.host.inside(['nft', 'table inet cut {\nchain in {\ntype filter hook input priority 0\nmeta l4proto udp drop\n}\n}']);
      execFileSync(command, rest);
      const lost = () => server.log.split('\n').find((line) => /INFO.*Nothing has come from the client for \d\d s, after it was connected/.test(line));
      await eventually(lost, { timeout: 60_000, what: 'the log says that the path was lost' });
      const said = await (await fetch(`${server.http}/rtc/diagnosis`, { headers: { authorization: `Bearer ${pass}` } })).json();
      assert.match(said.detail, /The last packet came from \S+ to \S+ \(UDP\)/);
    } finally {
      await browser.close();
      await server.stop();
    }
  });
});
