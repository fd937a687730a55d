//! Validation of the client's description, shared by answerer and offerer.
//!
//! * **Owns:** which sections live, under which mid, and whose transport they share.
//! * **In:** a description; of an offer also which sections could be answered.
//! * **Out:** [`RemoteParams`] and candidates.
//! * **Invariant:** a section that does not live contributes nothing.
//! * **Spec:** RFC 9429 §5.3; BUNDLE, RFC 8843 §7; fingerprints, RFC 8122 §5; roles, RFC 8842 §5.3.

use std::collections::{BTreeMap, BTreeSet};

use hearth_plane::{DtlsRole, FingerprintHash, IceCredentials, RemoteFingerprints, RemoteParams};
use hearth_sdp::{Attributes, Media, Session, Setup};

use crate::NegotiateError;

/// The longest mid that a header extension can carry (RFC 8285 §4.3).
const MAX_MID: usize = 255;

/// Candidates that are taken from one description; RFC 8445 §6.1.2.5 wants pairs for 100.
const MAX_CANDIDATES: usize = 128;

/// A client's description.
#[derive(Debug)]
pub(crate) struct RemoteDescription {
    pub(crate) session: Session,
    /// Of each section, in order; `None` if it cannot live.
    mids: Vec<Option<String>>,
    /// Positions of the sections that live, the one whose transport all share first.
    live: Vec<usize>,
    /// The others of the same bundle that are not rejected by the client.
    spare: Vec<usize>,
    bundled: bool,
}

impl RemoteDescription {
    /// An offer. Nothing lives before [`accept`](Self::accept).
    pub(crate) fn parse_offer(sdp: &str) -> Result<Self, NegotiateError> {
        let session = Session::parse(sdp)?;
        let mut mids = mids_of(&session);
        for (mid, media) in mids.iter_mut().zip(&session.media) {
            if !media.is_live() {
                *mid = None;
            }
        }
        Ok(Self { session, mids, live: Vec::new(), spare: Vec::new(), bundled: false })
    }

    /// An answer to an offer of ours, which was one bundle. It says which sections it rejects by their
    /// port; not all clients repeat the bundle.
    pub(crate) fn parse_answer(sdp: &str) -> Result<Self, NegotiateError> {
        let session = Session::parse(sdp)?;
        let named: BTreeMap<&str, usize> =
            session.bundle().unwrap_or_default().into_iter().zip(0..).collect();
        let place = |media: &Media| media.mid().and_then(|mid| named.get(mid)).copied();
        let mut live: Vec<_> = (0..).zip(&session.media).filter(|(_, m)| m.port != 0).collect();
        live.sort_by_key(|(_, media)| place(media).unwrap_or(usize::MAX));
        let live = live.into_iter().map(|(position, _)| position).collect();
        let mids = mids_of(&session);
        Ok(Self { session, mids, live, spare: Vec::new(), bundled: true })
    }

    /// Says which sections of the offer live, of those that could be `accepted`, by position: those of
    /// the first bundle that has one; without a bundle there is a transport for one section, the first.
    pub(crate) fn accept(&mut self, accepted: &BTreeSet<usize>) {
        let open: BTreeMap<&str, usize> =
            self.open().filter_map(|(position, media)| Some((media.mid()?, position))).collect();
        let mut in_bundle = BTreeSet::new();
        for bundle in self.session.bundles() {
            let members = bundle.into_iter().filter_map(|mid| open.get(mid).copied());
            let members: Vec<usize> = members.filter(|at| in_bundle.insert(*at)).collect();
            let (live, spare): (Vec<_>, Vec<_>) =
                members.into_iter().partition(|position| accepted.contains(position));
            if !live.is_empty() {
                (self.live, self.spare, self.bundled) = (live, spare, true);
                return;
            }
        }
        // A section without a port has the transport of others, or none.
        let has_port = |at: &&usize| self.session.media.get(**at).is_some_and(|m| m.port != 0);
        let alone = accepted.difference(&in_bundle).find(has_port).copied();
        self.live.extend(alone);
    }

    /// The section of this position may live: it is not rejected, and its mid is good.
    pub(crate) fn open(&self) -> impl Iterator<Item = (usize, &Media)> {
        (0..)
            .zip(&self.session.media)
            .zip(&self.mids)
            .filter_map(|(section, mid)| mid.as_ref().map(|_| section))
    }

