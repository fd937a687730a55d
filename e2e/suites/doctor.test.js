// `hearth doctor` on set-ups that are broken, each in its own way, and on one that is not.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { eventually } from '../lib/eventually.js';
import { WITHOUT_NAMESPACES } from '../lib/namespace.js';
import { OUTSIDE_IP, SERVER_IP, TwoHosts, certificate } from '../lib/two-hosts.js';

const KEYS = { keys: { APIdoctor: 'a secret of more than thirty-two characters' } };
const RTC = { udp_port: 7882, node_ip: SERVER_IP };
const SOUND = { port: 7880, ...KEYS, rtc: RTC };
const DOMAIN = 'calls.doctor.example';
const FROM = ['--from', OUTSIDE_IP];
/** A year before and after today. */
const VALID = [-1, 1].map((years) => stamp(years));
const PAST = [-2, -1].map((years) => stamp(years));

describe('The doctor', { skip: WITHOUT_NAMESPACES }, () => {
  test('says of a sound set-up that it is, also beside the running server', { timeout: 60_000 }, async () => {
    await onTwoHosts(async (hosts) => {
      const { cert, key } = certificate(hosts, DOMAIN, VALID);
      const turn = { enabled: true, domain: DOMAIN, udp_port: 3478, tls_port: 5349, cert_file: cert, key_file: key };
      const before = await diagnose(hosts, { ...SOUND, turn }, { args: FROM, prepare: named(hosts, SERVER_IP) });
      assert.deepEqual(of(before, 'problem'), [], 'before the server runs');
      assert.equal(before.exitCode, 0);
      await hosts.hearth(hosts.server, config(hosts, SOUND));
      const beside = await diagnose(hosts, SOUND, { args: FROM });
      assert.deepEqual(of(beside, 'problem'), [], 'beside the server');
      finds(beside, 'ok', /UDP port 7882 .*a Hearth server runs there: \S+ \(process \d+\)/);
      finds(beside, 'ok', /reached 203\.0\.113\.7:7882 \(UDP/);
      console.log(`a sound set-up takes ${before.milliseconds} ms, beside its server ${beside.milliseconds} ms`);
    });
  });

  test('recognises a running server that speaks HTTPS only', { timeout: 60_000 }, async () => {
    await onTwoHosts(async (hosts) => {
      const { cert, key } = certificate(hosts, DOMAIN, VALID);
      const secured = { ...SOUND, tls: { cert_file: cert, key_file: key } };
      const turn = { enabled: true, domain: DOMAIN, udp_port: 3478, tls_port: 5349 };
      const prepare = named(hosts, SERVER_IP);
      await hosts.hearth(hosts.server, config(hosts, { ...secured, turn }));
      const beside = await diagnose(hosts, { ...secured, turn }, { args: FROM, prepare });
      assert.deepEqual(of(beside, 'problem'), []);
      for (const port of ['TCP port 7880', 'TCP port 7881', 'TCP port 5349', 'UDP port 7882', 'UDP port 3478']) {
        finds(beside, 'ok', new RegExp(`${port} .*a Hearth server runs there`));
      }
      finds(beside, 'ok', /calls\.doctor\.example leads to an address that clients are told/);
    });
  });

  broken('ports that a firewall closes', async (hosts) => {
    hosts.filter('tcp dport 7880 drop', 'udp dport 7882 drop');
    const said = await diagnose(hosts, SOUND, { args: FROM });
    finds(said, 'problem', /did not reach 203\.0\.113\.7:7880 \(TCP/, /security group.*ufw allow 7880\/tcp/);
    finds(said, 'problem', /did not reach 203\.0\.113\.7:7882 \(UDP/, /docker \(-p 7882:7882\/udp\)/);
  });

  broken('UDP that is blocked where TCP is not', async (hosts) => {
    hosts.filter('meta l4proto udp drop');
    await hosts.hearth(hosts.server, config(hosts, SOUND));
    const said = await diagnose(hosts, SOUND, { args: FROM });
    finds(said, 'problem', /did not reach 203\.0\.113\.7:7882 \(UDP/, /TCP gets through and UDP does not/);
    finds(said, 'ok', /reached 203\.0\.113\.7:7880/);
  });

  broken('a node_ip that is not this machine', async (hosts) => {
    const said = await diagnose(hosts, { ...SOUND, rtc: { ...RTC, node_ip: '203.0.113.99' } });
    finds(said, 'problem', /203\.0\.113\.99, which this machine does not have/, /set rtc\.node_ip to 203\.0\.113\.7/);
  });

  broken('ports that another program has', async (hosts) => {
    const listen = "require('node:dgram').createSocket('udp4').bind(7882); require('node:net').createServer().listen(7880, () => console.log('up'))";
    const other = hosts.start(hosts.server, [process.execPath, '-e', listen]);
    await eventually(() => other.log.includes('up'), { what: 'the other program listening' });
    const said = await diagnose(hosts, SOUND);
    finds(said, 'problem', /TCP port 7880 \(port\) is taken by another program: .*\(process \d+\)/, /stop that program, or set `port`/);
    finds(said, 'problem', /UDP port 7882 \(rtc\.udp_port\) is taken by another program/, /set `rtc\.udp_port`/);
  });

  broken('an IPv6 address without a route', async (hosts) => {
    hosts.ip('address', 'add', '2001:db8:83::7/64', 'dev', 'eth0', 'nodad');
    const said = await diagnose(hosts, { ...SOUND, rtc: { ...RTC, node_ip: `${SERVER_IP},2001:db8:83::7` } });
    finds(said, 'problem', /no default route of IPv6/, /route of IPv6, or name the addresses without IPv6/);
  });

  const withTls = (files, domain = DOMAIN) => ({ ...SOUND, turn: { enabled: true, domain, tls_port: 5349, cert_file: files.cert, key_file: files.key } });

  broken('a certificate that has expired', async (hosts) => {
    const said = await diagnose(hosts, withTls(certificate(hosts, DOMAIN, PAST)), { prepare: named(hosts, SERVER_IP) });
    finds(said, 'problem', /expired on \d{4}-\d\d-\d\d/, /renew/);
  });

  broken('a certificate for another name', async (hosts) => {
    const said = await diagnose(hosts, withTls(certificate(hosts, 'other.example', VALID)), { prepare: named(hosts, SERVER_IP) });
    finds(said, 'problem', /is for other\.example, not for calls\.doctor\.example/, /get a certificate for/);
  });

  broken('a key that is not the one of the certificate', async (hosts) => {
    const [one, other] = [certificate(hosts, DOMAIN, VALID), certificate(hosts, 'other.example', VALID)];
    const said = await diagnose(hosts, withTls({ cert: one.cert, key: other.key }), { prepare: named(hosts, SERVER_IP) });
    finds(said, 'problem', /is not the one of the certificate/, /made together/);
  });

  broken('a clock that is five minutes off', async (hosts) => {
    const answer = "res.setHeader('date', new Date(Date.now() - 300000).toUTCString()); res.end('OK')";
    const listen = `require('node:http').createServer((req, res) => { ${answer} }).listen(7999, () => console.log('up'))`;
    const other = hosts.start(hosts.outside, [process.execPath, '-e', listen]);
    await eventually(() => other.log.includes('up'), { what: 'the other machine answering' });
    const said = await diagnose(hosts, SOUND, { args: ['--from', `${OUTSIDE_IP}:7999`] });
    finds(said, 'problem', /clock is (299|30[01]) s ahead of that of 203\.0\.113\.1/, /set-ntp/);
  });

  broken('tiny socket buffers', async (hosts) => {
    const limit = hosts.file('limit', '212992\n');
    const prepare = `mount -t tmpfs none /proc/sys/net/core; cp ${limit} /proc/sys/net/core/rmem_max; cp ${limit} /proc/sys/net/core/wmem_max`;
    const said = await diagnose(hosts, SOUND, { prepare });
    finds(said, 'warning', /get 212992 \(receive\)/, /sysctl -w net\.core\.rmem_max=/);
  });

  broken('the address of a bridge for containers', async (hosts) => {
    hosts.ip('link', 'add', 'docker0', 'type', 'bridge');
    hosts.ip('address', 'add', '172.17.0.1/16', 'dev', 'docker0');
    hosts.ip('link', 'set', 'docker0', 'up');
    const said = await diagnose(hosts, { ...SOUND, rtc: { udp_port: 7882, interfaces: { includes: ['docker0'] } } });
    finds(said, 'warning', /172\.17\.0\.1, the address of docker0, a bridge/, /set rtc\.node_ip/);
  });

  broken('few open files', async (hosts) => {
    const said = await diagnose(hosts, SOUND, { prepare: 'ulimit -S -n 256; ulimit -H -n 256' });
    finds(said, 'warning', /may open 256 files/, /LimitNOFILE/);
  });

  broken('TURN without a port', async (hosts) => {
    const said = await diagnose(hosts, { ...SOUND, turn: { enabled: true } });
    finds(said, 'problem', /`turn\.enabled` is true and there is no port; write `udp_port: 3478`/);
  });

  broken('one port for two things', async (hosts) => {
    const said = await diagnose(hosts, { ...SOUND, turn: { enabled: true, udp_port: 7882 } });
    finds(said, 'problem', /both 7882; media and TURN need a port each, such as 3478/);
    const range = { ...SOUND, rtc: { ...RTC, udp_port: '7882-7883' }, turn: { enabled: true, udp_port: 7883 } };
    finds(await diagnose(hosts, range, { args: ['--shards', '2'] }), 'problem', /both 7883; media and TURN need a port each, such as 3478/);
  });

  broken('ports of media that browsers ignore', async (hosts) => {
    const said = await diagnose(hosts, { ...SOUND, rtc: { ...RTC, udp_port: 500, tcp_port: 443 } });
    finds(said, 'problem', /rtc\.udp_port is 500, below 1024 and neither 80 nor 443/, /another port, such as 7882/);
    assert.ok(!of(said, 'problem').some(({ cause }) => cause.includes('rtc.tcp_port')), '443 of a public address is taken');
  });

  broken('the keys of --dev', async (hosts) => {
    const said = await diagnose(hosts, { ...SOUND, keys: { devkey: 'secret' } });
    finds(said, 'problem', /everybody knows its secret/, /generate-keys/);
  });

  broken('a domain that leads elsewhere', async (hosts) => {
    const said = await diagnose(hosts, withTls(certificate(hosts, DOMAIN, VALID)), { prepare: named(hosts, '198.51.100.66') });
    finds(said, 'problem', /calls\.doctor\.example leads to 198\.51\.100\.66/, /change the record/);
  });

  broken('a second instance that has other keys', async (hosts) => {
    const said = await diagnose(hosts, { ...SOUND, keys: { APIother: 'another secret of more than thirty-two characters' } }, { args: FROM });
    finds(said, 'unchecked', /does not take our API keys/);
    assert.equal(said.exitCode, 0, 'what cannot be checked is no problem');
  });

  broken('a configuration that does not load', async (hosts) => {
    const said = await diagnose(hosts, { ...SOUND, nonsense: 1 });
    finds(said, 'problem', /nonsense/);
    assert.equal(said.exitCode, 1);
  });

  test('the server says when it starts what it can see by itself', { timeout: 60_000 }, async () => {
    await onTwoHosts(async (hosts) => {
      const server = await hosts.hearth(hosts.server, config(hosts, { ...SOUND, rtc: { ...RTC, node_ip: '10.9.8.7' } }));
      const said = () => server.log.split('\n').find((line) => /WARN.*10\.9\.8\.7, a private address that this machine does not have: set it to/.test(line));
      await eventually(said, { what: 'a warning' });
    });
  });
});

/** A test of a set-up that is broken. */
function broken(name, body) {
  test(name, { timeout: 60_000 }, () => onTwoHosts(body));
}

async function onTwoHosts(body) {
  const hosts = new TwoHosts();
  try {
    await hosts.hearth(hosts.outside, config(hosts, { ...SOUND, rtc: { udp_port: 7882, node_ip: OUTSIDE_IP } }));
    await body(hosts);
  } finally {
    await hosts.stop();
  }
}

/** YAML takes JSON. */
function config(hosts, settings) {
  config.made = (config.made ?? 0) + 1;
  return hosts.file(`config-${config.made}.yaml`, JSON.stringify(settings));
}

function diagnose(hosts, settings, options) {
  return hosts.doctor(config(hosts, settings), options);
}

/** Shell that has the domain lead to an address. */
function named(hosts, address) {
  return `mount --bind ${hosts.file(`hosts-${address}`, `127.0.0.1 localhost\n${address} ${DOMAIN}\n`)} /etc/hosts`;
}

function of(said, verdict) {
  return said.findings.filter((finding) => finding.verdict === verdict);
}

function finds(said, verdict, cause, fix = /(?:)/) {
  const found = of(said, verdict).some((finding) => cause.test(finding.cause) && fix.test(finding.fix));
  assert.ok(found, `no ${verdict} with ${cause} and ${fix} in ${JSON.stringify(said.findings, null, 1)}`);
  assert.equal(said.exitCode, of(said, 'problem').length > 0 ? 1 : 0);
}

/** The time so many years from today as openssl takes it. */
function stamp(years) {
  const date = new Date();
  date.setUTCFullYear(date.getUTCFullYear() + years);
  return date.toISOString().replace(/[-:T]/g, '').replace(/\.\d+/, '');
}
