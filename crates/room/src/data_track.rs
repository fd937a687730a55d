//! Data tracks: published by handle, forwarded packet by packet.
//!
//! * **Owns:** all data tracks of the room, and who gets each under which handle.
//! * **In:** publish, unpublish and subscribe requests; packets on `_data_track`.
//! * **Out:** responses; packets with the subscriber's handle.
//! * **Invariant:** at most [`MAX_PER_PUBLISHER`] tracks a participant; a handle names one track
//!   per publisher and one per subscriber. As with media, a subscription exists exactly while it is
//!   wanted and allowed and both ends are here.
//! * **livekit-server:** `pkg/rtc/uptrackmanager.go`, `pkg/rtc/datatrack`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::{Bytes, BytesMut};
use hearth_plane::{Channel, PeerId, ShardId};
use hearth_signal::proto::{
    self, DataTrackInfo, PublishDataTrackRequest, UnpublishDataTrackRequest, request_response,
    signal_response::Message,
};
use hearth_signal::short_id;

use crate::announcements::Announcer;
use crate::data::send_to_peers;
use crate::outbox::Outbox;
use crate::participant::ParticipantKey;
use crate::publications::Publications;
use crate::roster::Roster;
use crate::subscription_settings::MAX_WANTS;

/// Data tracks one participant may have published at a time.
const MAX_PER_PUBLISHER: usize = 64;
/// Longest name, in characters.
const MAX_NAME: usize = 256;
/// Where the handle stands in a packet, and how long the shortest packet is.
const HANDLE: std::ops::Range<usize> = 2..4;
const HEADER: usize = 12;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DataTracks {
    published: BTreeMap<(ParticipantKey, u16), DataTrackInfo>,
    sids: BTreeMap<String, (ParticipantKey, u16)>,
    /// By publisher, its handle, and subscriber: the subscriber's handle.
    subscribers: BTreeMap<(ParticipantKey, u16), BTreeMap<ParticipantKey, u16>>,
    /// By subscriber: the handle that it was given last.
    last_handle: BTreeMap<ParticipantKey, u16>,
}

impl DataTracks {
    /// What a participant has published.
    pub(crate) fn of(&self, publisher: ParticipantKey) -> Vec<DataTrackInfo> {
        let range = (publisher, 0)..=(publisher, u16::MAX);
        self.published.range(range).map(|(_, info)| info.clone()).collect()
    }

    /// Whether a participant has published any.
    pub(crate) fn has_any(&self, publisher: ParticipantKey) -> bool {
        self.published.range((publisher, 0)..=(publisher, u16::MAX)).next().is_some()
    }

    /// Whether a participant has published this.
    pub(crate) fn is_of(&self, publisher: ParticipantKey, sid: &str) -> bool {
        self.sids.get(sid).is_some_and(|(key, _)| *key == publisher)
    }

    fn check(
        &self,
        publisher: ParticipantKey,
        request: &PublishDataTrackRequest,
    ) -> Result<u16, request_response::Reason> {
        use request_response::Reason;

        let handle = u16::try_from(request.pub_handle).ok().filter(|handle| *handle > 0);
        let handle = handle.ok_or(Reason::InvalidHandle)?;
        let name_len = request.name.chars().count();
        if name_len == 0 || name_len > MAX_NAME {
            return Err(Reason::InvalidName);
        }
        let own = self.of(publisher);
        if own.len() >= MAX_PER_PUBLISHER {
            return Err(Reason::LimitExceeded);
        }
        if self.published.contains_key(&(publisher, handle)) {
            return Err(Reason::DuplicateHandle);
        }
        if own.iter().any(|info| info.name == request.name) {
            return Err(Reason::DuplicateName);
        }
        Ok(handle)
    }

    /// Ends a track; returns it and who had it.
    fn remove(
        &mut self,
        id: (ParticipantKey, u16),
    ) -> Option<(DataTrackInfo, Vec<ParticipantKey>)> {
        let info = self.published.remove(&id)?;
        self.sids.remove(&info.sid);
        let subscribers = self.subscribers.remove(&id).unwrap_or_default();
        Some((info, subscribers.into_keys().collect()))
    }

