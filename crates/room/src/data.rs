//! Messages between participants.
//!
//! * **Owns:** per participant, the sequence it has reached, what waits until its channel opens
//!   ([`DataState`]).
//! * **In:** messages on data channels; RoomService's `SendData`.
//! * **Out:** `SendData` commands.
//! * **Invariant:** a message never returns to its sender, says truly who that is, and keeps its
//!   place among that sender's messages. What waits is at most [`MAX_WAITING`] bytes a participant.
//! * **livekit-server:** `pkg/rtc/participant.go` (`onReceivedDataMessage`), `pkg/rtc/room.go`.

#![expect(deprecated, reason = "older clients fill and read the deprecated fields of UserPacket")]

use std::collections::VecDeque;

use bytes::Bytes;
use hearth_plane::{Channel, Command, PeerId};
use hearth_signal::proto::participant_info::Kind;
use hearth_signal::proto::{DataPacket, UserPacket, data_packet};
use prost::Message as _;

use crate::Room;
use crate::packet::{Stamp, stamp};
use crate::participant::Key;

/// Reliable messages kept for a participant whose channel is not open yet, in bytes.
const MAX_WAITING: usize = 100_000;
/// Longest message that is forwarded, in bytes: the SCTP limit we announce.
const MAX_MESSAGE: usize = 65_535;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DataState {
    last_sequence: u32,
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

    fn wait(&mut self, payload: Bytes) {
        if self.waiting_bytes + payload.len() <= MAX_WAITING {
            self.waiting_bytes += payload.len();
            self.waiting.push_back(payload);
        }
    }
}

/// To whom a message goes.
#[derive(Default)]
struct Destinations {
    sids: Vec<String>,
    identities: Vec<String>,
}

impl Room {
    pub(crate) fn data(&mut self, peer: PeerId, channel: Channel, payload: Bytes) {
        let Some(key) = self.people.by_peer(peer) else { return };
        let Some(sender) = self.people.get(key) else { return };
        if !sender.permission.can_publish_data || payload.len() > MAX_MESSAGE {
            return;
        }
        match channel {
            Channel::Reliable => self.packet(key, &payload, false),
            Channel::Lossy => self.packet(key, &payload, true),
            Channel::DataTrack => self.data_track_packet(key, &payload),
            Channel::Other => {
                let user = UserPacket { payload: payload.to_vec(), ..UserPacket::default() };
                let value = Some(data_packet::Value::User(user));
                let packet = DataPacket { value, ..DataPacket::default() };
                self.packet(key, &packet.encode_to_vec(), false);
            }
        }
    }

    fn packet(&mut self, key: Key, payload: &[u8], lossy: bool) {
        let Ok(packet) = DataPacket::decode(payload) else { return };
        let Some(sender) = self.people.get_mut(key) else { return };
        if !lossy && !sender.data.advance(packet.sequence) {
            return;
        }
        let (sid, agent) = (sender.sid.clone(), sender.kind == Kind::Agent);
        let identity = if sender.is_hidden() { "" } else { &sender.identity }.to_owned();
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
            Some(_) | None => {}
        }
        let stamped =
            stamp(payload, &Stamp { sid: &sid, identity: &identity, lossy, user: user.as_ref() });
        let Some(stamped) = stamped else { return };
        self.deliver(Some(key), &to, lossy, &stamped);
    }

    /// Sends on behalf of the server.
    pub(crate) fn send_data(&mut self, mut packet: DataPacket, lossy: bool) {
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
            self.deliver(None, &to, lossy, &payload);
        }
    }

    fn deliver(&mut self, from: Option<Key>, to: &Destinations, lossy: bool, payload: &Bytes) {
        let everybody = to.sids.is_empty() && to.identities.is_empty();
        let mut receivers = if everybody {
            self.people.keys()
        } else {
            let by_sid = to.sids.iter().filter_map(|sid| self.people.by_sid(sid));
            let by_identity = to.identities.iter().filter_map(|i| self.people.by_identity(i));
            by_sid.chain(by_identity).collect()
        };
        receivers.sort_unstable();
        receivers.dedup();
        for receiver in receivers {
            if Some(receiver) != from {
                self.deliver_to(receiver, lossy, payload);
            }
        }
    }

    fn deliver_to(&mut self, receiver: Key, lossy: bool, payload: &Bytes) {
        let Some(participant) = self.people.get_mut(receiver) else { return };
        let peer = participant.transports.primary().peer;
        let open = participant.data.is_open;
        if !open && lossy {
            return;
        }
        if !open {
            participant.data.wait(payload.clone());
            return;
        }
        let channel = if lossy { Channel::Lossy } else { Channel::Reliable };
        self.command_for(receiver, Command::SendData { peer, channel, payload: payload.clone() });
    }

    pub(crate) fn channel_open(&mut self, peer: PeerId, channel: Channel) {
        let Some(key) = self.people.by_peer(peer) else { return };
        let Some(participant) = self.people.get_mut(key) else { return };
        if channel == Channel::Reliable && participant.transports.is_primary(peer) {
            participant.data.is_open = true;
            self.flush_data(key);
        }
    }

    /// Sends what waited, if the channel is open.
    pub(crate) fn flush_data(&mut self, key: Key) {
        let Some(participant) = self.people.get_mut(key) else { return };
        if !participant.data.is_open {
            return;
        }
        let waiting = std::mem::take(&mut participant.data.waiting);
        participant.data.waiting_bytes = 0;
        for payload in waiting {
            self.deliver_to(key, false, &payload);
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
    fn what_waits_is_bounded() {
        let mut state = DataState::default();
        for _ in 0..1_000 {
            state.wait(Bytes::from(vec![0; 1_000]));
        }
        assert_eq!(state.waiting.len(), 100);
    }
}
