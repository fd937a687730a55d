//! Asking a media port whether it is reached: a STUN binding request for nobody, and its answer.
//!
//! * **Owns:** the form of both.
//! * **In:** a transaction id; a datagram that is for no transport.
//! * **Out:** the request ([`request`]), its answer ([`answer`]), whether a datagram is one ([`is_answer`]).
//! * **Invariant:** an answer is shorter than its request, so that a server cannot be made to send more than it is sent;
//!   a request without the mark is not answered.
//! * **Spec:** RFC 8489 §5 (header), §14.2 (XOR-MAPPED-ADDRESS), §14.14 (SOFTWARE).

use std::net::{IpAddr, SocketAddr};

/// Bytes of a request.
pub const REQUEST_LEN: usize = HEADER + 4 + MARK.len();
/// Bytes of the longest answer: that to an IPv6 address.
pub const MAX_ANSWER: usize = HEADER + 24;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_SUCCESS: [u8; 2] = [1, 1];
const SOFTWARE: [u8; 2] = [0x80, 0x22];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0, 0x20];
/// The value of SOFTWARE, by which a request is known; as long as it takes to be longer than any answer.
const MARK: &[u8; 40] = b"hearth doctor: does this reach the port?";

/// A request.
pub fn request(transaction: [u8; 12]) -> [u8; REQUEST_LEN] {
    let mut request = [0; REQUEST_LEN];
    let attribute = [&SOFTWARE[..], &(MARK.len() as u16).to_be_bytes(), MARK].concat();
    let header = header(BINDING_REQUEST, attribute.len(), transaction);
    for (to, from) in request.iter_mut().zip(header.into_iter().chain(attribute)) {
        *to = from;
    }
    request
}

/// An answer and its length, if `datagram` is a request.
pub fn answer(datagram: &[u8], from: SocketAddr) -> Option<([u8; MAX_ANSWER], usize)> {
    if datagram.len() != REQUEST_LEN {
        return None;
    }
    let transaction = *datagram.get(8..HEADER)?.first_chunk::<12>()?;
    if datagram != request(transaction) {
        return None;
    }
    let port = from.port().to_be_bytes();
    let mask = COOKIE.iter().chain(&transaction);
    let (family, ip) = match from.ip() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let address = port.iter().zip(&COOKIE).chain(ip.iter().zip(mask)).map(|(a, b)| a ^ b);
    let value = [0, family].into_iter().chain(address);
    let len = 4 + ip.len();
    let head = XOR_MAPPED_ADDRESS.into_iter().chain((len as u16).to_be_bytes());
    let header = header(BINDING_SUCCESS, 4 + len, transaction);
    let mut answer = [0; MAX_ANSWER];
    for (to, from) in answer.iter_mut().zip(header.into_iter().chain(head).chain(value)) {
        *to = from;
    }
    Some((answer, HEADER + 4 + len))
}

/// Whether `datagram` is the answer to the request of `transaction`.
pub fn is_answer(datagram: &[u8], transaction: [u8; 12]) -> bool {
    let (kind, id) = (datagram.get(..2), datagram.get(8..HEADER));
    kind == Some(&BINDING_SUCCESS) && id == Some(&transaction)
}

fn header(kind: [u8; 2], len: usize, transaction: [u8; 12]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let len = (len as u16).to_be_bytes();
    let parts = kind.into_iter().chain(len).chain(COOKIE).chain(transaction);
    header.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 12] = *b"twelve bytes";

    #[test]
    fn an_answer_is_shorter_than_its_request_and_names_who_asked() {
        for from in ["198.51.100.4:54321", "[2001:db8::4]:54321"] {
            let from = from.parse().unwrap();
            let (answer, len) = answer(&request(ID), from).unwrap();
            assert!(len < REQUEST_LEN && is_answer(&answer[..len], ID));
            assert!(!is_answer(&answer[..len], *b"twelve other"));
            assert_eq!(mapped(&answer[..len]), from);
        }
    }

    #[test]
    fn nothing_but_the_whole_request_is_answered() {
        let from = "198.51.100.4:54321".parse().unwrap();
        let request = request(ID);
        for at in 0..REQUEST_LEN {
            assert_eq!(answer(&request[..at], from), None);
            let mut other = request;
            other[at] ^= 1;
            assert_eq!(answer(&other, from).is_some(), (8..20).contains(&at), "byte {at}");
        }
        assert_eq!(answer(&[&request[..], &[0]].concat(), from), None);
    }

    /// XOR-MAPPED-ADDRESS of an answer that has nothing else (RFC 8489 §14.2).
    fn mapped(answer: &[u8]) -> SocketAddr {
        assert_eq!(usize::from(answer[3]) + 20, answer.len());
        let plain: Vec<u8> = answer[28..].iter().zip(&answer[4..20]).map(|(a, b)| a ^ b).collect();
        let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
        let v4 = <[u8; 4]>::try_from(plain.clone()).map(IpAddr::from);
        let ip = v4.or_else(|_| <[u8; 16]>::try_from(plain).map(IpAddr::from)).unwrap();
        assert_eq!(
            (&answer[20..22], answer[25]),
            (&[0, 0x20][..], if ip.is_ipv4() { 1 } else { 2 })
        );
        SocketAddr::new(ip, port)
    }
}
