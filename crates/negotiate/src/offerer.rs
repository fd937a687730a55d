//! Offers tracks to the client: the subscriber connection beside a publishing one.
//!
//! * **Owns:** the sections of the connection: section 0 for data, one for each track after it.
//! * **In:** [`add_sender`](Offerer::add_sender), [`remove_sender`](Offerer::remove_sender),
//!   [`handle_answer`](Offerer::handle_answer).
//! * **Out:** [`create_offer`](Offerer::create_offer), when [`needs_offer`](Offerer::needs_offer).
//! * **Invariant:** while an offer is outstanding, what it describes does not change. A section
//!   carries another track only after an offer in which it carried none.

use std::collections::{BTreeMap, BTreeSet};

use hearth_plane::{DownId, RemoteParams};
use hearth_sdp::{Direction, MAX_MEDIA, Media};
use hearth_units::MediaKind;

use crate::{
    Bound, ClientQuirks, LocalTransport, NegotiateError, Sender,
    codecs::{Format, formats_of, offered, send_codecs},
    extensions::{OFFERED_AUDIO, OFFERED_VIDEO, answered},
    remote::RemoteDescription,
    section::{self, OriginCounter},
};

/// An offer, and what it means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// To be sent to the client.
    pub sdp: String,
    /// Complete: section to track SID.
    pub mid_to_track_id: BTreeMap<String, String>,
}

/// What an answer means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// The client's end of the transport.
    pub remote: RemoteParams,
    /// Candidates in the answer, each `candidate:…`.
    pub remote_candidates: Vec<String>,
    /// Every sender that has a section, also those of earlier answers.
    pub bound: Vec<Bound>,
    /// Senders that the client refused; they are forgotten.
    pub unbound: Vec<DownId>,
}

/// See the module.
#[derive(Debug)]
pub struct Offerer {
    quirks: ClientQuirks,
    origin: OriginCounter,
    sections: Vec<Section>,
    /// Not in a section yet, in order of arrival.
    waiting: Vec<Sender>,
    /// In a section, to be taken out at the next offer.
    leaving: BTreeSet<DownId>,
    /// Could not be given a section at all.
    unplaced: Vec<DownId>,
    outstanding: bool,
}

/// A section after the first; its mid is its position.
#[derive(Debug)]
struct Section {
    kind: MediaKind,
    formats: Vec<Format>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Described without a track.
    Free,
    /// Carries a track.
    Taken(Box<Sender>),
    /// The client refused it; it stays as a place holder.
    Rejected,
}

impl Offerer {
    /// Nothing offered yet.
    pub fn new(quirks: ClientQuirks) -> Self {
        Self {
            quirks,
            origin: OriginCounter::default(),
            sections: Vec::new(),
            waiting: Vec::new(),
            leaving: BTreeSet::new(),
            unplaced: Vec::new(),
            outstanding: false,
        }
    }

    /// Sends a track to the client from the next offer on.
    pub fn add_sender(&mut self, sender: Sender) {
        self.waiting.push(sender);
    }

    /// Stops that at the next offer.
    pub fn remove_sender(&mut self, id: DownId) {
        self.waiting.retain(|sender| sender.id != id);
        if self.sections.iter().any(|section| section.sender().is_some_and(|s| s.id == id)) {
            self.leaving.insert(id);
        }
    }

    /// There is something to offer and no offer is outstanding.
    pub fn needs_offer(&self) -> bool {
        let changed = !self.waiting.is_empty() || !self.leaving.is_empty();
        !self.outstanding && (changed || !self.origin.begun())
    }

    /// Describes what is wanted; while an offer is outstanding, describes that one again.
    pub fn create_offer(&mut self, local: &LocalTransport) -> Offer {
        if !self.outstanding {
            self.place_senders();
        }
        self.outstanding = true;
        let mut session = section::session(self.origin.next(local), local, true);
        let mut mid_to_track_id = BTreeMap::new();
        session.media.push(section::data("0", local, "actpass"));
        for (index, section) in self.sections.iter().enumerate() {
            let mid = mid_at(index);
            session.media.push(section.describe(&mid, local));
            if let Some(sender) = section.sender() {
                mid_to_track_id.insert(mid, sender.track_id.clone());
            }
        }
        section::push_bundle(&mut session);
        Offer { sdp: session.to_string(), mid_to_track_id }
    }

