//! What a room is told when it is made.
//!
//! * **Owns:** nothing.
//! * **In:** the node's configuration.
//! * **Out:** values that never change in the life of a room.
//! * **Invariant:** `keys` has a key; else participants get no refreshed tokens.

use std::sync::Arc;
use std::time::Duration;

use hearth_access::{Keys, Limits};
use hearth_codec::Codec;
use hearth_plane::{Fingerprint, LocalCandidate, ShardId};
use hearth_signal::proto;

use crate::ice_preference::IcePreference;
use crate::ice_servers::IceServers;

/// How the server introduces itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerIdentity {
    /// The livekit-server version whose behaviour is offered; clients refuse features below 1.8.0.
    pub version: String,
    /// `ND_…`.
    pub node_id: String,
    /// May be empty.
    pub region: String,
}

/// What a room is told when it is made.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// How long a room lives that nobody ever joined.
    pub empty_timeout: Duration,
    /// How long a room lives after the last participant left.
    pub departure_timeout: Duration,
    /// 0: no limit. Agents and recorders do not count.
    pub max_participants: u32,
    /// Initial room metadata.
    pub metadata: String,
    /// Codecs that may be published, in the order they are told to clients.
    pub enabled_codecs: Vec<Codec>,
    /// How the server introduces itself.
    pub server: ServerIdentity,
    /// Told to clients.
    pub ice_servers: IceServers,
    /// Our host candidates for the peers of each shard, by its number.
    pub local_candidates: Vec<Vec<LocalCandidate>>,
    /// A client whose UDP fails early, or twice, is to use TCP for a while, then TLS: if its signalling takes no
    /// longer than this there and back (zero: always). `None`: never.
    pub tcp_fallback: Option<Duration>,
    /// ICE-lite for clients that can.
    pub ice_lite: bool,
    /// Of the node's DTLS certificate.
    pub fingerprint: Fingerprint,
    /// Sign refreshed tokens.
    pub keys: Arc<Keys>,
    /// How long nobody watches an encoding before its publisher is told to stop it.
    pub dynacast_pause_delay: Duration,
    /// Administrators may unmute tracks.
    pub enable_remote_unmute: bool,
    /// How large metadata, attributes and names may be.
    pub limits: Limits,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            empty_timeout: Duration::from_secs(300),
            departure_timeout: Duration::from_secs(20),
            max_participants: 0,
            metadata: String::new(),
            enabled_codecs: vec![
                Codec::Pcmu,
                Codec::Pcma,
                Codec::Opus,
                Codec::Red,
                Codec::Vp8,
                Codec::H264,
                Codec::Vp9,
                Codec::Av1,
                Codec::H265,
            ],
            server: ServerIdentity {
                version: "1.13.5".to_owned(),
                node_id: "ND_hearth".to_owned(),
                region: String::new(),
            },
            ice_servers: IceServers::default(),
            local_candidates: Vec::new(),
            tcp_fallback: Some(Duration::ZERO),
            ice_lite: true,
            fingerprint: Fingerprint([0; 32]),
            keys: Arc::new(Keys::default()),
            dynacast_pause_delay: Duration::from_secs(5),
            enable_remote_unmute: false,
            limits: Limits::default(),
        }
    }
}

impl RoomConfig {
    pub(crate) fn server_info(&self) -> proto::ServerInfo {
        proto::ServerInfo {
            version: self.server.version.clone(),
            protocol: 17,
            region: self.server.region.clone(),
            node_id: self.server.node_id.clone(),
            agent_protocol: 1,
            ..proto::ServerInfo::default()
        }
    }

    /// Our host candidates for a peer on `shard`.
    pub(crate) fn candidates_of(&self, shard: ShardId) -> &[LocalCandidate] {
        self.local_candidates.get(usize::from(shard.0)).map_or(&[], Vec::as_slice)
    }

    /// Which clients are to use a relay.
    pub(crate) fn client_configuration(
        preference: IcePreference,
    ) -> Option<proto::ClientConfiguration> {
        (preference == IcePreference::Tls).then(|| proto::ClientConfiguration {
            force_relay: proto::ClientConfigSetting::Enabled.into(),
            ..proto::ClientConfiguration::default()
        })
    }

    /// `Room.enabled_codecs`: all of them, and retransmission.
    pub(crate) fn room_codecs(&self) -> Vec<proto::Codec> {
        let mimes = self.enabled_codecs.iter().map(|codec| codec.mime());
        mimes.chain(["video/rtx"]).map(codec_message).collect()
    }

    /// What a client may publish, without those that it cannot: video first, VP8 before all.
    pub(crate) fn publish_codecs(&self, disabled: &[Codec]) -> Vec<Codec> {
        let rank = |codec: &Codec| match codec {
            Codec::Vp8 => 0,
            Codec::H264 => 1,
            Codec::Vp9 | Codec::Av1 | Codec::H265 => 2,
            Codec::Pcmu | Codec::Pcma | Codec::Opus | Codec::Red => 3,
        };
        let mut codecs = self.enabled_codecs.clone();
        codecs.retain(|codec| !disabled.contains(codec));
        codecs.sort_by_key(rank);
        codecs
    }
}

pub(crate) fn codec_message(mime: &str) -> proto::Codec {
    proto::Codec { mime: mime.to_owned(), fmtp_line: String::new() }
}
