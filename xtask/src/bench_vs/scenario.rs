//! The loads.

use std::time::Duration;

/// One load.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scenario {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// Flags of the tester.
    pub(crate) flags: &'static str,
    /// All participants.
    pub(crate) participants: u32,
    pub(crate) joins_per_second: u32,
    /// After the last join.
    pub(crate) seconds: u32,
}

/// (a) to (c) also twice as large: a core of livekit-server is full with (a) and (c), and half full with (b).
const ALL: &[Scenario] = &[
    Scenario {
        name: "livestream",
        title: "(a) livestream: 1 video, 720p VP8 simulcast → 150",
        flags: "--video-publishers 1 --subscribers 150",
        participants: 151,
        joins_per_second: 20,
        seconds: 20,
    },
    Scenario {
        name: "livestream300",
        title: "(a) livestream, twice as large: → 300",
        flags: "--video-publishers 1 --subscribers 300",
        participants: 301,
        joins_per_second: 20,
        seconds: 20,
    },
    Scenario {
        name: "meeting",
        title: "(b) meeting: 7 × video and audio → 7, medium quality",
        flags: "--video-publishers 7 --audio-publishers 7 --subscribers 7 --layout 3x3",
        participants: 14,
        joins_per_second: 5,
        seconds: 20,
    },
    Scenario {
        name: "meeting14",
        title: "(b) meeting, twice as large: 14 × video and audio → 14",
        flags: "--video-publishers 14 --audio-publishers 14 --subscribers 14 --layout 3x3",
        participants: 28,
        joins_per_second: 5,
        seconds: 20,
    },
    Scenario {
        name: "audio",
        title: "(c) audio room: 10 → 80",
        flags: "--audio-publishers 10 --subscribers 80",
        participants: 90,
        joins_per_second: 20,
        seconds: 20,
    },
    Scenario {
        name: "audio160",
        title: "(c) audio room, twice as large: 10 → 160",
        flags: "--audio-publishers 10 --subscribers 160",
        participants: 170,
        joins_per_second: 20,
        seconds: 20,
    },
    Scenario {
        name: "data",
        title: "(d) lossy data: 1 × 50 messages/s of 200 B → 100",
        flags: "--data-publishers 1 --data-rate 50 --subscribers 100",
        participants: 101,
        joins_per_second: 20,
        seconds: 15,
    },
    Scenario {
        name: "joins",
        title: "(e) joins: 30 a second for 10 s, nobody publishes",
        flags: "--subscribers 300",
        participants: 300,
        joins_per_second: 30,
        seconds: 3,
    },
    Scenario {
        name: "joins100",
        title: "(e) joins: 100 a second for 10 s, nobody publishes",
        flags: "--subscribers 1000",
        participants: 1_000,
        joins_per_second: 100,
        seconds: 3,
    },
];

/// The named ones, or all.
pub(crate) fn select(names: &[&str]) -> Result<Vec<Scenario>, String> {
    let known = || ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let find = |name: &&str| {
        let found = ALL.iter().find(|scenario| scenario.name == *name).cloned();
        found.ok_or_else(|| format!("there is no scenario {name}; there are: {}", known()))
    };
    if names.is_empty() { Ok(ALL.to_vec()) } else { names.iter().map(find).collect() }
}

impl Scenario {
    /// The tester's flags.
    pub(crate) fn args(&self) -> Vec<String> {
        let pace = [
            "--num-per-second".to_owned(),
            self.joins_per_second.to_string(),
            "--duration".to_owned(),
            format!("{}s", self.seconds),
        ];
        self.flags.split(' ').map(ToOwned::to_owned).chain(pace).collect()
    }

    /// It has failed if it takes longer.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(u64::from(
            60 + self.seconds + self.participants / self.joins_per_second,
        ))
    }

    /// Messages, not packets, are what arrives.
    pub(crate) fn is_data(&self) -> bool {
        self.name == "data"
    }

    /// Only joins are of interest.
    pub(crate) fn is_joins(&self) -> bool {
        self.name.starts_with("joins")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_found_by_name_and_an_unknown_one_names_the_known() {
        assert_eq!(select(&[]).unwrap().len(), ALL.len());
        let [audio] = select(&["audio"]).unwrap().try_into().unwrap();
        assert_eq!(audio.args()[..2], ["--audio-publishers", "10"]);
        assert!(select(&["nope"]).unwrap_err().contains("livestream, livestream300, meeting"));
    }
}
