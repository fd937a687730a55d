//! Load tests: many participants in one room, and what reached whom.
//!
//! * **Owns:** nothing between two tests.
//! * **In:** a [`Plan`].
//! * **Out:** a [`Report`]: for people ([`Report::table`], [`Report::html`]) and programs (JSON).
//! * **Invariant:** a figure is what was counted; what was expected stands beside it.

mod html;
mod plan;
mod report;
mod run;

pub use crate::socket::JoinError;
pub use crate::thread::Second;
pub use plan::{DataPlan, Layout, Plan, PlanError, VideoPlan};
pub use report::{JoinFailure, Percentiles, Report, TrackRow};
pub use run::{LoadError, run};
