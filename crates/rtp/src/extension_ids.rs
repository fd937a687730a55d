//! Which header-extension id means what on one transport (RFC 8285 §5).

/// The negotiated ids, 1–14 for one-byte and 1–255 for two-byte headers; `None` if not negotiated.
///
/// With BUNDLE an id means the same in every section, so one table serves a whole transport.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    pub repaired_rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    pub audio_level: Option<u8>,
    /// `…draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`
    pub abs_capture_time: Option<u8>,
    /// `…av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    pub dependency_descriptor: Option<u8>,
    /// `urn:3gpp:video-orientation`
    pub video_orientation: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    pub playout_delay: Option<u8>,
}

impl ExtensionIds {
    /// What either table knows. With BUNDLE the two never contradict each other (RFC 8285 §6).
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            mid: self.mid.or(other.mid),
            rid: self.rid.or(other.rid),
            repaired_rid: self.repaired_rid.or(other.repaired_rid),
            audio_level: self.audio_level.or(other.audio_level),
            transport_cc: self.transport_cc.or(other.transport_cc),
            abs_send_time: self.abs_send_time.or(other.abs_send_time),
            abs_capture_time: self.abs_capture_time.or(other.abs_capture_time),
            dependency_descriptor: self.dependency_descriptor.or(other.dependency_descriptor),
            video_orientation: self.video_orientation.or(other.video_orientation),
            playout_delay: self.playout_delay.or(other.playout_delay),
        }
    }
}
