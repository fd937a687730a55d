//! Data channels: the SCTP association over DTLS, and the channel of each stream.
//!
//! * **Owns:** the SCTP association and the table of streams.
//! * **In:** SCTP packets, messages to send, time.
//! * **Out:** [`poll_packet`](Channels::poll_packet), [`poll_event`](Channels::poll_event).
//! * **Invariant:** at most 2 MiB wait to be sent, 1 MiB to be reassembled or read, and [`MAX_UNTAKEN`] for
//!   the room; a reliable message that could not be delivered for 10 s is given up, and one that was
//!   received is never lost; at most 16 streams are known, and each channel opens once.
//! * **Spec:** RFC 8831, RFC 8832 (`dcep`), RFC 9260.
//! * **Not here:** the lifetime of the transport; an association that aborts leaves media alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dcsctp::api::{
    DcSctpSocket, Message, Options, PpId, SendError, SendOptions, SocketEvent, SocketTime,
    StreamId, ZERO_CHECKSUM_ALTERNATE_ERROR_DETECTION_METHOD_LOWER_LAYER_DTLS,
};
use hearth_plane::{Channel, DtlsRole, data_cost};
use hearth_random::{Purpose, Seed};
use tracing::debug;

use crate::dcep::{self, Dcep};
use crate::error::SendDataError;
use crate::library_random::LibraryRandom;

/// LiveKit's clients open three.
const MAX_STREAMS: usize = 16;
/// LiveKit's data packets are smaller; more is not relayed.
const MAX_MESSAGE: usize = 65_535;
/// A slow reader loses messages beyond this; two seconds of a fast publisher.
const MAX_SEND_BUFFER: usize = 2 * 1024 * 1024;
/// Sixteen messages of the largest size.
const MAX_RECEIVE_BUFFER: usize = 1024 * 1024;
/// Reliable messages that a client may be ahead of its room, as [`data_cost`] counts. Beyond that nothing
/// more is read, so that SCTP's receive window closes (flow control, back-pressure). Higher gives a client with a
/// long round-trip time to a busy room more bandwidth, lower bounds the memory that a stuck room holds.
const MAX_UNTAKEN: u32 = 256 * 1024;
/// How far it may be ahead with all that was read as its association was about to end: what the receive buffer
/// holds more.
const MAX_AHEAD: u32 = MAX_UNTAKEN + MAX_RECEIVE_BUFFER as u32;
/// Messages that wait to be read while that is so. The library walks all of them for each chunk that
/// arrives, and it counts no message's own memory: so more than this are left at the sender.
const MAX_UNREAD: usize = 128;
/// Bytes before the first chunk of an SCTP packet (RFC 9260 §3.1).
const COMMON_HEADER: usize = 12;
/// DATA (RFC 9260 §3.3.1) and I-DATA (RFC 8260 §2.1).
const DATA_CHUNKS: [u8; 2] = [0, 64];
/// INIT, ABORT, SHUTDOWN, COOKIE ECHO, SHUTDOWN COMPLETE (RFC 9260 §3.3): the association may end or begin
/// anew with them.
const END_CHUNKS: [u8; 5] = [1, 6, 7, 10, 14];
/// livekit-server's deadline for a write.
const RELIABLE_LIFETIME: Duration = Duration::from_secs(10);
/// As libwebrtc: an outage of some seconds should not silence the channel for a minute.
const MAX_BACKOFF: Duration = Duration::from_secs(3);

const PPID_DCEP: PpId = PpId(50);
const PPID_STRING: PpId = PpId(51);
const PPID_BINARY: PpId = PpId(53);
const PPID_STRING_EMPTY: PpId = PpId(56);
const PPID_BINARY_EMPTY: PpId = PpId(57);

/// Something that happened on a channel.
pub(crate) enum ChannelEvent {
    Open(Channel),
    Data { channel: Channel, payload: Bytes },
}

