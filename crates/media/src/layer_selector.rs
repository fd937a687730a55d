//! Which encoding of a track one subscriber is sent, on the way to the one it is to be sent.
//!
//! * **Owns:** the target and the encoding that is being sent.
//! * **In:** [`LayerSelector::set_target`], [`LayerSelector::switch_to`].
//! * **Out:** [`LayerSelector::accepts`], [`LayerSelector::awaited_keyframe`], [`LayerSelector::watched`].
//! * **Invariant:** the encoding that is sent changes only towards the target, and without a target nothing is
//!   sent.
//! * **Not here:** what the target should be ([`choose_target`](crate::choose_target)).

use hearth_units::MediaKind;

use crate::layer_target::Target;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct LayerSelector {
    kind: MediaKind,
    target: Option<Target>,
    current: Option<u8>,
}

impl LayerSelector {
    /// Nothing is to be sent yet.
    pub(crate) const fn new(kind: MediaKind) -> Self {
        Self { kind, target: None, current: None }
    }

    pub(crate) const fn target(&self) -> Option<Target> {
        self.target
    }

    pub(crate) const fn current(&self) -> Option<u8> {
        self.current
    }

    /// What to send from now on. `None` takes effect at once, another encoding with its next key frame.
    pub(crate) const fn set_target(&mut self, target: Option<Target>) {
        self.target = target;
        if target.is_none() {
            self.current = None;
        }
    }

    /// The encoding that it cannot continue without a key frame of, or without one cannot change to.
    pub(crate) fn awaited_keyframe(&self) -> Option<u8> {
        let encoding = self.target.filter(|_| self.kind == MediaKind::Video)?.spatial;
        (self.current != Some(encoding)).then_some(encoding)
    }

    /// The encodings whose packets it may get, at once or from a key frame on: bit i for encoding i.
    pub(crate) fn watched(&self) -> u8 {
        let may_get = |i: &u8| self.current == Some(*i) || self.accepts(*i);
        (0..8).filter(may_get).fold(0, |bits, i| bits | (1 << i))
    }

    /// Whether `encoding` may be switched to: a step from the current one towards the target.
    pub(crate) fn accepts(&self, encoding: u8) -> bool {
        let Some(Target { spatial: target, .. }) = self.target else {
            return false;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// After `current` is sent, the target is `target`: the encodings it accepts, and the key frame it waits for.
    #[track_caller]
    fn check(current: Option<u8>, target: Option<u8>, accepted: &[u8], awaited: Option<u8>) {
        let mut selector = LayerSelector::new(MediaKind::Video);
        let at = |spatial| Target { spatial, temporal: 7 };
        if let Some(current) = current {
            selector.set_target(Some(at(current)));
            selector.switch_to(current);
        }
        selector.set_target(target.map(at));
        let accepts: Vec<u8> = (0..3).filter(|i| selector.accepts(*i)).collect();
        assert_eq!((&*accepts, selector.awaited_keyframe()), (accepted, awaited));
        let sent = selector.current().into_iter().chain(accepts);
        assert_eq!(selector.watched(), sent.fold(0, |bits, i| bits | (1 << i)));
    }

    #[test]
    fn every_step_leads_towards_the_target() {
        check(None, None, &[], None);
        check(None, Some(2), &[0, 1, 2], Some(2));
        check(None, Some(0), &[0], Some(0));
        check(Some(0), Some(2), &[1, 2], Some(2));
        check(Some(1), Some(1), &[], None);
        check(Some(2), Some(0), &[0, 1], Some(0));
        check(Some(2), None, &[], None);
    }

    #[test]
    fn sound_needs_no_key_frame_and_comes_in_whatever_encoding() {
        let mut selector = LayerSelector::new(MediaKind::Audio);
        selector.set_target(Some(Target { spatial: 0, temporal: 0 }));
        assert!(selector.accepts(1));
        assert_eq!(selector.awaited_keyframe(), None);
    }
}
