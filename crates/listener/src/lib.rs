//! TCP ports: accepts connections, tells protocols apart by their first bytes, hands them over.
//!
//! A port serves the union of what is configured for it ([`Services`]): HTTP and HTTPS, ICE-TCP, TURN over TCP and TLS may
//! share one. [`serve`] runs all ports.
//!
//! | first bytes | goes to |
//! |---|---|
//! | letters | [`hearth_http::Server`] |
//! | a connectivity check in a frame | [`IceTcp`] |
//! | a STUN request | [`Turn`] |
//! | a TLS record | after its handshake to HTTP or to [`Turn`], as ALPN says, or else the first byte inside |

mod accept;
mod first_bytes;
mod half_open;
mod handshake;
mod opening;
mod pace;

pub use accept::{Handlers, IceTcp, Port, Services, Turn, serve};
pub use first_bytes::{DECISIVE, Protocol, Verdict, tell, tell_plaintext};
pub use opening::USE_HTTPS;