    /// Of the sections that live, by position, the mid; made up if the description says none.
    pub(crate) fn live_mids(&self) -> BTreeMap<usize, &str> {
        let mid = |at: &usize| Some((*at, self.mids.get(*at)?.as_deref()?));
        self.live.iter().filter_map(mid).collect()
    }

    /// Positions of the sections that live, the one whose transport all share first.
    pub(crate) fn live(&self) -> &[usize] {
        &self.live
    }

    /// The sections that live are a bundle.
    pub(crate) const fn is_bundled(&self) -> bool {
        self.bundled
    }

    /// The section's mid as the description says it.
    pub(crate) fn said_mid(&self, position: usize) -> Option<&str> {
        self.session.media.get(position)?.mid()
    }

    /// Attributes of the transport's section, then those of the session, then the sections that
    /// share the transport: with a bundle, one speaks for all (RFC 8843 §7.1.3).
    fn places(&self) -> impl Iterator<Item = &Attributes> {
        let attributes = |at: &usize| self.session.media.get(*at).map(|media| &media.attributes);
        let first = self.live.iter().take(1).filter_map(attributes);
        let rest = self.live.iter().skip(1).chain(&self.spare).filter_map(attributes);
        first.chain([&self.session.attributes]).chain(rest)
    }

    /// The DTLS role that the description leaves to us, if it says one.
    pub(crate) fn role(&self) -> Option<DtlsRole> {
        match self.places().find_map(Attributes::setup)? {
            Setup::Active => Some(DtlsRole::Server),
            Setup::Passive => Some(DtlsRole::Client),
            Setup::ActPass => None,
        }
    }

    /// The client's end of the transport; `None` if no section lives.
    pub(crate) fn params(&self, role: DtlsRole) -> Result<Option<RemoteParams>, NegotiateError> {
        if self.live.is_empty() {
            return Ok(None);
        }
        let (ufrag, pwd) =
            self.places().find_map(Attributes::ice).ok_or(NegotiateError::NoIceCredentials)?;
        let ice = IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() };
        let fingerprints =
            self.places().find_map(fingerprints_of).ok_or(NegotiateError::NoFingerprint)?;
        Ok(Some(RemoteParams { ice, fingerprints, role }))
    }

    /// Candidates of the transport, each `candidate:…`. A section with other credentials has another
    /// transport, until the bundle is agreed on.
    pub(crate) fn candidates(&self) -> Vec<String> {
        let ice = self.places().find_map(Attributes::ice);
        let mut seen = BTreeSet::new();
        self.places()
            .filter(|place| place.ice().is_none_or(|own| Some(own) == ice))
            .flat_map(Attributes::candidates)
            .filter(|candidate| seen.insert(candidate.clone()))
            .take(MAX_CANDIDATES)
            .collect()
    }
}

/// The mid of each section: a token (RFC 5888 §4); with white space in it, it would be several in the
/// bundle. `None` if it is none, or that of a section before; made up if it is absent.
fn mids_of(session: &Session) -> Vec<Option<String>> {
    let usable = |mid: &str| {
        (1..=MAX_MID).contains(&mid.len()) && mid.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let said: BTreeSet<&str> = session.media.iter().filter_map(Media::mid).collect();
    let mut seen = BTreeSet::new();
    let mut mid_of = |position: usize, media: &Media| match media.mid() {
        Some(mid) => (usable(mid) && seen.insert(mid.to_owned())).then(|| mid.to_owned()),
        None if media.attributes.has("mid") => None,
        None => {
            let mut mid = position.to_string();
            while said.contains(mid.as_str()) {
                mid.push('_');
            }
            Some(mid)
        }
    };
    session.media.iter().enumerate().map(|(position, media)| mid_of(position, media)).collect()
}

/// Those with the strongest hash function that we know (RFC 8122 §5.1).
fn fingerprints_of(attributes: &Attributes) -> Option<RemoteFingerprints> {
    let known: Vec<(FingerprintHash, Vec<u8>)> = attributes
        .fingerprints()
        .filter_map(|fingerprint| {
            let hash = FingerprintHash::from_name(fingerprint.hash)?;
            (fingerprint.digest.len() == hash.digest_len()).then_some((hash, fingerprint.digest))
        })
        .collect();
    let hash = known.iter().map(|(hash, _)| *hash).max()?;
    let of_hash = known.into_iter().filter(|(other, _)| *other == hash);
    Some(RemoteFingerprints { hash, digests: of_hash.map(|(_, digest)| digest).collect() })
}
