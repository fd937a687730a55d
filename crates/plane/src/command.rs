//! What control tells a shard to do.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Channel, DownId, DownTrackSpec, IceCredentials, LayerLimit, PeerId, PeerSpec, RemoteParams,
    RoomId, ShardId, TrackId, UpTrackSpec,
};

/// Transports that one [`Command::SendData`] may name. Higher costs fewer commands, lower lets a shard do
/// other things between them: a message to one transport takes tens of microseconds.
pub const MAX_RECEIVERS: usize = 64;

/// One instruction to one shard. Commands about unknown ids are ignored: the thing is already gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Make a transport; it has 60 s to connect.
    AddPeer {
        /// Its name.
        peer: PeerId,
        /// What it is.
        spec: Box<PeerSpec>,
    },
    /// The client's answer, or its offer of an ICE restart.
    SetRemote {
        /// Which transport.
        peer: PeerId,
        /// What the description says.
        remote: RemoteParams,
    },
    /// Use new local credentials from now on (RFC 8445 §9); DTLS and SRTP go on.
    RestartIce {
        /// Which transport.
        peer: PeerId,
        /// The new credentials.
        local: IceCredentials,
    },
    /// A trickled candidate, the text after `a=` (`candidate:…`).
    AddRemoteCandidate {
        /// Which transport.
        peer: PeerId,
        /// RFC 8839 §5.1 candidate-attribute.
        candidate: String,
    },
    /// Forget the transport and everything that hangs on it.
    RemovePeer {
        /// Which transport.
        peer: PeerId,
    },
    /// Receive a track, or change how it is recognised.
    SetUpTrack {
        /// Its name.
        track: TrackId,
        /// How to recognise its packets.
        spec: Box<UpTrackSpec>,
    },
    /// The publisher muted or unmuted: speakers and quality take note.
    SetUpTrackMuted {
        /// Which track.
        track: TrackId,
        /// True: no packets are expected.
        muted: bool,
    },
    /// Stop receiving; its down tracks end too.
    RemoveUpTrack {
        /// Which track.
        track: TrackId,
    },
    /// Also hand the track's packets to another shard.
    AddRelay {
        /// A track whose source is local.
        track: TrackId,
        /// The shard that has it as [`Source::Shard`](crate::Source::Shard).
        to: ShardId,
    },
    /// Stop that.
    RemoveRelay {
        /// Which track.
        track: TrackId,
        /// Which shard.
        to: ShardId,
    },
    /// Start a subscription, or replace its spec after a renegotiation (numbers go on).
    SetDownTrack {
        /// What to send to whom.
        spec: Box<DownTrackSpec>,
        /// The layers it may get at first. For a subscription that there is, `SetLayerLimit` changes them.
        limit: LayerLimit,
    },
    /// Changes the layers that a subscription may get.
    SetLayerLimit {
        /// Which subscription.
        down: DownId,
        /// The layers from now on.
        limit: LayerLimit,
    },
    /// End a subscription.
    RemoveDownTrack {
        /// Which subscription.
        down: DownId,
    },
    /// Write a message to a data channel of each of some transports. Too slow a reader loses it (counted).
    SendData {
        /// Which transports, at most [`MAX_RECEIVERS`].
        peers: Arc<[PeerId]>,
        /// Which channel; never `Other`.
        channel: Channel,
        /// The message.
        payload: Bytes,
    },
    /// The room has done with reliable messages of a transport, whose client may send as much more
    /// ([`data_cost`](crate::data_cost)).
    DataTaken {
        /// Which transport.
        peer: PeerId,
        /// The sum of the messages' costs, in bytes.
        bytes: u32,
    },
    /// The room is over: forget its transports, tracks and subscriptions, whatever there is.
    CloseRoom {
        /// Which room.
        room: RoomId,
    },
}
