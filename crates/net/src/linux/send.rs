//! Writing datagrams, up to 64 runs in one call.
//!
//! * **Owns:** the paths without GSO; the backlog of datagrams that found the send buffer full.
//! * **In:** entries of a slab. **Out:** [`Sent`].
//! * **Invariant:** it never waits. Order is kept for each path. Datagrams that find the send buffer full wait for the
//!   next call, within the bounds of [`Backlog`], and hold up only later ones of the same path: with the
//!   others the kernel is tried again, [`MAX_FULL`] times a call. A path whose GSO send failed is not sent
//!   runs again.
#![expect(unsafe_code, reason = "sendmmsg with UDP_SEGMENT")]

use std::io;
use std::os::fd::RawFd;

use hearth_datagram::Entry;

use super::address::{self, Control, NO_ADDR, NO_CONTROL, Options, RawAddr};
use super::socket::Sources;
use crate::backlog::Backlog;
use crate::gso::{self, PlainPaths};
use crate::{Refused, Sent};

/// Messages in one call.
const MESSAGES: usize = 64;
/// Messages in a call that is not worth preparing [`MESSAGES`] for.
const FEW: usize = 8;
/// Runs for which there is no room before the rest of a call is taken to have none either. More finds
/// room that has just become free, fewer wastes fewer system calls.
const MAX_FULL: usize = 8;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Sender {
    plain: PlainPaths,
    backlog: Backlog,
}

/// The result of the first messages of a call.
enum Outcome {
    /// So many left.
    Taken(usize),
    /// None left: the first one failed.
    Failed(io::Error),
}

impl Sender {
    /// See [`UdpSocket::keep_unsent`](crate::UdpSocket::keep_unsent).
    pub(super) fn keep_unsent(&mut self, datagrams: usize) {
        self.backlog = Backlog::new(datagrams);
    }

    /// Whether something waits for room.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Sends `entries`, which count in `bytes`, in order, after the backlog.
    pub(super) fn send(
        &mut self,
        fd: RawFd,
        bytes: &[u8],
        entries: &[Entry],
        sources: &Sources,
    ) -> Sent {
        // A call of few messages need not prepare many.
        let mut write = |bytes: &[u8], runs: &[&[Entry]]| match runs.len() {
            0..=FEW => call::<FEW>(fd, bytes, runs, sources),
            _ => call::<MESSAGES>(fd, bytes, runs, sources),
        };
        self.send_by(&mut write, bytes, entries)
    }

    /// `write` sends runs of entries over some bytes.
    fn send_by(
        &mut self,
        write: &mut impl FnMut(&[u8], &[&[Entry]]) -> Outcome,
        bytes: &[u8],
        entries: &[Entry],
    ) -> Sent {
        let mut sent = Sent::default();
        if !self.backlog.is_empty() {
            let waited = self.backlog.take();
            self.send_all(write, waited.bytes(), waited.entries(), &mut sent);
            // Datagrams that wait again are not counted as delayed once more.
            sent.delayed = 0;
            self.backlog.give_back(waited);
        }
        self.send_all(write, bytes, entries, &mut sent);
        sent
    }

    fn send_all(
        &mut self,
        write: &mut impl FnMut(&[u8], &[&[Entry]]) -> Outcome,
        bytes: &[u8],
        entries: &[Entry],
        sent: &mut Sent,
    ) {
        let mut rest = entries;
        let mut full = 0;
        while !rest.is_empty() {
            // No datagram overtakes earlier ones of its path: order is kept.
            // After MAX_FULL full runs the rest is held without trying: each try costs a system call.
            let held = if full < MAX_FULL { self.backlog.held(rest) } else { rest.len() };
            if held > 0 {
                let (waits, later) = rest.split_at(held.min(rest.len()));
                self.backlog.keep(bytes, waits, sent);
                rest = later;
                continue;
            }
            let free = self.backlog.free(rest);
            let mut runs: [&[Entry]; MESSAGES] = [&[]; MESSAGES];
            let count = self.split(rest.get(..free).unwrap_or(rest), &mut runs);
            let runs = runs.get(..count).unwrap_or_default();
            sent.calls += 1;
            match write(bytes, runs) {
                Outcome::Taken(taken) => {
                    for run in runs.iter().take(taken) {
                        sent.datagrams += run.len() as u64;
                        sent.bytes += run.iter().map(|entry| entry.len as u64).sum::<u64>();
                        self.plain.handle_sent(run);
                        rest = rest.get(run.len()..).unwrap_or_default();
                    }
                }
                Outcome::Failed(error) => {
                    let first = runs.first().copied().unwrap_or_default();
                    let count = match self.classify(&error, first) {
                        Failure::Retry => 0,
                        Failure::Full => {
                            full += 1;
                            self.backlog.keep(bytes, first, sent);
                            first.len().max(1)
                        }
                        Failure::Refused(reason) => {
                            let count = first.len().max(1);
                            *reason(&mut sent.refused) += count as u64;
                            let too_long = error.raw_os_error() == Some(libc::EMSGSIZE);
                            if let Some(entry) = first.first().filter(|_| !too_long) {
                                sent.refused_path = Some(entry.path);
                            }
                            count
                        }
                    };
                    rest = rest.get(count..).unwrap_or_default();
                }
            }
        }
    }

