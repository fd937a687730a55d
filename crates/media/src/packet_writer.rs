//! Writing the packets of one subscription: RTP header, header extensions, and the payload as the subscriber takes it.
//!
//! * **Owns:** the SSRCs and extension ids of the subscription, and the conversion between codecs that was used last.
//! * **In:** a packet of the track, and its index and [`Record`], which say how it is renumbered.
//! * **Out:** the bytes of a packet that is yet to be sealed, and where its parts lie.
//! * **Invariant:** the same packet, index and record always give the same bytes, as one SRTP index must not seal two
//!   different packets. What is known only when a packet is sent has a place only in one that is never written again.
//! * **Spec:** RFC 3550 §5.1, RFC 8285 §4, RFC 4588 §4.

use hearth_codec::{Codec, Vp8Descriptor, red};
use hearth_plane::{DownTrackSpec, SendCodec};
use hearth_rtp::{ExtensionIds, RtpHeader, pad, write_header};

use crate::history::Record;
use crate::ring::UpPacket;
use crate::verdict::Written;

/// Bytes at the end of a datagram that sealing needs (AES-GCM tag 16, RTCP index 4).
pub(crate) const SEAL_ROOM: usize = 20;

/// Where the data of the first header extension lies: after the fixed header, the four bytes before all extensions,
/// and its own head, which is a byte or two (RFC 8285 §4.2, §4.3).
const FIRST_EXTENSION: (u8, u8) = (12 + 4 + 1, 12 + 4 + 2);
/// "Defined by profile" of the one-byte form.
const ONE_BYTE_FORM: [u8; 2] = [0xbe, 0xde];

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct PacketWriter {
    ssrc: u32,
    extensions: ExtensionIds,
    /// The data of the playout delay extension, while it is to be sent.
    playout_delay: Option<[u8; 3]>,
    conversion: Option<Conversion>,
    rtx_ssrc: Option<u32>,
}

/// How this subscriber gets packets of a codec.
#[derive(Clone, Copy, Debug)]
struct Conversion {
    from: Codec,
    to: SendCodec,
}

impl PacketWriter {
    /// Writes what `spec` says.
    pub(crate) const fn new(spec: &DownTrackSpec) -> Self {
        Self {
            ssrc: spec.ssrc,
            extensions: spec.extensions,
            playout_delay: None,
            conversion: None,
            rtx_ssrc: spec.rtx_ssrc,
        }
    }

    /// Reads what writing will need, so that the memory brings it.
    pub(crate) const fn prefetch(&self) -> u32 {
        self.ssrc
    }

    /// Puts the playout delay extension into packets from now on, or no longer.
    pub(crate) const fn set_playout_delay(&mut self, data: Option<[u8; 3]>) {
        self.playout_delay = data;
    }

    /// How the subscriber, who takes `codecs`, gets `from`: as it is, or the Opus inside RED.
    #[inline]
    pub(crate) fn codec(&mut self, codecs: &[SendCodec], from: Codec) -> Option<SendCodec> {
        match self.conversion {
            Some(known) if known.from == from => Some(known.to),
            _ => self.find_codec(codecs, from),
        }
    }

    fn find_codec(&mut self, codecs: &[SendCodec], from: Codec) -> Option<SendCodec> {
        let find = |wanted| codecs.iter().find(|c| c.codec == wanted).copied();
        let inside = || find(Codec::Opus).filter(|_| from == Codec::Red);
        let to = find(from).or_else(inside)?;
        self.conversion = Some(Conversion { from, to });
        Some(to)
    }

