//! What tests beside the code make shards of. Tests of whole calls are in `tests/`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hearth_peer::Certificate;
use hearth_plane::{
    Command, DownId, DownTrackSpec, EncodingSpec, IceCredentials, LayerLimit, LocalCandidate,
    PeerId, PeerSpec, ShardId, Source, TrackId, UpTrackSpec,
};
use hearth_random::Seed;
use hearth_rtp::ExtensionIds;
use hearth_units::MediaKind;

use crate::{Shard, ShardConfig};

#[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// The first of `shards`, without peers.
pub(crate) fn shard(now: Instant, shards: u16) -> Shard {
    let certificate = Arc::new(Certificate::generate().unwrap());
    let config = ShardConfig { id: ShardId(0), shards, certificate, seed: Seed::fixed(1) };
    Shard::new(now, config).unwrap()
}

/// A peer that waits for its answer.
pub(crate) fn add_peer(shard: &mut Shard, now: Instant, peer: PeerId) {
    let ufrag = format!("00room{}peer{}", peer.room.0, peer.n);
    let spec = PeerSpec {
        local: IceCredentials { ufrag, pwd: "a-password-of-the-server".to_owned() },
        ice_lite: true,
        ice_controlling: false,
        local_candidates: vec![LocalCandidate::udp(SocketAddr::from(([10, 0, 0, 1], 7882)))],
        remote: None,
        open_channels: false,
    };
    shard.handle_command(now, Command::AddPeer { peer, spec: Box::new(spec) });
}

/// A track of one encoding, in no codec.
pub(crate) fn add_track(
    shard: &mut Shard,
    now: Instant,
    track: TrackId,
    source: Source,
    kind: MediaKind,
) {
    let spec = UpTrackSpec {
        source,
        kind,
        mid: "0".to_owned(),
        codecs: Vec::new(),
        extensions: ExtensionIds::default(),
        encodings: vec![EncodingSpec::default()],
        nack: false,
        measure_level: false,
    };
    shard.handle_command(now, Command::SetUpTrack { track, spec: Box::new(spec) });
}

/// Subscribes `peer` to `track` under SSRC and number `n`.
pub(crate) fn subscribe(shard: &mut Shard, now: Instant, peer: PeerId, track: TrackId, n: u32) {
    let spec = DownTrackSpec {
        down: DownId { room: track.room, n },
        peer,
        track,
        ssrc: n,
        rtx_ssrc: None,
        codecs: Vec::new(),
        extensions: ExtensionIds::default(),
        cname: "publisher".to_owned(),
    };
    let spec = Box::new(spec);
    shard.handle_command(now, Command::SetDownTrack { spec, limit: LayerLimit::ALL });
}
