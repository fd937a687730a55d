//! Quantities with their unit in the type, so that no other crate holds a bare integer for one.

use std::time::Duration;

/// A rate in bits per second.
///
/// Fields that travel as kbps or bytes/s are converted where they are parsed.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Bitrate(u64);

impl Bitrate {
    /// No traffic at all.
    pub const ZERO: Self = Self(0);

    /// A rate of `bps` bits per second.
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }

    /// A rate of `kbps` thousand bits per second (1 kbps = 1000 bit/s).
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps.saturating_mul(1_000))
    }

    /// This rate in bits per second.
    pub const fn bps(self) -> u64 {
        self.0
    }

    /// What remains after spending `other`, never below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// An RTP sequence number that never wraps: the 16 wire bits plus a count of wraps above them.
///
/// Only [`SeqUnwrapper`] makes one, so holding one means the wrap has been dealt with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ExtSeq(u64);

impl ExtSeq {
    /// The low 16 bits, as they go on the wire.
    pub const fn wire(self) -> u16 {
        let [.., hi, lo] = self.0.to_be_bytes();
        u16::from_be_bytes([hi, lo])
    }

    /// The whole number, for use as an index into a ring.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number `n` places further on.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// The number `n` places before; `None` if that lies before any packet could.
    pub fn minus(self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    /// How far `self` lies after `earlier`; `None` if it does not.
    pub const fn since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

/// Extends 16-bit sequence numbers of one SSRC to [`ExtSeq`] (RFC 3550 §A.1).
#[derive(Debug, Default)]
pub struct SeqUnwrapper {
    newest: Option<ExtSeq>,
}

impl SeqUnwrapper {
    /// Extends `wire` to the value nearest the newest one seen.
    ///
    /// The first number starts one wrap up, which leaves room for packets that were sent before it
    /// and arrive after it. A step of exactly 2^15, which RFC 1982 §3.2 leaves open, counts as
    /// forward.
    pub fn unwrap(&mut self, wire: u16) -> ExtSeq {
        let Some(newest) = self.newest else {
            return *self.newest.insert(ExtSeq(0x1_0000 | u64::from(wire)));
        };
        let ahead = wire.wrapping_sub(newest.wire());
        if ahead <= 0x8000 {
            let seq = ExtSeq(newest.0.saturating_add(u64::from(ahead)));
            self.newest = Some(seq);
            seq
        } else {
            ExtSeq(newest.0.saturating_sub(u64::from(ahead.wrapping_neg())))
        }
    }
}

/// The media kind of a track or an SDP section.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A length of time in the unit of NTP timestamps, 2^-32 s; modulo 2^64.
pub fn ntp_ticks(duration: Duration) -> u64 {
    ((duration.as_nanos() << 32) / 1_000_000_000) as u64
}

/// The middle 32 bits of an NTP timestamp: units of 2^-16 s, as in LSR and LRR fields (RFC 3550 §6.4.1).
pub const fn ntp_mid32(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// Round-trip time from one reception report block (RFC 3550 §6.4.1).
///
/// * `now_mid32` – NTP time of arrival, middle 32 bits: units of 2^-16 s, wraps every 18.2 h.
/// * `last_sr` – LSR field, same format; 0 means the peer has not seen a sender report yet.
/// * `delay_since_last_sr` – DLSR field, units of 2^-16 s.
///
/// Returns `None` if there is no LSR, or if the delay is longer than the time since that report:
/// the fields are the peer's word and need not make sense.
pub fn rtt_from_report(now_mid32: u32, last_sr: u32, delay_since_last_sr: u32) -> Option<Duration> {
    if last_sr == 0 {
        return None;
    }
    let since_sr = now_mid32.wrapping_sub(last_sr);
    let rtt = since_sr.checked_sub(delay_since_last_sr)?;
    let nanos = (u64::from(rtt).saturating_mul(1_000_000_000)) >> 16;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_unwrap(wire: &[u16], expect: &[u64]) {
        let mut unwrapper = SeqUnwrapper::default();
        let got: Vec<u64> = wire.iter().map(|&w| unwrapper.unwrap(w).0).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn sequence_numbers_survive_a_wrap_and_a_late_packet() {
        check_unwrap(
            &[65_534, 65_535, 0, 65_533, 1],
            &[0x1_fffe, 0x1_ffff, 0x2_0000, 0x1_fffd, 0x2_0001],
        );
    }

    #[test]
    fn a_packet_older_than_the_first_does_not_underflow() {
        check_unwrap(&[0, 65_535], &[0x1_0000, 0xffff]);
    }

    #[test]
    fn half_the_space_counts_as_forward() {
        check_unwrap(&[0, 0x8000], &[0x1_0000, 0x1_8000]);
    }

    #[test]
    fn rtt_is_arrival_minus_sr_minus_delay() {
        // RFC 3550 figure 2: A = 0xb710:8000, LSR = 0xb705:2000, DLSR = 0x0005:4000 → 6.125 s.
        let rtt = rtt_from_report(0xb710_8000, 0xb705_2000, 0x0005_4000);
        assert_eq!(rtt, Some(Duration::from_millis(6_125)));
    }

    #[test]
    fn a_delay_longer_than_the_interval_is_refused() {
        assert_eq!(rtt_from_report(0x0001_0000, 0x0000_8000, 0x0001_0000), None);
    }
}
