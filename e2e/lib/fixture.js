// What a suite needs around it: one server, one page server, one of each browser, and for every test a room of its own
// whose clients are closed when it ends. When a test fails, the logs of all clients are written to `out/`.

import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { Chromium, Firefox } from './browsers.js';
import { nodePeer, pythonPeer } from './native.js';
import { BrowserClient } from './browser-client.js';
import { Server } from './server.js';
import { Site } from './site.js';
import { token } from './tokens.js';

/** Where failures and screenshots are written. */
export const OUT = fileURLToPath(new URL('../out/', import.meta.url));

const SCENE_TIMEOUT = 120_000;

/** Call once per server. `options` are those of `Server.start`, or an asynchronous function that makes them. */
export function fixture(options) {
  const fixture = new Fixture();
  before(() => fixture.open(options), { timeout: 60_000 });
  after(() => fixture.close(), { timeout: 60_000 });
  return fixture;
}

class Fixture {
  #browsers = new Map();

  async open(options) {
    this.server = await Server.start(typeof options === 'function' ? await options() : options);
    this.site = await Site.start();
  }

  async close() {
    await Promise.allSettled([...this.#browsers.values()].map(async (browser) => (await browser).close()));
    await this.site?.stop();
    const server = this.server;
    if (!server) return;
    const obeyed = await server.stop();
    assert.deepEqual(server.complaints(), [], 'the server wrote errors');
    assert.ok(obeyed, 'the server ran until it was asked to end, and ended then');
  }

  /** A browser that all tests of the suite share; each page has a context of its own. */
  browser(engine) {
    if (!this.#browsers.has(engine)) this.#browsers.set(engine, engine.launch());
    return this.#browsers.get(engine);
  }

  /** One test with a room of its own; `options` are the test runner's. */
  scene(name, body, options = {}) {
    return test(name, { timeout: SCENE_TIMEOUT, ...options }, async () => {
      const scene = new Scene(this, name);
      try {
        await body(scene);
      } catch (error) {
        error.message += `\n(evidence: ${await scene.keepEvidence()})`;
        throw error;
      } finally {
        await scene.close();
      }
    });
  }
}

class Scene {
  #people = [];
  #busy = [];
  #logStart;

  constructor(fixture, name) {
    this.fixture = fixture;
    this.server = fixture.server;
    this.slug = name.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 70);
    this.room = `${this.slug.slice(0, 24)}-${Math.random().toString(36).slice(2, 8)}`;
    this.#logStart = fixture.server.log.length;
  }

  /** A person in Chromium who has joined, `through` a proxy if there is one; `engine` launches a Chromium with other flags. */
  chromium(identity, { engine = Chromium, ...settings } = {}) {
    return this.#page(identity, engine, settings);
  }

  /** A person in Firefox who has joined. */
  firefox(identity, settings) {
    return this.#page(identity, Firefox, settings);
  }

  /** A person with the Python SDK who has joined. */
  python(identity, environment, { trust, ...settings } = {}) {
    return this.#joined(pythonPeer(identity, environment, trust), settings);
  }

  /** A person with the Node SDK who has joined; `trust` is in the environment of the process. */
  node(identity, sdk, trust) {
    return this.#joined(nodePeer(identity, sdk, { env: trust }), {});
  }

  async #page(identity, engine, { client, through, ...settings } = {}) {
    const browser = await this.fixture.browser(engine);
    const rewrite = through && `${this.server.udpPort}-${through.port}`;
    return this.#joined(await BrowserClient.open(identity, browser, this.fixture.site, { client, rewrite }), settings);
  }

  async #joined(person, { options, connect, grant }) {
    this.#people.push(person);
    const access = await token(person.identity, this.room, grant, this.server.keys);
    person.joined = await person.call('join', { url: this.server.ws, token: access, options, connect });
    return person;
  }

  /** Keeps every core of this machine busy until the scene ends. */
  busy() {
    const cores = Array.from({ length: availableParallelism() });
    this.#busy.push(...cores.map(() => new Worker('for (;;);', { eval: true })));
  }

  /** Writes the logs of all clients, and prints where. */
  async keepEvidence() {
    const folder = join(OUT, this.slug);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'server.txt'), this.server.log.slice(this.#logStart));
    for (const person of this.#people) {
      for (const [name, text] of Object.entries(await person.evidence())) {
        await writeFile(join(folder, `${person.identity}.${name}`), text);
      }
    }
    return `e2e/out/${this.slug}`;
  }

  async close() {
    await Promise.allSettled(this.#busy.map((worker) => worker.terminate()));
    await Promise.allSettled(this.#people.map((person) => person.close()));
  }
}