    /// Gives a subscriber a handle; false if it has one already.
    fn subscribe(&mut self, id: (ParticipantKey, u16), subscriber: ParticipantKey) -> bool {
        if self.subscribers.get(&id).is_some_and(|handles| handles.contains_key(&subscriber)) {
            return false;
        }
        // After 65,535 they begin again, and some of the first may be in use.
        let in_use = self.subscribers.values().filter_map(|handles| handles.get(&subscriber));
        let in_use: BTreeSet<u16> = in_use.copied().collect();
        let last = self.last_handle.entry(subscriber).or_default();
        let Some(handle) = (0..=u16::MAX)
            .map(|ahead| last.wrapping_add(ahead).wrapping_add(1))
            .find(|handle| *handle > 0 && !in_use.contains(handle))
        else {
            return false;
        };
        *last = handle;
        self.subscribers.entry(id).or_default().insert(subscriber, handle);
        true
    }

    fn unsubscribe(&mut self, id: (ParticipantKey, u16), subscriber: ParticipantKey) -> bool {
        self.subscribers.get_mut(&id).is_some_and(|handles| handles.remove(&subscriber).is_some())
    }

    /// All handles of a subscriber.
    fn handles(&self, subscriber: ParticipantKey) -> Vec<(u16, ParticipantKey, String)> {
        let of = |((publisher, handle), handles): (
            &(ParticipantKey, u16),
            &BTreeMap<ParticipantKey, u16>,
        )| {
            let info = self.published.get(&(*publisher, *handle))?;
            Some((*handles.get(&subscriber)?, *publisher, info.sid.clone()))
        };
        self.subscribers.iter().filter_map(of).collect()
    }
}

