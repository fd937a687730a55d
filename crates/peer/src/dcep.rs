//! The data channel establishment protocol (DCEP): it names the channel of a stream.
//!
//! * **Owns:** nothing; pure functions.
//! * **In:** messages with PPID 50.
//! * **Out:** [`Dcep`], and the bytes of ours.
//! * **Invariant:** no message panics or allocates.
//! * **Spec:** RFC 8832 §5.

use hearth_plane::Channel;

/// A message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dcep<'a> {
    /// The other side opens a channel on the stream it is sent on.
    Open {
        /// The channel, known by its label.
        label: &'a str,
    },
    /// Our OPEN arrived.
    Ack,
}

/// DATA_CHANNEL_ACK.
pub(crate) const ACK: [u8; 1] = [2];

/// Reads a message.
pub(crate) fn parse(message: &[u8]) -> Option<Dcep<'_>> {
    match message {
        [2, ..] => Some(Dcep::Ack),
        [3, rest @ ..] => {
            // Channel type 1, priority 2, reliability 4, lengths of label and protocol.
            let ([_, _, _, _, _, _, _, l0, l1, _, _], rest) = rest.split_first_chunk::<11>()?;
            let label = rest.get(..usize::from(u16::from_be_bytes([*l0, *l1])))?;
            Some(Dcep::Open { label: std::str::from_utf8(label).ok()? })
        }
        _ => None,
    }
}

/// Our OPEN for a channel; `None` for [`Channel::Other`].
pub(crate) fn open(channel: Channel) -> Option<Vec<u8>> {
    let label = label(channel)?;
    // DATA_CHANNEL_RELIABLE, or DATA_CHANNEL_PARTIAL_RELIABLE_REXMIT_UNORDERED with 0 retries.
    let channel_type = if channel == Channel::Reliable { 0x00 } else { 0x81 };
    let length = u8::try_from(label.len()).ok()?;
    let mut message = vec![3, channel_type, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
    message.extend_from_slice(label.as_bytes());
    Some(message)
}

/// The channel with a label.
pub(crate) fn channel(label: &str) -> Channel {
    match label {
        "_reliable" => Channel::Reliable,
        "_lossy" => Channel::Lossy,
        "_data_track" => Channel::DataTrack,
        _ => Channel::Other,
    }
}

const fn label(channel: Channel) -> Option<&'static str> {
    match channel {
        Channel::Reliable => Some("_reliable"),
        Channel::Lossy => Some("_lossy"),
        Channel::DataTrack => Some("_data_track"),
        Channel::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_recognised_from_our_own_open() {
        for wanted in [Channel::Reliable, Channel::Lossy, Channel::DataTrack] {
            let message = open(wanted).unwrap();
            let Some(Dcep::Open { label }) = parse(&message) else { panic!("{message:?}") };
            assert_eq!(channel(label), wanted);
            for n in 0..message.len() {
                assert_eq!(parse(&message[..n]), None, "{n} bytes");
            }
        }
        assert_eq!(open(Channel::Other), None);
        assert_eq!(channel("chat"), Channel::Other);
    }

    #[test]
    fn the_open_of_lossy_says_unordered_and_no_retransmission() {
        let message = open(Channel::Lossy).unwrap();
        assert_eq!(message[..12], [3, 0x81, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0]);
        assert_eq!(&message[12..], b"_lossy");
    }
}