    /// The client's answer to the outstanding offer.
    pub fn handle_answer(&mut self, sdp: &str) -> Result<Accepted, NegotiateError> {
        if !self.outstanding {
            return Err(NegotiateError::NoOfferOutstanding);
        }
        let answer = RemoteDescription::parse_answer(sdp)?;
        let media = &answer.session.media;
        let expected: Vec<String> = (0..=self.sections.len()).map(|mid| mid.to_string()).collect();
        if !media.iter().map(Media::mid).eq(expected.iter().map(|mid| Some(mid.as_str()))) {
            return Err(NegotiateError::AnswerMismatch);
        }
        self.outstanding = false;
        let mut bound = Vec::new();
        let mut unbound = std::mem::take(&mut self.unplaced);
        for (index, (section, media)) in
            self.sections.iter_mut().zip(media.iter().skip(1)).enumerate()
        {
            let agreed = section.agreed(&mid_at(index), media, &self.quirks);
            let sender = section.sender().map(|sender| sender.id);
            if agreed.is_none() {
                section.state = if answer.is_live(media) { State::Free } else { State::Rejected };
            }
            let Some(id) = sender else { continue };
            if self.leaving.contains(&id) {
                if agreed.is_none() {
                    self.leaving.remove(&id);
                }
                continue;
            }
            match agreed {
                Some(agreed) => bound.push(agreed),
                None => unbound.push(id),
            }
        }
        let (remote, remote_candidates) = (answer.params, answer.candidates);
        Ok(Accepted { remote, remote_candidates, bound, unbound })
    }

    /// Takes leaving senders out of their sections, and gives waiting ones a section each.
    fn place_senders(&mut self) {
        let mut usable = BTreeSet::new();
        for (index, section) in self.sections.iter_mut().enumerate() {
            match &section.state {
                // Safari does not take a second track in a section.
                State::Free if !self.quirks.safari => {
                    usable.insert(index);
                }
                State::Taken(sender) if self.leaving.contains(&sender.id) => {
                    section.state = State::Free;
                }
                State::Free | State::Taken(_) | State::Rejected => {}
            }
        }
        self.leaving.clear();
        for sender in std::mem::take(&mut self.waiting) {
            let formats = offered(&sender, &self.quirks.disabled_subscribe);
            let (id, kind) = (sender.id, sender.kind);
            let state = State::Taken(Box::new(sender));
            let free = self
                .sections
                .iter_mut()
                .enumerate()
                .find(|(index, section)| section.kind == kind && usable.contains(index));
            if let Some((index, section)) = free {
                usable.remove(&index);
                *section = Section { kind, formats, state };
            } else if self.sections.len().saturating_add(1) < MAX_MEDIA {
                self.sections.push(Section { kind, formats, state });
            } else {
                self.unplaced.push(id);
            }
        }
    }
}

impl Section {
    fn sender(&self) -> Option<&Sender> {
        match &self.state {
            State::Taken(sender) => Some(sender),
            State::Free | State::Rejected => None,
        }
    }

    fn describe(&self, mid: &str, local: &LocalTransport) -> Media {
        let mut media = section::rtp(self.kind, mid, local, "actpass", &self.formats);
        section::push_round_trips(&mut media.attributes);
        for (id, uri) in self.extensions() {
            media.attributes.push("extmap", format_args!("{id} {uri}"));
        }
        let direction = match &self.state {
            State::Taken(sender) => {
                let rtx = self.formats.iter().any(|format| format.rtx_pt.is_some());
                section::push_sender(&mut media.attributes, sender, rtx);
                Direction::SendOnly
            }
            State::Free => Direction::Inactive,
            State::Rejected => return section::rejected(&media),
        };
        media.attributes.push_flag(direction.as_str());
        media
    }

    const fn extensions(&self) -> &'static [(u8, &'static str)] {
        match self.kind {
            MediaKind::Audio => OFFERED_AUDIO,
            MediaKind::Video => OFFERED_VIDEO,
        }
    }

    /// What the answer says about the section's sender; `None` if it has none, or is refused.
    fn agreed(&self, mid: &str, answer: &Media, quirks: &ClientQuirks) -> Option<Bound> {
        let sender = self.sender()?;
        if !answer.is_live() || !answer.direction().receives() {
            return None;
        }
        let codecs = send_codecs(&formats_of(answer, &quirks.disabled_subscribe), sender);
        let extensions = answered(answer, self.extensions());
        let mid = mid.to_owned();
        (!codecs.is_empty()).then_some(Bound { sender: sender.id, mid, codecs, extensions })
    }
}

/// The first section after the data section has index 0 and mid 1.
fn mid_at(index: usize) -> String {
    index.saturating_add(1).to_string()
}
