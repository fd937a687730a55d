//! Answers the client's offers: its publishing connection, or its only one.
//!
//! * **Owns:** which section carries which track, in both directions.
//! * **In:** [`read_offer`](Answerer::read_offer) and [`answer`](Answerer::answer),
//!   [`add_sender`](Answerer::add_sender),
//!   [`remove_sender`](Answerer::remove_sender), [`match_pending`](Answerer::match_pending).
//! * **Out:** [`Answer`], and [`sections_needed`](Answerer::sections_needed) when the client has
//!   to offer again.
//! * **Invariant:** an answer has the offer's sections in the offer's order. A section is refused
//!   only if the client stopped it, has nothing in it that we know, or lies outside the bundle.
//! * **Spec:** JSEP (RFC 9429 §5.3), with `setup:passive` where the client leaves us the choice.

use std::collections::{BTreeMap, BTreeSet};

use hearth_codec::Codec;
use hearth_plane::{DownId, DtlsRole, RemoteParams};
use hearth_rtp::ExtensionIds;
use hearth_sdp::{Attributes, Direction, Media};
use hearth_units::MediaKind;

use crate::{
    AnswererKind, Bound, ClientQuirks, LocalTransport, NegotiateError, PendingTrack, Published,
    Sender, TaggedSection,
    codecs::{Format, OpusOptions, answer_opus, formats_of, prefer, receive_codecs, send_codecs},
    downlinks::{Downlinks, Offered},
    extensions::{add_ids, agree},
    publish::{Sending, Uplinks, encodings_of, is_sending, rids_of},
    remote::RemoteDescription,
    section::{self, OriginCounter},
};

/// An answer, and the specs it stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// To be sent to the client.
    pub sdp: String,
    /// The client's end of the transport; `None` if no section is accepted.
    pub remote: Option<RemoteParams>,
    /// The section whose transport all accepted ones share; where candidates of ours belong.
    pub tagged: Option<TaggedSection>,
    /// Candidates in the offer, each `candidate:…`.
    pub remote_candidates: Vec<String>,
    /// Every section that carries an announced track, also those of earlier offers.
    pub published: Vec<Published>,
    /// Sections whose track ended. Comes before `published`, which may name the mid again.
    pub ended_mids: Vec<String>,
    /// Every sender that has a section, also those of earlier answers.
    pub bound: Vec<Bound>,
    /// Senders whose codec the client cannot receive; they are forgotten.
    pub unbound: Vec<DownId>,
    /// Complete: section to track SID.
    pub mid_to_track_id: BTreeMap<String, String>,
    /// There is a section for data channels.
    pub has_data: bool,
}

/// An offer that can be answered.
#[derive(Debug)]
pub struct ClientOffer {
    description: RemoteDescription,
    /// By position, the codecs that audio and video sections offer and we support.
    formats: BTreeMap<usize, Vec<Format>>,
    remote: Option<RemoteParams>,
}

impl ClientOffer {
    /// The client's end of the transport; `None` if no section can be accepted.
    pub const fn remote(&self) -> Option<&RemoteParams> {
        self.remote.as_ref()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Answerer {
    /// Our end of the DTLS handshake, once it was answered.
    role: Option<DtlsRole>,
    kind: AnswererKind,
    quirks: ClientQuirks,
    origin: OriginCounter,
    up: Uplinks,
    down: Downlinks,
}

/// A live audio or video section that has a format we know.
struct Usable<'a> {
    mid: &'a str,
    kind: MediaKind,
    media: &'a Media,
    /// Attributes for all sections.
    session: &'a Attributes,
    direction: Direction,
    publishes: bool,
    formats: Vec<Format>,
}

/// The sums over the sections of one answer.
#[derive(Default)]
struct Outcome {
    published: Vec<Published>,
    received: ExtensionIds,
    bound: Vec<Bound>,
    mid_to_track_id: BTreeMap<String, String>,
    has_data: bool,
}

impl Answerer {
    /// Nothing offered yet.
    pub fn new(kind: AnswererKind, quirks: ClientQuirks) -> Self {
        Self {
            role: None,
            kind,
            quirks,
            origin: OriginCounter::default(),
            up: Uplinks::default(),
            down: Downlinks::default(),
        }
    }

