// A client in a browser page.

import { within } from './eventually.js';
import { readable } from './signalling.js';

/** A page of ours with one livekit-client in it; `call(command, ...args)` runs `window.client[command]`. */
export class BrowserClient {
  log = [];

  static async open(identity, browser, site, { client: sdk = 'livekit-client', rewrite = '', log: level = '' } = {}) {
    const client = new BrowserClient();
    client.identity = identity;
    const log = (line) => client.log.push(line.slice(0, 2_000));
    client.page = await browser.openPage(`${site.url}/?client=${sdk}&rewrite=${rewrite}&log=${level}`, log);
    const ready = await client.page.evaluate(() => typeof window.client === 'object');
    if (!ready) throw new Error(`${identity}: the page did not load ${sdk}\n${client.log.join('\n')}`);
    return client;
  }

  async call(command, ...args) {
    const body = ([name, list]) => window.client[name](...list);
    const result = this.page.evaluate(body, [command, args]);
    try {
      return await within(result, 40_000, `${command}`);
    } catch (error) {
      throw new Error(`${this.identity}: ${error.message}`, { cause: error });
    }
  }

  /** The reason that the server gave for a participant's leaving; livekit-client does not pass it on. */
  async whyLeft(identity) {
    const { messages } = await this.call('trace');
    const infos = messages.map(readable).flatMap(({ message }) => message?.update?.participants ?? []);
    const left = infos.findLast((info) => info.identity === identity && info.state === 'DISCONNECTED');
    return left?.disconnectReason ?? 'UNKNOWN_REASON';
  }

  async evidence() {
    const trace = await this.call('trace').catch((error) => ({ messages: [], connections: [String(error)] }));
    const events = await this.call('events').catch((error) => [String(error)]);
    const statistics = await this.call('statistics').catch((error) => [String(error)]);
    return {
      'statistics.json': JSON.stringify(statistics, null, 1),
      'signalling.jsonl': trace.messages.map(readable).map((message) => JSON.stringify(message)).join('\n'),
      'connections.jsonl': trace.connections.map((entry) => JSON.stringify(entry)).join('\n'),
      'events.json': JSON.stringify(events, null, 1),
      'log.txt': this.log.join('\n'),
    };
  }

  async close() {
    await this.page.close().catch(() => {});
  }
}
