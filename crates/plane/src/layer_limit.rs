//! The layers of a track that one subscription may get.

/// The highest layers of a track that a subscriber may be sent: what its settings, its permissions and the size of
/// its picture ask for. What the allocation of its bandwidth makes of that is decided on the shard, and is never
/// more.
///
/// The two layer numbers count as RFC 9626 and the AV1 RTP specification do: 0 is the base layer, each one above
/// refines those below it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LayerLimit {
    /// False: send nothing, but keep the subscription and its section of the session description.
    pub enabled: bool,
    /// Highest spatial layer. Of simulcast, whose spatial layers are streams of their own, this is the index of the
    /// highest encoding; of a scalable stream (VP9 or AV1 SVC) the highest spatial layer inside it. A track has one
    /// or the other, never both.
    pub spatial: u8,
    /// Highest temporal layer, whichever scheme the spatial layers use.
    pub temporal: u8,
}

impl LayerLimit {
    /// Everything there is: simulcast has three encodings at most, and no payload format more than eight temporal
    /// layers.
    pub const ALL: Self = Self { enabled: true, spatial: 2, temporal: 7 };
}