pub(crate) struct Channels {
    socket: Box<dyn DcSctpSocket>,
    /// Zero of the socket's clock.
    start: Instant,
    opens: Option<DtlsRole>,
    streams: Vec<Stream>,
    /// Channels that were reported as open.
    announced: Vec<Channel>,
    /// Reliable messages that the room has not taken, in bytes.
    untaken: u32,
    packets: VecDeque<Vec<u8>>,
    events: VecDeque<ChannelEvent>,
    /// Source of verification tags and initial TSNs.
    random: LibraryRandom,
}

struct Stream {
    id: u16,
    channel: Channel,
    /// The other side knows of it.
    open: bool,
}

impl Channels {
    /// Starts an association; `opens` with our DTLS role if we open the channels, otherwise the
    /// other side begins.
    pub(crate) fn new(now: Instant, opens: Option<DtlsRole>, seed: &Seed) -> Self {
        let options = Options {
            max_message_size: MAX_MESSAGE,
            max_send_buffer_size: MAX_SEND_BUFFER,
            per_stream_send_queue_limit: MAX_SEND_BUFFER,
            max_receiver_window_buffer_size: MAX_RECEIVE_BUFFER,
            max_timer_backoff_duration: Some(MAX_BACKOFF),
            // The transport has a deadline of its own.
            max_retransmissions: None,
            zero_checksum_alternate_error_detection_method:
                ZERO_CHECKSUM_ALTERNATE_ERROR_DETECTION_METHOD_LOWER_LAYER_DTLS,
            ..Options::default()
        };
        let mut channels = Self {
            socket: dcsctp::new_socket("", &options),
            start: now,
            opens,
            streams: Vec::new(),
            announced: Vec::new(),
            untaken: 0,
            packets: VecDeque::new(),
            events: VecDeque::new(),
            random: LibraryRandom::new(seed.rng(Purpose::Sctp)),
        };
        if opens.is_some() {
            channels.random.refresh();
            channels.socket.connect();
            channels.drain();
        }
        channels
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.advance(now);
        self.random.refresh();
        if has_chunk(packet, &END_CHUNKS) {
            if self.untaken >= MAX_AHEAD {
                // As if it were lost: whoever sends such chunks without ending must not be read without a bound.
                return self.drain();
            }
            // Data that was acknowledged must not be lost with the association.
            self.read_rest();
        }
        // As if the packet were lost: chunks that were not acknowledged are retransmitted.
        let refused = self.is_held()
            && self.socket.messages_ready_count() >= MAX_UNREAD
            && has_chunk(packet, &DATA_CHUNKS);
        if !refused {
            self.socket.handle_input(packet);
        }
        self.drain();
    }

    /// The room has done with reliable messages; see [`data_cost`].
    pub(crate) fn handle_taken(&mut self, now: Instant, bytes: u32) {
        self.advance(now);
        self.untaken = self.untaken.saturating_sub(bytes);
        self.drain();
    }

    /// Reads everything that was received, however far that is ahead of the room: nothing follows.
    pub(crate) fn read_rest(&mut self) {
        while let Some(message) = self.socket.get_next_message() {
            self.handle_message(message);
        }
    }

    /// A channel came up at some time.
    pub(crate) fn has_opened(&self) -> bool {
        !self.announced.is_empty()
    }

    /// Nothing is read until the room has taken more.
    fn is_held(&self) -> bool {
        self.untaken >= MAX_UNTAKEN
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.drain();
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let at = self.socket.poll_timeout();
        if at == SocketTime::infinite_future() {
            return None;
        }
        self.start.checked_add(at - SocketTime::zero())
    }

