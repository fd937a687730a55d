//! The metrics of the server, in one table; and `bug!` for broken invariants.
//!
//! * **Owns:** [`Metric`], the table of all numbers with their names; [`Counts`], the numbers of one thread;
//!   [`SharedCounts`], the copy that other threads read.
//! * **In:** [`Counts::add`], once for each thing that happens; [`bug!`].
//! * **Out:** [`Metric::ALL`] with [`Metric::group`] and [`Metric::name`], for `/debug/state` and other outputs.
//! * **Invariant:** adding costs one addition, no lock and no atomic operation; a thread publishes its
//!   numbers once a turn.
//! * **Not here:** how they are shown (`http`), where they are added up (`runtime`).

mod bug;
mod counts;
mod table;

pub use bug::{bugs, report_bug};
pub use counts::{Counts, SharedCounts};
pub use table::{Kind, Metric};
