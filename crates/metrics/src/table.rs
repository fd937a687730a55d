//! The table of all metrics: counters and gauges, with drops by reason.

/// Gauge (up and down) or counter (only up).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The present amount.
    Gauge,
    /// Events since the start.
    Counter,
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $metric:ident = $kind:ident, $group:literal, $name:literal;)+) => {
        /// One number of the server. The place to add one is the table in this file: it is counted where
        /// it happens, and shown everywhere.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum Metric {
            $($(#[doc = $doc])+ $metric,)+
        }

        impl Metric {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$metric),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Gauge or counter.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$metric => Kind::$kind,)+ }
            }

            /// The group in `/debug/state`; empty for a metric without group.
            pub const fn group(self) -> &'static str {
                match self { $(Self::$metric => $group,)+ }
            }

            /// Its name within the group.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$metric => $name,)+ }
            }
        }
    };
}

metrics! {
    /// Rooms with a task.
    Rooms = Gauge, "", "rooms";
    /// Participants in all rooms.
    Participants = Gauge, "", "participants";
    /// Signal connections.
    Sessions = Gauge, "", "sessions";
    /// Control tasks: the directory, and one per room.
    Tasks = Gauge, "", "control_tasks";
    /// Shard threads that run.
    Shards = Gauge, "", "shards";
    /// Transports that exist.
    Transports = Gauge, "", "transports";
    /// Published tracks, counted on each shard that has them.
    Tracks = Gauge, "", "tracks";
    /// Subscriptions.
    Subscriptions = Gauge, "", "subscriptions";
    /// Addresses and ICE user fragments that lead to a transport.
    Routes = Gauge, "", "routes";
    /// TCP connections that carry media.
    TcpStreams = Gauge, "", "tcp_streams";

    /// Relay threads that run: one where TURN is configured.
    Relays = Gauge, "turn", "threads";
    /// TURN allocations.
    TurnAllocations = Gauge, "turn", "allocations";
    /// TURN clients over TCP and TLS.
    TurnStreams = Gauge, "turn", "streams";
    /// Packets relayed for clients to peers.
    TurnPacketsIn = Counter, "turn", "packets_from_clients";
    /// Packets relayed to clients from peers.
    TurnPacketsOut = Counter, "turn", "packets_to_clients";
    /// Requests without a valid password.
    TurnUnauthenticated = Counter, "turn", "unauthenticated";
    /// Requests of clients with a password that were refused: quota, forbidden peer, expired credentials …
    TurnRefused = Counter, "turn", "refused";
    /// Streams closed: they said nothing in time, too much, or there were too many.
    TurnStreamsClosed = Counter, "turn", "streams_closed";

    /// Datagrams.
    DatagramsReceived = Counter, "received", "datagrams";
    /// Datagrams of clients of another shard, passed on to it. None where each media thread has a port of its own.
    DatagramsPassedOn = Counter, "received", "passed_to_another_thread";
    /// Bytes, without UDP and IP headers.
    BytesReceived = Counter, "received", "bytes";
    /// TCP connections of clients, or of those who may be (ICE-TCP).
    TcpConnections = Counter, "received", "tcp_connections";
    /// RTP packets that were accepted.
    PacketsReceived = Counter, "received", "packets";

    /// Datagrams.
    DatagramsSent = Counter, "sent", "datagrams";
    /// Bytes, without UDP and IP headers.
    BytesSent = Counter, "sent", "bytes";
    /// Datagrams sent late, as the kernel had no room for them at first.
    DatagramsDelayed = Counter, "sent", "late_for_a_full_buffer";
    /// RTP packets to subscribers.
    PacketsSent = Counter, "sent", "packets";
    /// Retransmissions: packets sent again for a subscriber's NACK.
    Retransmissions = Counter, "sent", "retransmissions";

    /// Datagrams to send that the kernel had no room for, for longer than they could wait.
    DropSendFull = Counter, "dropped", "send_buffer_full";
    /// Datagrams to send to an unreachable address.
    DropSendUnreachable = Counter, "dropped", "send_unreachable";
    /// Datagrams to send that a firewall of this machine holds back.
    DropSendDenied = Counter, "dropped", "send_denied";
    /// Datagrams to send that are longer than the path takes.
    DropSendTooLong = Counter, "dropped", "send_too_long";
    /// Datagrams to send that the kernel refused for another reason.
    DropSendRefused = Counter, "dropped", "send_refused";
    /// Datagrams received that are longer than any we read.
    DropReceiveTooLong = Counter, "dropped", "received_too_long";
    /// Datagrams received from an endpoint of no known peer.
    DropReceiveUnknown = Counter, "dropped", "received_of_unknown_endpoint";
    /// TCP connections closed before their first frame, as too many had not sent theirs: a flood.
    DropTcpHalfOpen = Counter, "dropped", "tcp_half_open";
    /// TCP connections whose first frame did not come in time, or was no connectivity check.
    DropTcpFirst = Counter, "dropped", "tcp_first_frame";
    /// TCP connections whose first connectivity check no client of ours would send.
    DropTcpUnknown = Counter, "dropped", "tcp_of_unknown_client";
    /// TCP connections closed for a frame that is longer than any datagram.
    DropTcpFrame = Counter, "dropped", "tcp_frame_too_long";
    /// Datagrams of a client that are neither STUN, DTLS, RTP nor RTCP.
    DropReceiveProtocol = Counter, "dropped", "received_unknown_protocol";
    /// STUN of another session, or not well-formed.
    DropReceiveStun = Counter, "dropped", "received_stun";
    /// DTLS from an address that has not passed a connectivity check.
    DropReceiveUnproven = Counter, "dropped", "received_unproven_address";
    /// Media before there are keys.
    DropReceiveNoKeys = Counter, "dropped", "received_without_keys";
    /// Media whose authentication tag does not match.
    DropReceiveForged = Counter, "dropped", "received_forged";
    /// Media that was replayed: a duplicate, or older than the replay window.
    DropReceiveReplayed = Counter, "dropped", "received_replayed";
    /// Media that is too short, or whose lengths contradict each other.
    DropReceiveMalformed = Counter, "dropped", "received_malformed";
    /// Datagrams for a transport that is closed.
    DropReceiveClosed = Counter, "dropped", "received_closed";
    /// RTP packets of no track.
    DropReceiveStream = Counter, "dropped", "received_unknown_stream";

    /// TURN: neither channel data nor a request that is understood.
    DropTurnMalformed = Counter, "dropped", "turn_malformed";
    /// TURN: packets to or from a peer that the client has no permission for, or of a client without allocation.
    DropTurnForbidden = Counter, "dropped", "turn_forbidden_peer";
    /// TURN: requests without a password that were not answered, as their address had many answers.
    DropTurnUnanswered = Counter, "dropped", "turn_unanswered";
    /// TURN: packets to a client that reads its stream too slowly.
    DropTurnSlow = Counter, "dropped", "turn_slow_readers";
    /// TURN: packets for which the queue to or from a media thread had no room.
    DropTurnLane = Counter, "dropped", "turn_queue_full";

    /// Packets not forwarded: the subscriber disabled the track, or it is paused.
    DropForwardPaused = Counter, "dropped", "forward_paused";
    /// Packets not forwarded: of an encoding that the subscriber is not on.
    DropForwardEncoding = Counter, "dropped", "forward_other_encoding";
    /// Packets not forwarded: of a temporal layer above the target.
    DropForwardTemporal = Counter, "dropped", "forward_temporal_layer";
    /// Packets not forwarded: a keyframe is awaited.
    DropForwardKeyframe = Counter, "dropped", "forward_await_keyframe";
    /// Packets not forwarded: older than the last switch.
    DropForwardOld = Counter, "dropped", "forward_too_old";
    /// Packets not forwarded: too long for a datagram.
    DropForwardBig = Counter, "dropped", "forward_too_big";
    /// Packets not forwarded: of a codec that the subscriber cannot decode.
    DropForwardCodec = Counter, "dropped", "forward_other_codec";
    /// Packets not forwarded: without payload of the track (padding, or a payload type not negotiated).
    DropForwardEmpty = Counter, "dropped", "forward_empty";
    /// Packets not forwarded: the subscriber had it before.
    DropForwardDuplicate = Counter, "dropped", "forward_duplicate";
    /// Packets of a track for which its batch had no room.
    DropBatchFull = Counter, "dropped", "batch_full";

    /// RTCP, STUN and DTLS answers, and retransmissions, for which there was no room.
    DropControlFull = Counter, "dropped", "control_without_room";
    /// Shard messages (relayed media) for which the sending shard had no room.
    DropMessagesOwn = Counter, "dropped", "shard_messages_unsent";
    /// Shard messages (relayed media) for a shard whose queue was full.
    DropMessagesFull = Counter, "dropped", "shard_messages_between_shards";
    /// Datagrams of a client of another shard that sends more in a turn than its share of what is passed on.
    DropForeignShare = Counter, "dropped", "beyond_share_of_a_client";
    /// Connectivity checks for another shard for which the sending one had no room: a flood from unknown endpoints.
    DropChecksOwn = Counter, "dropped", "checks_unsent";
    /// Connectivity checks for a shard whose queue of them was full: a flood from unknown endpoints.
    DropChecksFull = Counter, "dropped", "checks_between_shards";
    /// Reliable messages that a slow reader did not take.
    DropDataReliable = Counter, "dropped", "data_reliable_to_slow_readers";
    /// Lossy messages, and packets of data tracks, that a slow reader did not take.
    DropDataLossy = Counter, "dropped", "data_lossy_to_slow_readers";
    /// Messages for a channel that is not open.
    DropDataNotOpen = Counter, "dropped", "data_to_closed_channels";
    /// Lossy messages for which their room had no time.
    DropEventData = Counter, "dropped", "data_lossy_to_busy_rooms";
    /// Levels and reports for which their room had no time.
    DropEventReport = Counter, "dropped", "reports_to_busy_rooms";
    /// Sessions closed because they did not read or wrote too fast.
    DropSessions = Counter, "dropped", "sessions_too_slow";

    /// TCP connections that were accepted.
    ConnectionsAccepted = Counter, "connections", "accepted";
    /// TCP connections of which it is not known yet what they are for, or whose TLS handshake is not done.
    ConnectionsOpening = Gauge, "connections", "opening";
    /// TCP connections closed at once: their address has too many that are opening.
    DropConnectionAddress = Counter, "connections", "closed_of_a_busy_address";
    /// TCP connections closed while they were opening, the oldest first, as there were too many.
    DropConnectionOldest = Counter, "connections", "closed_for_newer_ones";
    /// TCP connections closed because their first bytes did not come in time, or never.
    DropConnectionSilent = Counter, "connections", "closed_silent";
    /// TCP connections closed because their first bytes are of no protocol that is known.
    DropConnectionUnknown = Counter, "connections", "closed_unknown_protocol";
    /// TCP connections closed because their protocol is not served on that port.
    DropConnectionUnserved = Counter, "connections", "closed_not_served_on_this_port";
    /// TLS handshakes that were completed.
    TlsHandshakes = Counter, "connections", "tls_handshakes";
    /// TLS handshakes that failed: the client did not trust the certificate, named no host we have, or sent garbage.
    DropTlsFailed = Counter, "connections", "tls_failed";
    /// TLS handshakes that were not completed in time.
    DropTlsSlow = Counter, "connections", "tls_too_slow";

    /// Subscriptions refused because of a bug in control: their SSRC had been used on the transport.
    RefusedSsrcs = Counter, "", "refused_ssrcs";
    /// Rooms, peers and tracks discarded after a panic.
    Panics = Counter, "", "panics";
    /// Times that a media thread began anew after it failed.
    ShardFailures = Counter, "", "shard_failures";
    /// Invariants of ours that did not hold.
    Bugs = Counter, "", "bugs";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_stands_once_and_says_what_a_dashboard_can_take() {
        let names: BTreeSet<_> = Metric::ALL.iter().map(|m| (m.group(), m.name())).collect();
        assert_eq!(names.len(), Metric::COUNT);
        for (group, name) in names {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(group.chars().chain(name.chars()).all(plain) && !name.is_empty(), "{name}");
        }
        let places = Metric::ALL.iter().map(|metric| *metric as usize);
        assert!(places.eq(0..Metric::COUNT), "each has its own place");
    }
}
