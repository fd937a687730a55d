//! MESSAGE-INTEGRITY of long-term credentials.
//!
//! * **Owns:** a key of one user. **In:** messages. **Out:** tags, verdicts.
//! * **Invariant:** tags are compared in constant time.
//! * **Spec:** RFC 8489 §9.2.2 (key: MD5 of user, realm and password), §14.5 (HMAC-SHA1). Both hashes are what clients
//!   speak; neither needs to resist collisions here.

use std::fmt;

use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};

/// Bytes of a tag.
pub(crate) const INTEGRITY_LEN: usize = 20;

/// The key of a user.
#[derive(Clone)]
pub struct Key {
    bytes: [u8; 16],
}

impl Key {
    /// Of a user name and password in a realm, none of which may have a colon where it matters.
    pub fn long_term(user: &str, realm: &str, password: &str) -> Self {
        let mut hash = Md5::new();
        for part in [user, ":", realm, ":", password] {
            hash.update(part.as_bytes());
        }
        Self { bytes: hash.finalize().into() }
    }

    pub(crate) fn sign(&self, head: [u8; 4], rest: &[u8]) -> [u8; INTEGRITY_LEN] {
        let mut context = hmac::Context::with_key(&self.hmac());
        context.update(&head);
        context.update(rest);
        context.sign().as_ref().try_into().unwrap_or_default()
    }

    pub(crate) fn verifies(&self, head: [u8; 4], rest: &[u8], tag: &[u8]) -> bool {
        let own = self.sign(head, rest);
        aws_lc_rs::constant_time::verify_slices_are_equal(&own, tag).is_ok()
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.bytes)
    }
}

/// Shows nothing: it would be a key in a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
