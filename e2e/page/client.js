// One person in a room, driven from outside: everything on `window.client` takes and returns plain values.
// Works with livekit-client from 1.15 on.

window.client = (() => {
  const { Room, RoomEvent, createLocalTracks, setLogLevel, version } = window.LivekitClient;
  // The evidence of a failed test wants all of it; a measurement wants what an app's page has.
  setLogLevel(new URLSearchParams(window.location.search).get('log') || 'debug');

  const events = [];
  const received = [];
  const probes = new Map(); // "identity kind source" -> Eye or Ear
  const published = {}; // kind -> publication
  let room = null;
  let speaking = [];
  let joinedAt = 0;

  const note = (event, details = {}) => events.push({ at: Math.round(performance.now()), event, ...details });
  const name = (participant) => participant?.identity ?? '';
  const about = (publication, participant) => ({
    identity: name(participant),
    kind: publication.kind,
    source: publication.source,
    sid: publication.trackSid,
  });
  const probe = (identity, kind) => {
    const keys = [...probes.keys()].filter((key) => key.startsWith(`${identity} ${kind} `));
    return keys.length > 0 ? probes.get(keys.at(-1)) : null;
  };

  function watch() {
    const on = (event, handler) => event && room.on(event, handler);
    on(RoomEvent.ParticipantConnected, (who) => note('joined', { identity: name(who) }));
    on(RoomEvent.ParticipantDisconnected, (who) => note('left', { identity: name(who), wall: Date.now() }));
    on(RoomEvent.TrackPublished, (pub, who) => note('published', about(pub, who)));
    on(RoomEvent.TrackUnpublished, (pub, who) => note('unpublished', about(pub, who)));
    on(RoomEvent.TrackMuted, (pub, who) => note('muted', about(pub, who)));
    on(RoomEvent.TrackUnmuted, (pub, who) => note('unmuted', about(pub, who)));
    on(RoomEvent.TrackSubscribed, (track, pub, who) => {
      note('subscribed', about(pub, who));
      const key = `${name(who)} ${track.kind} ${pub.trackSid}`;
      probes.set(key, track.kind === 'video' ? new Eye(track) : new Ear(track));
    });
    on(RoomEvent.TrackUnsubscribed, (track, pub, who) => {
      note('unsubscribed', about(pub, who));
      const key = `${name(who)} ${track.kind} ${pub.trackSid}`;
      probes.get(key)?.close();
      probes.delete(key);
    });
    on(RoomEvent.TrackSubscriptionFailed, (sid, who, why) => note('subscription-failed', { sid, identity: name(who), why: String(why) }));
    on(RoomEvent.DataReceived, (payload, who, kind, topic) => {
      received.push({ text: new TextDecoder().decode(payload), identity: name(who), kind, topic: topic ?? '' });
    });
    on(RoomEvent.ActiveSpeakersChanged, (who) => {
      speaking = who.map(name);
    });
    on(RoomEvent.ParticipantMetadataChanged, (before, who) => note('metadata', { identity: name(who), metadata: who.metadata }));
    on(RoomEvent.ParticipantNameChanged, (now, who) => note('name', { identity: name(who), name: now }));
    on(RoomEvent.ConnectionStateChanged, (state) => note('state', { state }));
    on(RoomEvent.Reconnecting, () => note('reconnecting'));
    on(RoomEvent.Reconnected, () => note('reconnected'));
    on(RoomEvent.SignalReconnecting, () => note('signal-reconnecting'));
    on(RoomEvent.Disconnected, (reason) => note('disconnected', { reason }));
    on(RoomEvent.MediaDevicesError, (error) => note('devices-error', { error: String(error) }));
  }

  return {
    version: () => version,

    /** Connects; returns how long that took and who is there. */
    async join({ url, token, options, connect }) {
      room = new Room(options);
      watch();
      const started = performance.now();
      await room.connect(url, token, connect);
      joinedAt = performance.now();
      return { ms: Math.round(joinedAt - started), sid: room.localParticipant.sid };
    },

    /** Publishes the (fake) camera. */
    async camera({ width = 1280, height = 720, frameRate = 30, ...publish } = {}) {
      const [track] = await createLocalTracks({ audio: false, video: { resolution: { width, height, frameRate } } });
      published.video = await room.localParticipant.publishTrack(track, publish);
      return published.video.trackSid;
    },

    /** Publishes a drawing that moves as the camera: Firefox's fake camera shows one flat colour. */
    async drawing({ width = 640, height = 360, ...publish } = {}) {
      const canvas = document.createElement('canvas');
      Object.assign(canvas, { width, height });
      const context = canvas.getContext('2d');
      let number = 0;
      setInterval(() => {
        number += 1;
        context.fillStyle = '#d03020';
        context.fillRect(0, 0, width / 2, height);
        context.fillStyle = '#1040a0';
        context.fillRect(width / 2, 0, width / 2, height);
        context.fillStyle = '#ffffff';
        context.fillRect((number * 8) % width, 0, 32, height);
      }, 40);
      const [track] = canvas.captureStream(25).getVideoTracks();
      published.video = await room.localParticipant.publishTrack(track, { source: 'camera', name: 'drawing', ...publish });
      return published.video.trackSid;
    },

    /** Publishes a tone as the microphone. */
    async tone(hz, publish = {}) {
      const context = new AudioContext({ sampleRate: 48_000 });
      await context.resume();
      const oscillator = new OscillatorNode(context, { frequency: hz });
      const volume = new GainNode(context, { gain: 0.3 });
      const output = context.createMediaStreamDestination();
      oscillator.connect(volume).connect(output);
      oscillator.start();
      const [track] = output.stream.getAudioTracks();
      published.audio = await room.localParticipant.publishTrack(track, { source: 'microphone', name: 'tone', ...publish });
      return published.audio.trackSid;
    },

    async mute(kind) {
      await published[kind].mute();
    },

    async unmute(kind) {
      await published[kind].unmute();
    },

    /** Whether this side believes that its own track is muted. */
    isMuted: (kind) => published[kind].isMuted,

    async unpublish(kind) {
      await room.localParticipant.unpublishTrack(published[kind].track);
    },

    /** Sends bytes to the room, or to some. */
    async send({ text, reliable = true, topic, to }) {
      const data = new TextEncoder().encode(text);
      if (version.startsWith('1.')) {
        await room.localParticipant.publishData(data, reliable ? 0 : 1, { topic });
      } else {
        await room.localParticipant.publishData(data, { reliable, topic, destinationIdentities: to });
      }
    },

    /** Which encodings the sender is set to send. */
    encodings(kind) {
      const { encodings } = published[kind].track.sender.getParameters();
      return encodings.map(({ rid, active }) => ({ rid, active }));
    },

    /** What the sender of each encoding says, by rid. */
    async sending(kind) {
      const report = await published[kind].track.sender.getStats();
      const streams = [...report.values()].filter((entry) => entry.type === 'outbound-rtp' && entry.kind === kind);
      return streams.map(({ rid, framesEncoded, packetsSent, frameWidth, frameHeight, active, nackCount, pliCount }) =>
        ({ rid, framesEncoded, packetsSent, frameWidth, frameHeight, active, nackCount, pliCount }));
    },

    /** Statistics of a participant's video; null if there is none. */
    see: async (identity) => (await probe(identity, 'video')?.look()) ?? null,
    /** Begins to watch every frame of a participant's video. */
    stare: (identity) => probe(identity, 'video').stare(),
    /** Freezes of a participant's video since `stare`. */
    watched: (identity) => probe(identity, 'video').watched(),
    /** Milliseconds from having joined to a participant's first frame on the screen; null before it. */
    firstFrame(identity) {
      const first = probe(identity, 'video')?.first ?? null;
      return first === null ? null : Math.max(0, Math.round(first - joinedAt));
    },
    /** Statistics of a participant's audio; null if there is none. */
    hear: async (identity) => (await probe(identity, 'audio')?.listen()) ?? null,

    events: () => events,
    received: () => received,
    speaking: () => speaking,
    others: () => [...(room.remoteParticipants ?? room.participants).values()].map(name),
    state: () => room?.state ?? 'none',

    /** Requests one quality (simulcast layer) of a participant's video: 0 low, 1 medium, 2 high. */
    wantQuality(identity, quality) {
      const someone = [...(room.remoteParticipants ?? room.participants).values()].find((who) => who.identity === identity);
      const publications = someone.videoTrackPublications ?? someone.videoTracks;
      for (const publication of publications.values()) publication.setVideoQuality(quality);
    },

    simulate: (scenario) => room.simulateScenario(scenario),
    async leave() {
      const said = Date.now();
      await room.disconnect();
      return said;
    },
    trace: () => window.trace,

    /** The transport protocol of each peer connection that has a path. */
    async protocols() {
      const reports = await Promise.all(window.tracedConnections.map((peer) => peer.getStats()));
      return reports.flatMap((report) => {
        const all = [...report.values()];
        // Firefox tells the pair, but not that of the transport.
        const chosen = all.find(({ type }) => type === 'transport')?.selectedCandidatePairId;
        const pair = chosen ? report.get(chosen) : all.find(({ type, selected }) => type === 'candidate-pair' && selected);
        return pair ? [report.get(pair.remoteCandidateId)?.protocol] : [];
      });
    },

    /** What the browser counted on each peer connection. */
    async statistics() {
      const media = ['inbound-rtp', 'outbound-rtp', 'codec', 'data-channel'];
      const wanted = new Set([...media, 'transport', 'candidate-pair', 'local-candidate', 'remote-candidate']);
      const reports = await Promise.all(window.tracedConnections.map((peer) => peer.getStats()));
      return reports.map((report) => [...report.values()].filter(({ type }) => wanted.has(type)));
    },
  };
})();
