//! Frames that a TCP connection had no room for, and which of them are given up.
//!
//! * **Owns:** the rest of a frame that is half written; two queues of whole frames, of video and of all else.
//! * **In:** [`StreamBacklog::push`], time. **Out:** [`StreamBacklog::slices`] to write, of which
//!   [`StreamBacklog::consume`] takes what was written.
//! * **Invariant:** a frame of which a byte was written is finished. What waits is bounded in bytes and in age, so that a
//!   reader who catches up gets what is new: video gives way first, the oldest before the others, and waits behind all
//!   else. Memory is that of a frame until something waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hearth_datagram::TrafficClass;

use crate::Sent;
use crate::stream::HEADER;

/// Bytes of video that wait: a key frame of full HD. More spares a key frame that is larger, fewer shows newer pictures
/// after a stall.
const MAX_VIDEO: usize = 256 * 1_024;
/// Bytes of everything else: voices of a large room for [`MAX_AGE`], or what SCTP has in flight.
const MAX_VITAL: usize = 128 * 1_024;
/// How long video waits. As long as a receiver's jitter buffer could use it.
const MAX_VIDEO_AGE: Duration = Duration::from_millis(400);
/// How long anything waits: retransmission timers of DTLS and SCTP begin at a second.
const MAX_AGE: Duration = Duration::from_secs(1);

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct StreamBacklog {
    /// The rest of a frame whose beginning was written.
    started: VecDeque<u8>,
    vital: Queue,
    video: Queue,
}

impl StreamBacklog {
    pub(crate) fn new() -> Self {
        Self {
            started: VecDeque::new(),
            vital: Queue::new(MAX_VITAL, MAX_AGE),
            video: Queue::new(MAX_VIDEO, MAX_VIDEO_AGE),
        }
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.started.is_empty() && self.vital.frames.is_empty() && self.video.frames.is_empty()
    }

    /// `rest` is what is left of a frame whose beginning was written.
    pub(crate) fn start(&mut self, rest: &[u8]) {
        self.started.extend(rest);
    }

    /// Queues a datagram, or drops it or older ones.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        class: TrafficClass,
        datagram: &[u8],
        sent: &mut Sent,
    ) {
        self.expire(now, sent);
        let kept = match class {
            TrafficClass::Video => {
                while !self.video.has_room(datagram) && self.video.drop_oldest() {
                    sent.full += 1;
                }
                self.video.push(now, datagram)
            }
            // Transports retransmit what they need, and a voice goes on with what comes next.
            TrafficClass::Vital => self.vital.push(now, datagram),
        };
        if kept {
            sent.delayed += 1;
        } else {
            sent.full += 1;
        }
    }

    /// Drops what has waited too long.
    pub(crate) fn expire(&mut self, now: Instant, sent: &mut Sent) {
        for queue in [&mut self.vital, &mut self.video] {
            while queue.is_too_old(now) && queue.drop_oldest() {
                sent.full += 1;
            }
        }
    }

    /// What is to be written, in order.
    pub(crate) fn slices(&self) -> [&[u8]; 6] {
        let (a, b) = self.started.as_slices();
        let (c, d) = self.vital.bytes.as_slices();
        let (e, f) = self.video.bytes.as_slices();
        [a, b, c, d, e, f]
    }

    /// The first `written` bytes of the slices were written.
    pub(crate) fn consume(&mut self, written: usize, sent: &mut Sent) {
        let of_started = written.min(self.started.len());
        self.started.drain(..of_started);
        let mut left = written - of_started;
        for queue in [&mut self.vital, &mut self.video] {
            while left > 0
                && let Some(Frame { len, .. }) = queue.frames.pop_front()
            {
                sent.datagrams += 1;
                sent.bytes += len.saturating_sub(HEADER) as u64;
                let of_frame = left.min(len);
                queue.bytes.drain(..of_frame);
                self.started.extend(queue.bytes.drain(..len - of_frame));
                left -= of_frame;
            }
        }
        if self.is_empty() {
            // Most streams never have a backlog again.
            *self = Self::new();
        }
    }
}

/// Whole frames with their headers, back to back.
#[derive(Debug)]
struct Queue {
    bytes: VecDeque<u8>,
    frames: VecDeque<Frame>,
    max: usize,
    max_age: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// With its header.
    len: usize,
    since: Instant,
}

impl Queue {
    const fn new(max: usize, max_age: Duration) -> Self {
        Self { bytes: VecDeque::new(), frames: VecDeque::new(), max, max_age }
    }

    fn has_room(&self, datagram: &[u8]) -> bool {
        self.bytes.len() + HEADER + datagram.len() <= self.max
    }

