//! Size limits of names, metadata and attributes of participants and rooms.
//!
//! * **Owns:** the limits of a deployment.
//! * **In:** texts and attributes.
//! * **Out:** [`TooLarge`], or nothing to complain of.
//! * **Invariant:** every size is in bytes of UTF-8, and 0 is no limit.
//! * **livekit-server:** `pkg/config/config.go` (`LimitConfig`).

use std::collections::BTreeMap;

/// The keys of `limit`, in bytes; 0 is no limit. Higher lets applications say more, lower bounds what
/// every participant of a room has to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// `limit.max_metadata_size`: a participant's or a room's metadata.
    pub metadata: usize,
    /// `limit.max_attributes_size`: all names and values of a participant's attributes.
    pub attributes: usize,
    /// `limit.max_room_name_length`.
    pub room_name: usize,
    /// `limit.max_participant_identity_length`.
    pub identity: usize,
    /// `limit.max_participant_name_length`; a token's is not measured.
    pub name: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata: 512 * 1024,
            attributes: 64 * 1024,
            room_name: 256,
            identity: 256,
            name: 256,
        }
    }
}

/// Something is above its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLarge {
    /// In bytes.
    pub size: usize,
    /// In bytes.
    pub limit: usize,
}

impl Limits {
    /// Measures a participant's or a room's metadata.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn check_metadata(&self, metadata: &str) -> Result<(), TooLarge> {
        check(metadata.len(), self.metadata)
    }

    /// Measures attributes, names and values together.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn check_attributes(&self, attributes: &BTreeMap<String, String>) -> Result<(), TooLarge> {
        let size = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        check(size, self.attributes)
    }

    /// Measures a room's name.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn check_room_name(&self, name: &str) -> Result<(), TooLarge> {
        check(name.len(), self.room_name)
    }

    /// Measures a participant's identity.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn check_identity(&self, identity: &str) -> Result<(), TooLarge> {
        check(identity.len(), self.identity)
    }

    /// Measures a participant's name.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn check_name(&self, name: &str) -> Result<(), TooLarge> {
        check(name.len(), self.name)
    }
}

fn check(size: usize, limit: usize) -> Result<(), TooLarge> {
    if limit != 0 && size > limit { Err(TooLarge { size, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_bytes_and_0_is_no_limit() {
        let limits = Limits { name: 4, attributes: 4, ..Limits::default() };
        assert_eq!(limits.check_name("ää"), Ok(()));
        assert_eq!(limits.check_name("äää"), Err(TooLarge { size: 6, limit: 4 }));
        let attributes = |value: &str| [("k".to_owned(), value.to_owned())].into();
        assert_eq!(limits.check_attributes(&attributes("abc")), Ok(()));
        assert!(limits.check_attributes(&attributes("abcd")).is_err());
        let none = Limits { metadata: 0, ..limits };
        assert_eq!(none.check_metadata(&"m".repeat(1 << 20)), Ok(()));
    }
}
