//! The system calls, against the kernel: loopback only, ports chosen by the system.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hearth_datagram::SendSlab;
use hearth_net::{Poller, RecvBatch, UdpSocket};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn what_leaves_one_socket_arrives_at_another_in_order_and_unchanged() {
    let (mut sender, mut receiver) = (socket(), socket());
    let mut slab = SendSlab::new(64);
    let mut expected = Vec::new();
    // Runs for GSO (equal sizes), ends of runs (shorter), and single datagrams.
    for n in 0..60_u8 {
        let datagram = vec![n; if n % 7 == 6 { 90 } else { 1_100 }];
        assert!(slab.push(receiver.local_addr(), &datagram));
        expected.push(datagram);
    }
    let sent = sender.send_slab(&slab);
    assert_eq!((sent.datagrams, sent.full, sent.refused), (60, 0, 0));
    if cfg!(target_os = "linux") {
        assert!(sent.calls <= 2, "{sent:?}");
    }
    assert_eq!(receive(&mut receiver, 60), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_the_kernel_kept_together_arrives_as_its_datagrams() {
    let (mut sender, mut receiver) = (socket(), socket());
    let mut slab = SendSlab::new(64);
    for n in 0..40_u8 {
        assert!(slab.push(receiver.local_addr(), &vec![n; if n == 39 { 70 } else { 1_200 }]));
    }
    sender.send_slab(&slab);
    let mut batch = RecvBatch::new();
    wait_for(&mut receiver, &mut batch);
    assert_eq!(batch.len(), 40);
    assert!(!batch.is_full(), "one message of the kernel, not 40");
    let got: Vec<_> = batch.datagrams_mut().map(|d| (d.bytes[0], d.bytes.len())).collect();
    let expected: Vec<_> = (0..40).map(|n| (n, if n == 39 { 70 } else { 1_200 })).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_datagram_knows_its_sender_and_the_address_it_was_sent_to() {
    let mut sender = socket();
    let mut receiver = bind("0.0.0.0:0");
    let to = SocketAddr::from(([127, 0, 0, 1], receiver.local_addr().port()));
    let mut slab = SendSlab::new(1);
    assert!(slab.push(to, b"hello"));
    sender.send_slab(&slab);
    let mut batch = RecvBatch::new();
    wait_for(&mut receiver, &mut batch);
    let datagram = batch.datagrams_mut().next().unwrap();
    assert_eq!(datagram.from, sender.local_addr());
    if cfg!(target_os = "linux") {
        assert_eq!(datagram.to, Some(to.ip()));
    }
    assert_eq!(datagram.bytes, b"hello");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_leaves_from_the_address_that_is_asked_for() {
    let (mut sender, mut receiver) = (bind("0.0.0.0:0"), socket());
    let mut slab = SendSlab::new(8);
    for size in [300, 300, 300, 20, 300] {
        assert!(slab.push(receiver.local_addr(), &vec![7; size]));
    }
    let source = std::net::IpAddr::from([127, 0, 0, 2]);
    let sent = sender.send(slab.bytes(), slab.entries(), Some(source));
    assert_eq!((sent.datagrams, sent.bytes, sent.calls), (5, 1_220, 1));
    let mut batch = RecvBatch::new();
    wait_for(&mut receiver, &mut batch);
    let from: Vec<_> = batch.datagrams_mut().map(|datagram| datagram.from.ip()).collect();
    assert_eq!(from, [source; 5]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_ipv6_run_leaves_from_the_address_that_is_asked_for() {
    let any = "[::]:0".parse().unwrap();
    // A machine without IPv6 has nothing to show.
    let Ok(mut sender) = UdpSocket::bind_group(any, 1).map(|mut group| group.remove(0)) else {
        return;
    };
    let mut receiver = bind("[::1]:0");
    let mut slab = SendSlab::new(8);
    for _ in 0..3 {
        assert!(slab.push(receiver.local_addr(), &[7; 300]));
    }
    let sent = sender.send(slab.bytes(), slab.entries(), Some(receiver.local_addr().ip()));
    assert_eq!((sent.datagrams, sent.refused), (3, 0));
    assert_eq!(receive(&mut receiver, 3).len(), 3);
}

#[test]
fn a_refused_datagram_is_counted_and_the_others_leave() {
    let (mut sender, mut receiver) = (socket(), socket());
    let mut slab = SendSlab::new(8);
    // Not of the socket's address family.
    let wrong: SocketAddr = "[::1]:9".parse().unwrap();
    for to in [wrong, receiver.local_addr(), wrong, receiver.local_addr()] {
        assert!(slab.push(to, b"x"));
    }
    let sent = sender.send_slab(&slab);
    assert_eq!((sent.datagrams, sent.refused), (2, 2));
    assert_eq!(receive(&mut receiver, 2).len(), 2);
}

#[test]
fn an_address_that_is_taken_is_refused_even_if_it_could_be_shared() {
    let group = UdpSocket::bind_group("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let addr = group[0].local_addr();
    assert_eq!(group[1].local_addr(), addr);
    assert!(UdpSocket::bind_group(addr, 2).is_err());
}

#[test]
fn a_wake_up_from_another_thread_ends_the_wait_and_one_before_it_ends_the_next() {
    let mut poller = Poller::new().unwrap();
    let waker = poller.waker();
    let begin = clock();
    waker.wake();
    waker.wake();
    poller.wait(PATIENCE).unwrap();
    let thread = std::thread::spawn(move || waker.wake());
    poller.wait(PATIENCE).unwrap();
    thread.join().unwrap();
    assert!(clock() - begin < PATIENCE);
}

#[test]
fn a_wait_ends_when_a_datagram_is_there_and_when_patience_is_over() {
    let (mut sender, mut receiver) = (socket(), socket());
    let mut poller = Poller::new().unwrap();
    poller.add(&receiver, 7).unwrap();
    let begin = clock();
    poller.wait(Duration::from_millis(20)).unwrap();
    assert!(clock() - begin >= Duration::from_millis(20));
    let mut slab = SendSlab::new(1);
    assert!(slab.push(receiver.local_addr(), b"x"));
    sender.send_slab(&slab);
    assert!(poller.ready().is_empty());
    poller.wait(PATIENCE).unwrap();
    assert_eq!(poller.ready(), [7]);
    let mut batch = RecvBatch::new();
    assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 1);
    assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 0);
}

#[test]
fn this_machine_has_a_loopback_address() {
    assert!(hearth_net::host_addresses(true).iter().any(std::net::IpAddr::is_loopback));
    assert!(!hearth_net::host_addresses(false).iter().any(std::net::IpAddr::is_loopback));
}

fn socket() -> UdpSocket {
    bind("127.0.0.1:0")
}

fn bind(addr: &str) -> UdpSocket {
    UdpSocket::bind_group(addr.parse().unwrap(), 1).unwrap().remove(0)
}

/// Waits until at least one datagram is in `batch`.
fn wait_for(socket: &mut UdpSocket, batch: &mut RecvBatch) {
    let mut poller = Poller::new().unwrap();
    poller.add(socket, 0).unwrap();
    poller.wait(PATIENCE).unwrap();
    assert!(socket.recv_batch(batch).unwrap() > 0, "nothing arrived");
}

fn receive(socket: &mut UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut batch = RecvBatch::new();
    let mut received = Vec::new();
    while received.len() < count {
        wait_for(socket, &mut batch);
        received.extend(batch.datagrams_mut().map(|datagram| datagram.bytes.to_vec()));
    }
    received
}

#[expect(clippy::disallowed_methods, reason = "measures the kernel's waiting")]
fn clock() -> Instant {
    Instant::now()
}
