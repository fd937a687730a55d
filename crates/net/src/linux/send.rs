//! Writing datagrams, up to 64 runs in one call.
//!
//! * **Owns:** which destinations cannot be sent to by GSO.
//! * **In:** entries of a slab. **Out:** [`Sent`].
//! * **Invariant:** order is kept; a destination that failed by GSO once is never tried that way
//!   again; a full send buffer drops the rest of the call's datagrams, it does not wait.
#![expect(unsafe_code, reason = "sendmmsg with UDP_SEGMENT")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::RawFd;

use hearth_datagram::{Endpoint, Entry};

use super::address::{self, Control, NO_ADDR, NO_CONTROL, Options, RawAddr};
use super::socket::Sources;
use crate::Sent;
use crate::gso;

/// Messages in one call.
const MESSAGES: usize = 64;
/// Messages in a call that is not worth preparing [`MESSAGES`] for.
const FEW: usize = 8;
/// Destinations without GSO before it is given up for all: the interface cannot do it.
const MAX_PLAIN: usize = 256;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Sender {
    plain: BTreeSet<Endpoint>,
}

/// What happened to the first messages of a call.
enum Outcome {
    /// So many left.
    Taken(usize),
    /// None left: the first one failed.
    Failed(io::Error),
}

impl Sender {
    /// Sends `entries`, which count in `bytes`, in order.
    pub(super) fn send(
        &mut self,
        fd: RawFd,
        bytes: &[u8],
        entries: &[Entry],
        sources: &Sources,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut rest = entries;
        while !rest.is_empty() {
            let mut runs: [&[Entry]; MESSAGES] = [&[]; MESSAGES];
            let count = self.split(rest, &mut runs);
            let runs = runs.get(..count).unwrap_or_default();
            sent.calls += 1;
            // A call of few messages need not prepare many.
            let outcome = match runs.len() {
                0..=FEW => call::<FEW>(fd, bytes, runs, sources),
                _ => call::<MESSAGES>(fd, bytes, runs, sources),
            };
            match outcome {
                Outcome::Taken(taken) => {
                    for run in runs.iter().take(taken) {
                        sent.datagrams += run.len() as u64;
                        sent.bytes += run.iter().map(|entry| entry.len as u64).sum::<u64>();
                        rest = rest.get(run.len()..).unwrap_or_default();
                    }
                }
                Outcome::Failed(error) => {
                    let first = runs.first().copied().unwrap_or_default();
                    rest = self.handle_failure(&error, first, rest, &mut sent);
                }
            }
        }
        sent
    }

    /// Returns what is still to be sent.
    fn handle_failure<'a>(
        &mut self,
        error: &io::Error,
        first: &[Entry],
        rest: &'a [Entry],
        sent: &mut Sent,
    ) -> &'a [Entry] {
        let code = error.raw_os_error().unwrap_or(0);
        let no_room = [libc::EAGAIN, libc::EWOULDBLOCK, libc::ENOBUFS];
        if no_room.contains(&code) {
            sent.full += rest.len() as u64;
            return &[];
        }
        if code == libc::EINTR {
            return rest;
        }
        let by_gso = [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::EOPNOTSUPP];
        if first.len() > 1 && by_gso.contains(&code) {
            if let Some(entry) = first.first() {
                self.plain.insert(entry.path);
            }
            return rest;
        }
        sent.refused += first.len().max(1) as u64;
        rest.get(first.len().max(1)..).unwrap_or_default()
    }

    /// Cuts as many runs as one call takes. Returns how many.
    fn split<'a>(&self, entries: &'a [Entry], runs: &mut [&'a [Entry]; MESSAGES]) -> usize {
        let mut rest = entries;
        let mut count = 0;
        for run in runs.iter_mut() {
            let Some(first) = rest.first() else { break };
            let may_join = self.plain.len() < MAX_PLAIN && !self.plain.contains(&first.path);
            let len = if may_join { gso::run_length(rest) } else { 1 };
            (*run, rest) = rest.split_at(len.min(rest.len()));
            count += 1;
        }
        count
    }
}