impl DataTracks {
    /// A client publishes a data track; true if it does now, of which everybody is to be told before
    /// [`reconcile_publisher`](Self::reconcile_publisher).
    fn publish(
        &mut self,
        key: ParticipantKey,
        request: PublishDataTrackRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> bool {
        let allowed = roster.get(key).is_some_and(|p| p.record.permission.can_publish_data);
        let checked = if allowed {
            self.check(key, &request)
        } else {
            Err(request_response::Reason::NotAllowed)
        };
        let handle = match checked {
            Ok(handle) => handle,
            Err(reason) => {
                let request = request_response::Request::PublishDataTrack(request);
                roster.refuse(out, key, reason, refusal_text(reason), request);
                return false;
            }
        };
        let info = DataTrackInfo {
            pub_handle: request.pub_handle,
            sid: short_id(&mut out.random.sids, "DTR_"),
            name: request.name,
            encryption: request.encryption,
            frame_encoding: request.frame_encoding,
            schema: request.schema,
        };
        self.sids.insert(info.sid.clone(), (key, handle));
        self.published.insert((key, handle), info.clone());
        if let Some(participant) = roster.get_mut(key) {
            participant.is_publisher = true;
        }
        let message = proto::PublishDataTrackResponse { info: Some(info) };
        roster.send(out, key, Message::PublishDataTrackResponse(message));
        true
    }

    /// A client ends a data track; returns who had it, who are to be told after everybody else.
    fn unpublish(
        &mut self,
        key: ParticipantKey,
        request: UnpublishDataTrackRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) -> Option<Vec<ParticipantKey>> {
        let handle = u16::try_from(request.pub_handle).unwrap_or(0);
        let Some((info, subscribers)) = self.remove((key, handle)) else {
            let request = request_response::Request::UnpublishDataTrack(request);
            roster.refuse(out, key, request_response::Reason::NotFound, "", request);
            return None;
        };
        roster.forget_settings(&info.sid);
        let message = proto::UnpublishDataTrackResponse { info: Some(info) };
        roster.send(out, key, Message::UnpublishDataTrackResponse(message));
        Some(subscribers)
    }

    /// The participant leaves.
    pub(crate) fn forget(&mut self, key: ParticipantKey, roster: &mut Roster, out: &mut Outbox) {
        self.unpublish_all(key, roster, out);
        for handles in self.subscribers.values_mut() {
            handles.remove(&key);
        }
        self.last_handle.remove(&key);
    }

    /// The participant leaves, or may not send data any more.
    pub(crate) fn unpublish_all(
        &mut self,
        key: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        for info in self.of(key) {
            let handle = u16::try_from(info.pub_handle).unwrap_or(0);
            let gone = self.remove((key, handle));
            roster.forget_settings(&info.sid);
            for subscriber in gone.map(|(_, subscribers)| subscribers).unwrap_or_default() {
                self.send_handles(subscriber, roster, out);
            }
        }
    }

    /// What may be received of a publisher changed.
    pub(crate) fn reconcile_publisher(
        &mut self,
        publisher: ParticipantKey,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        if self.has_any(publisher) {
            for subscriber in roster.keys() {
                self.reconcile(subscriber, |of, _| of == publisher, roster, out);
            }
        }
    }

    /// Begins and ends a participant's subscriptions that are not as they should be, `among` those of
    /// a publisher with a sid.
    pub(crate) fn reconcile(
        &mut self,
        subscriber: ParticipantKey,
        among: impl Fn(ParticipantKey, &str) -> bool,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let published = self.published.iter();
        let ids: Vec<_> = published
            .filter(|((publisher, _), info)| {
                *publisher != subscriber && among(*publisher, &info.sid)
            })
            .map(|(id, info)| (*id, info.sid.clone()))
            .collect();
        let mut changed = false;
        for (id, sid) in ids {
            let wanted = roster.get(subscriber).is_some_and(|p| p.wants_data_track(&sid));
            changed |= if wanted && roster.check_allowed(subscriber, id.0, &sid, out) {
                self.subscribe(id, subscriber)
            } else {
                self.unsubscribe(id, subscriber)
            };
        }
        if changed {
            self.send_handles(subscriber, roster, out);
        }
    }

    /// What is said about each track is remembered, also of later ones.
    pub(crate) fn update_subscription(
        &mut self,
        key: ParticipantKey,
        request: &proto::UpdateDataSubscription,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let updates = request.updates.get(..MAX_WANTS).unwrap_or(&request.updates);
        let Some(participant) = roster.get_mut(key) else { return };
        for update in updates {
            participant
                .local
                .subscription_settings
                .set_subscribe(&update.track_sid, update.subscribe);
        }
        let named: BTreeSet<&str> = updates.iter().map(|u| u.track_sid.as_str()).collect();
        self.reconcile(key, |_, sid| named.contains(sid), roster, out);
    }

    /// Tells a subscriber which handle stands for which track.
    pub(crate) fn send_handles(&self, key: ParticipantKey, roster: &Roster, out: &mut Outbox) {
        let entry = |(handle, publisher, track_sid): (u16, ParticipantKey, String)| {
            let publisher = roster.get(publisher)?;
            let track = proto::data_track_subscriber_handles::PublishedDataTrack {
                publisher_identity: publisher.record.identity.clone(),
                publisher_sid: publisher.record.sid.clone(),
                track_sid,
            };
            Some((u32::from(handle), track))
        };
        let sub_handles: HashMap<_, _> = self.handles(key).into_iter().filter_map(entry).collect();
        let message = proto::DataTrackSubscriberHandles { sub_handles };
        roster.send(out, key, Message::DataTrackSubscriberHandles(message));
    }

    /// A packet of a data track: the same to everybody who has it, but for the handle.
    pub(crate) fn forward(
        &self,
        key: ParticipantKey,
        payload: &Bytes,
        roster: &Roster,
        out: &mut Outbox,
    ) {
        if payload.len() < HEADER {
            return;
        }
        let Some(&[high, low]) = payload.get(HANDLE) else { return };
        let id = (key, u16::from_be_bytes([high, low]));
        let Some(subscribers) = self.subscribers.get(&id) else { return };
        // Most of them have the same handle.
        let mut by_handle: BTreeMap<u16, Vec<(ShardId, PeerId)>> = BTreeMap::new();
        for (subscriber, handle) in subscribers {
            if let Some(participant) = roster.get(*subscriber) {
                let receiver =
                    (participant.local.shard, participant.local.transports.primary().peer);
                by_handle.entry(*handle).or_default().push(receiver);
            }
        }
        for (handle, receivers) in by_handle {
            let mut packet = BytesMut::from(&**payload);
            if let Some(place) = packet.get_mut(HANDLE) {
                place.copy_from_slice(&handle.to_be_bytes());
            }
            send_to_peers(receivers, Channel::DataTrack, &packet.freeze(), out);
        }
    }
}

impl Publications {
    /// A client publishes a data track: everybody is told of it, then it is subscribed to.
    pub(crate) fn publish_data_track(
        &mut self,
        key: ParticipantKey,
        request: PublishDataTrackRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        if self.data_tracks.publish(key, request, roster, out) {
            Announcer { roster, publications: self, out }.changed(key);
            self.data_tracks.reconcile_publisher(key, roster, out);
        }
    }

