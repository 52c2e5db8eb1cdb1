//! Datagrams of membership, sealed with a key that members have: nobody else reads them or makes one, and none that was heard
//! is heard again.
//!
//! A node seals with a key of each of its lives, and each with a number that it has never used in that life: so no pair of key
//! and nonce comes twice (RFC 8439, 4). Written as a version (one byte), the node and its start (8 and 4 bytes), the number
//! (8 bytes), all little-endian, and the sealed bytes with their tag. What is in front is authenticated too.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use convoy_ids::NodeId;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};

use crate::file;
use crate::random::{self, Unavailable};

const FILE: &str = "fleet.key";
const KEY: usize = 32;
const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 4 + 8;

/// Datagrams that may come behind later ones.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// What members share.
#[derive(Clone)]
pub struct Key([u8; KEY]);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] file::Error),
    #[error(transparent)]
    Random(#[from] Unavailable),
    #[error("the key of a fleet has {KEY} bytes, and this one has {0}; put back the {FILE} that was there")]
    Length(usize),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    pub fn draw() -> Result<Self, Error> {
        Ok(Self(random::draw()?))
    }

    /// For a node that has joined. It is secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::Length(bytes.len()))
    }

    /// What a data folder has; `None` if there is nothing.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        file::read(&folder.join(FILE))?.as_deref().map(Self::from_bytes).transpose()
    }

    /// Puts it into a data folder. Another one that is there stays, and is an error.
    pub fn keep(&self, folder: &Path) -> Result<(), Error> {
        Ok(file::keep(&folder.join(FILE), &self.0)?)
    }

    fn fleet(&self) -> Prk {
        Salt::new(HKDF_SHA256, b"convoy membership 1").extract(&self.0)
    }
}

/// The key of one life of a node.
fn key_of(fleet: &Prk, node: NodeId, start: u32) -> LessSafeKey {
    let (node, start) = (node.get().to_le_bytes(), start.to_le_bytes());
    let info = [&node[..], &start];
    let key = fleet.expand(&info, &CHACHA20_POLY1305).expect("the length is that of a key");
    LessSafeKey::new(UnboundKey::from(key))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Seals what one node says in one life.
pub struct Sealer {
    node: NodeId,
    start: u32,
    key: LessSafeKey,
    next: u64,
}

/// A life has so many numbers and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all numbers of datagrams are used up: start the node again")]
pub struct Exhausted;

impl Sealer {
    /// `start` is never used again for this node: see its identity.
    pub fn new(key: &Key, node: NodeId, start: u32) -> Self {
        Self { node, start, key: key_of(&key.fleet(), node, start), next: 1 }
    }

    /// Writes the sealed form behind what is in `into`, which is emptied.
    pub fn seal(&mut self, plain: &[u8], into: &mut Vec<u8>) -> Result<(), Exhausted> {
        if self.next == u64::MAX {
            return Err(Exhausted);
        }
        into.clear();
        into.push(VERSION);
        into.extend_from_slice(&self.node.get().to_le_bytes());
        into.extend_from_slice(&self.start.to_le_bytes());
        into.extend_from_slice(&self.next.to_le_bytes());
        let head = Aad::from(<[u8; HEAD]>::try_from(&into[..]).expect("it is a head"));
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(nonce(self.next), head, &mut sealed)
            .expect("a datagram is short enough");
        into.extend_from_slice(&sealed);
        self.next += 1;
        Ok(())
    }
}

/// Why a datagram is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    Version,
    /// It is of nobody who is a member.
    Stranger,
    /// Whoever made it does not have the key, or something was changed.
    Forged,
    /// It was heard before, or is so late that nobody knows.
    Replayed,
    /// Its node has been started again since.
    Old,
}

impl Refusal {
    /// As it is counted in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Stranger => "stranger",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Old => "old",
        }
    }
}

/// Opens what others say.
pub struct Opener {
    fleet: Prk,
    /// Of each member that was heard its newest life.
    lives: BTreeMap<NodeId, Life>,
}

struct Life {
    start: u32,
    key: LessSafeKey,
    heard: Heard,
}

impl Opener {
    pub fn new(key: &Key) -> Self {
        Self { fleet: key.fleet(), lives: BTreeMap::new() }
    }

    /// Who says what. Something is remembered of members alone, and of those only once they have shown that they have the key.
    pub fn open(
        &mut self,
        datagram: &[u8],
        is_member: impl Fn(NodeId) -> bool,
    ) -> Result<(NodeId, Vec<u8>), Refusal> {
        let (head, sealed) = datagram.split_first_chunk::<HEAD>().ok_or(Refusal::Malformed)?;
        if head[0] != VERSION {
            return Err(Refusal::Version);
        }
        let eight = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("it has eight"));
        let node = NodeId::new(eight(1)).ok_or(Refusal::Malformed)?;
        let start = u32::from_le_bytes(head[9..13].try_into().expect("it has four"));
        let number = eight(13);
        if !is_member(node) {
            return Err(Refusal::Stranger);
        }
        let life = self.lives.get(&node).filter(|life| life.start >= start);
        if let Some(life) = life {
            if life.start > start {
                return Err(Refusal::Old);
            }
            if !life.heard.is_new(number) {
                return Err(Refusal::Replayed);
            }
        }
        let new = life.is_none().then(|| key_of(&self.fleet, node, start));
        let key = new.as_ref().or_else(|| life.map(|life| &life.key)).expect("it is one of the two");
        let mut plain = sealed.to_vec();
        let opened = key.open_in_place(nonce(number), Aad::from(*head), &mut plain);
        let length = opened.map_err(|_| Refusal::Forged)?.len();
        plain.truncate(length);
        if let Some(key) = new {
            self.lives.insert(node, Life { start, key, heard: Heard::default() });
            self.lives.retain(|node, _| is_member(*node));
        }
        if let Some(life) = self.lives.get_mut(&node) {
            life.heard.note(number);
        }
        Ok((node, plain))
    }
}

