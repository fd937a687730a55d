//! The version of each participant that a recipient was last sent.
//!
//! * **Owns:** for one recipient, the version last sent of every participant it knows, and who left while it was away.
//! * **In:** what is about to be sent; who leaves; who is here.
//! * **Out:** whether it is news; who is gone.
//! * **Invariant:** versions told about one participant never go down. As large as the room was at
//!   most, since whoever leaves is forgotten when the recipient is told; eight to sixteen bytes for each,
//!   because in a room of a thousand there are a million of them.
//! * **livekit-server:** `pkg/rtc/participant_signal.go`.

use hearth_signal::proto::{ParticipantInfo, participant_info::State};

use crate::participant::ParticipantKey;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SentVersions {
    /// Ascending. Who comes later has a higher key, so most are added at the end.
    known: Vec<(ParticipantKey, u32)>,
    missed: Vec<ParticipantInfo>,
}

impl SentVersions {
    /// Notes that `info` is about to be sent; false if the recipient knows it already.
    pub(crate) fn note(&mut self, about: ParticipantKey, info: &ParticipantInfo) -> bool {
        if info.state() == State::Disconnected {
            return self.remove(about);
        }
        let version = match self.place(about) {
            Ok(at) => self.known.get_mut(at).map(|(_, version)| version),
            Err(at) => {
                self.known.insert(at, (about, info.version));
                None
            }
        };
        let Some(version) = version else { return true };
        let news = info.version > *version;
        *version = info.version.max(*version);
        news
    }

    /// Forgets one that the recipient sees replaced by another of the same identity.
    pub(crate) fn forget(&mut self, about: ParticipantKey) {
        self.remove(about);
    }

    /// Notes who left while the recipient is away.
    pub(crate) fn miss(&mut self, about: ParticipantKey, info: &ParticipantInfo) {
        if self.remove(about) {
            self.missed.push(as_left(info));
        }
    }

    /// Who left while the recipient was away, as it shall be told.
    pub(crate) fn take_missed(&mut self) -> Vec<ParticipantInfo> {
        std::mem::take(&mut self.missed)
    }

    /// Forgets those the recipient knows and may see no longer.
    pub(crate) fn take_unseen(
        &mut self,
        is_seen: impl Fn(ParticipantKey) -> bool,
    ) -> Vec<ParticipantKey> {
        self.known.extract_if(.., |(key, _)| !is_seen(*key)).map(|(key, _)| key).collect()
    }

    fn place(&self, about: ParticipantKey) -> Result<usize, usize> {
        self.known.binary_search_by_key(&about, |(key, _)| *key)
    }

    /// False if it was not known.
    fn remove(&mut self, about: ParticipantKey) -> bool {
        self.place(about).map(|at| self.known.remove(at)).is_ok()
    }
}

/// No more of one who left than who it was, and why it left.
pub(crate) fn as_left(info: &ParticipantInfo) -> ParticipantInfo {
    ParticipantInfo {
        sid: info.sid.clone(),
        identity: info.identity.clone(),
        state: State::Disconnected.into(),
        version: info.version.saturating_add(1),
        disconnect_reason: info.disconnect_reason,
        ..ParticipantInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_signal::proto::DisconnectReason;

    const A: ParticipantKey = ParticipantKey(1);

    #[test]
    fn only_a_higher_version_is_news() {
        let mut told = SentVersions::default();
        let sent: Vec<bool> = [1, 1, 3, 2, 4].map(|version| told.note(A, &info(version))).to_vec();
        assert_eq!(sent, [true, false, true, false, true]);
        assert!(told.note(ParticipantKey(2), &info(1)), "another participant");
    }

    #[test]
    fn leaving_is_told_once_and_only_to_those_who_knew() {
        let mut told = SentVersions::default();
        let gone = ParticipantInfo { state: State::Disconnected.into(), ..info(9) };
        assert!(!told.note(A, &gone));
        assert!(told.note(A, &info(1)));
        assert!(told.note(A, &gone));
        assert!(!told.note(A, &gone));
    }

    #[test]
    fn who_left_during_an_absence_is_listed_once_and_only_if_known() {
        let mut told = SentVersions::default();
        assert!(told.note(A, &info(3)));
        let reason = DisconnectReason::ParticipantRemoved;
        told.miss(A, &ParticipantInfo { disconnect_reason: reason.into(), ..info(3) });
        told.miss(ParticipantKey(2), &info(7));
        let left = told.take_missed();
        assert_eq!((left.len(), left[0].identity.as_str(), left[0].version), (1, "a", 4));
        assert_eq!(left[0].disconnect_reason(), reason);
        assert_eq!((told.take_missed(), told.take_unseen(|_| false)), (vec![], vec![]));
    }

    #[test]
    fn who_is_seen_no_longer_is_listed_once() {
        let mut told = SentVersions::default();
        told.note(A, &info(3));
        told.note(ParticipantKey(2), &info(3));
        assert_eq!(told.take_unseen(|key| key == A), [ParticipantKey(2)]);
        assert_eq!(told.take_unseen(|key| key == A), []);
    }

    fn info(version: u32) -> ParticipantInfo {
        ParticipantInfo {
            sid: "PA_a".into(),
            identity: "a".into(),
            state: State::Active.into(),
            version,
            ..ParticipantInfo::default()
        }
    }
}