    /// The codec and the payload that the subscriber gets for a `payload` of `from`.
    #[inline]
    pub(crate) fn convert<'a>(
        &mut self,
        codecs: &[SendCodec],
        from: Codec,
        payload: &'a [u8],
    ) -> Option<(SendCodec, &'a [u8])> {
        let to = self.codec(codecs, from)?;
        if to.codec == from {
            return Some((to, payload));
        }
        red::primary(payload).map(|(_, primary)| (to, primary))
    }

    /// Payload type and SSRC of retransmissions, if they have their own. If not, they are written as the packet was.
    pub(crate) fn rtx(&self, codec: SendCodec) -> Option<(u8, u32)> {
        codec.rtx_pt.zip(self.rtx_ssrc)
    }

    /// Writes `pkt` with `payload` under the SSRC of the media. What goes without RTX may be written again under this
    /// index.
    pub(crate) fn write_media(
        &self,
        pkt: &UpPacket<'_>,
        payload: &[u8],
        codec: SendCodec,
        (index, record): (u64, &Record),
        buf: &mut [u8],
    ) -> Option<Written> {
        let is_final = self.rtx(codec).is_some();
        let header = header(pkt, (codec.pt, self.ssrc), (index, record));
        let (header_len, transport_seq) = self.write_header(pkt, &header, record, is_final, buf)?;
        let len = write_payload(pkt, payload, record, header_len, buf)?;
        Some(Written { header_len, len, index, late: false, transport_seq })
    }

    /// Writes `pkt`, which was sent as number `original`, as number `index` of the retransmissions.
    pub(crate) fn write_rtx(
        &self,
        pkt: &UpPacket<'_>,
        rtx: (u8, u32),
        index: u64,
        (original, record): (u64, &Record),
        buf: &mut [u8],
    ) -> Option<Written> {
        let header = header(pkt, rtx, (index, record));
        let (header_len, transport_seq) = self.write_header(pkt, &header, record, true, buf)?;
        let at = header_len + 2;
        buf.get_mut(header_len..at)?.copy_from_slice(&(original as u16).to_be_bytes());
        let len = write_payload(pkt, pkt.payload, record, at, buf)?;
        Some(Written { header_len, len, index, late: false, transport_seq })
    }

    /// Header and extensions; returns their length, and where the transport-wide sequence number is to be stamped. An
    /// `is_final` packet, never written again, has a place for it if its subscriber takes it.
    #[inline]
    fn write_header(
        &self,
        pkt: &UpPacket<'_>,
        header: &RtpHeader,
        record: &Record,
        is_final: bool,
        buf: &mut [u8],
    ) -> Option<(usize, Option<u8>)> {
        let has_own = self.extensions.transport_cc.is_some() || self.playout_delay.is_some();
        if pkt.has_extensions() || (is_final && has_own) {
            return self.write_extended_header(pkt, header, record, is_final, buf);
        }
        Some((write_header(usable(buf)?, header, &[])?, None))
    }

    fn write_extended_header(
        &self,
        pkt: &UpPacket<'_>,
        header: &RtpHeader,
        record: &Record,
        is_final: bool,
        buf: &mut [u8],
    ) -> Option<(usize, Option<u8>)> {
        let ids = &self.extensions;
        let has_media = !record.is_empty();
        let level = pkt.meta.audio_level.unwrap_or_default().to_be_bytes();
        let orientation = pkt.meta.orientation.unwrap_or_default().to_be_bytes();
        let capture = pkt.meta.capture_time.unwrap_or_default();
        // It changes with time, and so goes only where packets are never written again.
        let delay = self.playout_delay.filter(|_| is_final && has_media);
        let delay_data = delay.unwrap_or_default();
        let mut extensions: [(u8, &[u8]); 6] = [(0, &[]); 6];
        let mut count = 0;
        for (id, present, bytes) in [
            (ids.transport_cc, is_final, [0; 2].as_slice()),
            (ids.audio_level, has_media && pkt.meta.audio_level.is_some(), level.as_slice()),
            (ids.video_orientation, has_media && pkt.meta.orientation.is_some(), &orientation),
            (ids.abs_capture_time, has_media && pkt.meta.capture_time.is_some(), &capture),
            (ids.playout_delay, delay.is_some(), &delay_data),
            (ids.dependency_descriptor, has_media && !pkt.descriptor.is_empty(), pkt.descriptor),
        ] {
            if let (Some(id), true, Some(slot)) = (id, present, extensions.get_mut(count)) {
                *slot = (id, bytes);
                count += 1;
            }
        }
        let header_len = write_header(usable(buf)?, header, extensions.get(..count)?)?;
        let is_one_byte = || buf.get(12..14) == Some(&ONE_BYTE_FORM);
        let first = || if is_one_byte() { FIRST_EXTENSION.0 } else { FIRST_EXTENSION.1 };
        Some((header_len, ids.transport_cc.filter(|_| is_final).map(|_| first())))
    }
}

/// The fixed header of `pkt` as it goes under a payload type and an SSRC.
#[inline]
fn header(
    pkt: &UpPacket<'_>,
    (payload_type, ssrc): (u8, u32),
    (index, record): (u64, &Record),
) -> RtpHeader {
    RtpHeader {
        marker: pkt.meta.marker && !record.is_empty(),
        payload_type,
        seq: index as u16,
        timestamp: record.timestamp,
        ssrc,
    }
}

/// Writes the payload at `at`, if the packet has one; returns where it ends.
#[inline]
fn write_payload(
    pkt: &UpPacket<'_>,
    mut payload: &[u8],
    record: &Record,
    mut at: usize,
    buf: &mut [u8],
) -> Option<usize> {
    if record.is_empty() {
        return Some(at);
    }
    let buf = usable(buf)?;
    if let Some(descriptor) = pkt.meta.info.vp8.filter(|d| d.picture_id.is_some()) {
        payload = payload.get(usize::from(descriptor.header_len)..)?;
        let renumbered = Vp8Descriptor {
            picture_id: Some((record.picture_id, true)),
            tl0: descriptor.tl0.map(|_| record.tl0),
            keyidx: descriptor.keyidx.map(|_| record.keyidx_encoding & 0x1f),
            ..descriptor
        };
        at += renumbered.write(buf.get_mut(at..)?);
    }
    let end = at + payload.len();
    buf.get_mut(at..end)?.copy_from_slice(payload);
    Some(end)
}

/// Adds padding to a packet that is yet to be sealed; `None`, with the packet as it was, if it does not fit.
pub(crate) fn pad_unsealed(buf: &mut [u8], written: Written, padding: u8) -> Option<Written> {
    let len = pad(usable(buf)?, written.len, padding)?;
    Some(Written { len, ..written })
}

/// What sealing leaves of a datagram.
fn usable(buf: &mut [u8]) -> Option<&mut [u8]> {
    let usable = buf.len().checked_sub(SEAL_ROOM)?;
    buf.get_mut(..usable)
}
