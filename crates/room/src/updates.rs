//! Who was told what about whom.
//!
//! * **Owns:** for one recipient, the sid, identity and version of everybody it knows.
//! * **In:** what is about to be sent; who is here.
//! * **Out:** whether it is news; who left while the recipient was away.
//! * **Invariant:** versions told about one sid never go down. As large as the room, since whoever
//!   leaves is forgotten when the recipient is told.
//! * **livekit-server:** `pkg/rtc/participant_signal.go`.

use std::collections::BTreeMap;

use hearth_signal::proto::{ParticipantInfo, participant_info::State};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Told {
    known: BTreeMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    identity: String,
    version: u32,
}

impl Told {
    /// Notes that `info` is about to be sent; false if the recipient knows it already.
    pub(crate) fn note(&mut self, info: &ParticipantInfo) -> bool {
        if info.state() == State::Disconnected {
            return self.known.remove(&info.sid).is_some();
        }
        if let Some(seen) = self.known.get_mut(&info.sid) {
            let news = info.version > seen.version;
            seen.version = seen.version.max(info.version);
            return news;
        }
        let seen = Seen { identity: info.identity.clone(), version: info.version };
        self.known.insert(info.sid.clone(), seen);
        true
    }

    /// Forgets a sid that the recipient sees replaced by another of the same identity.
    pub(crate) fn forget(&mut self, sid: &str) {
        self.known.remove(sid);
    }

    /// Those the recipient believes to be here and who are not, as it shall be told.
    pub(crate) fn take_left(&mut self, is_here: impl Fn(&str) -> bool) -> Vec<ParticipantInfo> {
        let mut left = Vec::new();
        self.known.retain(|sid, seen| {
            let here = is_here(sid);
            if !here {
                left.push(ParticipantInfo {
                    sid: sid.clone(),
                    identity: seen.identity.clone(),
                    state: State::Disconnected.into(),
                    version: seen.version.saturating_add(1),
                    ..ParticipantInfo::default()
                });
            }
            here
        });
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_version_is_news() {
        let mut told = Told::default();
        let sent: Vec<bool> = [1, 1, 3, 2, 4].map(|version| told.note(&info(version))).to_vec();
        assert_eq!(sent, [true, false, true, false, true]);
    }

    #[test]
    fn leaving_is_told_once_and_only_to_those_who_knew() {
        let mut told = Told::default();
        let gone = ParticipantInfo { state: State::Disconnected.into(), ..info(9) };
        assert!(!told.note(&gone));
        assert!(told.note(&info(1)));
        assert!(told.note(&gone));
        assert!(!told.note(&gone));
    }

    #[test]
    fn who_left_during_an_absence_is_listed_once() {
        let mut told = Told::default();
        assert!(told.note(&info(3)));
        let left = told.take_left(|_| false);
        assert_eq!((left.len(), left[0].identity.as_str(), left[0].version), (1, "a", 4));
        assert_eq!(told.take_left(|_| false), []);
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
