//! One subscriber's VP8 picture numbers, continuous over switches and withheld pictures.
//!
//! * **Owns:** the last picture sent and how the next ones are renumbered.
//! * **In:** [`Vp8Rewriter::switch_to`] (another source), [`Vp8Rewriter::skip`] (picture withheld).
//! * **Out:** [`Vp8Rewriter::map`], for packets in any order.
//! * **Invariant:** all packets of a picture get one number; a lost picture stays a gap.
//! * **Spec:** RFC 7741 §4.2: PictureID 7 or 15 bits, TL0PICIDX 8 bits, KEYIDX 5 bits, all wrap.
//! * **livekit-server:** `pkg/sfu/codecmunger/vp8.go`.

/// Pictures that late packets may still belong to: a retransmission comes within a second and a round trip of
/// what was lost (`hearth_peer::NackTracker`), which is 66 pictures at 60 a second and 120 at 110.
const WINDOW: usize = 128;
/// We always send the 15-bit form.
const MASK: u16 = 0x7fff;

/// The three numbers of a VP8 payload descriptor.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Vp8PictureIds {
    /// PictureID.
    pub(crate) picture_id: u16,
    /// TL0PICIDX.
    pub(crate) tl0: u8,
    /// KEYIDX.
    pub(crate) keyidx: u8,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    input: u16,
    output: u16,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Vp8Rewriter {
    /// Newest picture of the source, whether sent or withheld.
    newest: Option<u16>,
    last_out: Vp8PictureIds,
    started: bool,
    tl0_offset: u8,
    keyidx_offset: u8,
    seen: [Option<Seen>; WINDOW],
}

impl Default for Vp8Rewriter {
    fn default() -> Self {
        Self {
            newest: None,
            last_out: Vp8PictureIds::default(),
            started: false,
            tl0_offset: 0,
            keyidx_offset: 0,
            seen: [None; WINDOW],
        }
    }
}

impl Vp8Rewriter {
    /// The next picture comes from another source and starts with `first`.
    pub(crate) fn switch_to(&mut self, first: Vp8PictureIds, modulus: u16) {
        self.seen = [None; WINDOW];
        if self.started {
            self.tl0_offset = self.last_out.tl0.wrapping_add(1).wrapping_sub(first.tl0);
            self.keyidx_offset = self.last_out.keyidx.wrapping_add(1).wrapping_sub(first.keyidx);
            self.newest = Some(first.picture_id.wrapping_sub(1) & (modulus - 1));
        } else {
            self.started = true;
            self.newest = None;
        }
    }

    /// A packet of picture `picture_id` was withheld: its number is given to the next one.
    pub(crate) fn skip(&mut self, picture_id: u16, modulus: u16) {
        let ahead = self.ahead(picture_id, modulus);
        if let Some(ahead) = ahead.filter(|ahead| *ahead > 0 && *ahead < modulus / 2) {
            self.reserve(ahead, modulus);
            self.last_out.picture_id = self.last_out.picture_id.wrapping_add(ahead - 1) & MASK;
            self.newest = Some(picture_id);
        }
    }

    /// The numbers to send. For a late packet `None` if it is of a picture before the switch or the window, or
    /// of one that was withheld; never if `is_next`, the packet is newer than all before it: a picture id that
    /// falls back then begins anew.
    pub(crate) fn map(
        &mut self,
        input: Vp8PictureIds,
        modulus: u16,
        is_next: bool,
    ) -> Option<Vp8PictureIds> {
        let ahead = self.ahead(input.picture_id, modulus);
        let (picture_id, begins) = match ahead {
            None => (input.picture_id & MASK, true),
            Some(ahead) if ahead > 0 && ahead < modulus / 2 => {
                self.reserve(ahead, modulus);
                (self.last_out.picture_id.wrapping_add(ahead) & MASK, true)
            }
            Some(_) => match self.seen(input.picture_id) {
                Some(known) => (known, false),
                None if is_next => {
                    self.seen = [None; WINDOW];
                    (self.last_out.picture_id.wrapping_add(1) & MASK, true)
                }
                None => return None,
            },
        };
        let out = Vp8PictureIds {
            picture_id,
            tl0: input.tl0.wrapping_add(self.tl0_offset),
            keyidx: input.keyidx.wrapping_add(self.keyidx_offset) & 0x1f,
        };
        if begins {
            self.newest = Some(input.picture_id);
            self.last_out = out;
            self.remember(input.picture_id, picture_id);
        }
        Some(out)
    }

