//! Which layers of a track a subscription is to be sent.
//!
//! * **Owns:** nothing: pure functions of what is wanted and of what there is.
//! * **In:** the [`LayerLimit`] of the room, the encodings that are received, what is being sent.
//! * **Out:** a [`Target`] for [`DownTrack::set_target`](crate::DownTrack::set_target).
//! * **Invariant:** a target is never above the limit, unless all that the publisher sends is.
//! * **Not here:** bandwidth. What is chosen for each subscription alone is to be chosen for all subscriptions of a
//!   subscriber together, from its estimated bandwidth and [`UpTrack::layer_bitrate`](crate::UpTrack::layer_bitrate);
//!   nothing else has to change for that.
//! * **livekit-server:** `Forwarder.AllocateOptimal`.

use hearth_plane::LayerLimit;

/// The layers of a track that one subscription is to be sent, counted as in [`LayerLimit`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target {
    /// The spatial layer, which of simulcast is an encoding.
    pub spatial: u8,
    /// The highest temporal layer.
    pub temporal: u8,
}

/// The highest spatial layer that three bits can name, as all payload formats have them.
const MAX_SPATIAL: u8 = 7;

/// The best layers within `limit` of those there are (bit i of `available` for encoding i), else the lowest there are;
/// `None` if nothing is to be sent. `current` is the encoding that is being sent.
pub fn choose_target(limit: LayerLimit, available: u8, current: Option<u8>) -> Option<Target> {
    if !limit.enabled {
        return None;
    }
    let highest = limit.spatial.min(MAX_SPATIAL);
    let best = (0..=highest).rev().find(|i| available & (1 << i) != 0);
    let lowest = || (available != 0).then(|| available.trailing_zeros() as u8);
    // While nothing at all is received, what was sent is the likeliest to come again.
    let spatial = best.or_else(lowest).or(current).unwrap_or(highest);
    Some(Target { spatial, temporal: limit.temporal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_within_the_limit_is_chosen_of_what_there_is() {
        let all = LayerLimit::ALL;
        let low = LayerLimit { spatial: 0, ..all };
        for (limit, available, current, expect) in [
            (all, 0b111, None, Some(2)),
            (all, 0b011, Some(2), Some(1)),
            (all, 0b001, None, Some(0)),
            (low, 0b111, Some(2), Some(0)),
            // Better too much than nothing.
            (low, 0b110, None, Some(1)),
            // Nothing comes, or has come yet.
            (all, 0, Some(1), Some(1)),
            (low, 0, Some(1), Some(1)),
            (low, 0, None, Some(0)),
            (all, 0, None, Some(2)),
            // More than can be.
            (LayerLimit { spatial: 200, ..all }, 0, None, Some(7)),
            (LayerLimit { spatial: 200, ..all }, 0b1000_0001, None, Some(7)),
            (LayerLimit { enabled: false, ..all }, 0b111, Some(1), None),
        ] {
            let target = choose_target(limit, available, current);
            let shown = format!("{limit:?} {available:03b} {current:?}");
            assert_eq!(target.map(|target| target.spatial), expect, "{shown}");
        }
    }

    #[test]
    fn the_temporal_layers_are_those_of_the_limit() {
        let limit = LayerLimit { temporal: 1, ..LayerLimit::ALL };
        assert_eq!(choose_target(limit, 0b1, None).map(|target| target.temporal), Some(1));
    }
}
