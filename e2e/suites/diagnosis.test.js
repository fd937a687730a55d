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
      assert.match(await says(server, why), /participant=/);
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

  onHost('is explained when UDP dies in mid-call', async (server, page) => {
    await page.getByTestId('call').waitFor();
    await eventually(() => /Joined.*identity="?ada/.test(server.log), { what: 'being connected' });
    filter(server, 'input', 'meta l4proto udp drop');
    await says(server, /Nothing has come from the client for \d\d s, after it was connected/);
    const said = await (await fetch(`${server.http}/rtc/diagnosis`, { headers: { authorization: `Bearer ${await pass(server)}` } })).json();
    assert.match(said.detail, /The last packet came from \S+ to \S+ \(UDP\)/);
  });

  const forbidden = /Packets of the client came to \S+ \(UDP\).*but the server could not answer: a firewall of its own forbids it/;
  onHost('is explained when a firewall of the server forbids the answers', (server) => says(server, forbidden), (server) => filter(server, 'output', 'meta l4proto udp drop'));
});

/** A test with a server on a host of its own that offers UDP alone (with TCP the call would go on), prepared by `before`; Ada has asked to join on the page. */
function onHost(name, body, before = () => {}) {
  test(name, { timeout: 120_000, skip: WITHOUT_NAMESPACES }, async () => {
    const server = await Server.start({ ownHost: true, roomShare: null, tcp: false });
    const browser = await Chromium.launch();
    try {
      before(server);
      const { page } = await browser.openPage(`${server.http}/?token=${await pass(server)}`);
      await page.getByTestId('join').click();
      await body(server, page);
    } finally {
      await browser.close();
      await server.stop();
    }
  });
}

function pass(server) {
  return token('ada', 'cut', {}, server.keys);
}

function filter(server, hook, rule) {
  const [command, ...args] = server.host.inside(['nft', `table inet cut {\nchain cut {\ntype filter hook ${hook} priority 0\n${rule}\n}\n}`]);
  execFileSync(command, args);
}

/** Waits for what the operator is to read. */
function says(server, why) {
  const line = () => server.log.split('\n').find((text) => /INFO/.test(text) && why.test(text));
  return eventually(line, { timeout: 60_000, what: `the log says ${why}` });
}
