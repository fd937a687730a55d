//! What both sides read of the client's description before they believe any of it.

use std::collections::BTreeSet;

use hearth_plane::{DtlsRole, Fingerprint, IceCredentials, RemoteParams};
use hearth_sdp::{Attributes, Media, Session, Setup};

use crate::NegotiateError;

/// The longest mid. A header extension could carry 255 bytes; browsers use 1 to 3.
const MAX_MID: usize = 32;

/// Candidates that are taken from one description.
const MAX_CANDIDATES: usize = 64;

/// A description that can be answered, or is an answer.
#[derive(Debug)]
pub(crate) struct RemoteDescription {
    pub(crate) session: Session,
    pub(crate) params: RemoteParams,
    pub(crate) candidates: Vec<String>,
    bundle: BTreeSet<String>,
}

impl RemoteDescription {
    /// An offer, which we answer as passive.
    pub(crate) fn parse_offer(sdp: &str) -> Result<Self, NegotiateError> {
        let offer = Self::parse(sdp)?;
        match offer.params.role {
            DtlsRole::Server => Ok(offer),
            DtlsRole::Client => Err(NegotiateError::Setup),
        }
    }

    /// An answer to an offer of ours. One that says passive leaves the first step of the handshake
    /// to us, as pion's do where we are an ICE-lite agent.
    pub(crate) fn parse_answer(sdp: &str) -> Result<Self, NegotiateError> {
        Self::parse(sdp)
    }

    fn parse(sdp: &str) -> Result<Self, NegotiateError> {
        let session = Session::parse(sdp)?;
        check_mids(&session)?;
        let places = || {
            std::iter::once(&session.attributes).chain(session.media.iter().map(|m| &m.attributes))
        };
        let passive = places().any(|attributes| attributes.setup() == Some(Setup::Passive));
        let role = if passive { DtlsRole::Client } else { DtlsRole::Server };
        let (ufrag, pwd) =
            places().find_map(Attributes::ice).ok_or(NegotiateError::NoIceCredentials)?;
        let ice = IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() };
        let digest = places()
            .find_map(|attributes| attributes.fingerprints().next())
            .ok_or(NegotiateError::NoFingerprint)?;
        let params = RemoteParams { ice, fingerprint: Fingerprint(digest), role };
        let candidates = places().flat_map(Attributes::candidates).take(MAX_CANDIDATES).collect();
        let bundle = match session.bundle() {
            Some(mids) => mids.into_iter().map(ToOwned::to_owned).collect(),
            // Without a bundle there is one transport for one section.
            None => session
                .media
                .first()
                .and_then(Media::mid)
                .map(ToOwned::to_owned)
                .into_iter()
                .collect(),
        };
        Ok(Self { session, params, candidates, bundle })
    }

    /// Not rejected, and on the one transport.
    pub(crate) fn is_live(&self, media: &Media) -> bool {
        media.is_live() && media.mid().is_some_and(|mid| self.bundle.contains(mid))
    }

    /// The live sections.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&str, &Media)> {
        self.session
            .media
            .iter()
            .filter(|media| self.is_live(media))
            .filter_map(|media| Some((media.mid()?, media)))
    }
}

fn check_mids(session: &Session) -> Result<(), NegotiateError> {
    let mut seen = BTreeSet::new();
    for (index, media) in session.media.iter().enumerate() {
        // RFC 5888 §4: a token. With white space in it, it would be several in the bundle.
        let usable = |mid: &&str| {
            (1..=MAX_MID).contains(&mid.len()) && mid.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let mid = media.mid().filter(usable).ok_or(NegotiateError::BadMid { index })?;
        if !seen.insert(mid) {
            return Err(NegotiateError::DuplicateMid { mid: mid.to_owned() });
        }
    }
    Ok(())
}
