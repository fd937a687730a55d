//! One RTP stream that we send, with its history for retransmission.
//!
//! * **Owns:** numbers of the stream and of its retransmissions, the last 512 payloads.
//! * **In:** payloads, NACKs.
//! * **Out:** sealed packets in a slab; [`Outbound::report`].
//! * **Invariant:** an SRTP index is used once; the rollover counter starts at 0.

use hearth_datagram::SendSlab;
use hearth_peer::Peer;
use hearth_random::Rng;
use hearth_rtp::rtcp::SenderInfo;
use hearth_rtp::{RtpHeader, write_header};

use crate::description::AgreedTrack;

/// Payloads kept; 2 s of the highest encoding.
const KEPT: usize = 512;
/// Packets that carry mid and rid; libwebrtc stops at the first receiver report.
const NAMED: u32 = 100;

/// The output that a packet is sent through.
pub(crate) struct Wire<'a> {
    pub(crate) peer: &'a mut Peer,
    pub(crate) slab: &'a mut SendSlab,
    /// Transport-wide sequence number of the next packet, wraps.
    pub(crate) transport_seq: &'a mut u16,
    pub(crate) agreed: &'a AgreedTrack,
}

/// A packet before it has a number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsent {
    pub(crate) payload: Vec<u8>,
    pub(crate) marker: bool,
    pub(crate) timestamp: u32,
}

/// A packet that has its numbers.
struct Numbered<'a> {
    header: RtpHeader,
    /// SRTP's: the sequence number with its rollover counter.
    index: u64,
    /// Extension that names the encoding.
    rid: Option<(u8, &'static str)>,
    /// The original number, for a retransmission (RTX).
    original: Option<u16>,
    payload: &'a [u8],
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Outbound {
    ssrc: u32,
    rtx_ssrc: u32,
    rid: Option<&'static str>,
    /// RFC 6464 loudness that every packet states.
    level: Option<u8>,
    seq: u64,
    rtx_seq: u64,
    packets: u32,
    octets: u32,
    kept: Vec<(u16, Unsent)>,
}

impl Outbound {
    pub(crate) fn new(
        (ssrc, rtx_ssrc): (u32, u32),
        rid: Option<&'static str>,
        level: Option<u8>,
        rng: &mut Rng,
    ) -> Self {
        let first = |rng: &mut Rng| rng.next_u64() & 0x7fff;
        let (seq, rtx_seq) = (first(rng), first(rng));
        Self { ssrc, rtx_ssrc, rid, level, seq, rtx_seq, packets: 0, octets: 0, kept: Vec::new() }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Sends a packet; false, and nothing happens, if the slab is full.
    pub(crate) fn send(&mut self, wire: &mut Wire<'_>, unsent: Unsent) -> bool {
        let header = RtpHeader {
            marker: unsent.marker,
            payload_type: wire.agreed.pt,
            seq: self.seq as u16,
            timestamp: unsent.timestamp,
            ssrc: self.ssrc,
        };
        let ids = &wire.agreed.extensions;
        let rid = ids.rid.zip(self.rid);
        let (index, payload) = (self.seq, unsent.payload.as_slice());
        if !self.write(wire, &Numbered { header, index, rid, original: None, payload }) {
            return false;
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(unsent.payload.len() as u32);
        let slot = self.seq as usize % KEPT;
        let kept = (self.seq as u16, unsent);
        match self.kept.get_mut(slot) {
            Some(old) => *old = kept,
            None => {
                // The first ones, from wherever the numbers start.
                self.kept.resize_with(KEPT, || (0, Unsent::default()));
                if let Some(old) = self.kept.get_mut(slot) {
                    *old = kept;
                }
            }
        }
        self.seq += 1;
        true
    }

    /// Sends packet `seq` again over RTX, if it is still known and RTX was agreed on.
    pub(crate) fn resend(&mut self, wire: &mut Wire<'_>, seq: u16) {
        let Some(pt) = wire.agreed.rtx_pt else { return };
        let at = self.kept.iter().position(|(of, kept)| *of == seq && !kept.payload.is_empty());
        let Some((_, kept)) = at.and_then(|at| self.kept.get(at)) else { return };
        let header = RtpHeader {
            marker: kept.marker,
            payload_type: pt,
            seq: self.rtx_seq as u16,
            timestamp: kept.timestamp,
            ssrc: self.rtx_ssrc,
        };
        let rid = wire.agreed.extensions.repaired_rid.zip(self.rid);
        let (index, payload) = (self.rtx_seq, kept.payload.as_slice());
        if self.write(wire, &Numbered { header, index, rid, original: Some(seq), payload }) {
            self.rtx_seq += 1;
        }
    }

    /// For a sender report, if anything was sent.
    pub(crate) fn report(&self, ntp: u64, rtp_time: u32) -> Option<SenderInfo> {
        let Self { ssrc, packets, octets, .. } = *self;
        (packets > 0).then_some(SenderInfo { ssrc, ntp, rtp_time, packets, octets })
    }

    fn write(&self, wire: &mut Wire<'_>, packet: &Numbered<'_>) -> bool {
        let Numbered { header, index, rid, original, payload } = packet;
        let Wire { peer, slab, transport_seq, agreed } = wire;
        let Some(path) = peer.path() else { return true };
        let Some(room) = slab.reserve() else { return false };
        let seq = transport_seq.to_be_bytes();
        let level = [self.level.unwrap_or_default()];
        let named = self.packets < NAMED || original.is_some();
        let ids = &agreed.extensions;
        let mut extensions: [(u8, &[u8]); 4] = [(0, &[]); 4];
        let mut count = 0;
        for (id, bytes) in [
            ids.transport_cc.map(|id| (id, seq.as_slice())),
            ids.audio_level.filter(|_| self.level.is_some()).map(|id| (id, level.as_slice())),
            ids.mid.filter(|_| named).map(|id| (id, agreed.mid.as_bytes())),
            rid.filter(|_| named).map(|(id, rid)| (id, rid.as_bytes())),
        ]
        .into_iter()
        .flatten()
        {
            if let Some(slot) = extensions.get_mut(count) {
                *slot = (id, bytes);
                count += 1;
            }
        }
        let extensions = extensions.get(..count).unwrap_or_default();
        let Some(header_len) = write_header(room, header, extensions) else { return true };
        let mut len = header_len;
        let original = original.map(u16::to_be_bytes);
        for part in [original.as_ref().map_or(&[][..], |bytes| bytes), payload] {
            let Some(to) = room.get_mut(len..len + part.len()) else { return true };
            to.copy_from_slice(part);
            len += part.len();
        }
        if let Some(sealed) = peer.seal_rtp(room, len, header_len, *index) {
            slab.commit(path, sealed);
            **transport_seq = transport_seq.wrapping_add(1);
        }
        true
    }
}
