//! Access tokens (JWT): identity and grants, signed by an API key.
//!
//! * **Owns:** the API keys; nothing that changes over time.
//! * **In:** tokens from clients, and the time.
//! * **Out:** [`Claims`], or [`TokenError`] whose text goes to the client; an [`AdmittedJoin`], which
//!   is not checked again; new tokens.
//! * **Invariant:** only HS256 under a known key is accepted, and only with an expiry.
//! * **Not here:** what a grant means for a request (`room`, `http`).

mod admission;
mod claims;
mod grant;
mod json;
mod keys;
mod limits;

pub use admission::{AdmitError, AdmittedJoin, JoinOptions};
pub use claims::{Claims, TokenBuilder};
pub use grant::VideoGrant;
pub use json::WrongType;
pub use keys::{Keys, LEEWAY, TokenError};
pub use limits::{Limits, TooLarge};