    /// Decides by errno about a call of which not even the first run left.
    fn classify(&mut self, error: &io::Error, first: &[Entry]) -> Failure {
        let code = error.raw_os_error().unwrap_or(0);
        let by_gso = [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::EOPNOTSUPP];
        if first.len() > 1 && by_gso.contains(&code) {
            if let Some(entry) = first.first() {
                self.plain.handle_failed(entry.path);
            }
            return Failure::Retry;
        }
        match code {
            libc::EINTR => Failure::Retry,
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => Failure::Full,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL => {
                Failure::Refused(|refused| &mut refused.unreachable)
            }
            libc::EPERM | libc::EACCES => Failure::Refused(|refused| &mut refused.denied),
            libc::EMSGSIZE => Failure::Refused(|refused| &mut refused.too_long),
            _ => Failure::Refused(|refused| &mut refused.other),
        }
    }

    /// Cuts as many runs as one call takes. Returns how many.
    fn split<'a>(&self, entries: &'a [Entry], runs: &mut [&'a [Entry]; MESSAGES]) -> usize {
        let mut rest = entries;
        let mut count = 0;
        for run in runs.iter_mut() {
            let Some(first) = rest.first() else { break };
            let len = if self.plain.may_join(first.path) { gso::run_length(rest) } else { 1 };
            (*run, rest) = rest.split_at(len.min(rest.len()));
            count += 1;
        }
        count
    }
}

/// The reaction to a failed run.
enum Failure {
    /// Retries the same run; without GSO, if that was the cause.
    Retry,
    /// The send buffer is full.
    Full,
    /// Counted under this reason, and gone.
    Refused(fn(&mut Refused) -> &mut u64),
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
    use std::collections::BTreeMap;

    use hearth_datagram::{Endpoint, SendSlab};

    use super::*;

    /// A kernel that has room for some.
    #[derive(Default)]
    struct Kernel {
        /// Error codes of the paths to these ports, in turn; then they work.
        errors: BTreeMap<u16, Vec<libc::c_int>>,
        /// (port, first byte) of what left.
        left: Vec<(u16, u8)>,
        calls: usize,
    }

    impl Kernel {
        fn failing(ports: impl IntoIterator<Item = u16>, code: libc::c_int, times: usize) -> Self {
            let errors = ports.into_iter().map(|port| (port, vec![code; times])).collect();
            Self { errors, ..Self::default() }
        }

        fn write(&mut self, bytes: &[u8], runs: &[&[Entry]]) -> Outcome {
            self.calls += 1;
            for (n, run) in runs.iter().enumerate() {
                let port = run[0].path.remote.port();
                if let Some(code) = self.errors.get_mut(&port).and_then(Vec::pop) {
                    if n > 0 {
                        // The kernel keeps the error for the next call, where this comes first.
                        self.errors.get_mut(&port).unwrap().push(code);
                        return Outcome::Taken(n);
                    }
                    return Outcome::Failed(io::Error::from_raw_os_error(code));
                }
                self.left.extend(run.iter().map(|entry| (port, bytes[entry.start])));
            }
            Outcome::Taken(runs.len())
        }
    }

    #[test]
    fn a_path_without_room_costs_the_others_nothing_and_keeps_its_order() {
        let mut sender = Sender::default();
        sender.keep_unsent(100);
        let mut kernel = Kernel::failing([2], libc::EAGAIN, 1);
        let sent = send(&mut sender, &mut kernel, &[(1, 0), (2, 1), (3, 2), (2, 3), (4, 4)]);
        assert_eq!((sent.datagrams, sent.delayed, sent.full), (3, 2, 0));
        assert_eq!(kernel.left, [(1, 0), (3, 2), (4, 4)]);
        assert!(sender.has_backlog());

        let sent = send(&mut sender, &mut kernel, &[(2, 5), (1, 6)]);
        assert_eq!((sent.datagrams, sent.delayed, sent.full), (4, 0, 0));
        assert_eq!(kernel.left[3..], [(2, 1), (2, 3), (2, 5), (1, 6)]);
        assert!(!sender.has_backlog());
    }

