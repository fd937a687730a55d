//! Randomness of the operating system, which enters here.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use hearth_random::Seed;

/// The system has no randomness.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// An unpredictable seed from the operating system, another one each time.
///
/// # Errors
///
/// [`NoRandomness`]: nothing may be started without.
pub fn seed_from_system() -> Result<Seed, NoRandomness> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(Seed::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_is_another() {
        assert_ne!(seed_from_system(), seed_from_system());
    }
}
