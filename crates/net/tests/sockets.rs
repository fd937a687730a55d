//! The system calls, against the kernel: loopback only, ports chosen by the system.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hearth_datagram::{Endpoint, SendSlab};
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
        assert!(slab.push(to(&receiver), &datagram));
        expected.push(datagram);
    }
    let sent = sender.send_slab(&slab);
    assert_eq!((sent.datagrams, sent.full, sent.refused.total()), (60, 0, 0));
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
        assert!(slab.push(to(&receiver), &vec![n; if n == 39 { 70 } else { 1_200 }]));
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
    let at = SocketAddr::from(([127, 0, 0, 1], receiver.local_addr().port()));
    let mut slab = SendSlab::new(1);
    assert!(slab.push(Endpoint::udp(sender.local_addr(), at), b"hello"));
    sender.send_slab(&slab);
    let mut batch = RecvBatch::new();
    wait_for(&mut receiver, &mut batch);
    let datagram = batch.datagrams_mut().next().unwrap();
    let local = if cfg!(target_os = "linux") { at } else { receiver.local_addr() };
    assert_eq!(datagram.path, Endpoint::udp(local, sender.local_addr()));
    assert_eq!(datagram.bytes, b"hello");
}

#[cfg(target_os = "linux")]
#[test]
fn each_run_leaves_from_its_own_address_in_one_call() {
    let (mut sender, mut receiver) = (bind("0.0.0.0:0"), socket());
    let port = sender.local_addr().port();
    let mut slab = SendSlab::new(16);
    let sources: Vec<IpAddr> = [2, 3, 2, 4].map(|n| IpAddr::from([127, 0, 0, n])).into();
    for source in &sources {
        let path = Endpoint::udp((*source, port).into(), receiver.local_addr());
        for size in [300, 300, 20] {
            assert!(slab.push(path, &vec![7; size]));
        }
    }
    let sent = sender.send(slab.bytes(), slab.entries());
    assert_eq!((sent.datagrams, sent.bytes, sent.calls), (12, 4 * 620, 1));
    let expected: Vec<_> =
        sources.iter().flat_map(|source| [SocketAddr::new(*source, port); 3]).collect();
    assert_eq!(senders(&mut receiver, 12), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let mut hosts: Vec<String> = (1..=4).map(|n| format!("127.0.0.{n}")).collect();
    let mut sockets = vec![("0.0.0.0:0", "127.0.0.1:0")];
    // A machine without IPv6 has less to show.
    if UdpSocket::bind_group("[::]:0".parse().unwrap(), 1).is_ok() {
        hosts.push("[::1]".to_owned());
        sockets.push(("[::]:0", "[::1]:0"));
    }
    for (any, client) in sockets {
        let (mut server, mut client) = (bind(any), bind(client));
        let is_v4 = server.local_addr().is_ipv4();
        for host in hosts.iter().filter(|host| host.starts_with("127.") == is_v4) {
            let at = format!("{host}:{}", server.local_addr().port()).parse().unwrap();
            let mut slab = SendSlab::new(1);
            assert!(slab.push(Endpoint::udp(client.local_addr(), at), b"question"));
            client.send_slab(&slab);
            let mut batch = RecvBatch::new();
            wait_for(&mut server, &mut batch);
            let path = batch.datagrams_mut().next().unwrap().path;
            assert_eq!(path, Endpoint::udp(at, client.local_addr()));
            slab.clear();
            assert!(slab.push(path, b"answer"));
            assert_eq!(server.send_slab(&slab).datagrams, 1);
            assert_eq!(senders(&mut client, 1), [at]);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_of_a_nat_is_left_to_the_routing_table_until_this_machine_has_it() {
    let (mut server, mut client) = (bind("0.0.0.0:0"), socket());
    let port = server.local_addr().port();
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], port));
    let here = SocketAddr::from(([127, 0, 0, 2], port));
    server.set_translated(vec![elsewhere.ip(), here.ip()]);
    let mut slab = SendSlab::new(2);
    for local in [elsewhere, here] {
        assert!(slab.push(Endpoint::udp(local, client.local_addr()), b"check"));
    }
    assert_eq!(server.send_slab(&slab).datagrams, 2);
    let routed = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(senders(&mut client, 2), [routed, routed]);

    let mut question = SendSlab::new(1);
    assert!(question.push(Endpoint::udp(client.local_addr(), here), b"question"));
    client.send_slab(&question);
    wait_for(&mut server, &mut RecvBatch::new());
    server.send_slab(&slab);
    assert_eq!(senders(&mut client, 2), [routed, here]);
}

#[test]
fn a_refused_datagram_is_counted_and_the_others_leave() {
    let (mut sender, mut receiver) = (socket(), socket());
    let mut slab = SendSlab::new(8);
    // Not of the socket's address family.
    let wrong = Endpoint::udp(sender.local_addr(), "[::1]:9".parse().unwrap());
    for path in [wrong, to(&receiver), wrong, to(&receiver)] {
        assert!(slab.push(path, b"x"));
    }
    let sent = sender.send_slab(&slab);
    assert_eq!((sent.datagrams, sent.refused.total()), (2, 2));
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
    assert!(slab.push(to(&receiver), b"x"));
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
    assert!(hearth_net::host_addresses(true).iter().any(IpAddr::is_loopback));
    assert!(!hearth_net::host_addresses(false).iter().any(IpAddr::is_loopback));
}

/// The path to `socket` from an address of the kernel's choice.
fn to(socket: &UdpSocket) -> Endpoint {
    Endpoint::udp("0.0.0.0:0".parse().unwrap(), socket.local_addr())
}

/// The senders of the next `count` datagrams.
#[cfg(target_os = "linux")]
fn senders(socket: &mut UdpSocket, count: usize) -> Vec<SocketAddr> {
    let mut batch = RecvBatch::new();
    let mut senders = Vec::new();
    while senders.len() < count {
        wait_for(socket, &mut batch);
        senders.extend(batch.datagrams_mut().map(|datagram| datagram.path.remote));
    }
    senders
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