    #[test]
    fn a_full_socket_is_retried_a_few_times_a_call_and_the_backlog_leaves_when_there_is_room() {
        let mut sender = Sender::default();
        sender.keep_unsent(100);
        let all: Vec<(u16, u8)> = (0..50).map(|n| (u16::from(n), n)).collect();
        let mut kernel = Kernel::failing(0..50, libc::EAGAIN, 2);
        let sent = send(&mut sender, &mut kernel, &all);
        assert_eq!((sent.datagrams, sent.delayed, sent.full), (0, 50, 0));
        assert_eq!((sent.calls as usize, kernel.calls), (MAX_FULL, MAX_FULL));
        for _ in 0..20 {
            let sent = send(&mut sender, &mut kernel, &[]);
            assert_eq!((sent.delayed, sent.full), (0, 0));
        }
        assert_eq!(kernel.left.len(), 50);
        assert!(!sender.has_backlog());
    }

    #[test]
    fn the_backlog_is_bounded_for_all_and_for_each_path() {
        let mut sender = Sender::default();
        sender.keep_unsent(100);
        let mut kernel = Kernel::failing([1, 2], libc::EAGAIN, 1);
        let much: Vec<(u16, u8)> = (0..90).map(|n| (1, n)).chain([(2, 0)]).collect();
        let sent = send(&mut sender, &mut kernel, &much);
        assert_eq!((sent.delayed, sent.full), (65, 26));
        let sent = send(&mut sender, &mut kernel, &[]);
        assert_eq!((sent.datagrams, kernel.left.last()), (65, Some(&(2, 0))));

        // Without a backlog, datagrams for which there is no room are lost, and no others.
        let mut sender = Sender::default();
        let mut kernel = Kernel::failing([2], libc::ENOBUFS, 1);
        let sent = send(&mut sender, &mut kernel, &[(1, 0), (2, 1), (3, 2)]);
        assert_eq!((sent.datagrams, sent.delayed, sent.full), (2, 0, 1));
    }

    #[test]
    fn a_refused_datagram_is_counted_by_its_reason_and_the_others_leave() {
        let refused = Refused::default();
        for (code, expected) in [
            (libc::ENETUNREACH, Refused { unreachable: 1, ..refused }),
            (libc::EPERM, Refused { denied: 1, ..refused }),
            (libc::EMSGSIZE, Refused { too_long: 1, ..refused }),
            (libc::EINVAL, Refused { other: 1, ..refused }),
        ] {
            let mut kernel = Kernel::failing([2], code, 1);
            let sent = send(&mut Sender::default(), &mut kernel, &[(1, 0), (2, 1), (3, 2)]);
            assert_eq!((sent.datagrams, sent.refused), (2, expected), "{code}");
        }
    }

    #[test]
    fn a_path_that_failed_by_gso_is_sent_to_one_by_one_and_others_are_not() {
        let mut sender = Sender::default();
        let mut kernel = Kernel::failing([1], libc::EIO, 1);
        let entries = [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)];
        let sent = send(&mut sender, &mut kernel, &entries);
        assert_eq!((sent.datagrams, sent.refused), (5, Refused::default()));
        let slab = slab(&entries);
        let mut runs: [&[Entry]; MESSAGES] = [&[]; MESSAGES];
        let count = sender.split(slab.entries(), &mut runs);
        let lengths: Vec<_> = runs[..count].iter().map(|run| run.len()).collect();
        assert_eq!(lengths, [1, 1, 1, 2]);
    }

    /// (port, first byte) each.
    fn send(sender: &mut Sender, kernel: &mut Kernel, entries: &[(u16, u8)]) -> Sent {
        let slab = slab(entries);
        sender.send_by(&mut |bytes, runs| kernel.write(bytes, runs), slab.bytes(), slab.entries())
    }

    fn slab(entries: &[(u16, u8)]) -> SendSlab {
        let mut slab = SendSlab::new(entries.len());
        for (port, byte) in entries {
            let path = Endpoint::udp(([0; 4], 0).into(), ([127, 0, 0, 1], *port).into());
            assert!(slab.push(path, &[*byte; 10]));
        }
        slab
    }
}
