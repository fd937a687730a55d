//! Assigns the subscriptions (tracks that we send) to sections of a client's offers, for clients with one connection.
//!
//! * **Owns:** the senders, their sections, and how many sections the client was asked to add.
//! * **In:** [`add`](Downlinks::add), [`remove`](Downlinks::remove), [`assign`](Downlinks::assign)
//!   (an offer).
//! * **Out:** [`sections_needed`](Downlinks::sections_needed).
//! * **Invariant:** a section carries at most one sender, and another one only after an answer in
//!   which it carried none: browsers announce a new track only then.
//! * **livekit-server:** `MediaSectionsRequirement` in `transport.go`.

use std::collections::{BTreeMap, BTreeSet};

use hearth_plane::DownId;
use hearth_units::MediaKind;

use crate::{
    ClientQuirks, Sender,
    codecs::{Format, send_codecs},
};

/// How many requests for sections may have no effect before we wait for a change. A client that adds no section when
/// asked would otherwise be asked again after every answer, in a loop at network speed.
const MAX_FRUITLESS: u8 = 5;

/// A section of the offer that could carry a sender.
#[derive(Debug)]
pub(crate) struct Offered<'a> {
    pub(crate) mid: &'a str,
    pub(crate) kind: MediaKind,
    /// The client receives here.
    pub(crate) takes: bool,
    /// The client publishes here.
    pub(crate) publishes: bool,
    pub(crate) formats: &'a [Format],
}

#[derive(Debug)]
struct Slot {
    sender: Sender,
    mid: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Downlinks {
    slots: Vec<Slot>,
    /// Sections of the last offer that could carry a sender.
    free: BTreeMap<String, MediaKind>,
    /// Sections whose sender went since the last answer.
    draining: BTreeMap<String, MediaKind>,
    /// Sections that ever carried a sender.
    used: BTreeSet<String>,
    /// `(audio, video)` sections requested since the last offer.
    requested: Option<(u32, u32)>,
    fruitless: u8,
}

impl Downlinks {
    pub(crate) fn add(&mut self, sender: Sender) {
        self.fruitless = 0;
        self.slots.push(Slot { sender, mid: None });
    }

    pub(crate) fn remove(&mut self, id: DownId) {
        self.slots.retain_mut(|slot| {
            if slot.sender.id != id {
                return true;
            }
            if let Some(mid) = slot.mid.take() {
                self.draining.insert(mid, slot.sender.kind);
            }
            false
        });
    }

    /// See [`Answerer::sections_needed`](crate::Answerer::sections_needed).
    pub(crate) fn sections_needed(&mut self, quirks: &ClientQuirks) -> Option<(u32, u32)> {
        let waits = self.slots.iter().any(|slot| slot.mid.is_none());
        if (!waits && self.draining.is_empty()) || self.fruitless >= MAX_FRUITLESS {
            return None;
        }
        let (audio, video) = self.requested.unwrap_or_default();
        let audio_more = self.missing(MediaKind::Audio, quirks).saturating_sub(audio);
        let video_more = self.missing(MediaKind::Video, quirks).saturating_sub(video);
        if self.requested.is_some() && audio_more == 0 && video_more == 0 {
            return None;
        }
        self.requested = Some((audio.saturating_add(audio_more), video.saturating_add(video_more)));
        Some((audio_more, video_more))
    }

    /// Gives waiting senders a section; returns those that the client cannot receive, and forgets
    /// them.
    ///
    /// Senders that have a section keep it (an m-line that changes its track in mid-call confuses clients); the rest
    /// get sections that are free in this offer.
    pub(crate) fn assign(&mut self, offered: &[Offered<'_>], quirks: &ClientQuirks) -> Vec<DownId> {
        let draining = std::mem::take(&mut self.draining);
        let mut occupied: BTreeSet<&str> = BTreeSet::new();
        let mut refused = BTreeSet::new();
        let taking = || offered.iter().filter(|section| section.takes);
        let by_mid: BTreeMap<&str, &Offered<'_>> = taking().map(|s| (s.mid, s)).collect();
        for slot in &mut self.slots {
            let Some(mid) = slot.mid.take() else { continue };
            // The client stopped receiving in it: the sender waits for another, below or in a later offer.
            let Some(section) = by_mid.get(mid.as_str()) else { continue };
            if send_codecs(section.formats, &slot.sender).is_empty() {
                refused.insert(slot.sender.id);
            } else {
                occupied.insert(section.mid);
                slot.mid = Some(mid);
            }
        }
        // A section that is emptied by this answer is free in the next offer: the requests had an effect.
        let mut progress = !draining.is_empty();
        let reusable = |used: &BTreeSet<String>, mid: &str| {
            !(quirks.single_use_sections && used.contains(mid))
        };
        for slot in self.slots.iter_mut().filter(|slot| slot.mid.is_none()) {
            let mut candidates: Vec<&Offered<'_>> = taking()
                .filter(|section| section.kind == slot.sender.kind)
                .filter(|s| !occupied.contains(s.mid) && !draining.contains_key(s.mid))
                .filter(|section| reusable(&self.used, section.mid))
                .collect();
            // Offer order, but sections of the client's own tracks last: a request for sections adds ones that only
            // receive, and a section that publishes may end with its track.
            candidates.sort_by_key(|candidate| candidate.publishes);
            let fits = |s: &&&Offered<'_>| !send_codecs(s.formats, &slot.sender).is_empty();
            if let Some(section) = candidates.iter().find(fits) {
                occupied.insert(section.mid);
                self.used.insert(section.mid.to_owned());
                slot.mid = Some(section.mid.to_owned());
                progress = true;
            } else if !candidates.is_empty() {
                // Sections are free, but none has a codec of the track: more sections would not help.
                refused.insert(slot.sender.id);
            }
        }
        self.slots.retain(|slot| !refused.contains(&slot.sender.id));
        // A mid that the client no longer offers may be made again for a new section.
        self.used.retain(|mid| by_mid.contains_key(mid.as_str()));
        self.free = by_mid
            .values()
            .filter(|s| !occupied.contains(s.mid) && reusable(&self.used, s.mid))
            .map(|section| (section.mid.to_owned(), section.kind))
            .collect();
        self.count_fruitless(progress || !refused.is_empty());
        refused.into_iter().collect()
    }

    /// The sender in a section.
    pub(crate) fn at(&self, mid: &str) -> Option<&Sender> {
        self.slots.iter().find(|slot| slot.mid.as_deref() == Some(mid)).map(|slot| &slot.sender)
    }

    /// Sections that senders wait for and that are not there. A section that is being emptied
    /// counts as there: it can be used after one more round.
    fn missing(&self, kind: MediaKind, quirks: &ClientQuirks) -> u32 {
        let waiting = self.slots.iter().filter(|s| s.mid.is_none() && s.sender.kind == kind);
        let draining =
            self.draining.values().filter(|k| !quirks.single_use_sections && **k == kind);
        let free = self.free.values().filter(|k| **k == kind);
        let missing = waiting.count().saturating_sub(free.chain(draining).count());
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    fn count_fruitless(&mut self, progress: bool) {
        let requested = self.requested.take().is_some();
        if progress {
            self.fruitless = 0;
        } else if requested && self.slots.iter().any(|slot| slot.mid.is_none()) {
            self.fruitless = self.fruitless.saturating_add(1);
        }
    }
}
