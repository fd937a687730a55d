// A small internet in network namespaces of Linux: hosts, home routers with address translation by nftables, and a backbone between them.
// It needs root, `ip` and `nft`.
//
//        server ─ (router) ─┐            ┌─ (router) ─ client
//                           └─ backbone ─┘
//                        STUN servers on two addresses

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { CHROMIUM, Chromium } from './browsers.js';
import { start, stop } from './children.js';
import { WITHOUT_NAMESPACES } from './namespace.js';

const PREFIX = 'addr-';
const STUN = fileURLToPath(new URL('./stun-server.js', import.meta.url));
const SITE = fileURLToPath(new URL('./site-elsewhere.js', import.meta.url));
const open = new Set();

process.on('exit', () => {
  for (const internet of open) internet.close();
});

/** Why there can be none; false if there can. */
export const WITHOUT_INTERNET = WITHOUT_NAMESPACES || obstacle();

/** Addresses of the STUN servers. */
export const STUN_SERVERS = ['198.18.0.1', '198.18.0.2'];

/** Public addresses. Each side has a second uplink only if it is asked for. */
const NETS = {
  server: { net: '203.0.113', net6: 'fd13:1', inside: '10.1.0', inside6: 'fd13:a' },
  uplink: { net: '203.0.114', net6: 'fd13:2' },
  client: { net: '198.51.100', net6: 'fd13:3', inside: '192.168.7', inside6: 'fd13:b' },
};

/** What a router does with UDP: how long a mapping lives does not matter here. */
const ROUTERS = {
  // Everybody may send to the mapped port, and ports are kept.
  'full cone': ({ outside, host }) => [
    ['prerouting', `iifname "wan" udp dport 1024-65535 dnat to ${host}`],
    ['postrouting', `oifname "wan" snat to ${outside}`],
  ],
  // Only who was sent to may answer: what `masquerade` gives.
  'port-restricted': () => [['postrouting', 'oifname "wan" masquerade']],
  // Another port for each destination.
  symmetric: () => [['postrouting', 'oifname "wan" masquerade fully-random']],
  // A cloud's: a public address that the machine does not have.
  '1:1': ({ outside, host }) => [
    ['prerouting', `ip daddr ${outside} dnat to ${host}`],
    ['postrouting', `ip saddr ${host} ip daddr ${host} masquerade`],
    ['postrouting', `oifname "wan" ip saddr ${host} snat to ${outside}`],
  ],
  // A home router that forwards the server's ports.
  forwarding: ({ outside, host }) => [
    ['prerouting', `ip daddr ${outside} tcp dport 7880-7881 dnat to ${host}`],
    ['prerouting', `ip daddr ${outside} udp dport 7882-7885 dnat to ${host}`],
    ['postrouting', `ip saddr ${host} ip daddr ${host} masquerade`],
    ['postrouting', 'oifname "wan" masquerade'],
  ],
};

/** See above. `hosts.server` and `hosts.client` run commands with `inside`. */
export class Internet {
  static #made = 0;
  #namespaces = [];
  #children = [];

  /**
   * `server` and `client` are kinds of routers, null for none. `v6`: no IPv4 at all. `uplinks`: the server has two. `dead`: nothing passes
   * on its first one.
   */
  static async open({ server = null, client = null, v6 = false, uplinks = false, dead = false } = {}) {
    removeLeftovers();
    Internet.#made += 1;
    const internet = new Internet(`${PREFIX}${process.pid}-${Internet.#made}`);
    try {
      internet.#build({ server, client, v6, uplinks, dead });
      if (!v6) internet.#startStun();
    } catch (error) {
      await internet.close();
      throw error;
    }
    return internet;
  }

  constructor(name) {
    Object.assign(this, { name, hosts: {} });
    open.add(this);
  }

