//! Which addresses clients are told, why, and which they are not.
//!
//! * **Owns:** nothing; it is asked once, at the start.
//! * **In:** [`Wishes`] of the operator, the machine's interfaces, the answers of STUN servers.
//! * **Out:** an [`AddressPlan`]: what is advertised and bound, each with its reason, and what is left out.
//! * **Invariant:** [`select`], [`AddressPlan`] and [`stun`] are pure; [`find_external`] alone sends anything, and it
//!   has an answer within seconds.
//! * **livekit-server:** `rtcconfig` of its media transport utilities, for the meaning of the keys.

mod cidr;
mod discovery;
mod external;
mod filter;
mod plan;
pub mod stun;

pub use cidr::{Cidr, NotCidr};
pub use discovery::find_external;
pub use external::{
    DEFAULT_STUN_SERVERS, External, ExternalError, Failure, Hairpin, Obstacle, StunServer,
};
pub use filter::{AddressFilter, UnknownInterfaces};
pub use plan::{
    AddressPlan, Advertised, Excluded, NoAddress, Reason, Selected, Why, Wishes, select,
};