    /// Sends a track to the client from the next answer on (single connection only).
    pub fn add_sender(&mut self, sender: Sender) {
        debug_assert_eq!(self.kind, AnswererKind::Single, "a publisher connection sends nothing");
        if self.kind == AnswererKind::Single {
            self.down.add(sender);
        }
    }

    /// Stops that at the next answer.
    pub fn remove_sender(&mut self, id: DownId) {
        self.down.remove(id);
    }

    /// The sections to request (`MediaSectionsRequirement`): `(audio, video)` to add before the client offers again;
    /// `(0, 0)` if it only has to offer again. The result counts as requested, until its next
    /// offer. `None` before the first offer.
    pub fn sections_needed(&mut self) -> Option<(u32, u32)> {
        self.origin.begun().then(|| self.down.sections_needed(&self.quirks))?
    }

    /// Reads an offer. An offer with an error is refused as a whole, and nothing changes.
    pub fn read_offer(&self, sdp: &str) -> Result<ClientOffer, NegotiateError> {
        let mut description = RemoteDescription::parse_offer(sdp)?;
        let (mut accepted, mut formats) = (BTreeSet::new(), BTreeMap::new());
        for (position, media) in description.open() {
            if let Some(usable) = self.formats(&description, media) {
                formats.insert(position, usable);
                accepted.insert(position);
            } else if section::is_data(media) {
                accepted.insert(position);
            }
        }
        description.accept(&accepted);
        let role = match (description.role(), self.role) {
            (Some(theirs), Some(agreed)) if theirs != agreed => return Err(NegotiateError::Setup),
            (theirs, agreed) => theirs.or(agreed).unwrap_or_default(),
        };
        let remote = description.params(role)?;
        Ok(ClientOffer { description, formats, remote })
    }

    /// Reads an offer and answers it.
    pub fn handle_offer(
        &mut self,
        sdp: &str,
        tracks: &[PendingTrack],
        local: &LocalTransport,
    ) -> Result<Answer, NegotiateError> {
        let offer = self.read_offer(sdp)?;
        Ok(self.answer(offer, tracks, local))
    }

    /// Answers an offer. `tracks` are those that no offer was matched with, oldest first.
    pub fn answer(
        &mut self,
        offer: ClientOffer,
        tracks: &[PendingTrack],
        local: &LocalTransport,
    ) -> Answer {
        let ClientOffer { description: offer, formats, remote } = offer;
        if let Some(remote) = &remote {
            self.role = Some(remote.role);
        }
        let mids = offer.live_mids();
        let usable = self.usable(&offer, &mids, formats);
        let sections: Vec<&Usable<'_>> = usable.values().collect();
        let changes = self.up.update(&sending(&sections), tracks);
        let unbound = self.assign_senders(&sections);

        let mixed = offer.session.attributes.has("extmap-allow-mixed");
        let mut session = section::session(self.origin.next(local), local, mixed);
        let mut outcome = Outcome::default();
        for (position, media) in offer.session.media.iter().enumerate() {
            let answer = if let Some(usable) = usable.get(&position) {
                self.answer_rtp(usable, local, &mut outcome)
            } else if mids.contains_key(&position) && !outcome.has_data {
                outcome.has_data = true;
                section::data_answer(media, local, self.setup())
            } else {
                section::rejected(media)
            };
            session.media.push(answer);
        }
        let is_accepted = |at: &&usize| session.media.get(**at).is_some_and(|m| m.port != 0);
        let accepted: Vec<usize> = offer.live().iter().filter(is_accepted).copied().collect();
        if offer.is_bundled() {
            let mids: Vec<&str> = accepted.iter().filter_map(|at| offer.said_mid(*at)).collect();
            section::push_bundle(&mut session, &mids);
        }

        let received = outcome.received;
        outcome.published.iter_mut().for_each(|published| published.extensions = received);
        self.up.set_answered(outcome.published);
        let tagged = accepted.first().and_then(|position| {
            let mid = (*mids.get(position)?).to_owned();
            Some(TaggedSection { mid, index: u32::try_from(*position).ok()? })
        });
        Answer {
            sdp: session.to_string(),
            published: self.up.published(&changes.matched).collect(),
            ended_mids: changes.ended,
            bound: outcome.bound,
            unbound,
            mid_to_track_id: outcome.mid_to_track_id,
            has_data: outcome.has_data,
            remote_candidates: offer.candidates(),
            remote,
            tagged,
        }
    }

