//! The SFU core: what is forwarded to whom, in which layer, under which numbers.

mod activity;
mod aim;
mod budget;
mod down_track;
mod history;
mod keyframe;
mod pages;
mod rewriter;
mod ring;
mod speaker;
mod timeline;
mod up_track;
mod verdict;
mod vp8;

pub use down_track::{Answer, DownTrack, Resend};
pub use keyframe::retry_after;
pub use ring::{PacketMeta, UpPacket};
pub use timeline::SourceClock;
pub use up_track::{Ingest, UpTrack};
pub use verdict::{DropReason, Verdict, Written};
