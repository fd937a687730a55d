//! Who is in the room, what they may do, and what they are told.
