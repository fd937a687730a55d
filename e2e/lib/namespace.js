// A host with several addresses: a network namespace of Linux that a pair of virtual Ethernet devices joins to this machine, where the
// clients are. It needs root and `ip`.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const PREFIX = 'hearth-';
const open = new Set();

process.on('exit', () => {
  for (const host of open) host.close();
});

/** Why there can be no such host; false if there can. */
export const WITHOUT_NAMESPACES = obstacle();

/**
 * A host that sends from `address` where nothing says otherwise, and has `other` too; both also with IPv6. `nodeIp` is the pair that it
 * tells clients to use.
 */
export class HostWithTwoAddresses {
  static #made = 0;

  /** `network` is the first half of its addresses of IPv4. Those are of a private network unless it says otherwise. */
  static open(network = '10.83') {
    removeLeftovers();
    HostWithTwoAddresses.#made += 1;
    const host = new HostWithTwoAddresses(`${PREFIX}${process.pid}-${HostWithTwoAddresses.#made}`, network);
    try {
      host.#connect();
    } catch (error) {
      host.close();
      throw error;
    }
    return host;
  }

  constructor(name, network) {
    this.name = name;
    const number = process.pid % 250;
    const [v4, v6] = [`${network}.${number}`, `fd83:${number}:`];
    Object.assign(this, { client: `${v4}.1`, address: `${v4}.2`, other: `${v4}.3` });
    Object.assign(this, { client6: `${v6}:1`, address6: `${v6}:2`, other6: `${v6}:3` });
    this.nodeIp = `${this.other},${this.other6}`;
    this.link = `hearth${process.pid}`;
    open.add(this);
  }

  #connect() {
    const [here, there] = [this.link, 'eth0'];
    ip('netns', 'add', this.name);
    ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', this.name);
    const inside = (...args) => ip('-n', this.name, ...args);
    // Of equal addresses Linux sends from the first of IPv4, and from the last of IPv6 that was added.
    for (const v4 of [this.address, this.other]) inside('address', 'add', `${v4}/24`, 'dev', there);
    // Without duplicate address detection, which takes a second or more.
    for (const v6 of [this.other6, this.address6]) inside('address', 'add', `${v6}/64`, 'dev', there, 'nodad');
    ip('address', 'add', `${this.client}/24`, 'dev', here);
    ip('address', 'add', `${this.client6}/64`, 'dev', here, 'nodad');
    ip('link', 'set', here, 'up');
    inside('link', 'set', there, 'up');
    inside('link', 'set', 'lo', 'up');
    // A browser may send from another address of this machine.
    inside('route', 'add', 'default', 'via', this.client);
  }

  /** A command line that runs another one on this host. */
  inside(command) {
    return ['ip', 'netns', 'exec', this.name, ...command];
  }

  /** From now on no datagram of UDP reaches it or leaves it. */
  blockUdp() {
    const nft = (...args) => execFileSync('ip', ['netns', 'exec', this.name, 'nft', ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    nft('add', 'table', 'inet', 'block');
    for (const hook of ['input', 'output']) {
      nft('add', 'chain', 'inet', 'block', hook, `{ type filter hook ${hook} priority 0; }`);
      nft('add', 'rule', 'inet', 'block', hook, 'meta', 'l4proto', 'udp', 'drop');
    }
  }

  /** Datagrams of UDP come through again. */
  allowUdp() {
    execFileSync('ip', ['netns', 'exec', this.name, 'nft', 'delete', 'table', 'inet', 'block'], { stdio: 'ignore' });
  }

  /** The pair goes first: with the host it would go some time later, and the next host has one of the same name. */
  close() {
    if (!open.delete(this)) return;
    for (const remove of [['link', 'delete', this.link], ['netns', 'delete', this.name]]) {
      try {
        ip(...remove);
      } catch {
        // It was never made.
      }
    }
  }
}

function obstacle() {
  if (!existsSync('/proc/net/if_inet6')) return 'this machine has no IPv6';
  const probe = `${PREFIX}${process.pid}-probe`;
  try {
    ip('netns', 'add', probe);
    ip('netns', 'delete', probe);
    return false;
  } catch (error) {
    return error.code === 'ENOENT' ? 'there is no program `ip`' : `no network namespace can be made: ${error.stderr.trim()}`;
  }
}

/** Namespaces of test runs that were killed. */
function removeLeftovers() {
  for (const name of ip('netns', 'list').split('\n').map((line) => line.split(' ')[0])) {
    const pid = name.startsWith(PREFIX) && name.slice(PREFIX.length).split('-')[0];
    if (pid && !existsSync(`/proc/${pid}`)) ip('netns', 'delete', name);
  }
}

function ip(...args) {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
