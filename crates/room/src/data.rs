//! Messages between participants.
//!
//! * **Owns:** per participant, the sequence it has reached and what waits until its channel opens ([`DataState`]).
//! * **In:** messages on data channels; RoomService's `SendData`.
//! * **Out:** `SendData` commands; `DataTaken` when what came reliably was dealt with; [`Output::DataDropped`](crate::Output::DataDropped).
//! * **Invariant:** a message never returns to its sender, says truly who that is, and keeps its
//!   place among that sender's messages. What waits is at most [`MAX_WAITING`] bytes a participant.
//! * **Not here:** data tracks ([`DataTracks`]).
//! * **livekit-server:** `pkg/rtc/participant.go` (`onReceivedDataMessage`), `pkg/rtc/room.go`.

#![expect(deprecated, reason = "older clients fill and read the deprecated fields of UserPacket")]

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hearth_plane::{Channel, Command, MAX_RECEIVERS, PeerId, ShardId, data_cost};
use hearth_signal::proto::data_stream::header::ContentHeader;
use hearth_signal::proto::{DataPacket, UserPacket, data_packet};
use prost::Message as _;

use crate::data_track::DataTracks;
use crate::outbox::Outbox;
use crate::packet::{GENERATED_CHAT, GENERATED_TEXT, Stamp, stamp};
use crate::participant::ParticipantKey;
use crate::roster::Roster;

/// Reliable messages kept for a participant whose channel is not open yet, in bytes.
const MAX_WAITING: usize = 100_000;
/// Longest message that is forwarded, in bytes: the SCTP limit we announce.
const MAX_MESSAGE: usize = 65_535;

/// What was dealt with, in bytes, before the shard is told: an eighth of what it lets a client be
/// ahead. Higher costs fewer commands, lower lets a client go on sooner.
const TAKEN_UNIT: u32 = 32 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DataState {
    last_sequence: u32,
    /// Reliable messages that were dealt with and the shard was not told of, by transport.
    taken: BTreeMap<PeerId, u32>,
    is_open: bool,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

impl DataState {
    /// The last reliable sequence number received from the participant.
    pub(crate) fn last_sequence(&self) -> u32 {
        self.last_sequence
    }

    /// False if a packet with this sequence number was seen before; 0 stands for none.
    fn advance(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return true;
        }
        let news = sequence > self.last_sequence;
        self.last_sequence = self.last_sequence.max(sequence);
        news
    }

    /// A reliable message was dealt with; what to tell the shard, if it is time.
    fn take(&mut self, peer: PeerId, len: usize) -> Option<Command> {
        let taken = self.taken.entry(peer).or_default();
        *taken = taken.saturating_add(data_cost(len));
        let bytes = std::mem::take(taken);
        if bytes < TAKEN_UNIT {
            *taken = bytes;
            return None;
        }
        Some(Command::DataTaken { peer, bytes })
    }

    /// Keeps a message until the channel opens; false if too much waits already.
    #[must_use]
    fn wait(&mut self, payload: Bytes) -> bool {
        let has_room = self.waiting_bytes + payload.len() <= MAX_WAITING;
        if has_room {
            self.waiting_bytes += payload.len();
            self.waiting.push_back(payload);
        }
        has_room
    }
}

/// To whom a message goes.
#[derive(Default)]
struct Destinations {
    sids: Vec<String>,
    identities: Vec<String>,
}

/// A message of a client.
pub(crate) fn receive(
    (peer, channel): (PeerId, Channel),
    payload: &Bytes,
    data_tracks: &DataTracks,
    roster: &mut Roster,
    out: &mut Outbox,
) {
    let Some(key) = roster.by_peer(peer) else { return };
    pass_on((key, channel), payload, data_tracks, roster, out);
    // After the commands that pass it on: a receiving shard that is full holds back the sender.
    let Some(sender) = roster.get_mut(key).filter(|_| !channel.is_lossy()) else { return };
    if let Some(command) = sender.local.data.take(peer, payload.len()) {
        out.command(sender.local.shard, command);
    }
}