    pub(crate) fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        channel: Channel,
        payload: &[u8],
    ) -> Result<(), SendDataError> {
        let stream = self.streams.iter().find(|stream| stream.open && stream.channel == channel);
        let id = stream.ok_or(SendDataError::NotOpen)?.id;
        let (ppid, payload) = match payload {
            // SCTP has no empty messages (RFC 8831 §6.6).
            [] => (PPID_BINARY_EMPTY, vec![0]),
            payload => (PPID_BINARY, payload.to_vec()),
        };
        let options = if channel == Channel::Reliable {
            SendOptions { lifetime: Some(RELIABLE_LIFETIME), ..SendOptions::default() }
        } else {
            SendOptions { unordered: true, max_retransmissions: Some(0), ..SendOptions::default() }
        };
        self.advance(now);
        let sent = self.socket.send(Message::new(StreamId(id), ppid, payload), &options);
        self.drain();
        sent.map_err(|error| match error {
            SendError::EmptyPayload | SendError::MessageTooLarge { .. } => SendDataError::TooLong,
            SendError::ResourceExhaustion => SendDataError::Full,
            SendError::ShuttingDown => SendDataError::NotOpen,
        })
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start);
        self.socket.advance_time(SocketTime::zero() + elapsed);
    }

    fn drain(&mut self) {
        loop {
            let message = if self.is_held() { None } else { self.socket.get_next_message() };
            if let Some(message) = message {
                self.handle_message(message);
            } else if let Some(event) = self.socket.poll_event() {
                self.handle_event(event);
            } else {
                return;
            }
        }
    }

    fn handle_event(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::SendPacket(packet) => self.packets.push_back(packet),
            SocketEvent::OnConnected() => self.open_ours(),
            SocketEvent::OnConnectionRestarted() => {
                self.streams.clear();
                self.open_ours();
            }
            SocketEvent::OnClosed() => self.streams.clear(),
            SocketEvent::OnAborted(kind, reason) => {
                debug!(?kind, reason, "SCTP aborted");
                self.streams.clear();
            }
            SocketEvent::OnIncomingStreamReset(ids) => {
                self.streams.retain(|stream| !ids.contains(&StreamId(stream.id)));
                // RFC 8831 §6.7: the other direction ends too.
                if self.socket.reset_streams(&ids).is_err() {
                    debug!("SCTP streams not reset");
                }
            }
            SocketEvent::OnError(kind, reason) => debug!(?kind, reason, "SCTP"),
            SocketEvent::OnBufferedAmountLow(_)
            | SocketEvent::OnTotalBufferedAmountLow()
            | SocketEvent::OnStreamsResetFailed(_)
            | SocketEvent::OnStreamsResetPerformed(_)
            | SocketEvent::OnLifecycleMessageFullySent(_)
            | SocketEvent::OnLifecycleMessageMaybeExpired(_)
            | SocketEvent::OnLifecycleMessageExpired(_)
            | SocketEvent::OnLifecycleMessageDelivered(_)
            | SocketEvent::OnLifecycleEnd(_) => {}
        }
    }

    /// Opens our channels. A DTLS server's stream ids are odd, a client's even (RFC 8832 §6).
    fn open_ours(&mut self) {
        let Some(role) = self.opens else { return };
        let odd = u16::from(role == DtlsRole::Server);
        for (n, channel) in [(0, Channel::Reliable), (2, Channel::Lossy), (4, Channel::DataTrack)] {
            let id = n + odd;
            if let Some(message) = dcep::open(channel) {
                self.send_dcep(StreamId(id), message);
                self.streams.push(Stream { id, channel, open: false });
            }
        }
    }

    fn handle_message(&mut self, message: Message) {
        let Message { stream_id, ppid, payload } = message;
        if ppid == PPID_DCEP {
            self.handle_dcep(stream_id, &payload);
            return;
        }
        let payload = match ppid {
            PPID_STRING | PPID_BINARY if payload.len() <= MAX_MESSAGE => Bytes::from(payload),
            PPID_STRING_EMPTY | PPID_BINARY_EMPTY => Bytes::new(),
            // Too long, or of a protocol that is not WebRTC's.
            _ => return,
        };
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == stream_id.0) {
            let channel = stream.channel;
            if !channel.is_lossy() {
                self.untaken = self.untaken.saturating_add(data_cost(payload.len()));
            }
            self.events.push_back(ChannelEvent::Data { channel, payload });
        }
    }

    fn handle_dcep(&mut self, stream_id: StreamId, payload: &[u8]) {
        let full = self.streams.len() >= MAX_STREAMS;
        let known = self.streams.iter_mut().find(|stream| stream.id == stream_id.0);
        match (dcep::parse(payload), known) {
            (Some(Dcep::Ack), Some(stream)) if !stream.open => {
                stream.open = true;
                let channel = stream.channel;
                self.announce(channel);
            }
            (Some(Dcep::Open { label }), None) if !full => {
                let channel = dcep::channel(label);
                self.streams.push(Stream { id: stream_id.0, channel, open: true });
                self.send_dcep(stream_id, dcep::ACK.to_vec());
                self.announce(channel);
            }
            (message, _) => debug!(?message, "DCEP message ignored"),
        }
    }

    /// Reports that a channel is open, once: the client may close and open it as often as it likes.
    fn announce(&mut self, channel: Channel) {
        if !self.announced.contains(&channel) {
            self.announced.push(channel);
            self.events.push_back(ChannelEvent::Open(channel));
        }
    }

    fn send_dcep(&mut self, stream_id: StreamId, message: Vec<u8>) {
        let message = Message::new(stream_id, PPID_DCEP, message);
        if let Err(error) = self.socket.send(message, &SendOptions::default()) {
            debug!(%error, "DCEP message not sent");
        }
    }
}

