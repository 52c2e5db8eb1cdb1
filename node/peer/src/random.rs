//! Bytes that nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct Unavailable;

/// Draws them from the system.
pub fn draw<const BYTES: usize>() -> Result<[u8; BYTES], Unavailable> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Unavailable)?;
    Ok(bytes)
}
