//! HTTP: signalling sockets, the server API, the demo page.
//!
//! [`Server`] runs all of it on connections that its caller has accepted.
//!
//! | path | what |
//! |---|---|
//! | `/rtc`, `/rtc/v1` | signal connections (WebSocket) |
//! | `/debug/state`, `/debug/reach` | for API key holders: numbers; whether a port is reached from here |
//! | `/rtc/diagnosis` | why the client of a token is not connected |
//! | `/rtc/validate`, `/rtc/v1/validate` | would a join be refused, and why |
//! | `/twirp/livekit.RoomService/…` | the server API, JSON and protobuf |
//! | `/lan`, `/lan/join`, `/ca.crt` | with `--lan`: how to get in from the same network, the local authority's certificate |
//! | `/`, `/assets/…` | `OK` for health checks, the demo page for browsers |

mod auth;
mod cors;
mod debug;
mod diagnosis;
mod dispatch;
mod head;
mod join;
mod lan;
mod page;
mod reflector;
mod refusal;
mod response;
mod serve;
mod socket;
mod twirp;
mod write_timeout;

use std::sync::Arc;

pub use lan::LanGuide;
pub use serve::Server;

pub use reflector::{MAX_PROBES, Probe, ProbeKind};

/// The state shared by all handlers.
#[derive(Clone)]
pub struct AppState {
    /// Where rooms are.
    pub node: hearth_runtime::Node,
    /// Whose tokens are believed.
    pub keys: Arc<hearth_access::Keys>,
    /// For people in the same network who try things out.
    pub lan: Option<Arc<LanGuide>>,
}
