//! Nonces that are remembered by nobody: the time, and a tag over it and the client's address.
//!
//! * **Owns:** the key of the tags. **In:** a client's address, the time in seconds.
//! * **Out:** 20 characters; later, whether they were ours and are still good.
//! * **Invariant:** a request without credentials leaves nothing behind, however many come. A nonce is good from the
//!   address that it was given to, and nowhere else.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_random::{Purpose, Seed};

/// Characters of a nonce: 15 bytes. Long enough not to be guessed within its lifetime, short enough that
/// an answer with it amplifies little.
pub(crate) const NONCE_LEN: usize = 20;
/// Seconds that a nonce is good for. Longer spares clients a round trip now and then.
const LIFETIME: u32 = 3_600;
const TAG: usize = 11;

/// See the module documentation.
pub(crate) struct Nonces {
    key: hmac::Key,
}

impl Nonces {
    pub(crate) fn new(seed: &Seed) -> Self {
        let mut rng = seed.rng(Purpose::TurnNonce);
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&rng.next_u64().to_be_bytes());
        }
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
    }

    /// For a client, at `unix` seconds since 1970.
    pub(crate) fn make(&self, client: SocketAddr, unix: u64) -> [u8; NONCE_LEN] {
        self.encode(client, u32::try_from(unix & u64::from(u32::MAX)).unwrap_or_default())
    }

    /// Whether it was made for this client, not long ago.
    pub(crate) fn is_good(&self, client: SocketAddr, unix: u64, nonce: &[u8]) -> bool {
        let mut bytes = [0; 15];
        let Ok(15) = URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes) else { return false };
        let [b0, b1, b2, b3, ..] = bytes;
        let made = u32::from_be_bytes([b0, b1, b2, b3]);
        let now = u32::try_from(unix & u64::from(u32::MAX)).unwrap_or_default();
        let own = self.encode(client, made);
        now.wrapping_sub(made) <= LIFETIME
            && aws_lc_rs::constant_time::verify_slices_are_equal(&own, nonce).is_ok()
    }

    fn encode(&self, client: SocketAddr, made: u32) -> [u8; NONCE_LEN] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&made.to_be_bytes());
        match client.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&client.port().to_be_bytes());
        let tag = context.sign();
        let mut bytes = [0; 15];
        let (time, rest) = bytes.split_at_mut(4);
        time.copy_from_slice(&made.to_be_bytes());
        rest.copy_from_slice(tag.as_ref().get(..TAG).unwrap_or(&[0; TAG]));
        let mut text = [0; NONCE_LEN];
        // It fits: 15 bytes are 20 characters.
        let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        text
    }
}

/// Shows nothing: it would be a key in a log.
impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_an_hour_from_one_address() {
        let nonces = Nonces::new(&Seed::fixed(1));
        let client: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let nonce = nonces.make(client, 1_000_000);
        for (from, unix, good) in [
            ("192.0.2.1:5000", 1_000_000, true),
            ("192.0.2.1:5000", 1_003_600, true),
            ("192.0.2.1:5000", 1_003_601, false),
            ("192.0.2.1:5000", 999_999, false),
            ("192.0.2.1:5001", 1_000_000, false),
            ("192.0.2.2:5000", 1_000_000, false),
        ] {
            assert_eq!(nonces.is_good(from.parse().unwrap(), unix, &nonce), good, "{from} {unix}");
        }
        let other = Nonces::new(&Seed::fixed(2));
        assert!(!other.is_good(client, 1_000_000, &nonce), "another server's");
        assert!(!nonces.is_good(client, 1_000_000, b"") && !nonces.is_good(client, 0, &[b'A'; 20]));
    }

    #[test]
    fn a_changed_character_is_noticed() {
        let nonces = Nonces::new(&Seed::fixed(1));
        let client: SocketAddr = "[2001:db8::1]:5000".parse().unwrap();
        let mut nonce = nonces.make(client, 1_000_000);
        for at in 0..NONCE_LEN {
            nonce[at] ^= 1;
            assert!(!nonces.is_good(client, 1_000_000, &nonce), "{at}");
            nonce[at] ^= 1;
        }
    }
}