    /// Our role in the DTLS handshake (`a=setup`).
    fn setup(&self) -> &'static str {
        match self.role {
            Some(DtlsRole::Client) => "active",
            Some(DtlsRole::Server) | None => "passive",
        }
    }

    /// The formats of an audio or video section, if it can be accepted. One that the client only
    /// sends in needs a codec that it may publish.
    fn formats(&self, offer: &RemoteDescription, media: &Media) -> Option<Vec<Format>> {
        if !section::is_rtp(&offer.session.attributes, media) {
            return None;
        }
        let formats = formats_of(media, &self.quirks.not_enabled);
        let sends_only = offer.session.direction(media) == Direction::SendOnly;
        let usable = if sends_only { self.may_publish(&formats) } else { !formats.is_empty() };
        usable.then_some(formats)
    }

    fn may_publish(&self, formats: &[Format]) -> bool {
        formats.iter().any(|format| !self.quirks.disabled_publish.contains(&format.codec))
    }

    /// The live audio and video sections, by position.
    fn usable<'a>(
        &self,
        offer: &'a RemoteDescription,
        mids: &BTreeMap<usize, &'a str>,
        formats: BTreeMap<usize, Vec<Format>>,
    ) -> BTreeMap<usize, Usable<'a>> {
        let usable = |(position, formats): (usize, Vec<Format>)| {
            let media = offer.session.media.get(position)?;
            let direction = offer.session.direction(media);
            let usable = Usable {
                mid: mids.get(&position)?,
                kind: formats.first()?.codec.kind(),
                media,
                session: &offer.session.attributes,
                direction,
                publishes: is_sending(media, direction, self.kind) && self.may_publish(&formats),
                formats,
            };
            Some((position, usable))
        };
        formats.into_iter().filter_map(usable).collect()
    }

    /// Matches tracks that were announced after their section was offered. The codec order of the
    /// answer that was given stays as it is until the next offer.
    pub fn match_pending(&mut self, tracks: &[PendingTrack]) -> Vec<Published> {
        self.up.match_late(tracks)
    }

    fn assign_senders(&mut self, usable: &[&Usable<'_>]) -> Vec<DownId> {
        let mut sections = Vec::new();
        for section in usable {
            let mut formats = section.formats.clone();
            formats.retain(|f| !self.quirks.disabled_subscribe.contains(&f.codec));
            sections.push((section, formats));
        }
        let offered: Vec<Offered<'_>> = sections
            .iter()
            .map(|(section, formats)| Offered {
                mid: section.mid,
                kind: section.kind,
                takes: section.direction.receives(),
                publishes: section.publishes,
                formats,
            })
            .collect();
        self.down.assign(&offered, &self.quirks)
    }

    fn answer_rtp(
        &self,
        usable: &Usable<'_>,
        local: &LocalTransport,
        outcome: &mut Outcome,
    ) -> Media {
        let Usable { mid, kind, media, session, publishes, .. } = *usable;
        let sender = self.down.at(mid);
        let formats = self.choose(usable, sender);
        if formats.is_empty() {
            return section::rejected(media);
        }
        let mut answer = section::rtp(kind, media.mid(), local, self.setup(), &formats);
        answer.proto.clone_from(&media.proto);
        if [session, &media.attributes].into_iter().any(section::has_round_trips) {
            section::push_round_trips(&mut answer.attributes);
        }
        let agreed = agree(session, media);
        for ext in &agreed {
            let direction = ext.direction.map_or("", Direction::as_str);
            let slash = if direction.is_empty() { "" } else { "/" };
            let line = format_args!("{}{slash}{direction} {}", ext.id, ext.uri).to_string();
            answer.attributes.push("extmap", line);
        }
        // Also where the client has stopped sending: layers once left out stay out.
        push_simulcast(&mut answer, media);
        if publishes {
            add_ids(&mut outcome.received, &agreed, false);
            outcome.published.push(Published {
                mid: mid.to_owned(),
                kind,
                track_cid: String::new(),
                pending_cid: String::new(),
                pending: None,
                codecs: receive_codecs(&formats),
                encodings: encodings_of(media),
                nack: formats.first().is_some_and(|format| format.feedback.nack),
                extensions: ExtensionIds::default(),
            });
        }
        if let Some(sender) = sender {
            let rtx = formats.iter().any(|format| format.rtx_pt.is_some());
            section::push_sender(&mut answer.attributes, sender, rtx);
            let mut extensions = ExtensionIds::default();
            add_ids(&mut extensions, &agreed, true);
            let codecs = send_codecs(&formats, sender);
            outcome.bound.push(Bound {
                sender: sender.id,
                mid: mid.to_owned(),
                codecs,
                extensions,
            });
            outcome.mid_to_track_id.insert(mid.to_owned(), sender.track_id.clone());
        }
        let direction = Direction::new(sender.is_some(), publishes);
        answer.attributes.push_flag(direction.as_str());
        answer
    }

    /// The section's formats as we answer them.
    fn choose(&self, usable: &Usable<'_>, sender: Option<&Sender>) -> Vec<Format> {
        let mut formats = usable.formats.clone();
        let matched = self.up.plan(usable.mid).filter(|_| usable.publishes);
        let plan = matched.unwrap_or_default();
        if usable.publishes {
            // A codec that must not be published stays where the same section carries a subscription in it.
            formats.retain(|format| {
                let for_sender = sender.is_some_and(|sender| sender.codec == format.codec);
                for_sender || !self.quirks.disabled_publish.contains(&format.codec)
            });
            let no_red = plan.disable_red || self.quirks.firefox;
            // The client sends the first codec that it supports: RED in front means redundant audio.
            let first = match (plan.preferred, usable.kind) {
                (Some(codec), _) => Some(codec),
                (None, MediaKind::Audio) if no_red => Some(Codec::Opus),
                (None, MediaKind::Audio) => Some(Codec::Red),
                (None, MediaKind::Video) => None,
            };
            first.into_iter().for_each(|codec| prefer(&mut formats, codec));
            let only_one = self.quirks.one_video_codec && usable.kind == MediaKind::Video;
            if let (true, Some(_), None, Some(first)) =
                (only_one, matched, sender, formats.first().map(|format| format.codec))
            {
                formats.retain(|format| format.codec == first);
            }
        } else {
            let disabled = &self.quirks.disabled_subscribe;
            // An unused section keeps its formats if all are disabled: one without formats would be rejected, and
            // could carry no subscription later.
            if sender.is_some() || formats.iter().any(|f| !disabled.contains(&f.codec)) {
                formats.retain(|format| !disabled.contains(&format.codec));
            }
            if let Some(sender) = sender {
                if sender.kind == MediaKind::Video {
                    prefer(&mut formats, sender.codec);
                }
                // We estimate no bandwidth for what we send: the client's TWCC feedback would serve nothing.
                formats.iter_mut().for_each(|format| format.feedback.transport_cc = false);
            }
        }
        let options = OpusOptions {
            stereo: plan.stereo,
            no_dtx: plan.no_dtx,
            sends_stereo: sender.is_some_and(|sender| sender.stereo),
        };
        for format in formats.iter_mut().filter(|format| format.codec == Codec::Opus) {
            let fmtp = answer_opus(format.fmtp.as_deref(), options);
            format.fmtp = (!fmtp.is_empty()).then_some(fmtp);
        }
        formats
    }
}

fn sending<'a>(usable: &[&Usable<'a>]) -> Vec<Sending<'a>> {
    let cid = |media: &'a Media| media.attributes.msid().map_or("", |(_, track)| track);
    usable
        .iter()
        .filter(|section| section.publishes)
        .map(|section| Sending { mid: section.mid, kind: section.kind, cid: cid(section.media) })
        .collect()
}

/// A paused encoding stays paused: Chromium starts every encoding that the answer does not mark.
fn push_simulcast(answer: &mut Media, offer: &Media) {
    let rids = rids_of(offer);
    let paused = offer.attributes.simulcast().map(|simulcast| simulcast.paused).unwrap_or_default();
    for rid in &rids {
        answer.attributes.push("rid", format_args!("{rid} recv"));
    }
    if !rids.is_empty() {
        let mark =
            |rid: &&str| if paused.contains(rid) { format!("~{rid}") } else { (*rid).into() };
        let list: Vec<String> = rids.iter().map(mark).collect();
        answer.attributes.push("simulcast", format_args!("recv {}", list.join(";")));
    }
}
