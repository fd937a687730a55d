//! Which encoding of a track one subscriber gets, and which one it should.
//!
//! * **Owns:** the wish, the target, the current encoding.
//! * **In:** [`LayerSelector::set_limit`], [`LayerSelector::update_target`], [`LayerSelector::switch_to`].
//! * **Out:** [`LayerSelector::accepts`], [`LayerSelector::awaited_keyframe`], [`LayerSelector::watched`].
//! * **Invariant:** the current encoding moves only towards the target; nothing is current of what nobody
//!   wants.

use hearth_plane::LayerLimit;
use hearth_units::MediaKind;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct LayerSelector {
    limit: LayerLimit,
    kind: MediaKind,
    target: Option<u8>,
    current: Option<u8>,
}

impl LayerSelector {
    /// Nothing is sent yet.
    pub(crate) const fn new(kind: MediaKind, limit: LayerLimit) -> Self {
        Self { limit, kind, target: None, current: None }
    }

    pub(crate) const fn limit(&self) -> &LayerLimit {
        &self.limit
    }

    pub(crate) const fn current(&self) -> Option<u8> {
        self.current
    }

    /// Disabling takes effect at once.
    pub(crate) fn set_limit(&mut self, limit: LayerLimit) {
        self.limit = limit;
        if !limit.enabled {
            self.target = None;
            self.current = None;
        }
    }

    /// Chooses the target among the encodings that are alive (bit i of `available`): the best that is
    /// wanted, else the lowest there is. Returns the encoding a key frame is needed of.
    pub(crate) fn update_target(&mut self, available: u8) -> Option<u8> {
        if !self.limit.enabled {
            return None;
        }
        let wanted = (0..=self.limit.spatial.min(7)).rev().find(|i| available & (1 << i) != 0);
        let lowest = (available != 0).then(|| available.trailing_zeros() as u8);
        self.target = wanted.or(lowest).or(self.target);
        self.awaited_keyframe()
    }

    /// The encoding it cannot continue, or not improve, without a key frame of.
    pub(crate) fn awaited_keyframe(&self) -> Option<u8> {
        self.target.filter(|_| self.kind == MediaKind::Video && self.current != self.target)
    }

    /// The encodings whose packets it may get, now or from a key frame on: bit i for encoding i.
    pub(crate) fn watched(&self) -> u8 {
        let may_get = |i: &u8| self.current == Some(*i) || self.accepts(*i);
        (0..8).filter(|i| self.limit.enabled && may_get(i)).fold(0, |bits, i| bits | (1 << i))
    }

    /// Whether `encoding` may be switched to: a step from the current one towards the target.
    pub(crate) fn accepts(&self, encoding: u8) -> bool {
        let Some(target) = self.target else {
            return self.kind == MediaKind::Audio || encoding <= self.limit.spatial;
        };
        match self.current {
            None => encoding <= target || self.kind == MediaKind::Audio,
            Some(current) if target > current => current < encoding && encoding <= target,
            Some(current) => target <= encoding && encoding < current,
        }
    }

    /// A key frame of `encoding` came that it accepts.
    pub(crate) const fn switch_to(&mut self, encoding: u8) {
        self.current = Some(encoding);
    }
}
