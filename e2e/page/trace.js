// Records the client's signalling messages and the states of its peer connections.
// Only read when a test fails.

window.trace = { messages: [], connections: [] };
/** Every peer connection that was made. */
window.tracedConnections = [];

(() => {
  const started = performance.now();
  const note = (list, entry) => {
    if (list.length < 3000) list.push({ at: Math.round(performance.now() - started), ...entry });
  };
  const base64 = (data) => {
    if (typeof data === 'string') return { text: data };
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
    if (!(bytes instanceof Uint8Array)) return { text: String(data) };
    let binary = '';
    for (const byte of bytes) binary += String.fromCharCode(byte);
    return { base64: btoa(binary) };
  };

  const Socket = window.WebSocket;
  window.WebSocket = class WebSocket extends Socket {
    constructor(url, protocols) {
      super(url, protocols);
      const messages = window.trace.messages;
      const { pathname } = new URL(url);
      note(messages, { way: 'open', text: pathname });
      this.addEventListener('message', ({ data }) => note(messages, { way: 'in', ...base64(data) }));
      this.addEventListener('close', ({ code, reason }) => note(messages, { way: 'close', text: `${code} ${reason}` }));
    }

    send(data) {
      note(window.trace.messages, { way: 'out', ...base64(data) });
      super.send(data);
    }
  };

  const Connection = window.RTCPeerConnection;
  window.RTCPeerConnection = class RTCPeerConnection extends Connection {
    constructor(...args) {
      super(...args);
      const number = window.tracedConnections.push(this) - 1;
      const tell = (what) => note(window.trace.connections, { pc: number, what });
      tell('new');
      this.addEventListener('connectionstatechange', () => tell(`connection ${this.connectionState}`));
      this.addEventListener('iceconnectionstatechange', () => tell(`ice ${this.iceConnectionState}`));
      this.addEventListener('signalingstatechange', () => tell(`signalling ${this.signalingState}`));
      this.addEventListener('track', ({ track, transceiver, streams }) =>
        tell(`track ${track.kind} mid ${transceiver.mid} streams ${streams.map((stream) => stream.id)}`));
      this.addEventListener('datachannel', ({ channel }) => tell(`channel ${channel.label}`));
    }
  };
})();
