//! Names for things that both sides hold.

use std::ops::RangeInclusive;

/// One media thread of this node.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(pub u16);

/// One room on this node; part of every other id, so that an event finds its room.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RoomId(pub u32);

macro_rules! room_scoped_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name {
            /// The room it belongs to.
            pub room: RoomId,
            /// Counts up within the room; never reused.
            pub n: u32,
        }

        impl $name {
            /// All of one room, as a range of an ordered map.
            pub const fn all_of(room: RoomId) -> RangeInclusive<Self> {
                Self { room, n: 0 }..=Self { room, n: u32::MAX }
            }
        }
    };
}

room_scoped_id!(
    /// One `RTCPeerConnection` of one participant.
    PeerId
);
room_scoped_id!(
    /// One published track in one codec: the receiving side of a publication.
    TrackId
);
room_scoped_id!(
    /// The sending side of one subscription.
    DownId
);
