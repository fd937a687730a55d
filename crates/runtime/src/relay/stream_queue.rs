//! What waits for a client that reads its stream more slowly than media comes.
//!
//! * **Owns:** whole messages in order, in one buffer, each with its age.
//! * **In:** [`StreamQueue::push`]. **Out:** [`StreamQueue::waiting`], and [`StreamQueue::sent`] what of it has left.
//! * **Invariant:** a message that has partly left leaves whole. Nothing waits for longer than a second, and video gives way
//!   to all else: what is encrypted is taken for video if it is a long RTP packet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that may wait: at 2 Mbit/s, a quarter of a second.
const MAX_BYTES: usize = 64 * 1_024;
/// How long video may wait. After that newer is better.
const MAX_AGE_VIDEO: Duration = Duration::from_millis(250);
/// How long anything may.
const MAX_AGE: Duration = Duration::from_secs(1);
/// RTP packets from this length on are taken for video: sound is shorter, and what video has below that is little.
const VIDEO_LEN: usize = 500;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    len: usize,
    is_video: bool,
    since: Instant,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct StreamQueue {
    bytes: Vec<u8>,
    /// How many of `bytes` have left.
    sent: usize,
    messages: VecDeque<Waiting>,
    /// The first has partly left.
    has_begun: bool,
}

impl StreamQueue {
    /// Adds a message, and returns how many were dropped for it. `payload`: the packet inside it.
    pub(super) fn push(&mut self, now: Instant, message: &[u8], payload: &[u8]) -> u64 {
        let is_video = is_rtp(payload) && payload.len() >= VIDEO_LEN;
        let mut dropped = 0;
        let oldest = self.messages.front().map(|first| now.saturating_duration_since(first.since));
        let full = self.len() + message.len() > MAX_BYTES;
        if full || oldest.is_some_and(|age| age > MAX_AGE_VIDEO) {
            dropped += self.shed(now, full);
        }
        if self.len() + message.len() > MAX_BYTES {
            return dropped + 1;
        }
        if self.sent > 0 && self.bytes.len() + message.len() > self.bytes.capacity() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(message);
        self.messages.push_back(Waiting { len: message.len(), is_video, since: now });
        dropped
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What is to leave, in order.
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes have left.
    pub(super) fn sent(&mut self, mut len: usize) {
        self.sent += len;
        while let Some(first) = self.messages.front_mut() {
            if len < first.len {
                // The rest of a message that has begun.
                first.len -= len;
                self.has_begun |= len > 0;
                return;
            }
            len -= first.len;
            self.has_begun = false;
            self.messages.pop_front();
        }
        self.bytes.clear();
        self.sent = 0;
    }

    /// Bytes that wait.
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Drops what is too old; if there is no room, video whatever its age until half of it is free.
    fn shed(&mut self, now: Instant, full: bool) -> u64 {
        let before = self.messages.len();
        let mut excess = if full { self.len().saturating_sub(MAX_BYTES / 2) } else { 0 };
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        let mut at = self.sent;
        let mut first = true;
        self.messages.retain(|message| {
            let age = now.saturating_duration_since(message.since);
            let too_old = age > if message.is_video { MAX_AGE_VIDEO } else { MAX_AGE };
            let held = std::mem::take(&mut first) && self.has_begun;
            let drop = !held && (too_old || (message.is_video && excess > 0));
            let end = at + message.len;
            if drop {
                excess = excess.saturating_sub(message.len);
            } else {
                bytes.extend_from_slice(self.bytes.get(at..end).unwrap_or_default());
            }
            at = end;
            !drop
        });
        (self.bytes, self.sent) = (bytes, 0);
        (before - self.messages.len()) as u64
    }
}

/// Neither STUN, DTLS nor RTCP (RFC 7983, RFC 5761).
fn is_rtp(packet: &[u8]) -> bool {
    matches!(packet, [128..=191, kind, ..] if !(64..=95).contains(&(kind & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch() -> Instant {
        crate::WallClock::now()
    }

    const MS: Duration = Duration::from_millis(1);

    /// A message of `len` bytes with number `n`, which is video if `len` is 1,000.
    fn message(n: u8, len: usize) -> Vec<u8> {
        let mut message = vec![n; len];
        message[..2].copy_from_slice(&[128, 96]);
        message
    }

    fn push(queue: &mut StreamQueue, now: Instant, n: u8, len: usize) -> u64 {
        let message = message(n, len);
        queue.push(now, &message, &message)
    }

    /// The numbers of the messages that wait.
    fn numbers(queue: &StreamQueue) -> Vec<u8> {
        let mut rest = queue.waiting();
        let mut numbers = Vec::new();
        for waiting in &queue.messages {
            let (message, later) = rest.split_at(waiting.len);
            numbers.extend(message.last());
            rest = later;
        }
        assert_eq!(rest, b"");
        numbers
    }

    #[test]
    fn of_a_full_queue_the_oldest_video_goes_and_sound_stays() {
        let (mut queue, now) = (StreamQueue::default(), epoch());
        let mut dropped = 0;
        for n in 1..=80 {
            dropped += push(&mut queue, now, n, if n % 10 == 0 { 100 } else { 1_000 });
        }
        assert!(dropped > 0 && queue.waiting().len() <= MAX_BYTES);
        let kept = numbers(&queue);
        assert!((1..=8).all(|n| kept.contains(&(10 * n))), "{kept:?}");
        assert!(kept.contains(&79) && !kept.contains(&1), "{kept:?}");
    }

    #[test]
    fn video_waits_for_a_quarter_of_a_second_and_nothing_for_longer_than_one() {
        let (mut queue, now) = (StreamQueue::default(), epoch());
        push(&mut queue, now, 1, 1_000);
        push(&mut queue, now, 2, 100);
        assert_eq!(push(&mut queue, now + 251 * MS, 3, 1_000), 1);
        assert_eq!(numbers(&queue), [2, 3]);
        assert_eq!(push(&mut queue, now + 1_001 * MS, 4, 100), 2);
        assert_eq!(numbers(&queue), [4]);
    }

    #[test]
    fn a_message_that_has_partly_left_leaves_whole() {
        let (mut queue, now) = (StreamQueue::default(), epoch());
        let mut left = Vec::new();
        for n in 1..=3 {
            push(&mut queue, now, n, 1_000);
        }
        left.extend_from_slice(&queue.waiting()[..1_300]);
        queue.sent(1_300);
        assert_eq!(push(&mut queue, now + 2_000 * MS, 4, 1_000), 1, "the third");
        left.extend_from_slice(queue.waiting());
        queue.sent(queue.waiting().len());
        assert!(queue.is_empty() && queue.waiting().is_empty());
        let expected = [message(1, 1_000), message(2, 1_000), message(4, 1_000)].concat();
        assert!(left == expected);
    }
}