    /// A client ends a data track: everybody is told, then those who had it.
    pub(crate) fn unpublish_data_track(
        &mut self,
        key: ParticipantKey,
        request: UnpublishDataTrackRequest,
        roster: &mut Roster,
        out: &mut Outbox,
    ) {
        let had = self.data_tracks.unpublish(key, request, roster, out);
        let Some(subscribers) = had else { return };
        Announcer { roster, publications: self, out }.changed(key);
        for subscriber in subscribers {
            self.data_tracks.send_handles(subscriber, roster, out);
        }
    }
}

/// What goes with a refusal, as livekit-server says it.
fn refusal_text(reason: request_response::Reason) -> &'static str {
    use request_response::Reason;

    match reason {
        Reason::NotAllowed => "does not have permission to publish data",
        Reason::InvalidHandle => "handle should be > 0 AND < 65536",
        Reason::InvalidName => "name should not be empty and should not exceed 256 characters",
        Reason::DuplicateHandle => "a data track with same handle already exists",
        Reason::DuplicateName => "a data track with same name already exists",
        Reason::LimitExceeded => "too many data tracks",
        Reason::Ok
        | Reason::NotFound
        | Reason::Queued
        | Reason::UnsupportedType
        | Reason::UnclassifiedError
        | Reason::InvalidRequest => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use request_response::Reason;

    #[test]
    fn publishing_is_checked_in_the_order_of_livekit_server() {
        let mut tracks = DataTracks::default();
        let check = |tracks: &DataTracks, handle, name: &str| {
            let request = PublishDataTrackRequest {
                pub_handle: handle,
                name: name.into(),
                ..PublishDataTrackRequest::default()
            };
            tracks.check(ParticipantKey(1), &request)
        };
        assert_eq!(check(&tracks, 0, "a"), Err(Reason::InvalidHandle));
        assert_eq!(check(&tracks, 65_536, "a"), Err(Reason::InvalidHandle));
        assert_eq!(check(&tracks, 1, ""), Err(Reason::InvalidName));
        assert_eq!(check(&tracks, 1, &"n".repeat(257)), Err(Reason::InvalidName));
        assert_eq!(check(&tracks, 1, "a"), Ok(1));
        let info = DataTrackInfo { pub_handle: 1, name: "a".into(), ..Default::default() };
        tracks.published.insert((ParticipantKey(1), 1), info);
        assert_eq!(check(&tracks, 1, "b"), Err(Reason::DuplicateHandle));
        assert_eq!(check(&tracks, 2, "a"), Err(Reason::DuplicateName));
    }

    #[test]
    fn handles_begin_again_and_leave_out_those_in_use() {
        let mut tracks = DataTracks::default();
        let subscriber = ParticipantKey(2);
        let mut given = |handle: u16, stays: bool| {
            let id = (ParticipantKey(1), handle);
            assert!(tracks.subscribe(id, subscriber));
            let given = tracks.subscribers[&id][&subscriber];
            if !stays {
                tracks.unsubscribe(id, subscriber);
            }
            given
        };
        assert_eq!([given(1, true), given(2, false), given(3, true)], [1, 2, 3]);
        for expected in 4..=u16::MAX {
            assert_eq!(given(9, false), expected);
        }
        assert_eq!([given(9, false), given(10, false)], [2, 4]);
    }

    #[test]
    fn a_subscriber_keeps_its_handle_until_it_unsubscribes() {
        let mut tracks = DataTracks::default();
        let id = (ParticipantKey(1), 7);
        let info = DataTrackInfo { pub_handle: 7, sid: "DTR_x".into(), ..Default::default() };
        tracks.published.insert(id, info);
        assert!(
            tracks.subscribe(id, ParticipantKey(2)) && !tracks.subscribe(id, ParticipantKey(2))
        );
        assert_eq!(tracks.handles(ParticipantKey(2)), [(1, ParticipantKey(1), "DTR_x".to_owned())]);
        assert!(
            tracks.unsubscribe(id, ParticipantKey(2)) && !tracks.unsubscribe(id, ParticipantKey(2))
        );
        assert_eq!(tracks.handles(ParticipantKey(2)), []);
    }
}