  #build({ server, client, v6, uplinks, dead }) {
    this.#host('net');
    for (const address of STUN_SERVERS) this.#ip('net', 'address', 'add', `${address}/32`, 'dev', 'lo');
    this.hosts.server = this.#side('server', server, v6);
    this.hosts.client = this.#side('client', client, v6);
    if (uplinks) this.#secondUplink();
    if (dead) this.#nft('net', `add table inet dead; add chain inet dead f { type filter hook forward priority 0; }; add rule inet dead f ip daddr ${NETS.server.net}.2 udp dport 1-65535 drop`);
    this.#count();
  }

  /** A host, behind a router if it is to be. */
  #side(side, router, v6) {
    const { net, net6, inside, inside6 } = NETS[side];
    this.#host(side);
    const edge = router ? `${side}-router` : side;
    if (router) this.#host(edge);
    const outside = v6 ? `${net6}::2` : `${net}.2`;
    this.#link('net', side, edge, 'wan', v6 ? [`${net6}::1/64`, `${net6}::2/64`] : [`${net}.1/24`, `${net}.2/24`]);
    this.#route(edge, v6 ? `${net6}::1` : `${net}.1`);
    let address = outside;
    if (router) {
      address = v6 ? `${inside6}::2` : `${inside}.2`;
      this.#link(edge, 'lan', side, 'eth0', v6 ? [`${inside6}::1/64`, `${inside6}::2/64`] : [`${inside}.1/24`, `${inside}.2/24`]);
      this.#route(side, v6 ? `${inside6}::1` : `${inside}.1`);
      const rules = ROUTERS[router]({ outside, host: address }).map(([chain, rule]) => `add rule ip nat ${chain} ${rule}`);
      this.#nft(edge, [
        'add table ip nat',
        'add chain ip nat prerouting { type nat hook prerouting priority -100; }',
        'add chain ip nat postrouting { type nat hook postrouting priority 100; }',
        ...rules,
      ].join('; '));
    }
    return { outside, address, inside: (command) => this.inside(side, command) };
  }

  #secondUplink() {
    const { net } = NETS.uplink;
    this.#link('net', 'uplink', 'server', 'wan2', [`${net}.1/24`, `${net}.2/24`]);
    this.#ip('server', 'rule', 'add', 'from', `${net}.2`, 'table', '102');
    this.#ip('server', 'route', 'add', 'default', 'via', `${net}.1`, 'table', '102');
    this.hosts.server.second = `${net}.2`;
  }

  /** Counts, at the backbone, datagrams of clients by the server's address. */
  #count() {
    const { server } = this.hosts;
    const addresses = [server.outside, server.second].filter(Boolean);
    const rules = addresses.map((address) => {
      const family = address.includes(':') ? 'ip6' : 'ip';
      return `add rule inet seen f meta l4proto udp ${family} daddr ${address} counter comment "${address}"`;
    });
    this.#nft('net', `add table inet seen; add chain inet seen f { type filter hook forward priority -10; }; ${rules.join('; ')}`);
  }

  /** The server's address that most datagrams went to. */
  used() {
    const { nftables } = JSON.parse(run('ip', 'netns', 'exec', this.#ns('net'), 'nft', '-j', 'list', 'table', 'inet', 'seen'));
    const rules = nftables.filter((entry) => entry.rule).map(({ rule }) => {
      return { address: rule.comment, packets: rule.expr.find((part) => part.counter).counter.packets };
    });
    return rules.toSorted((one, other) => other.packets - one.packets)[0];
  }

  #startStun() {
    for (const address of STUN_SERVERS) {
      const [command, ...args] = this.inside('net', [process.execPath, STUN, address]);
      this.#children.push(start(command, args));
    }
  }

  #host(host) {
    run('ip', 'netns', 'add', this.#ns(host));
    this.#namespaces.push(host);
    this.#ip(host, 'link', 'set', 'lo', 'up');
    // Duplicate address detection takes a second or more, and packets wait for it.
    for (const setting of ['ipv4.ip_forward=1', 'ipv6.conf.all.forwarding=1', 'ipv6.conf.default.accept_dad=0', 'ipv6.conf.default.dad_transmits=0']) {
      run('ip', 'netns', 'exec', this.#ns(host), 'sysctl', '-qw', `net.${setting}`);
    }
  }

  #link(here, hereName, there, thereName, [hereAddress, thereAddress]) {
    run('ip', '-n', this.#ns(here), 'link', 'add', hereName, 'type', 'veth', 'peer', 'name', thereName, 'netns', this.#ns(there));
    for (const [host, name, address] of [[here, hereName, hereAddress], [there, thereName, thereAddress]]) {
      this.#ip(host, 'address', 'add', address, 'dev', name, ...(address.includes(':') ? ['nodad'] : []));
      this.#ip(host, 'link', 'set', name, 'up');
    }
  }

  #route(host, gateway) {
    this.#ip(host, 'route', 'add', 'default', 'via', gateway);
  }

  #ns(host) {
    return `${this.name}-${host}`;
  }

  #ip(host, ...args) {
    run('ip', '-n', this.#ns(host), ...args);
  }

  #nft(host, rules) {
    run('ip', 'netns', 'exec', this.#ns(host), 'nft', rules);
  }

  /** A command line that runs another one on a host. */
  inside(host, command) {
    return ['ip', 'netns', 'exec', this.#ns(host), ...command];
  }

  /** Chromium and a page server at the client's; close the first with `close`, the second goes with this internet. */
  async browser() {
    const folder = await mkdtemp(join(tmpdir(), 'hearth-e2e-browser-'));
    const program = join(folder, 'chromium');
    await writeFile(program, `#!/bin/sh\nexec ${this.inside('client', [CHROMIUM]).join(' ')} "$@"\n`, { mode: 0o700 });
    const [command, ...args] = this.inside('client', [process.execPath, SITE]);
    const server = start(command, args);
    this.#children.push(server);
    const [line] = await once(server.stdout.setEncoding('utf8'), 'data');
    const browser = await Chromium.launch({ executablePath: program });
    await rm(folder, { recursive: true, force: true });
    return { browser, site: { url: line.trim() } };
  }

  /** Gives the client's router other ports from now on, as one does that forgets its mappings. */
  forgetMappings() {
    const ns = this.#ns('client-router');
    run('ip', 'netns', 'exec', ns, 'nft', 'flush chain ip nat postrouting; add rule ip nat postrouting oifname "wan" masquerade fully-random');
    run('ip', 'netns', 'exec', ns, 'conntrack', '-D', '-p', 'udp');
  }

  async close() {
    if (!open.delete(this)) return;
    await Promise.all(this.#children.map((child) => stop(child, 1_000)));
    for (const host of this.#namespaces) {
      try {
        run('ip', 'netns', 'delete', this.#ns(host));
      } catch {
        // It was never made.
      }
    }
  }
}

function obstacle() {
  try {
    run('nft', '--version');
    return false;
  } catch {
    return 'there is no program `nft`';
  }
}

/** Namespaces of test runs that were killed. */
function removeLeftovers() {
  for (const name of run('ip', 'netns', 'list').split('\n').map((line) => line.split(' ')[0])) {
    const pid = name.startsWith(PREFIX) && name.slice(PREFIX.length).split('-')[0];
    if (pid && !existsSync(`/proc/${pid}`)) run('ip', 'netns', 'delete', name);
  }
}

function run(command, ...args) {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
