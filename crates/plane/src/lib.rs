//! `Command` and `Event`: all that control and media say to each other.
//!
//! * **Owns:** nothing; every type here is a value that could cross a network.
//! * **In:** control makes [`Command`]s, one shard executes each in order.
//! * **Out:** shards make [`Event`]s; the room whose id is inside the peer's or track's id gets them.
//! * **Invariant:** ids are chosen by control and never used twice in the life of a node.
//! * **Not here:** SDP (`negotiate`), LiveKit's messages (`signal`), packets between shards (`shard`).

mod command;
mod connectivity;
mod event;
mod ids;
mod layer_limit;
mod spec;

pub use command::{Command, MAX_RECEIVERS};
pub use connectivity::{
    Connectivity, ConnectivityStage, HandshakeFailure, HandshakeProgress, MAX_WAYS, Unsent, Way,
};
pub use event::{CloseReason, Event, Level, PeerReport, TrackReport, data_cost};
pub use ids::{DownId, PeerId, RoomId, ShardId, TrackId};
pub use layer_limit::LayerLimit;
pub use spec::{
    Channel, DownTrackSpec, DtlsRole, EncodingSpec, Fingerprint, FingerprintHash, IceCredentials,
    LocalCandidate, PeerSpec, ReceiveCodec, RemoteFingerprints, RemoteParams, SendCodec, Source,
    UpTrackSpec,
};