/// Whether a packet has a chunk of one of these types.
fn has_chunk(packet: &[u8], types: &[u8]) -> bool {
    let mut rest = packet.get(COMMON_HEADER..).unwrap_or_default();
    // Type, flags, length with these four bytes; padded to four (RFC 9260 §3.2).
    while let Some(([kind, _, high, low], _)) = rest.split_first_chunk::<4>() {
        if types.contains(kind) {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low])).max(4);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sends_ends_of_associations_between_its_data_is_not_read_without_a_bound() {
        let now = crate::test_epoch();
        let seed = |n| Seed::fixed(n);
        let mut server = Channels::new(now, None, &seed(1));
        let mut client = Channels::new(now, Some(DtlsRole::Client), &seed(2));
        // An ABORT with a verification tag of nobody: the library discards it.
        let abort = [&[0; COMMON_HEADER][..], &[6, 0, 0, 4]].concat();
        let (mut refused, mut most) = (0, 0);
        for _ in 0..20_000 {
            while client.send(now, Channel::Reliable, &[7; 1_000]).is_ok() {}
            while let Some(packet) = client.poll_packet() {
                server.handle_packet(now, &packet);
                server.handle_packet(now, &abort);
            }
            let Some(answer) = server.poll_packet() else {
                refused += 1;
                if refused > 10 {
                    break;
                }
                continue;
            };
            client.handle_packet(now, &answer);
            most = most.max(server.untaken);
        }
        assert!(most > MAX_UNTAKEN, "the ends had no effect: {most}");
        assert!(most <= MAX_AHEAD + MAX_RECEIVE_BUFFER as u32, "{most}");
    }

    #[test]
    fn data_is_found_behind_other_chunks_and_garbage_ends() {
        let header = [0_u8; COMMON_HEADER];
        let sack = [3, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // A length that needs padding.
        let heartbeat = [4, 0, 0, 9, 0, 1, 0, 5, 7, 0, 0, 0];
        let data = [0, 3, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53, 1, 0, 0, 0];
        let idata = [64, 3, 0, 21];
        let table: [(&[&[u8]], bool); 8] = [
            (&[], false),
            (&[&sack], false),
            (&[&heartbeat, &sack], false),
            (&[&data], true),
            (&[&sack, &data], true),
            (&[&heartbeat, &idata], true),
            (&[&sack, &[5]], false),
            (&[&[9, 0, 0, 0], &sack], false),
        ];
        for (chunks, expected) in table {
            let packet = [&header[..], &chunks.concat()].concat();
            assert_eq!(has_chunk(&packet, &DATA_CHUNKS), expected, "{chunks:?}");
        }
        assert!(!has_chunk(&header[..5], &DATA_CHUNKS));
    }
}