    /// Keeps numbers for the pictures between the newest and the one `ahead` of it: they may have
    /// been lost as a whole, and be retransmitted.
    fn reserve(&mut self, ahead: u16, modulus: u16) {
        let Some(newest) = self.newest else {
            return;
        };
        for i in ahead.saturating_sub(WINDOW as u16).max(1)..ahead {
            let output = self.last_out.picture_id.wrapping_add(i) & MASK;
            self.remember(newest.wrapping_add(i) & (modulus - 1), output);
        }
    }

    fn remember(&mut self, input: u16, output: u16) {
        if let Some(slot) = self.seen.get_mut(usize::from(input) % WINDOW) {
            *slot = Some(Seen { input, output });
        }
    }

    /// How far `picture_id` lies after the newest, modulo `modulus`.
    fn ahead(&self, picture_id: u16, modulus: u16) -> Option<u16> {
        self.newest.map(|newest| picture_id.wrapping_sub(newest) & (modulus - 1))
    }

    fn seen(&self, picture_id: u16) -> Option<u16> {
        let slot = self.seen.get(usize::from(picture_id) % WINDOW)?.as_ref()?;
        (slot.input == picture_id).then_some(slot.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS15: u16 = 0x8000;

    fn triple(picture_id: u16) -> Vp8PictureIds {
        Vp8PictureIds { picture_id, tl0: picture_id as u8, keyidx: 0 }
    }

    fn started(first: u16) -> Vp8Rewriter {
        let mut numbers = Vp8Rewriter::default();
        numbers.switch_to(triple(first), BITS15);
        numbers
    }

    #[track_caller]
    fn check(numbers: &mut Vp8Rewriter, input: u16, expect: Option<u16>) {
        let out = numbers.map(triple(input), BITS15, false);
        assert_eq!(out.map(|out| out.picture_id), expect, "{input}");
    }

    #[test]
    fn a_picture_of_sixty_a_second_is_let_in_as_long_as_it_is_asked_for() {
        let mut numbers = started(10);
        check(&mut numbers, 10, Some(10));
        for picture in 12..78 {
            check(&mut numbers, picture, Some(picture));
        }
        check(&mut numbers, 11, Some(11));
    }

    #[test]
    fn an_encoder_that_counts_its_pictures_anew_goes_on() {
        let mut numbers = started(5_000);
        check(&mut numbers, 5_000, Some(5_000));
        check(&mut numbers, 3, None);
        let mut next = |id| numbers.map(triple(id), BITS15, true).map(|out| out.picture_id);
        assert_eq!([next(3), next(3), next(4)], [Some(5_001), Some(5_001), Some(5_002)]);
    }

    #[test]
    fn withheld_pictures_leave_no_gap_and_lost_ones_do() {
        let mut numbers = started(10);
        check(&mut numbers, 10, Some(10));
        numbers.skip(11, BITS15);
        numbers.skip(11, BITS15);
        check(&mut numbers, 12, Some(11));
        check(&mut numbers, 12, Some(11));
        check(&mut numbers, 14, Some(13));
        check(&mut numbers, 12, Some(11));
    }

    #[test]
    fn a_picture_that_was_lost_as_a_whole_is_let_in_late() {
        let mut numbers = started(10);
        check(&mut numbers, 10, Some(10));
        check(&mut numbers, 13, Some(13));
        check(&mut numbers, 12, Some(12));
        check(&mut numbers, 11, Some(11));
        numbers.skip(15, BITS15);
        check(&mut numbers, 16, Some(15));
        check(&mut numbers, 14, Some(14));
        check(&mut numbers, 15, None);
        check(&mut numbers, 9, None);
    }

    #[test]
    fn a_late_picture_that_is_withheld_changes_nothing() {
        let mut numbers = started(10);
        check(&mut numbers, 10, Some(10));
        check(&mut numbers, 12, Some(12));
        numbers.skip(11, BITS15);
        check(&mut numbers, 13, Some(13));
    }

    #[test]
    fn a_switch_continues_and_forgets_the_old_source() {
        let mut numbers = started(10);
        check(&mut numbers, 10, Some(10));
        numbers.switch_to(triple(500), BITS15);
        check(&mut numbers, 500, Some(11));
        check(&mut numbers, 501, Some(12));
        check(&mut numbers, 499, None);
    }

    #[test]
    fn numbers_wrap() {
        let mut numbers = started(0x7fff);
        check(&mut numbers, 0x7fff, Some(0x7fff));
        check(&mut numbers, 0, Some(0));
    }
}