    fn is_too_old(&self, now: Instant) -> bool {
        let first = self.frames.front();
        first.is_some_and(|frame| now.saturating_duration_since(frame.since) > self.max_age)
    }

    fn push(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let Ok(header) = u16::try_from(datagram.len()) else { return false };
        if !self.has_room(datagram) {
            return false;
        }
        self.bytes.extend(header.to_be_bytes());
        self.bytes.extend(datagram);
        self.frames.push_back(Frame { len: HEADER + datagram.len(), since: now });
        true
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.frames.pop_front() else { return false };
        self.bytes.drain(..oldest.len);
        true
    }
}

#[cfg(test)]
mod tests {
    use TrafficClass::{Video, Vital};

    use super::*;
    use crate::WallClock;

    #[test]
    fn the_oldest_video_gives_way_and_nothing_else_does() {
        let (mut backlog, mut sent, now) =
            (StreamBacklog::new(), Sent::default(), WallClock::now());
        backlog.push(now, Vital, &[1; 100], &mut sent);
        for n in 0..=255 {
            backlog.push(now, Video, &[n; 1_200], &mut sent);
        }
        backlog.push(now, Vital, &[2; 100], &mut sent);
        let kept = MAX_VIDEO / 1_202;
        assert_eq!((sent.delayed, sent.full), (258, 256 - kept as u64));
        let frames = drain(&mut backlog, usize::MAX);
        assert_eq!(frames[..2], [(100, 1), (100, 2)], "what is not video comes first");
        assert_eq!(frames[2], (1_200, u8::try_from(256 - kept).unwrap()));
        assert_eq!((frames.len(), frames.last()), (2 + kept, Some(&(1_200, 255))));
    }

    #[test]
    fn what_is_not_video_is_bounded_too() {
        let (mut backlog, mut sent, now) =
            (StreamBacklog::new(), Sent::default(), WallClock::now());
        for _ in 0..1_000 {
            backlog.push(now, Vital, &[1; 1_000], &mut sent);
        }
        assert_eq!((sent.delayed + sent.full, sent.delayed), (1_000, MAX_VITAL as u64 / 1_002));
    }

    #[test]
    fn nothing_waits_for_seconds() {
        let (mut backlog, mut sent, t0) = (StreamBacklog::new(), Sent::default(), WallClock::now());
        backlog.push(t0, Video, &[1; 100], &mut sent);
        backlog.push(t0, Vital, &[2; 100], &mut sent);
        backlog.expire(t0 + MAX_VIDEO_AGE, &mut sent);
        assert_eq!(sent.full, 0);
        backlog.expire(t0 + MAX_VIDEO_AGE + Duration::from_millis(1), &mut sent);
        assert_eq!(sent.full, 1, "video");
        backlog.expire(t0 + MAX_AGE + Duration::from_millis(1), &mut sent);
        assert_eq!((sent.full, backlog.is_empty()), (2, true));
    }

    #[test]
    fn a_frame_that_is_half_written_is_finished_whatever_is_dropped() {
        for step in [1, 2, 3, 101, 102, 150, 1_000] {
            let (mut backlog, mut sent) = (StreamBacklog::new(), Sent::default());
            let mut now = WallClock::now();
            let mut wire = Vec::new();
            for n in 0..200_u8 {
                let class = if n % 3 == 0 { Vital } else { Video };
                backlog.push(now, class, &[n; 100], &mut sent);
                wire.extend(written(&mut backlog, step, &mut sent));
                now += Duration::from_millis(20);
            }
            while !backlog.is_empty() {
                wire.extend(written(&mut backlog, step, &mut sent));
            }
            let frames = frames(&wire);
            assert!(frames.iter().all(|(len, _)| *len == 100), "{step}");
            assert_eq!(frames.len() as u64, sent.datagrams);
            assert_eq!(sent.datagrams + sent.full, 200);
        }
    }

    fn written(backlog: &mut StreamBacklog, step: usize, sent: &mut Sent) -> Vec<u8> {
        let bytes: Vec<u8> = backlog.slices().concat().into_iter().take(step).collect();
        backlog.consume(bytes.len(), sent);
        bytes
    }

    fn drain(backlog: &mut StreamBacklog, step: usize) -> Vec<(usize, u8)> {
        frames(&written(backlog, step, &mut Sent::default()))
    }

    /// Length and first byte of each frame.
    fn frames(mut wire: &[u8]) -> Vec<(usize, u8)> {
        let mut frames = Vec::new();
        while let Some((header, rest)) = wire.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*header));
            let (frame, later) = rest.split_at(len);
            assert!(frame.iter().all(|byte| *byte == frame[0]), "frames are not mixed");
            frames.push((len, frame[0]));
            wire = later;
        }
        frames
    }
}
