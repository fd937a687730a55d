// HTTPS and WSS: pages, signalling of each kind of client, and a certificate that is replaced under a call.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe } from 'node:test';

import { fingerprintOf, makeCertificate, shownBy, spkiHash } from '../lib/certificates.js';
import { eventually } from '../lib/eventually.js';
import { isWith, seesPicture } from '../lib/expect.js';
import { Chromium } from '../lib/browsers.js';
import { fixture } from '../lib/fixture.js';
import { Flood } from '../lib/flood.js';
import { presents } from '../lib/scenarios.js';
import { connections } from '../lib/state.js';

const folder = mkdtempSync(join(tmpdir(), 'hearth-e2e-https-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('A local authority', () => {
  const authority = join(folder, 'lan', 'ca.crt');
  const place = fixture({ secure: true, args: ['--lan', '--data-dir', folder] });
  const engine = trusting(() => authority);

  place.scene('clients of three kinds meet over WSS when they trust it', async (room) => {
    const trust = { SSL_CERT_FILE: authority, NODE_EXTRA_CA_CERTS: authority };
    const alice = await room.chromium('alice', { engine });
    const bob = await room.node('bob', undefined, trust);
    const carol = await room.python('carol', undefined, { trust });
    assert.match(room.server.ws, /^wss:/);
    await isWith(alice, ['bob', 'carol']);
    await presents(alice, [bob, carol], 440);
    await presents(bob, [alice], 660);
  });

  place.scene('who does not trust it does not join', async (room) => {
    await assert.rejects(room.node('bob'));
  });

  place.scene('a page of it may use camera and microphone', async (room) => {
    const browser = await room.fixture.browser(engine);
    const { page, close } = await browser.openPage(`https://127.0.0.1:${room.server.port}/lan`);
    await page.click('a.go');
    await page.waitForURL(/\/\?room=demo/);
    const devices = await page.evaluate(async () => {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
      return [isSecureContext, stream.getTracks().length];
    });
    assert.deepEqual(devices, [true, 2]);
    await close();
  });

  place.scene('plain HTTP and HTTPS share the port, and the authority is offered', async (room) => {
    const response = await fetch(`http://127.0.0.1:${room.server.port}/ca.crt`);
    assert.equal(response.headers.get('content-type'), 'application/x-x509-ca-cert');
    assert.match(await response.text(), /^-----BEGIN CERTIFICATE-----/);
  });
});

describe('Certificates in files', () => {
  const { cert, key } = makeCertificate(folder);
  const place = fixture({ secure: true, config: `tls:\n  cert_file: ${cert}\n  key_file: ${key}\n` });

  place.scene('a call goes on while its certificate is replaced, and new connections get the new one', async (room) => {
    const engine = trusting(() => cert);
    const { port } = room.server;
    const [alice, bob] = [await room.chromium('alice', { engine }), await room.chromium('bob', { engine })];
    await presents(alice, [bob], 440);
    const old = await shownBy(port);
    assert.equal(old, fingerprintOf(cert));

    makeCertificate(folder);
    await eventually(async () => (await shownBy(port)) === fingerprintOf(cert), { what: 'the new certificate' });
    assert.notEqual(await shownBy(port), old);
    await seesPicture(bob, alice);
    await isWith(alice, ['bob']);

    writeFileSync(cert, 'garbage');
    const served = await shownBy(port);
    await eventually(() => room.server.log.includes('The certificate was not replaced'), { what: 'a warning' });
    assert.equal(await shownBy(port), served);
    await seesPicture(bob, alice);
  });
});

describe('A flood of connections', () => {
  const { cert, key } = makeCertificate(mkdtempSync(join(folder, 'flood-')));
  const place = fixture({ secure: true, config: `tls:\n  cert_file: ${cert}\n  key_file: ${key}\n` });

  place.scene('neither ends a call nor keeps others out', async (room) => {
    const engine = trusting(() => cert);
    const [alice, bob] = [await room.chromium('alice', { engine }), await room.chromium('bob', { engine })];
    await presents(alice, [bob], 440);
    const flood = new Flood(room.server.port);
    try {
      await eventually(async () => (await connections(room.server)).closed_for_newer_ones > 100, { what: 'a full server', timeout: 30_000 });
      const carol = await room.chromium('carol', { engine });
      await isWith(carol, ['alice', 'bob']);
      await seesPicture(bob, alice);
      const { opening, closed_of_a_busy_address: refused } = await connections(room.server);
      assert.ok(opening <= 2_048, `${opening} at once`);
      assert.ok(refused > 0, 'an address has its share only');
    } finally {
      flood.stop();
    }
    await eventually(async () => (await connections(room.server)).opening === 0, { what: 'nothing left of it', timeout: 20_000 });
  });
});

/** Chromium that accepts what the certificate in a file has signed; the file need not be there yet. */
function trusting(path) {
  return { launch: () => Chromium.launch({ args: [`--ignore-certificate-errors-spki-list=${spkiHash(path())}`] }) };
}
