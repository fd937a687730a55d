//! The metrics of a node: those of the control plane, and those of each shard.
//!
//! * **Owns:** [`GaugeGuard`], which counts one thing for as long as it lives; [`ShardGauges`].
//! * **In:** [`hearth_metrics::SharedCounts`]; a shard's thread publishes its own once a turn.
//! * **Out:** [`Node::counts`](crate::Node::counts), the sum.
//! * **Invariant:** a gauge (rooms, sessions, tasks) is raised and lowered by one guard value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_metrics::{Counts, Metric, SharedCounts};
use hearth_net::Sent;

/// Counts the results of datagrams to send.
pub(crate) fn count_sent(counts: &mut Counts, sent: Sent) {
    for (metric, number) in [
        (Metric::DatagramsSent, sent.datagrams),
        (Metric::BytesSent, sent.bytes),
        (Metric::DatagramsDelayed, sent.delayed),
        (Metric::DropSendFull, sent.full),
        (Metric::DropSendUnreachable, sent.refused.unreachable),
        (Metric::DropSendDenied, sent.refused.denied),
        (Metric::DropSendTooLong, sent.refused.too_long),
        (Metric::DropSendRefused, sent.refused.other),
    ] {
        counts.add(metric, number);
    }
}

/// The numbers of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardGauges {
    /// Only its thread writes them.
    pub(crate) counts: SharedCounts,
    /// New rooms whose newcomers go here.
    pub(crate) homes: Arc<AtomicU64>,
}

/// Counts one thing for as long as the value lives.
#[derive(Debug)]
pub(crate) struct GaugeGuard {
    counts: Arc<SharedCounts>,
    metric: Metric,
}

impl GaugeGuard {
    pub(crate) fn new(counts: &Arc<SharedCounts>, metric: Metric) -> Self {
        counts.add(metric, 1);
        Self { counts: Arc::clone(counts), metric }
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.counts.subtract(self.metric, 1);
    }
}

/// Counts a new room at its home for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Expected(Arc<AtomicU64>);

impl Expected {
    pub(crate) fn new(homes: &Arc<AtomicU64>) -> Self {
        homes.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(homes))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
