// Who connects through which address translation, how, and in what time: network namespaces with nftables (lib/internet.js). At the end
// it prints a table. A row is a situation and a client; a column more is a transport more.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { BrowserClient } from '../lib/browser-client.js';
import { ended, start, stop } from '../lib/children.js';
import { eventually } from '../lib/eventually.js';
import { hearsTone, seesPicture } from '../lib/expect.js';
import { Internet, STUN_SERVERS, WITHOUT_INTERNET } from '../lib/internet.js';
import { nodePeer } from '../lib/native.js';
import { HEARTH } from '../lib/server.js';
import { token } from '../lib/tokens.js';

const KEYS = { apiKey: 'APInat', apiSecret: 'a secret of more than thirty-two characters' };
const EXTERNAL = `  use_external_ip: true\n  stun_servers: [${STUN_SERVERS.map((server) => `'${server}:3478'`).join(', ')}]\n`;
/** Until media can flow. */
const SOON = 5_000;
/** A client checks its path every 2 to 2.5 s, and is followed a second after that; the rest is a busy machine's. */
const REBINDING = 4_500;

/** Situation, what is between, the server's configuration, and whether Chromium tries it, too. */
const SITUATIONS = [
  ['no NAT', {}, ''],
  ['client behind a full cone NAT', { client: 'full cone' }, ''],
  ['client behind a port-restricted NAT', { client: 'port-restricted' }, ''],
  ['client behind a symmetric NAT', { client: 'symmetric' }, '', true],
  ['server behind 1:1 NAT, use_external_ip', { server: '1:1' }, EXTERNAL],
  ['server behind 1:1 NAT, node_ip', { server: '1:1' }, '  node_ip: 203.0.113.2\n'],
  ['server behind a forwarding router, use_external_ip', { server: 'forwarding' }, EXTERNAL],
  ['both behind NAT (1:1 and port-restricted)', { server: '1:1', client: 'port-restricted' }, EXTERNAL],
  ['both behind NAT (forwarding and symmetric)', { server: 'forwarding', client: 'symmetric' }, EXTERNAL, true],
  ['IPv6 only', { v6: true }, '', true],
  ['two uplinks', { uplinks: true }, ''],
  ['two uplinks, UDP dead on the first', { uplinks: true, dead: true }, '', true],
];

const rows = [];

describe('Address translation', { skip: WITHOUT_INTERNET }, () => {
  for (const [name, network, config, withBrowser] of SITUATIONS) {
    test(name, { timeout: 120_000 }, () => inside(network, config, async ({ internet, url }) => {
      const { connected, heard } = await load(internet, url);
      rows.push([name, 'hearth load-test', 'UDP', internet.used().address, `${connected} ms`]);
      assert.ok(heard, 'its media arrives');
      assert.ok(connected < SOON, `connected after ${connected} ms`);
      const ms = await sdk(internet, url);
      rows.push([name, 'Node SDK', 'UDP', internet.used().address, `${ms} ms`]);
      if (withBrowser) rows.push([name, 'Chromium', 'UDP', internet.used().address, `${await browser(internet, url)} ms`]);
    }));
  }

  test('a NAT that forgets its mapping interrupts a call for seconds and ends no connection', { timeout: 120_000 }, () => {
    return inside({ client: 'port-restricted' }, '', async ({ internet, url }) => {
      const [speaker, listener] = await pair(internet, url);
      try {
        internet.forgetMappings();
        const ms = await interruption(listener, speaker);
        rows.push(['NAT rebinding in mid-call', 'Node SDK', 'UDP', internet.used().address, `sound again after ${ms} ms`]);
        assert.ok(ms < REBINDING, `sound again after ${ms} ms`);
        const events = await listener.call('events');
        assert.ok(!events.some(({ event }) => event === 'reconnecting'), 'without a reconnect');
      } finally {
        await Promise.all([speaker.close(), listener.close()]);
      }
    });
  });

  for (const [name, network, config, said] of [
    ['STUN servers that do not answer', { server: '1:1' }, `  use_external_ip: true\n  stun_servers: ['198.18.0.9:3478']\n`, /198\.18\.0\.9:3478: no answer within/],
    ['names that are not found', { server: '1:1' }, `  use_external_ip: true\n  stun_servers: ['stun.invalid:3478']\n`, /stun\.invalid:3478: (its name was not found|no answer of DNS)/],
    ['an interface that does not exist', {}, '  interfaces: {includes: [eth7]}\n', /no interface eth7; it has lo, wan/],
  ]) {
    test(`a start that cannot work ends with the hop that failed: ${name}`, { timeout: 60_000 }, async () => {
      const internet = await Internet.open(network);
      try {
        const { log, code } = await outcome(internet, config);
        assert.match(log, said);
        assert.equal(code, 1);
      } finally {
        await internet.close();
      }
    });
  }

  after(() => print([['situation', 'client', 'transport', 'server address', 'connected after'], ...rows]));
});

