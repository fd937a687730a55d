//! Reception of one RTP stream: packet loss, retransmissions, latency.
//!
//! * **Owns:** the window of received numbers, packet loss, latency, jitter.
//! * **In:** packets of the stream, originals and retransmissions.
//! * **Out:** [`Inbound::tally`], NACKs, report blocks.
//! * **Invariant:** a number counts once, however often it arrives.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hearth_peer::{NackTracker, ReceiverStats};
use hearth_rtp::RtpView;
use hearth_rtp::rtcp::ReportBlock;
use hearth_units::{MediaKind, SeqUnwrapper};

use crate::description::Receive;
use crate::media::stamp;

/// Numbers behind the newest for which duplicates are recognised.
const WINDOW: u64 = 1_024;
/// Assumed before the first measurement.
const RTT: Duration = Duration::from_millis(50);

/// Reception statistics of a track.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) kind: MediaKind,
    pub(crate) track_sid: String,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Numbers that should have arrived and did not.
    pub(crate) lost: u64,
    /// Reordered packets: a newer one arrived before; without retransmissions.
    pub(crate) out_of_order: u64,
    pub(crate) duplicates: u64,
    /// Packets that arrived only by retransmission.
    pub(crate) recovered: u64,
    pub(crate) first_at: Option<Instant>,
    pub(crate) last_at: Option<Instant>,
    /// Microseconds.
    pub(crate) latency: Histogram<u32>,
}

/// See the module documentation.
pub(crate) struct Inbound {
    ssrc: u32,
    clock_rate: u32,
    unwrapper: SeqUnwrapper,
    reception: ReceiverStats,
    nack: Option<NackTracker>,
    first: Option<u64>,
    newest: u64,
    seen: [u64; (WINDOW / 64) as usize],
    tally: Tally,
}

/// A packet that counts.
pub(crate) struct Arrival {
    /// Microseconds, if it carries a stamp.
    pub(crate) latency: Option<u64>,
    /// Something before it is missing.
    pub(crate) gap: bool,
}

/// Latencies in microseconds, with two digits; it grows with what is recorded.
#[expect(clippy::expect_used, reason = "2 is in the range of significant digits, 0 to 5")]
pub(crate) fn latencies() -> Histogram<u32> {
    Histogram::new(2).expect("two digits are possible")
}

/// Records microseconds.
pub(crate) fn record(histogram: &mut Histogram<u32>, micros: u64) {
    // It resizes itself, and can hold every number.
    let _ = histogram.record(micros);
}

impl Inbound {
    pub(crate) fn new(receive: &Receive) -> Self {
        let video = receive.kind == MediaKind::Video;
        Self {
            ssrc: receive.ssrc,
            clock_rate: if video { 90_000 } else { 48_000 },
            unwrapper: SeqUnwrapper::default(),
            reception: ReceiverStats::default(),
            nack: video.then(|| NackTracker::new(RTT, false)),
            first: None,
            newest: 0,
            seen: [0; (WINDOW / 64) as usize],
            tally: Tally {
                kind: receive.kind,
                track_sid: receive.track_sid.clone(),
                packets: 0,
                bytes: 0,
                lost: 0,
                out_of_order: 0,
                duplicates: 0,
                recovered: 0,
                first_at: None,
                last_at: None,
                latency: latencies(),
            },
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The highest number that arrived, as on the wire.
    pub(crate) fn newest(&self) -> u16 {
        self.newest as u16
    }

    /// A packet in the stream itself. `epoch` is what stamps count from.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        view: &RtpView<'_>,
        epoch: Instant,
    ) -> Option<Arrival> {
        let seq = self.unwrapper.unwrap(view.seq);
        self.reception.handle_packet(now, seq, view.timestamp, self.clock_rate);
        if let Some(nack) = &mut self.nack {
            nack.handle_packet(now, seq, view.timestamp, view.marker);
        }
        let before = self.newest;
        let known = self.first.is_some();
        if !self.count(now, seq.get(), view.payload.len()) {
            return None;
        }
        self.tally.out_of_order += u64::from(known && seq.get() < before);
        let gap = known && seq.get() > before + 1;
        Some(Arrival { latency: self.latency(now, view.payload, epoch), gap })
    }

    /// Microseconds since the stamp of a payload, which are recorded.
    fn latency(&mut self, now: Instant, payload: &[u8], epoch: Instant) -> Option<u64> {
        let now = u64::try_from(now.saturating_duration_since(epoch).as_micros()).ok()?;
        let latency = now.checked_sub(stamp::find(payload)?)?;
        record(&mut self.tally.latency, latency);
        Some(latency)
    }

    /// A retransmission in the RTX stream: its original number and payload.
    pub(crate) fn handle_recovered(
        &mut self,
        now: Instant,
        seq: u16,
        view: &RtpView<'_>,
        payload: &[u8],
        epoch: Instant,
    ) -> Option<Arrival> {
        let nack = self.nack.as_mut().filter(|_| self.first.is_some())?;
        nack.handle_recovered(now, seq, view.timestamp, view.marker);
        // Near the newest, whichever side of a wrap.
        let ahead = i64::from(seq.wrapping_sub(self.newest as u16) as i16);
        let full = self.newest.checked_add_signed(ahead)?;
        if !self.count(now, full, payload.len()) {
            return None;
        }
        self.tally.recovered += 1;
        Some(Arrival { latency: self.latency(now, payload, epoch), gap: false })
    }

    /// Numbers to ask for again.
    pub(crate) fn poll_nack(&mut self, now: Instant, out: &mut [u16]) -> usize {
        self.nack.as_mut().map_or(0, |nack| nack.poll(now, RTT, out))
    }

    pub(crate) fn handle_sender_report(&mut self, now: Instant, ntp: u64) {
        self.reception.handle_sender_report(now, ntp);
    }

    /// The report block, if any packet arrived.
    pub(crate) fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        self.first?;
        Some(self.reception.report_block(now, self.ssrc))
    }