/// Which numbers were heard: the highest, and which of those before it (RFC 4303, 3.4.3).
#[derive(Debug, Default)]
struct Heard {
    highest: u64,
    /// Of the number `n` the bit `n % WINDOW`.
    bits: [u64; WORDS],
}

impl Heard {
    fn is_new(&self, number: u64) -> bool {
        number > self.highest || self.highest - number < WINDOW && !self.has(number)
    }

    fn has(&self, number: u64) -> bool {
        let bit = number % WINDOW;
        self.bits[(bit / 64) as usize] & 1 << (bit % 64) != 0
    }

    fn note(&mut self, number: u64) {
        if number > self.highest {
            if number - self.highest >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for passed in self.highest + 1..number {
                    let bit = passed % WINDOW;
                    self.bits[(bit / 64) as usize] &= !(1 << (bit % 64));
                }
            }
            self.highest = number;
        }
        let bit = number % WINDOW;
        self.bits[(bit / 64) as usize] |= 1 << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn all(_: NodeId) -> bool {
        true
    }

    fn sealed(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
        let mut into = vec![1, 2, 3];
        sealer.seal(plain, &mut into).unwrap();
        into
    }

    #[test]
    fn what_was_sealed_is_opened_once() {
        let key = Key::draw().unwrap();
        let (mut sealer, mut opener) = (Sealer::new(&key, node(7), 3), Opener::new(&key));
        let said = sealed(&mut sealer, b"alive");
        assert!(!said.windows(5).any(|bytes| bytes == b"alive"));
        assert_eq!(opener.open(&said, all), Ok((node(7), b"alive".to_vec())));
        assert_eq!(opener.open(&said, all), Err(Refusal::Replayed));
        let next = sealed(&mut sealer, b"");
        assert_eq!(opener.open(&next, all), Ok((node(7), Vec::new())));
    }

    #[test]
    fn a_bit_that_was_changed_makes_it_nobodys() {
        let key = Key::draw().unwrap();
        let said = sealed(&mut Sealer::new(&key, node(7), 3), b"alive");
        for bit in 0..said.len() * 8 {
            let mut changed = said.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut opener = Opener::new(&key);
            assert!(opener.open(&changed, all).is_err(), "bit {bit}");
            assert!(opener.lives.is_empty(), "nothing is remembered of what was forged");
            assert!(opener.open(&said, all).is_ok());
        }
    }

    #[test]
    fn strangers_and_other_fleets_and_lives_that_are_over_are_refused() {
        let (key, other) = (Key::draw().unwrap(), Key::draw().unwrap());
        let mut opener = Opener::new(&key);
        let old = sealed(&mut Sealer::new(&key, node(7), 3), b"old");
        let new = sealed(&mut Sealer::new(&key, node(7), 4), b"new");
        let foreign = sealed(&mut Sealer::new(&other, node(7), 9), b"foreign");
        assert_eq!(opener.open(&old, |of| of == node(8)), Err(Refusal::Stranger));
        assert_eq!(opener.open(&foreign, all), Err(Refusal::Forged));
        assert!(opener.open(&new, all).is_ok());
        assert_eq!(opener.open(&old, all), Err(Refusal::Old));
        let of_another = sealed(&mut Sealer::new(&key, node(8), 1), b"");
        assert!(opener.open(&of_another, |of| of == node(8)).is_ok());
        assert_eq!(opener.lives.len(), 1, "nothing is kept of who is no member");
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Key::read(folder.path()).unwrap().is_none());
        let key = Key::draw().unwrap();
        key.keep(folder.path()).unwrap();
        assert_eq!(Key::read(folder.path()).unwrap().unwrap().0, key.0);
        assert!(Key::draw().unwrap().keep(folder.path()).is_err());
        std::fs::write(folder.path().join(FILE), "short").unwrap();
        assert!(Key::read(folder.path()).unwrap_err().to_string().contains("has 5"));
        assert_eq!(format!("{key:?}"), "Key");
    }

    proptest! {
        #[test]
        fn each_number_is_heard_once_however_they_come(numbers in prop::collection::vec(1_u64..4_000, 0..400)) {
            let (mut heard, mut before) = (Heard::default(), BTreeSet::new());
            for number in numbers {
                let is_late = before.last().is_some_and(|highest| highest - WINDOW.min(*highest) >= number);
                prop_assert_eq!(heard.is_new(number), !is_late && !before.contains(&number));
                if heard.is_new(number) {
                    heard.note(number);
                    before.insert(number);
                }
            }
        }

        #[test]
        fn whatever_comes_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut opener = Opener::new(&Key([7; KEY]));
            prop_assert!(opener.open(&bytes, all).is_err());
        }
    }
}
