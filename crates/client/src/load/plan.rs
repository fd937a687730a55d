//! The plan of a load test: publishers, subscribers, media.
//!
//! * **Owns:** nothing.
//! * **In:** the command line's values.
//! * **Out:** a [`Plan`] that can be carried out.
//! * **Invariant:** what a plan asks for, the clips can give.

use std::time::Duration;

use hearth_codec::Codec;

use crate::attacker::Attack;

/// How subscribers show videos, and so which quality they ask for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Layout {
    /// One large, the others small.
    #[default]
    Speaker,
    /// Nine of medium size.
    Grid3x3,
    /// Sixteen small ones.
    Grid4x4,
    /// Twenty-five small ones.
    Grid5x5,
}

/// The media of video publishers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VideoPlan {
    /// VP8 or H.264.
    pub codec: Codec,
    /// Lines of the highest encoding: 180, 360 or 720.
    pub height: u32,
    /// Also all lower encodings.
    pub simulcast: bool,
}

/// The traffic of data publishers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataPlan {
    /// Messages a second of each publisher.
    pub rate: u32,
    /// Bytes of each message.
    pub size: usize,
    /// Reliable and in order; else each message at most once.
    pub reliable: bool,
}

/// Who receives, and what else they do.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// How they show videos.
    pub layout: Layout,
    /// Publishers receive everything too, as in a conference.
    pub everybody: bool,
    /// What those do beside who publish nothing.
    pub attack: Option<Attack>,
}

/// A load test.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub url: String,
    /// Its API key.
    pub api_key: String,
    /// The secret of that.
    pub api_secret: String,
    /// Everybody joins this one.
    pub room: String,
    /// Participants who publish video.
    pub video_publishers: usize,
    /// Participants who publish audio; the first ones publish video too.
    pub audio_publishers: usize,
    /// Participants who publish data; the first ones publish video or audio too.
    pub data_publishers: usize,
    /// Participants who publish nothing and receive everything.
    pub subscribers: usize,
    /// What they send.
    pub video: VideoPlan,
    /// What they send.
    pub data: DataPlan,
    /// Who receives it, and how.
    pub audience: Audience,
    /// Joins a second.
    pub joins_per_second: f64,
    /// Time from the last join to the end; `None` runs until it is stopped.
    pub duration: Option<Duration>,
    /// Publishers take turns in being announced as speakers.
    pub simulate_speakers: bool,
    /// Media carries the time at which it was sent.
    pub stamped: bool,
    /// Identities are this and a number; a participant that is alone is called just this.
    pub identity_prefix: String,
}

/// Why a plan cannot be carried out. Says what would do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The plan has no participants.
    #[error("nobody would join: add --video-publishers, --audio-publishers or --subscribers")]
    Nobody,
    /// There are no clips of it.
    #[error("there is no clip in {0:?}: use vp8 or h264")]
    Codec(Codec),
    /// There are no clips of it.
    #[error("there is no clip of {0} lines: use low (180), medium (360) or high (720)")]
    Height(u32),
    /// Out of range.
    #[error("--num-per-second must be above 0 and at most 1000")]
    JoinsPerSecond,
    /// Out of range.
    #[error("--data-packet-bytes must be 20 to 15000")]
    DataSize,
    /// Out of range.
    #[error("--data-rate must be 1 to 1000")]
    DataRate,
}

/// One participant of a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Role {
    pub(crate) video: bool,
    pub(crate) audio: bool,
    pub(crate) data: bool,
    pub(crate) subscribes: bool,
}

impl Role {
    pub(crate) fn only_subscribes(self) -> bool {
        !(self.video || self.audio || self.data)
    }
}

impl Plan {
    /// Checks before the first join.
    ///
    /// # Errors
    ///
    /// [`PlanError`]: a value is out of range.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.roles().next().is_none() {
            return Err(PlanError::Nobody);
        }
        if !matches!(self.video.codec, Codec::Vp8 | Codec::H264) {
            return Err(PlanError::Codec(self.video.codec));
        }
        if ![180, 360, 720].contains(&self.video.height) {
            return Err(PlanError::Height(self.video.height));
        }
        if !(self.joins_per_second > 0.0 && self.joins_per_second <= 1_000.0) {
            return Err(PlanError::JoinsPerSecond);
        }
        if self.data_publishers > 0 && !(20..=15_000).contains(&self.data.size) {
            return Err(PlanError::DataSize);
        }
        if self.data_publishers > 0 && !(1..=1_000).contains(&self.data.rate) {
            return Err(PlanError::DataRate);
        }
        Ok(())
    }

    /// How many take part.
    pub fn participants(&self) -> usize {
        self.roles().count()
    }

    /// Everybody, publishers first.
    pub(crate) fn roles(&self) -> impl Iterator<Item = Role> {
        let Self { video_publishers, audio_publishers, data_publishers, subscribers, .. } = *self;
        let publishers = video_publishers.max(audio_publishers).max(data_publishers);
        (0..publishers + subscribers).map(move |n| Role {
            video: n < video_publishers,
            audio: n < audio_publishers,
            data: n < data_publishers,
            subscribes: n >= publishers || self.audience.everybody,
        })
    }

    /// Tracks that are published.
    pub(crate) fn tracks(&self) -> usize {
        self.video_publishers + self.audio_publishers
    }
}

#[cfg(test)]
pub(crate) fn example() -> Plan {
    Plan {
        url: "ws://localhost:7880".into(),
        api_key: "devkey".into(),
        api_secret: "secret".into(),
        room: "load".into(),
        video_publishers: 2,
        audio_publishers: 3,
        data_publishers: 1,
        subscribers: 4,
        video: VideoPlan { codec: Codec::Vp8, height: 720, simulcast: true },
        data: DataPlan { rate: 10, size: 100, reliable: false },
        audience: Audience::default(),
        joins_per_second: 10.0,
        duration: Some(Duration::from_secs(1)),
        simulate_speakers: false,
        stamped: true,
        identity_prefix: "tester".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_come_first_and_share_what_they_publish() {
        let roles: Vec<Role> = example().roles().collect();
        let role =
            |video, audio, data| Role { video, audio, data, subscribes: !(video || audio || data) };
        let publishers =
            [role(true, true, true), role(true, true, false), role(false, true, false)];
        assert_eq!(roles[..3], publishers);
        assert_eq!(roles[3..], [role(false, false, false); 4]);
        assert_eq!(example().tracks(), 5);
        let conference =
            Plan { audience: Audience { everybody: true, ..Audience::default() }, ..example() };
        assert!(conference.roles().all(|role| role.subscribes));
    }

    #[test]
    fn plans_that_cannot_be_met_are_errors_that_name_what_can() {
        assert_eq!(example().check(), Ok(()));
        let refused = |change: fn(&mut Plan)| {
            let mut plan = example();
            change(&mut plan);
            plan.check().unwrap_err().to_string()
        };
        assert!(refused(|plan| plan.video.codec = Codec::Av1).contains("vp8 or h264"));
        assert!(refused(|plan| plan.video.height = 1_080).contains("high (720)"));
        assert!(refused(|plan| plan.joins_per_second = 0.0).contains("--num-per-second"));
        assert!(refused(|plan| plan.data.size = 5).contains("20 to 15000"));
        assert!(refused(|plan| plan.data.rate = 0).contains("1 to 1000"));
        assert!(
            refused(|plan| {
                plan.subscribers = 0;
                plan.video_publishers = 0;
                plan.audio_publishers = 0;
                plan.data_publishers = 0;
            })
            .contains("--subscribers")
        );
    }
}
