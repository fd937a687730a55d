//! The SFU core: what is forwarded to whom, in which layer, under which numbers.
//!
//! * **Owns:** a publisher's packets for as long as they may be retransmitted ([`UpTrack`]), and for each subscription how
//!   sequence numbers, timestamps and picture ids are rewritten ([`DownTrack`]).
//! * **In:** RTP packets, NACKs, key frame requests, [`Target`]s, time.
//! * **Out:** RTP packets that are yet to be sealed, a [`Verdict`] for each; when to send a PLI; bitrates of layers; the
//!   audio level.
//! * **Invariant:** nothing here allocates, locks or reads a clock for a packet.
//! * **Not here:** transports and RTCP (`peer`), which subscriptions there are (`shard`), bandwidth estimation.

mod audio_level_meter;
mod down_track;
mod history;
mod keyframe;
mod layer_rates;
mod layer_selector;
mod layer_target;
mod link_quality;
mod packet_writer;
mod pages;
mod playout_delay;
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
pub use link_quality::{LinkQuality, SmoothedLoss};
pub use ring::{PacketMeta, UpPacket};
pub use timestamp_rewriter::SourceClock;
pub use up_track::{Ingest, UpTrack};
pub use verdict::{DropReason, Verdict, Written};
