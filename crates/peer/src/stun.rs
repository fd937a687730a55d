//! Finding the shard of a STUN binding request.

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