/// One `sendmmsg`, one message for each run, at most `N`.
fn call<const N: usize>(fd: RawFd, bytes: &[u8], runs: &[&[Entry]], sources: &Sources) -> Outcome {
    let mut addrs: [RawAddr; N] = [NO_ADDR; N];
    let mut controls: [Control; N] = [NO_CONTROL; N];
    let mut slices = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; N];
    let mut messages = [libc::mmsghdr { msg_hdr: address::no_message(), msg_len: 0 }; N];
    let parts = messages.iter_mut().zip(&mut slices).zip(&mut addrs).zip(&mut controls);
    let mut count: libc::c_uint = 0;
    for ((((message, slice), addr), control), run) in parts.zip(runs) {
        let Some((first, last)) = run.first().zip(run.last()) else { break };
        let Some(data) = bytes.get(first.start..last.start.saturating_add(last.len)) else { break };
        // The kernel only reads what it is given here; the type has no const variant.
        slice.iov_base = data.as_ptr().cast_mut().cast();
        slice.iov_len = data.len();
        let (raw, len) = address::to_raw(first.path.remote);
        *addr = raw;
        let header = &mut message.msg_hdr;
        header.msg_name = std::ptr::from_mut(addr).cast();
        header.msg_namelen = len;
        header.msg_iov = slice;
        header.msg_iovlen = 1;
        let source = sources.source(first.path.local);
        let segment = (run.len() > 1).then(|| u16::try_from(first.len).unwrap_or(u16::MAX));
        if segment.is_some() || source.is_some() {
            address::set_options(header, control, Options { segment, source });
        }
        count += 1;
    }
    if count == 0 {
        return Outcome::Failed(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the first `count` of `messages` are complete; what they point to (addresses, slices,
    // control buffers, `bytes`) lives until the end of this function, and the kernel only reads it.
    let taken =
        unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
    match usize::try_from(taken) {
        Ok(taken) if taken > 0 => Outcome::Taken(taken),
        _ => Outcome::Failed(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_failed_by_gso_is_sent_to_one_by_one_and_others_are_not() {
        let entries = entries(&[1, 1, 1, 2, 2]);
        let mut sender = Sender::default();
        assert_eq!(run_lengths(&sender, &entries), [3, 2]);
        let mut sent = Sent::default();
        let rest = sender.handle_failure(&os(libc::EIO), &entries[..3], &entries, &mut sent);
        assert_eq!((rest.len(), sent), (5, Sent::default()));
        assert_eq!(run_lengths(&sender, &entries), [1, 1, 1, 2]);
    }

    #[test]
    fn a_full_buffer_drops_all_and_a_refused_datagram_only_itself() {
        let entries = entries(&[1, 2, 3]);
        let mut sender = Sender::default();
        let mut sent = Sent::default();
        let rest = sender.handle_failure(&os(libc::EINVAL), &entries[..1], &entries, &mut sent);
        assert_eq!((rest.len(), sent.refused, sent.full), (2, 1, 0));
        let rest = sender.handle_failure(&os(libc::EAGAIN), &rest[..1], rest, &mut sent);
        assert_eq!((rest.len(), sent.refused, sent.full), (0, 1, 2));
    }

    /// Of 10 bytes each, back to back.
    fn entries(ports: &[u16]) -> Vec<Entry> {
        let entry = |(n, port): (usize, &u16)| Entry {
            path: Endpoint::udp(([0; 4], 0).into(), ([127, 0, 0, 1], *port).into()),
            start: n * 10,
            len: 10,
        };
        ports.iter().enumerate().map(entry).collect()
    }

    fn run_lengths(sender: &Sender, entries: &[Entry]) -> Vec<usize> {
        let mut runs: [&[Entry]; MESSAGES] = [&[]; MESSAGES];
        let count = sender.split(entries, &mut runs);
        runs[..count].iter().map(|run| run.len()).collect()
    }

    fn os(code: libc::c_int) -> io::Error {
        io::Error::from_raw_os_error(code)
    }
}
