//! HTTP: signalling sockets, the server API, the demo page.
//!
//! [`serve`] runs all of it on listeners that its caller has bound.
//!
//! | path | what |
//! |---|---|
//! | `/rtc`, `/rtc/v1` | signal connections (WebSocket) |
//! | `/debug/state`, `/debug/reach` | for API key holders: numbers; whether a port is reached from here |
//! | `/rtc/diagnosis` | why the client of a token is not connected |
//! | `/rtc/validate`, `/rtc/v1/validate` | would a join be refused, and why |
//! | `/twirp/livekit.RoomService/…` | the server API, JSON and protobuf |
//! | `/`, `/assets/…` | `OK` for health checks, the demo page for browsers |

mod auth;
mod cors;
mod debug;
mod diagnosis;
mod dispatch;
mod head;
mod join;
mod listen;
mod page;
mod reflector;
mod refusal;
mod response;
mod socket;
mod twirp;
mod write_timeout;

use std::sync::Arc;

pub use listen::serve;

pub use reflector::{Probe, ProbeKind};

/// The state shared by all handlers.
#[derive(Clone)]
pub struct AppState {
    /// Where rooms are.
    pub node: hearth_runtime::Node,
    /// Whose tokens are believed.
    pub keys: Arc<hearth_access::Keys>,
}
