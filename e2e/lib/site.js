// A web page of our own that loads a published livekit-client, as an app's page does.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PAGE = fileURLToPath(new URL('../page/', import.meta.url));
const FILES = Object.fromEntries(['trace.js', 'candidate-rewrite.js', 'media-probe.js', 'client.js'].map((name) => [`/${name}`, name]));
FILES['/'] = 'index.html';
const require = createRequire(import.meta.url);

/** The page server: `/?client=<npm alias>` is the page with that client. */
export class Site {
  static async start() {
    const site = new Site();
    site.server = createServer((request, response) => {
      site.answer(new URL(request.url, 'http://site'), response).catch(() => response.writeHead(404).end());
    });
    site.server.listen(0, '127.0.0.1');
    await once(site.server, 'listening');
    site.url = `http://127.0.0.1:${site.server.address().port}`;
    return site;
  }

  async answer(url, response) {
    const client = url.searchParams.get('client') ?? 'livekit-client';
    if (url.pathname === '/livekit-client.js') return send(response, 'text/javascript', await readFile(umd(client)));
    const name = FILES[url.pathname];
    if (!name) throw new Error('no such file');
    const text = await readFile(join(PAGE, name), 'utf8');
    const type = name.endsWith('.html') ? 'text/html' : 'text/javascript';
    return send(response, type, text.replaceAll('CLIENT_NAME', encodeURIComponent(client)));
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

/** The script of an installed client. Its package may not export the file, so it is found beside the entry point. */
function umd(client) {
  if (!/^livekit-client[-.\d]*$/.test(client)) throw new Error(`${client} is not a client`);
  return join(dirname(require.resolve(client)), 'livekit-client.umd.js');
}

function send(response, type, body) {
  response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' }).end(body);
}