fn pass_on(
    (key, channel): (ParticipantKey, Channel),
    payload: &Bytes,
    data_tracks: &DataTracks,
    roster: &mut Roster,
    out: &mut Outbox,
) {
    let Some(sender) = roster.get(key) else { return };
    if !sender.record.permission.can_publish_data || payload.len() > MAX_MESSAGE {
        return;
    }
    match channel {
        Channel::Reliable => forward(key, payload, false, roster, out),
        Channel::Lossy => forward(key, payload, true, roster, out),
        Channel::DataTrack => data_tracks.forward(key, payload, roster, out),
        Channel::Other => {
            let user = UserPacket { payload: payload.to_vec(), ..UserPacket::default() };
            let value = Some(data_packet::Value::User(user));
            let packet = DataPacket { value, ..DataPacket::default() };
            forward(key, &packet.encode_to_vec(), false, roster, out);
        }
    }
}

/// Sends on behalf of the server.
pub(crate) fn send(mut packet: DataPacket, lossy: bool, roster: &mut Roster, out: &mut Outbox) {
    packet.participant_sid = String::new();
    packet.participant_identity = String::new();
    packet.sequence = 0;
    packet.kind = i32::from(lossy);
    let mut to =
        Destinations { sids: Vec::new(), identities: packet.destination_identities.clone() };
    if let Some(data_packet::Value::User(user)) = &mut packet.value {
        to.sids.clone_from(&user.destination_sids);
        to.identities.extend(user.destination_identities.clone());
    }
    let payload = Bytes::from(packet.encode_to_vec());
    if payload.len() <= MAX_MESSAGE {
        deliver(None, &to, lossy, &payload, roster, out);
    }
}

/// A client can receive on a channel.
pub(crate) fn channel_open(peer: PeerId, channel: Channel, roster: &mut Roster, out: &mut Outbox) {
    let Some(key) = roster.by_peer(peer) else { return };
    let Some(participant) = roster.get_mut(key) else { return };
    if channel == Channel::Reliable && participant.local.transports.is_primary(peer) {
        participant.local.data.is_open = true;
        flush(key, roster, out);
    }
}

/// Sends what waited, if the channel is open.
pub(crate) fn flush(key: ParticipantKey, roster: &mut Roster, out: &mut Outbox) {
    let Some(participant) = roster.get_mut(key).filter(|p| p.local.data.is_open) else {
        return;
    };
    let waiting = std::mem::take(&mut participant.local.data.waiting);
    participant.local.data.waiting_bytes = 0;
    for payload in waiting {
        deliver_to(&[key], false, &payload, roster, out);
    }
}

/// Passes a packet of a client on, with what it may not say of itself.
fn forward(
    key: ParticipantKey,
    payload: &[u8],
    lossy: bool,
    roster: &mut Roster,
    out: &mut Outbox,
) {
    let Ok(packet) = DataPacket::decode(payload) else { return };
    let Some(sender) = roster.get_mut(key) else { return };
    if !lossy && !sender.local.data.advance(packet.sequence) {
        return;
    }
    let (sid, agent) = (sender.record.sid.clone(), sender.is_agent());
    let named = packet.participant_identity;
    let speaks_for_other = agent && !named.is_empty() && named != sender.record.identity;
    let mut generated = None;
    let mut identity = if sender.is_hidden() { "" } else { &sender.record.identity }.to_owned();
    let mut to = Destinations { sids: Vec::new(), identities: packet.destination_identities };
    let mut user = None;
    match packet.value {
        Some(data_packet::Value::User(mut packet)) => {
            packet.participant_sid = if identity.is_empty() { "" } else { &sid }.to_owned();
            packet.participant_identity.clone_from(&identity);
            to.sids.clone_from(&packet.destination_sids);
            to.identities.extend(packet.destination_identities.clone());
            user = Some(packet);
        }
        // Metrics go to whoever subscribed to them, which is nobody yet.
        Some(data_packet::Value::Metrics(_) | data_packet::Value::Speaker(_)) => return,
        Some(data_packet::Value::Transcription(_)) if !agent => return,
        Some(data_packet::Value::ChatMessage(_)) if speaks_for_other => {
            (identity, generated) = (named, Some(GENERATED_CHAT));
        }
        Some(data_packet::Value::StreamHeader(header)) if speaks_for_other => {
            if let Some(ContentHeader::TextHeader(_)) = header.content_header {
                (identity, generated) = (named, Some(GENERATED_TEXT));
            }
        }
        Some(_) | None => {}
    }
    let stamped = stamp(
        payload,
        &Stamp { sid: &sid, identity: &identity, lossy, user: user.as_ref(), generated },
    );
    let Some(stamped) = stamped else { return };
    deliver(Some(key), &to, lossy, &stamped, roster, out);
}

