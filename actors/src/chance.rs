//! Chance of a node: one secret, drawn at each start, from which its shards take what nobody may guess. A generator of
//! ciphers stretches it, so whoever sees what was drawn learns nothing of the secret, nor of what is drawn next. Tables
//! are keyed by a number of their own that is never drawn for anybody.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::identity::Identity;

/// The stream that keys tables; no shard has it.
const TABLES: u64 = u64::MAX;

/// What a node draws at its start and never tells.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// From the operating system, or another source that nobody can guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For runs that are repeated: a Client can guess it.
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }

    /// Keys the hashes of tables, so that Clients cannot choose names that collide.
    pub(crate) fn of_tables(&self) -> u64 {
        self.stream(TABLES).next_u64()
    }

    fn stream(&self, number: u64) -> ChaCha20Rng {
        let mut generator = ChaCha20Rng::from_seed(self.0);
        generator.set_stream(number);
        generator
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What one shard draws from.
#[derive(Debug)]
pub struct Chance(ChaCha20Rng);

impl Chance {
    pub fn of(secret: &Secret, who: &Identity) -> Self {
        Self(secret.stream(u64::from(who.start) << 16 | u64::from(who.shard)))
    }

    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// The Client Identifier of a Client that gave none (MQTT 5.0, 3.2.2.3.7): 128 bits that nobody can guess, since
    /// whoever knows it may take up an anonymous Session.
    pub fn client_id(&mut self) -> String {
        format!("convoy-{:016x}{:016x}", self.0.next_u64(), self.0.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoy_ids::NodeId;

    fn identity(start: u32, shard: u16) -> Identity {
        Identity { node: NodeId::new(1).unwrap(), start, shard, shards: 2 }
    }

    #[test]
    fn a_secret_repeats_its_draws_and_each_shard_and_start_has_its_own() {
        let drawn = |secret: u64, start, shard| {
            Chance::of(&Secret::from_number(secret), &identity(start, shard)).client_id()
        };
        let all = [drawn(7, 1, 0), drawn(7, 1, 1), drawn(7, 2, 0), drawn(8, 1, 0)];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert_eq!(drawn(7, 1, 0), all[0]);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new([0x5a; 32]);
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!(!format!("{:?}", Chance::of(&secret, &identity(1, 0))).contains("5a5a"));
    }
}
