//! Load tests: many participants in one room; packet loss and latency of what they receive.
//!
//! * **Owns:** nothing between two tests.
//! * **In:** a [`Plan`].
//! * **Out:** a [`Report`]: for people ([`Report::table`], [`Report::html`]) and programs (JSON).
//! * **Invariant:** figures are counted, never derived; the expected value stands beside each.

mod html;
mod plan;
mod report;
mod run;

pub use crate::attacker::{Attack, AttackKind};
pub use crate::socket::JoinError;
pub use crate::thread::Second;
pub use plan::{Audience, DataPlan, Layout, Plan, PlanError, VideoPlan};
pub use report::{JoinFailure, Percentiles, Report, TrackRow};
pub use run::{LoadError, run};
