//! Finding the shard of a connectivity check (STUN binding request) by its ufrag.
//!
//! * **Owns:** nothing; one pure function.
//! * **In:** any datagram.
//! * **Out:** the ufrag of ours that it names.
//! * **Invariant:** nothing is authenticated here; the ufrag is the sender's word.

use is::stun::StunMessage;

/// The local ufrag a STUN binding request is meant for: its USERNAME up to the colon (RFC 8445
/// §7.2.2). `None` if `buf` is not a binding request with one.
pub fn stun_local_ufrag(buf: &[u8]) -> Option<&str> {
    let message = StunMessage::parse(buf).ok()?;
    if !message.is_binding_request() {
        return None;
    }
    let (local, _) = message.username()?.split_once(':')?;
    Some(local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use is::stun::TransId;

    #[test]
    fn only_a_binding_request_names_a_ufrag() {
        let request =
            StunMessage::binding_request("ours:theirs", TransId::new(), true, 1, 2, false);
        let mut buf = [0; 200];
        let len = request.to_bytes(Some(b"password"), &mut buf, |_, _| [0; 20]).unwrap();
        assert_eq!(stun_local_ufrag(&buf[..len]), Some("ours"));
        for n in 0..len {
            assert_eq!(stun_local_ufrag(&buf[..n]), None, "{n} bytes");
        }
        // The class of a success response.
        buf[0] = 1;
        assert_eq!(stun_local_ufrag(&buf[..len]), None);
    }
}
