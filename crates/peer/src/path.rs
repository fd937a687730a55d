//! The path in use: the endpoint that ICE has chosen, as long as the client shows that it is there.
//!
//! * **Owns:** that endpoint, when it was last nominated and checked, and the endpoint that wants to take its place.
//! * **In:** authenticated checks and nominations, authenticated media, time.
//! * **Out:** [`Path::endpoint`], where to send.
//! * **Invariant:** nothing is sent to an endpoint that no authenticated check came from for [`CONSENT`]. A client that
//!   is heard at its old endpoint is not moved to another one by a check alone, which could be a recorded one.
//! * **Spec:** RFC 7675 §5.1 (consent expires after 30 s); RFC 8445 §7.3.1.5 (a lite agent follows USE-CANDIDATE).

use std::time::{Duration, Instant};

use hearth_datagram::Endpoint;

/// RFC 7675 §5.1. Browsers check the path they use every 2.5 to 5 s.
pub(crate) const CONSENT: Duration = Duration::from_secs(30);
/// Browsers check the selected pair every 2.5 s; after this the client has left that path.
const NOMINATION_TTL: Duration = Duration::from_secs(3);
/// How long the old endpoint has to be silent after a client nominated another: its NAT has given it another address.
/// Shorter and a pause of a client that only listens looks like it, longer and calls are interrupted longer.
const REBINDING: Duration = Duration::from_secs(1);

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Path {
    endpoint: Endpoint,
    /// The last nomination by the controlling side.
    confirmed: Instant,
    /// The last authenticated message of ICE that came by it.
    checked: Instant,
    /// Consent has expired.
    lapsed: bool,
    challenger: Option<Challenger>,
}

/// Another endpoint that the client has nominated.
#[derive(Debug)]
struct Challenger {
    endpoint: Endpoint,
    /// It takes over then, if nothing comes by the old one.
    due: Instant,
}

impl Path {
    pub(crate) const fn new(now: Instant, endpoint: Endpoint) -> Self {
        Self { endpoint, confirmed: now, checked: now, lapsed: false, challenger: None }
    }

    /// Where to send; `None` once consent has expired.
    pub(crate) const fn endpoint(&self) -> Option<&Endpoint> {
        if self.lapsed { None } else { Some(&self.endpoint) }
    }

    /// Where the client was last, with consent or without.
    pub(crate) const fn last(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The agent has chosen an endpoint.
    pub(crate) fn choose(&mut self, now: Instant, endpoint: Endpoint) {
        if self.endpoint == endpoint {
            self.confirmed = now;
        } else {
            *self = Self::new(now, endpoint);
        }
    }

    /// An authenticated message of ICE came by `from`.
    pub(crate) fn handle_check(&mut self, now: Instant, from: Endpoint) {
        if self.endpoint == from {
            self.checked = now;
            self.lapsed = false;
            self.challenger = None;
        }
    }

    /// Authenticated media came by `from`.
    pub(crate) fn handle_media(&mut self, from: Endpoint) {
        if self.challenger.is_some() && self.endpoint == from {
            self.challenger = None;
        }
    }

    /// The controlling side uses `from`. The agent keeps to the pair of highest priority until that
    /// has been silent for 13 s; a client that went from Wi-Fi to cellular should not wait so long.
    pub(crate) fn nominate(&mut self, now: Instant, from: Endpoint) {
        if self.endpoint == from {
            self.confirmed = now;
        } else if self.lapsed || now.saturating_duration_since(self.confirmed) >= NOMINATION_TTL {
            *self = Self::new(now, from);
        } else if self.challenger.as_ref().is_none_or(|other| other.endpoint != from) {
            self.challenger = Some(Challenger { endpoint: from, due: now + REBINDING });
        }
    }

    /// Nothing can be sent by `endpoint` any more.
    pub(crate) fn forget(&mut self, endpoint: Endpoint) {
        self.challenger.take_if(|challenger| challenger.endpoint == endpoint);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(challenger) = &self.challenger
            && now >= challenger.due
        {
            *self = Self::new(now, challenger.endpoint);
        }
        self.lapsed |= now >= self.checked + CONSENT;
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let consent = (!self.lapsed).then_some(self.checked + CONSENT);
        self.challenger.as_ref().map(|challenger| challenger.due).into_iter().chain(consent).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an origin; all else is added to it")]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn by(n: u16) -> Endpoint {
        Endpoint::udp(([10, 0, 0, 1], 7_882).into(), ([10, 0, 0, 2], n).into())
    }

    #[test]
    fn consent_ends_without_checks_and_comes_back_with_one() {
        let t0 = epoch();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let mut path = Path::new(t0, by(1));
        path.handle_check(at(10), by(1));
        // Media, and what comes from elsewhere, is no consent.
        path.handle_media(by(1));
        path.handle_check(at(39), by(2));
        path.handle_timeout(at(39));
        assert_eq!((path.endpoint(), path.poll_timeout()), (Some(&by(1)), Some(at(40))));
        path.handle_timeout(at(40));
        assert_eq!((path.endpoint(), path.poll_timeout()), (None, None));
        path.handle_check(at(50), by(1));
        assert_eq!(path.endpoint(), Some(&by(1)));
        path.handle_timeout(at(80));
        path.nominate(at(81), by(2));
        assert_eq!(path.endpoint(), Some(&by(2)));
    }

    #[test]
    fn a_connection_that_is_closed_takes_over_nothing() {
        let t0 = epoch();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let mut path = Path::new(t0, by(1));
        path.nominate(at(1), by(2));
        path.forget(by(3));
        assert_eq!(path.poll_timeout(), Some(at(2)), "another one is closed");
        path.forget(by(2));
        path.handle_timeout(at(2));
        assert_eq!(path.endpoint(), Some(&by(1)));
    }

    #[test]
    fn a_client_is_followed_to_another_endpoint_when_the_old_one_is_silent() {
        let t0 = epoch();
        let at = |ms| t0 + Duration::from_millis(ms);
        // What comes by the old endpoint after the nomination of the new one, and whether the client has moved.
        type Life = fn(&mut Path, Instant);
        let lives: [(Life, bool); 4] = [
            (|_, _| {}, true),
            (|path, _| path.handle_media(by(2)), true),
            (|path, _| path.handle_media(by(1)), false),
            (|path, now| path.handle_check(now, by(1)), false),
        ];
        for (n, (life, moves)) in lives.into_iter().enumerate() {
            let mut path = Path::new(t0, by(1));
            path.nominate(at(1_000), by(2));
            assert_eq!(path.poll_timeout(), Some(at(2_000)));
            // The same nomination once more does not put it off.
            path.nominate(at(1_500), by(2));
            life(&mut path, at(1_600));
            path.handle_timeout(at(1_999));
            assert_eq!(path.endpoint(), Some(&by(1)), "{n}");
            path.handle_timeout(at(2_000));
            assert_eq!(path.endpoint() == Some(&by(2)), moves, "{n}");
        }
    }

    #[test]
    fn a_nomination_is_followed_at_once_when_the_old_one_is_not_repeated() {
        let t0 = epoch();
        let mut path = Path::new(t0, by(1));
        path.nominate(t0 + NOMINATION_TTL, by(2));
        assert_eq!(path.endpoint(), Some(&by(2)));
    }
}