/** Runs `body` with a server and a network. */
async function inside(network, config, body) {
  const internet = await Internet.open(network);
  const folder = await mkdtemp(join(tmpdir(), 'hearth-e2e-nat-'));
  let server = null;
  try {
    server = await serve(internet, folder, config);
    const { outside } = internet.hosts.server;
    const host = outside.includes(':') ? `[${outside}]` : outside;
    await body({ internet, folder, url: `ws://${host}:7880` });
    assert.ok(!/panicked at|\bERROR\b/.test(server.log), server.log);
  } catch (error) {
    error.message += `\n${server?.log ?? ''}`;
    throw error;
  } finally {
    if (server) await stop(server.child);
    await internet.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function serve(internet, folder, config) {
  const server = await launch(internet, folder, config);
  await eventually(() => server.log.includes('is ready'), {
    what: 'the server being ready',
    hopeless: () => (ended(server.child) ? `it ended; it wrote:\n${server.log}` : null),
  });
  return server;
}

async function launch(internet, folder, config) {
  const path = join(folder, 'hearth.yaml');
  await writeFile(path, `keys:\n  ${KEYS.apiKey}: ${KEYS.apiSecret}\nrtc:\n  udp_port: 7882-7883\n${config}`, { mode: 0o600 });
  const [command, ...args] = internet.hosts.server.inside([HEARTH, '--config', path, '--shards', '2']);
  const server = { log: '', child: start(command, args, { env: { ...process.env, NO_COLOR: '1' } }) };
  for (const stream of [server.child.stdout, server.child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      server.log += text;
    });
  }
  return server;
}

/** What becomes of a server that should not start. */
async function outcome(internet, config) {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-e2e-nat-'));
  try {
    const server = await launch(internet, folder, config);
    await eventually(() => ended(server.child), { timeout: 20_000, what: 'the server giving up' });
    return { log: server.log, code: server.child.exitCode };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Two participants of our own load test at the client's. */
async function load(internet, url) {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-e2e-nat-'));
  try {
    const json = join(folder, 'report.json');
    const { apiKey, apiSecret } = KEYS;
    const [command, ...args] = internet.hosts.client.inside([
      HEARTH, 'load-test', '--url', url, '--api-key', apiKey, '--api-secret', apiSecret,
      '--audio-publishers', '1', '--subscribers', '1', '--duration', '2s', '--json', json,
    ]);
    const child = start(command, args);
    let log = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (log += text));
    await eventually(() => ended(child), { timeout: 60_000, what: 'the load test ending' });
    assert.equal(child.exitCode, 0, log);
    const report = JSON.parse(await readFile(json, 'utf8'));
    return { connected: Math.round(report.connected.max), heard: report.total.packets > 50 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Two people with the Node SDK, one of whom hears the other; milliseconds until the second is connected. */
async function sdk(internet, url) {
  const [speaker, listener] = await pair(internet, url);
  await Promise.all([speaker.close(), listener.close()]);
  return listener.joined.ms;
}

/** A camera in Chromium that a viewer in Chromium sees; milliseconds until that one is connected. */
async function browser(internet, url) {
  const { browser, site } = await internet.browser();
  try {
    const people = [];
    for (const identity of ['camera', 'viewer']) {
      const person = await BrowserClient.open(identity, browser, site);
      person.joined = await person.call('join', { url, token: await token(identity, 'nat-chromium', {}, KEYS) });
      people.push(person);
    }
    const [camera, viewer] = people;
    await camera.call('camera', {});
    await seesPicture(viewer, camera);
    return viewer.joined.ms;
  } finally {
    await browser.close();
  }
}

async function pair(internet, url) {
  const people = ['speaker', 'listener'].map((identity) => nodePeer(identity, undefined, { inside: internet.hosts.client.inside }));
  const [speaker, listener] = people;
  try {
    for (const person of people) {
      person.joined = await person.call('join', { url, token: await token(person.identity, 'nat', {}, KEYS) });
    }
    await speaker.call('tone', 440);
    await hearsTone(listener, speaker, 440);
    return people;
  } catch (error) {
    await Promise.all(people.map((person) => person.close()));
    throw error;
  }
}

/** Milliseconds until the last silence that begins in the next seconds. */
async function interruption(listener, speaker) {
  const began = Date.now();
  let silent = began;
  await eventually(async () => {
    const heard = await listener.call('hear', speaker.identity);
    const now = Date.now();
    if (!heard?.hz || Math.abs(heard.hz - 440) > 20 || heard.prominence < 20) silent = now;
    return now - silent > REBINDING && now - began > 2 * REBINDING;
  }, { timeout: 30_000, what: 'sound after the new mapping' });
  return silent - began;
}

function print(table) {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => String(row[column]).length)));
  for (const row of table) console.log(row.map((cell, column) => String(cell).padEnd(widths[column])).join('  '));
}
