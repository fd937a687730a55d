//! The SFU core: what is forwarded to whom, in which layer, under which numbers.

mod audio_level_meter;
mod down_track;
mod history;
mod keyframe;
mod layer_rates;
mod layer_selector;
mod layer_target;
mod packet_writer;
mod pages;
mod retransmission_budget;
mod ring;
mod sequence_rewriter;
mod stream_tracker;
mod timestamp_rewriter;
mod up_track;
mod verdict;
mod vp8_rewriter;

pub use down_track::{Answer, DownTrack, Resend};
pub use keyframe::retry_after;
pub use layer_target::{Target, choose_target};
pub use ring::{PacketMeta, UpPacket};
pub use timestamp_rewriter::SourceClock;
pub use up_track::{Ingest, UpTrack};
pub use verdict::{DropReason, Verdict, Written};
