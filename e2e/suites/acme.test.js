// Certificates by ACME, of a real authority: obtained, kept, renewed, and what is said when there is none.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { fingerprintOf, makeCertificate, shownBy } from '../lib/certificates.js';
import { eventually } from '../lib/eventually.js';
import { Pebble, WITHOUT_PEBBLE } from '../lib/pebble.js';
import { freeTcpPort } from '../lib/ports.js';
import { Server } from '../lib/server.js';

const NAME = 'meet.example.test';

test('a certificate is obtained, kept, renewed before it ends and used again', { skip: WITHOUT_PEBBLE, timeout: 120_000 }, async () => {
  await withPebble(async ({ pebble, cache, config }) => {
    const kept = join(cache, `${NAME}.crt.pem`);
    let server = await Server.start({ nodeIp: '127.0.0.1', port: pebble.port, config });
    const first = await eventually(() => shownBy(server.port), { what: 'a certificate' });
    assert.equal(first, fingerprintOf(kept));
    for (const name of [`${NAME}.crt.pem`, `${NAME}.key.pem`, 'account.key.pem']) {
      assert.equal(statSync(join(cache, name)).mode & 0o777, 0o600, name);
    }
    const renewed = await eventually(async () => {
      const shown = await shownBy(server.port);
      return shown !== first && shown;
    }, { what: 'another certificate', timeout: 60_000 });
    assert.equal(renewed, fingerprintOf(kept));
    assert.ok(await server.stop());

    server = await Server.start({ nodeIp: '127.0.0.1', port: pebble.port, config });
    assert.equal(await eventually(() => shownBy(server.port), { what: 'the kept certificate' }), renewed);
    assert.ok(await server.stop());
    assert.deepEqual(server.complaints(), []);
  });
});

test('without a proof the server serves on and says what to do', { skip: WITHOUT_PEBBLE, timeout: 60_000 }, async () => {
  await withPebble(async ({ config }) => {
    const server = await Server.start({ nodeIp: '127.0.0.1', ownHost: false, config });
    await eventually(() => server.log.includes(`could not reach port 443 of ${NAME}`), { what: 'a warning' });
    assert.ok(await server.healthy());
    assert.ok(await server.stop());
    assert.deepEqual(server.complaints(), []);
  });
});

async function withPebble(body) {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-e2e-acme-'));
  const port = await freeTcpPort();
  const { cert, key } = makeCertificate(folder);
  const pebble = await Pebble.start({ folder, cert, key, port, seconds: 30 });
  pebble.port = port;
  const cache = join(folder, 'cache');
  const acme = `{directory: '${pebble.directory}', root: ${cert}, cache_dir: ${cache}}`;
  try {
    await body({ pebble, cache, config: `tls:\n  plain_http: true\n  domains: [${NAME}]\n  acme: ${acme}\n` });
  } finally {
    await pebble.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
