//! Random numbers for sids, ICE credentials, SSRCs and other values on the wire.
//!
//! * **Owns:** a [`Seed`] of 256 bits, the seeds derived from it, and the position of each [`Rng`].
//! * **In:** 32 bytes from the operating system, once a process; tests choose them.
//! * **Out:** the same numbers for the same seed.
//! * **Invariant:** each [`Purpose`] and number has a ChaCha stream of its own, so that no value on the
//!   wire can be computed from others, however many are collected.
//! * **Spec:** ChaCha (RFC 8439 §2.3) with 12 rounds, a 64-bit counter and a 64-bit stream number, from
//!   the `chacha20` crate.
//! * **Not here:** the randomness of the operating system (`runtime`); keys and nonces of DTLS, which its
//!   crypto library draws.

mod rng;
mod seed;

pub use rng::Rng;
pub use seed::{Purpose, Seed};