fn deliver(
    from: Option<ParticipantKey>,
    to: &Destinations,
    lossy: bool,
    payload: &Bytes,
    roster: &mut Roster,
    out: &mut Outbox,
) {
    let everybody = to.sids.is_empty() && to.identities.is_empty();
    let mut receivers = if everybody {
        roster.keys()
    } else {
        let by_sid = to.sids.iter().filter_map(|sid| roster.by_sid(sid));
        let by_identity = to.identities.iter().filter_map(|i| roster.by_identity(i));
        by_sid.chain(by_identity).collect()
    };
    receivers.sort_unstable();
    receivers.dedup();
    receivers.retain(|receiver| Some(*receiver) != from);
    deliver_to(&receivers, lossy, payload, roster, out);
}

fn deliver_to(
    receivers: &[ParticipantKey],
    lossy: bool,
    payload: &Bytes,
    roster: &mut Roster,
    out: &mut Outbox,
) {
    let mut open = Vec::with_capacity(receivers.len());
    for receiver in receivers {
        let Some(participant) = roster.get_mut(*receiver) else { continue };
        if participant.local.data.is_open {
            open.push((participant.local.shard, participant.local.transports.primary().peer));
        } else if !lossy && !participant.local.data.wait(payload.clone()) {
            out.data_dropped();
        }
    }
    let channel = if lossy { Channel::Lossy } else { Channel::Reliable };
    send_to_peers(open, channel, payload, out);
}

/// One command for each shard, or a few if it has many of the receivers.
pub(crate) fn send_to_peers(
    mut receivers: Vec<(ShardId, PeerId)>,
    channel: Channel,
    payload: &Bytes,
    out: &mut Outbox,
) {
    receivers.sort_unstable();
    for of_shard in receivers.chunk_by(|a, b| a.0 == b.0) {
        for some in of_shard.chunks(MAX_RECEIVERS) {
            let Some((shard, _)) = some.first() else { continue };
            let peers = some.iter().map(|(_, peer)| *peer).collect();
            out.command(*shard, Command::SendData { peers, channel, payload: payload.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_counts_once_and_zero_always() {
        let mut state = DataState::default();
        let news: Vec<bool> = [1, 2, 2, 1, 0, 0, 3].map(|n| state.advance(n)).to_vec();
        assert_eq!(news, [true, true, false, false, true, true, true]);
        assert_eq!(state.last_sequence(), 3);
    }

    #[test]
    fn a_shard_is_told_in_units_what_was_dealt_with_and_nothing_is_forgotten() {
        let mut state = DataState::default();
        let peer = |n| PeerId { room: hearth_plane::RoomId(1), n };
        let mut told = BTreeMap::new();
        let (mut commands, mut sum) = (0, 0);
        for n in 0..10_000 {
            let len = n * 7 % 3_000;
            sum += u64::from(data_cost(len));
            if let Some(Command::DataTaken { peer, bytes }) = state.take(peer(n as u32 % 2), len) {
                commands += 1;
                *told.entry(peer).or_insert(0) += u64::from(bytes);
            }
        }
        let left: u32 = state.taken.values().sum();
        assert!(left < 2 * TAKEN_UNIT);
        assert_eq!(told.values().sum::<u64>() + u64::from(left), sum);
        assert!(commands < sum / u64::from(TAKEN_UNIT) + 1, "{commands} of 10,000");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut state = DataState::default();
        let kept = (0..1_000).filter(|_| state.wait(Bytes::from(vec![0; 1_000]))).count();
        assert_eq!((kept, state.waiting.len()), (100, 100), "what is not kept is told");
    }
}
