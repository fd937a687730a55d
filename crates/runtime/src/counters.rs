//! Numbers that say what the node holds and what it dropped.
//!
//! * **Owns:** one atomic per number; written by whoever knows, read by [`Counters`] copies.
//! * **Invariant:** a gauge (rooms, sessions, tasks) is raised and lowered by one guard value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_net::Sent;

/// A copy of a node's numbers. The first six are what exists, the rest only grow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Rooms with a task.
    pub rooms: u64,
    /// Participants in all rooms.
    pub participants: u64,
    /// Signal connections.
    pub sessions: u64,
    /// Transports on all shards.
    pub peers: u64,
    /// Control tasks: the directory, and one per room.
    pub tasks: u64,
    /// Shard threads that run.
    pub shards: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams sent later than they should, as the kernel had no room for them at first.
    pub datagrams_delayed: u64,
    /// Bytes received, without UDP and IP headers.
    pub bytes_in: u64,
    /// Bytes sent, without UDP and IP headers.
    pub bytes_out: u64,
    /// What was lost on purpose, by reason.
    pub drops: Drops,
    /// Rooms, peers and tracks discarded after a panic.
    pub panics: u64,
    /// Times that a media thread began anew after it failed.
    pub shard_failures: u64,
}

/// What was lost on purpose.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drops {
    /// Datagrams to send that the kernel had no room for, for longer than they could wait.
    pub send_full: u64,
    /// Datagrams to send to where there is no route.
    pub send_unreachable: u64,
    /// Datagrams to send that a firewall of this machine holds back.
    pub send_denied: u64,
    /// Datagrams to send that are longer than the way takes.
    pub send_too_long: u64,
    /// Datagrams to send that the kernel refused for another reason.
    pub send_refused: u64,
    /// Datagrams received that are longer than any we read.
    pub receive_truncated: u64,
    /// Datagrams received of nobody we know.
    pub receive_unknown: u64,
    /// Datagrams of a known address that were malformed, replayed or not authentic.
    pub receive_invalid: u64,
    /// Answers and parcels for which a shard had no room.
    pub shard_full: u64,
    /// Messages that a slow data channel did not take.
    pub data: u64,
    /// Parcels for a shard whose queue was full.
    pub parcels: u64,
    /// Connectivity checks for another shard than the kernel gave them to, for which there was no room: a
    /// flood of strangers.
    pub checks: u64,
    /// Data that may be lost, levels and reports for which their room had no place.
    pub events: u64,
    /// Sessions closed because they did not read or wrote too fast.
    pub sessions: u64,
}

/// The numbers of the control plane.
#[derive(Debug, Default)]
pub(crate) struct ControlCounters {
    pub(crate) rooms: Arc<AtomicU64>,
    pub(crate) participants: AtomicU64,
    pub(crate) sessions: Arc<AtomicU64>,
    pub(crate) tasks: Arc<AtomicU64>,
    pub(crate) shards: Arc<AtomicU64>,
    pub(crate) panics: AtomicU64,
    pub(crate) dropped_sessions: AtomicU64,
}

/// The numbers of one shard; only its thread writes them, apart from `homes`.
#[derive(Debug, Default)]
pub(crate) struct ShardGauges {
    pub(crate) peers: AtomicU64,
    pub(crate) subscriptions: AtomicU64,
    /// New rooms whose newcomers go here.
    pub(crate) homes: Arc<AtomicU64>,
    pub(crate) datagrams_in: AtomicU64,
    pub(crate) datagrams_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) datagrams_delayed: AtomicU64,
    pub(crate) send_full: AtomicU64,
    pub(crate) send_unreachable: AtomicU64,
    pub(crate) send_denied: AtomicU64,
    pub(crate) send_too_long: AtomicU64,
    pub(crate) send_refused: AtomicU64,
    pub(crate) receive_truncated: AtomicU64,
    pub(crate) receive_unknown: AtomicU64,
    pub(crate) receive_invalid: AtomicU64,
    pub(crate) shard_full: AtomicU64,
    pub(crate) shard_checks: AtomicU64,
    pub(crate) data: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) parcels: AtomicU64,
    pub(crate) checks: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) failures: AtomicU64,
}

impl ShardGauges {
    /// What became of datagrams to send.
    pub(crate) fn count_sent(&self, sent: Sent) {
        for (gauge, number) in [
            (&self.datagrams_out, sent.datagrams),
            (&self.bytes_out, sent.bytes),
            (&self.datagrams_delayed, sent.delayed),
            (&self.send_full, sent.full),
            (&self.send_unreachable, sent.refused.unreachable),
            (&self.send_denied, sent.refused.denied),
            (&self.send_too_long, sent.refused.too_long),
            (&self.send_refused, sent.refused.other),
        ] {
            if number > 0 {
                add(gauge, number);
            }
        }
    }

    /// Adds this shard's numbers.
    pub(crate) fn add_to(&self, sum: &mut Counters) {
        sum.peers += read(&self.peers);
        sum.datagrams_in += read(&self.datagrams_in);
        sum.datagrams_out += read(&self.datagrams_out);
        sum.bytes_in += read(&self.bytes_in);
        sum.bytes_out += read(&self.bytes_out);
        sum.datagrams_delayed += read(&self.datagrams_delayed);
        sum.drops.send_full += read(&self.send_full);
        sum.drops.send_unreachable += read(&self.send_unreachable);
        sum.drops.send_denied += read(&self.send_denied);
        sum.drops.send_too_long += read(&self.send_too_long);
        sum.drops.send_refused += read(&self.send_refused);
        sum.drops.receive_truncated += read(&self.receive_truncated);
        sum.drops.receive_unknown += read(&self.receive_unknown);
        sum.drops.receive_invalid += read(&self.receive_invalid);
        sum.drops.shard_full += read(&self.shard_full);
        sum.drops.data += read(&self.data);
        sum.panics += read(&self.panics);
        sum.drops.parcels += read(&self.parcels);
        sum.drops.checks += read(&self.shard_checks) + read(&self.checks);
        sum.drops.events += read(&self.events);
        sum.shard_failures += read(&self.failures);
    }
}

impl ControlCounters {
    /// A copy, without the shards' part.
    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            rooms: read(&self.rooms),
            participants: read(&self.participants),
            sessions: read(&self.sessions),
            tasks: read(&self.tasks),
            shards: read(&self.shards),
            panics: read(&self.panics),
            drops: Drops { sessions: read(&self.dropped_sessions), ..Drops::default() },
            ..Counters::default()
        }
    }
}

/// Counts one thing for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Held(Arc<AtomicU64>);

impl Held {
    pub(crate) fn new(gauge: &Arc<AtomicU64>) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(gauge))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads one number.
pub(crate) fn read(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

/// Adds to one number.
pub(crate) fn add(number: &AtomicU64, more: u64) {
    number.fetch_add(more, Ordering::Relaxed);
}
