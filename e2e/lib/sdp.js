// Session descriptions as text, in whatever form a client might write them.

/** ICE and DTLS values of a client that nobody connects to. */
export const FINGERPRINT = fingerprint('sha-256', 32);
export const CREDENTIALS = { ufrag: 'abcd', pwd: 'abcdefghijklmnopqrstuvwx' };

export const OPUS = { payloadTypes: '111', lines: ['rtpmap:111 opus/48000/2', 'fmtp:111 minptime=10;useinbandfec=1'] };
export const VP8 = {
  payloadTypes: '96 97',
  lines: ['rtpmap:96 VP8/90000', 'rtcp-fb:96 nack', 'rtcp-fb:96 nack pli', 'rtpmap:97 rtx/90000', 'fmtp:97 apt=96'],
};
export const H264 = {
  payloadTypes: '102',
  lines: ['rtpmap:102 H264/90000', 'fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f'],
};
export const G711 = { payloadTypes: '0 8', lines: ['rtpmap:0 PCMU/8000', 'rtpmap:8 PCMA/8000'] };

/** Several codecs in one section. */
export function codecs(...list) {
  return { payloadTypes: list.map((codec) => codec.payloadTypes).join(' '), lines: list.flatMap((codec) => codec.lines) };
}

/** An `a=fingerprint` with a digest of this many octets. */
export function fingerprint(hash, octets) {
  const digest = Array.from({ length: octets }, (_, i) => (i * 7 % 256).toString(16).padStart(2, '0').toUpperCase());
  return `fingerprint:${hash} ${digest.join(':')}`;
}

/** The ICE and DTLS attributes of a section. */
export function transport({ ufrag, pwd } = CREDENTIALS, print = FINGERPRINT) {
  return [`ice-ufrag:${ufrag}`, `ice-pwd:${pwd}`, print, 'setup:actpass'];
}

/**
 * An audio or video section. `direction` may be empty: then the section says none. Without `msid` nothing names
 * the track.
 */
export function media(kind, mid, codec, { direction = 'sendonly', port = 9, ice = transport(), msid = `stream ${mid}`, more = [] } = {}) {
  const attributes = [...ice, `mid:${mid}`, direction, 'rtcp-mux', ...codec.lines, msid && `msid:${msid}`, ...more];
  return [`m=${kind} ${port} UDP/TLS/RTP/SAVPF ${codec.payloadTypes}`, 'c=IN IP4 0.0.0.0', ...attributes.filter(Boolean).map((line) => `a=${line}`)];
}

/** A whole offer of these sections; `bundled` are the mids of the group, all unless said otherwise. */
export function description(sections, bundled = sections.map(midOf)) {
  const head = ['v=0', 'o=- 42 1 IN IP4 127.0.0.1', 's=-', 't=0 0', `a=group:BUNDLE ${bundled.join(' ')}`];
  return `${[...head, ...sections.flat()].join('\r\n')}\r\n`;
}

/** The sections of a description, each a list of lines. */
export function sectionsOf(sdp) {
  const parts = sdp.split(/\r?\n(?=m=)/).slice(1);
  return parts.map((part) => part.trim().split(/\r?\n/));
}

/** The value of the first attribute of this name. */
export function attribute(lines, name) {
  return lines.find((line) => line.startsWith(`a=${name}:`))?.slice(name.length + 3);
}

/** A section's direction; `sendrecv` if it says none (RFC 8866 §6.7). */
export function directionOf(lines) {
  return lines.map((line) => line.slice(2)).find((line) => ['sendrecv', 'sendonly', 'recvonly', 'inactive'].includes(line)) ?? 'sendrecv';
}

/** Whether a section is refused: its port is 0. */
export function isRefused(lines) {
  return lines[0].split(' ')[1] === '0';
}

/** The payload types of a section. */
export function payloadTypesOf(lines) {
  return lines[0].split(' ').slice(3).join(' ');
}

function midOf(lines) {
  return attribute(lines, 'mid');
}
