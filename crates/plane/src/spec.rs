//! What a peer, an up track and a down track are, as far as a shard needs to know.

use std::net::SocketAddr;

use hearth_codec::Codec;
use hearth_datagram::Protocol;
use hearth_rtp::ExtensionIds;
use hearth_units::MediaKind;

use crate::{DownId, PeerId, ShardId, TrackId};

/// ICE user fragment and password of one side (RFC 8445 §5.3).
///
/// A local `ufrag` names the shard: see `ARCHITECTURE.md`, "A datagram finds its shard".
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IceCredentials {
    /// 4 to 256 ice-chars.
    pub ufrag: String,
    /// 22 to 256 ice-chars.
    pub pwd: String,
}

/// SHA-256 over the DER certificate of a DTLS endpoint (RFC 8122 §5); what we say of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fingerprint(pub [u8; 32]);

/// Hash function of a certificate fingerprint, weakest first (RFC 8122 §5, which forbids MD5 and MD2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FingerprintHash {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl FingerprintHash {
    /// Finds it by its name on the `a=fingerprint` line, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = [
            ("sha-1", Self::Sha1),
            ("sha-224", Self::Sha224),
            ("sha-256", Self::Sha256),
            ("sha-384", Self::Sha384),
            ("sha-512", Self::Sha512),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, hash)| hash)
    }

    /// Bytes of a digest.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// What the other side says about its certificate: it has one of these fingerprints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteFingerprints {
    /// The hash function of all of them.
    pub hash: FingerprintHash,
    /// Each as long as the hash function makes it; at least one.
    pub digests: Vec<Vec<u8>>,
}

impl From<Fingerprint> for RemoteFingerprints {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { hash: FingerprintHash::Sha256, digests: vec![fingerprint.0.to_vec()] }
    }
}

/// What the other side's session description says about its transport.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteParams {
    /// Its ICE credentials; others than before mean an ICE restart.
    pub ice: IceCredentials,
    /// Its certificate.
    pub fingerprints: RemoteFingerprints,
    /// Our end of the DTLS handshake, as `a=setup` of both descriptions says; it never changes.
    pub role: DtlsRole,
}

/// Which end of the DTLS handshake a transport is (RFC 8842).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DtlsRole {
    /// The other side begins, and we choose the SRTP profile: a media server's role wherever it has
    /// the choice.
    #[default]
    Server,
    /// We begin: the role of a client, and of a server whose offer a client answers as passive.
    Client,
}

/// A host candidate of ours (RFC 8445 §5.1.1.1); over TCP a passive one (RFC 6544 §4.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalCandidate {
    /// UDP, or TCP: the client connects to us.
    pub protocol: Protocol,
    /// As advertised.
    pub addr: SocketAddr,
}

impl LocalCandidate {
    /// Over UDP.
    pub const fn udp(addr: SocketAddr) -> Self {
        Self { protocol: Protocol::Udp, addr }
    }

    /// Over TCP.
    pub const fn tcp(addr: SocketAddr) -> Self {
        Self { protocol: Protocol::Tcp, addr }
    }
}

/// A transport to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSpec {
    /// Our ICE credentials, already told or about to be told to the client.
    pub local: IceCredentials,
    /// ICE-lite (RFC 8445 §2.5); otherwise a full agent.
    pub ice_lite: bool,
    /// Full ICE only: we made the first offer, hence control nomination.
    pub ice_controlling: bool,
    /// Our host candidates, as advertised.
    pub local_candidates: Vec<LocalCandidate>,
    /// Known at once if the client offered first.
    pub remote: Option<RemoteParams>,
    /// We open `_reliable`, `_lossy` and `_data_track` by DCEP; otherwise the other side does.
    pub open_channels: bool,
}

/// A data channel by its label.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Channel {
    /// `_reliable`: ordered, reliable.
    Reliable,
    /// `_lossy`: unordered, no retransmission.
    Lossy,
    /// `_data_track`: unordered, no retransmission.
    DataTrack,
    /// Any other label; only received from.
    Other,
}

impl Channel {
    /// Who sends on it does not expect that all arrives. Of a label that we do not know we cannot tell.
    pub const fn is_lossy(self) -> bool {
        matches!(self, Self::Lossy | Self::DataTrack)
    }
}

/// Where an up track's packets come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// A peer of this shard.
    Local(PeerId),
    /// Another shard of this node, which was given [`Command::AddRelay`](crate::Command::AddRelay).
    Shard(ShardId),
}

/// A payload type the publisher may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReceiveCodec {
    /// The codec behind the payload type.
    pub codec: Codec,
    /// 7-bit payload type.
    pub pt: u8,
    /// Payload type of its retransmissions (RFC 4588), if negotiated.
    pub rtx_pt: Option<u8>,
}

/// One simulcast stream of a track.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EncodingSpec {
    /// RFC 8851 id, if the publisher uses RIDs.
    pub rid: Option<String>,
    /// Known if the offer has `a=ssrc`; else learnt from the first packet with mid (and rid).
    pub ssrc: Option<u32>,
    /// The other half of an FID group.
    pub rtx_ssrc: Option<u32>,
}

/// A published track: how to recognise its packets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpTrackSpec {
    /// Where its packets come from. For [`Source::Shard`] only `kind`, `codecs` and the number of
    /// `encodings` matter.
    pub source: Source,
    /// Audio or video.
    pub kind: MediaKind,
    /// The section's mid, to match the mid header extension.
    pub mid: String,
    /// Payload types in order of preference; the first is the track's codec.
    pub codecs: Vec<ReceiveCodec>,
    /// Header extensions of the publisher's transport.
    pub extensions: ExtensionIds,
    /// 1 to 3, lowest first.
    pub encodings: Vec<EncodingSpec>,
    /// Generic NACK was negotiated.
    pub nack: bool,
    /// Counts for active speakers (a microphone).
    pub measure_level: bool,
}

/// A payload type the subscriber can receive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SendCodec {
    /// The codec behind the payload type.
    pub codec: Codec,
    /// 7-bit payload type in the subscriber's session.
    pub pt: u8,
    /// Payload type for retransmissions, if negotiated.
    pub rtx_pt: Option<u8>,
}

/// A subscription: what to send to whom, under which numbers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DownTrackSpec {
    /// The subscription's name.
    pub down: DownId,
    /// The subscriber's transport.
    pub peer: PeerId,
    /// The track, which the shard must already have.
    pub track: TrackId,
    /// SSRC as declared in the SDP.
    pub ssrc: u32,
    /// SSRC of retransmissions, if negotiated.
    pub rtx_ssrc: Option<u32>,
    /// What the client can decode. Packets of any other codec are dropped.
    pub codecs: Vec<SendCodec>,
    /// Header extensions of the subscriber's transport.
    pub extensions: ExtensionIds,
    /// RTCP SDES CNAME.
    pub cname: String,
}