    /// Numbers that should have arrived and have not yet.
    pub(crate) fn lost(&self) -> u64 {
        let expected = self.first.map_or(0, |first| self.newest + 1 - first);
        expected.saturating_sub(self.tally.packets)
    }

    /// The counts so far.
    pub(crate) fn tally(&self) -> Tally {
        Tally { lost: self.lost(), ..self.tally.clone() }
    }

    /// Counts a number; false if it is a duplicate, or too old.
    fn count(&mut self, now: Instant, seq: u64, len: usize) -> bool {
        let first = *self.first.get_or_insert_with(|| {
            self.newest = seq;
            seq
        });
        if seq < first || seq + WINDOW <= self.newest {
            self.tally.duplicates += 1;
            return false;
        }
        if seq > self.newest {
            let from = self.newest + 1;
            for passed in from.max(seq.saturating_sub(WINDOW))..seq {
                self.mark(passed, false);
            }
            self.newest = seq;
            self.mark(seq, false);
        }
        if self.is_marked(seq) {
            self.tally.duplicates += 1;
            return false;
        }
        self.mark(seq, true);
        self.tally.packets += 1;
        self.tally.bytes += len as u64;
        self.tally.first_at.get_or_insert(now);
        self.tally.last_at = Some(now);
        true
    }

    fn mark(&mut self, seq: u64, seen: bool) {
        let (word, bit) = ((seq % WINDOW / 64) as usize, 1 << (seq % 64));
        if let Some(word) = self.seen.get_mut(word) {
            *word = if seen { *word | bit } else { *word & !bit };
        }
    }

    fn is_marked(&self, seq: u64) -> bool {
        let (word, bit) = ((seq % WINDOW / 64) as usize, 1 << (seq % 64));
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_counts_once_in_any_order_and_missing_ones_are_lost() {
        let mut inbound = inbound();
        let now = hearth_net::WallClock::now();
        for seq in [65_530, 65_531, 65_533, 65_532, 65_533, 65_535, 0, 3, 2] {
            feed(&mut inbound, now, seq);
        }
        let tally = inbound.tally();
        assert_eq!((tally.packets, tally.lost), (8, 2), "65534 and 1 are missing");
        assert_eq!((tally.out_of_order, tally.duplicates), (2, 1));
        let again = [&[7; 10][..], &stamp::write(0)].concat();
        let header = [0x80, 97, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xfe];
        let view = RtpView::parse(&header).unwrap();
        let arrival = inbound.handle_recovered(now, 65_534, &view, &again, now).unwrap();
        assert_eq!(arrival.latency, Some(0), "a repeated packet is late, and counts");
        assert!(inbound.handle_recovered(now, 65_534, &view, &again, now).is_none());
        let tally = inbound.tally();
        assert_eq!((tally.packets, tally.lost, tally.recovered), (9, 1, 1));
    }

    #[test]
    fn stamped_packets_have_a_latency() {
        let mut inbound = inbound();
        let epoch = hearth_net::WallClock::now();
        let now = epoch + Duration::from_millis(30);
        let payload = [&[1, 2, 3][..], &stamp::write(10_000)].concat();
        let packet = packet(7, &payload);
        let view = RtpView::parse(&packet).unwrap();
        let arrival = inbound.handle_packet(now, &view, epoch).unwrap();
        assert_eq!(arrival.latency, Some(20_000));
        assert_eq!(inbound.tally().latency.len(), 1);
    }

    fn inbound() -> Inbound {
        Inbound::new(&Receive {
            mid: "1".into(),
            kind: MediaKind::Video,
            ssrc: 9,
            rtx_ssrc: None,
            track_sid: "TR_x".into(),
        })
    }

    fn feed(inbound: &mut Inbound, now: Instant, seq: u16) {
        let packet = packet(seq, &[1, 2, 3]);
        inbound.handle_packet(now, &RtpView::parse(&packet).unwrap(), now);
    }

    fn packet(seq: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = seq.to_be_bytes();
        [&[0x80, 96, high, low, 0, 0, 0, 1, 0, 0, 0, 9][..], payload].concat()
    }
}
