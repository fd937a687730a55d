//! Offers tracks to the client: the subscriber connection beside a publishing one.
//!
//! * **Owns:** the sections of the connection: one for data, if it carries any, then one for each track.
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
    Bound, ClientQuirks, LocalTransport, NegotiateError, Sender, TaggedSection,
    codecs::{Format, formats_of, offered, send_codecs},
    extensions::{OFFERED_AUDIO, OFFERED_VIDEO, answered},
    remote::RemoteDescription,
    section::{self, OriginCounter},
};

/// An offer, and the specs it stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// To be sent to the client.
    pub sdp: String,
    /// Complete: section to track SID.
    pub mid_to_track_id: BTreeMap<String, String>,
    /// Where candidates of ours belong; `None` if every section is rejected.
    pub tagged: Option<TaggedSection>,
}

/// The result of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// The client's end of the transport; `None` if it rejects every section.
    pub remote: Option<RemoteParams>,
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
    /// The first section is for data.
    data: bool,
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

/// A section for a track.
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
    /// A connection for data and tracks; nothing offered yet.
    pub fn new(quirks: ClientQuirks) -> Self {
        Self::with_data(quirks, true)
    }

    /// A connection for tracks, which is not offered before there is one.
    pub fn without_data(quirks: ClientQuirks) -> Self {
        Self::with_data(quirks, false)
    }

    fn with_data(quirks: ClientQuirks, data: bool) -> Self {
        Self {
            data,
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
        !self.outstanding && (changed || (self.data && !self.origin.begun()))
    }

    /// There was an offer.
    pub const fn begun(&self) -> bool {
        self.origin.begun()
    }

    /// Describes the current senders; while an offer is outstanding, describes that one again.
    pub fn create_offer(&mut self, local: &LocalTransport) -> Offer {
        if !self.outstanding {
            self.place_senders();
        }
        self.outstanding = true;
        let mut session = section::session(self.origin.next(local), local, true);
        let mut mid_to_track_id = BTreeMap::new();
        if self.data {
            session.media.push(section::data("0", local));
        }
        for (index, section) in self.sections.iter().enumerate() {
            let mid = self.mid_at(index);
            session.media.push(section.describe(&mid, local));
            if let Some(sender) = section.sender() {
                mid_to_track_id.insert(mid, sender.track_id.clone());
            }
        }
        let is_live = |(_, media): &(u32, &Media)| media.port != 0;
        let live: Vec<TaggedSection> = (0..)
            .zip(&session.media)
            .filter(is_live)
            .filter_map(|(index, media)| {
                Some(TaggedSection { mid: media.mid()?.to_owned(), index })
            })
            .collect();
        section::push_bundle(
            &mut session,
            &live.iter().map(|section| section.mid.as_str()).collect::<Vec<_>>(),
        );
        let tagged = live.into_iter().next();
        Offer { sdp: session.to_string(), mid_to_track_id, tagged }
    }

    /// The client's answer to the outstanding offer.
    pub fn handle_answer(&mut self, sdp: &str) -> Result<Accepted, NegotiateError> {
        if !self.outstanding {
            return Err(NegotiateError::NoOfferOutstanding);
        }
        let answer = RemoteDescription::parse_answer(sdp)?;
        let data = usize::from(self.data);
        let media = &answer.session.media;
        // The place says which section it is; the mid may be left out (RFC 5888 §9.1).
        let fits = |(place, media): (usize, &Media)| {
            media.mid().is_none_or(|mid| mid == place.to_string())
        };
        if media.len() != self.sections.len().saturating_add(data)
            || !media.iter().enumerate().all(fits)
        {
            return Err(NegotiateError::AnswerMismatch);
        }
        let remote = answer.params(answer.role().unwrap_or_default())?;
        self.outstanding = false;
        let mut bound = Vec::new();
        let mut unbound = std::mem::take(&mut self.unplaced);
        for (place, (section, media)) in
            self.sections.iter_mut().zip(media.iter().skip(data)).enumerate()
        {
            let mid = place.saturating_add(data).to_string();
            let agreed = section.agreed(&mid, &answer, media, &self.quirks);
            let sender = section.sender().map(|sender| sender.id);
            // Accepted without a codec of its sender, the section can carry another one; rejected, none any more.
            if agreed.is_none() {
                section.state = if media.port != 0 { State::Free } else { State::Rejected };
            }
            let Some(id) = sender else { continue };
            // Removed while the offer was outstanding: the next offer empties its section, if it still has one.
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
        let remote_candidates = answer.candidates();
        Ok(Accepted { remote, remote_candidates, bound, unbound })
    }

    /// The mid of a section for a track: its place in the description.
    fn mid_at(&self, index: usize) -> String {
        index.saturating_add(usize::from(self.data)).to_string()
    }

    /// Takes leaving senders out of their sections, and gives waiting ones a section each.
    fn place_senders(&mut self) {
        // Only sections that were free before this offer: one that it empties can be reused by the next, as browsers
        // announce a new track only where the negotiation before had none.
        let mut usable = BTreeSet::new();
        for (index, section) in self.sections.iter_mut().enumerate() {
            match &section.state {
                State::Free if !self.quirks.single_use_sections => {
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
            let formats = offered(&sender, &self.quirks);
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
            } else if self.sections.len().saturating_add(usize::from(self.data)) < MAX_MEDIA {
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
        let mut media = section::rtp(self.kind, Some(mid), local, "actpass", &self.formats);
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

    /// The negotiated spec of the section's sender; `None` if it has none, or is refused.
    fn agreed(
        &self,
        mid: &str,
        answer: &RemoteDescription,
        media: &Media,
        quirks: &ClientQuirks,
    ) -> Option<Bound> {
        let sender = self.sender()?;
        if media.port == 0 || !answer.session.direction(media).receives() {
            return None;
        }
        let mut formats = formats_of(media, &quirks.not_enabled);
        formats.retain(|format| !quirks.disabled_subscribe.contains(&format.codec));
        let codecs = send_codecs(&formats, sender);
        let extensions = answered(media, self.extensions());
        let mid = mid.to_owned();
        (!codecs.is_empty()).then_some(Bound { sender: sender.id, mid, codecs, extensions })
    }
}
