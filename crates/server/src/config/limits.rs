//! `limit`: how large metadata, attributes and names may be.
//!
//! * **Owns:** nothing.
//! * **In:** the raw sections `limit` and `room`, which has older names of three of the keys.
//! * **Out:** [`Limits`], or the first value out of range.
//! * **Invariant:** an older name other than 0 wins.
//! * **livekit-server:** `pkg/config/config.go` (`NewConfig`, "copy over legacy limits").

use hearth_access::Limits;

use super::raw::{RawLimit, RawRoom};
use super::{ConfigError, ranged};

pub(super) fn limits(raw: &RawLimit, room: &RawRoom) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let bytes = |key, value, default| {
        let most = u32::MAX.into();
        ranged::<usize>(key, value, 0..=most, default, "0..=4294967295 bytes, 0 for no limit")
    };
    let either = |(old_key, old), (key, value), default: usize| {
        let default = i128::try_from(default).unwrap_or(0);
        match bytes(old_key, old, 0)? {
            0 => bytes(key, value, default),
            old => Ok(old),
        }
    };
    let none = ("", None);
    Ok(Limits {
        metadata: either(
            ("room.max_metadata_size", room.max_metadata_size),
            ("limit.max_metadata_size", raw.max_metadata_size),
            default.metadata,
        )?,
        attributes: either(
            none,
            ("limit.max_attributes_size", raw.max_attributes_size),
            default.attributes,
        )?,
        room_name: either(
            ("room.max_room_name_length", room.max_room_name_length),
            ("limit.max_room_name_length", raw.max_room_name_length),
            default.room_name,
        )?,
        identity: either(
            ("room.max_participant_identity_length", room.max_participant_identity_length),
            ("limit.max_participant_identity_length", raw.max_participant_identity_length),
            default.identity,
        )?,
        name: either(
            none,
            ("limit.max_participant_name_length", raw.max_participant_name_length),
            default.name,
        )?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Overrides};
    use super::*;

    #[test]
    fn limits_have_their_defaults_0_is_none_and_older_names_win() {
        let limits = |yaml: &str| {
            let yaml = format!("keys: {{k: s}}\n{yaml}");
            let config = Config::load(Some(("c.yaml", &yaml)), Overrides::default());
            config.map(|config| config.room().limits).map_err(|error| error.to_string())
        };
        let default = Limits::default();
        assert_eq!(limits(""), Ok(default));
        assert_eq!(
            limits("limit: {max_metadata_size: 0, max_participant_name_length: 7}"),
            Ok(Limits { metadata: 0, name: 7, ..default })
        );
        assert_eq!(
            limits("limit: {max_metadata_size: 9}\nroom: {max_metadata_size: 8}"),
            Ok(Limits { metadata: 8, ..default })
        );
        assert!(
            limits("limit: {max_metadata_size: -1}").unwrap_err().contains("max_metadata_size")
        );
    }
}
