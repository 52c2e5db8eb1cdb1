//! A batch of letters as bytes between nodes.
//!
//! ```text
//! envelope of kind 0x44, version 1, around
//!   letters: u32   bytes of the letters: u32
//!   each letter: length: u32   fields, as `form` has them and `record` writes them
//!   bytes of the batch: u32   those that parts of letters name
//!   each shared message: length: u32   bytes
//! ```
//!
//! All numbers of this frame are little-endian. It comes from a peer that has proven to be of the fleet, and is trusted no
//! further: a batch is taken whole or refused whole, and what the shard expects of each letter is checked here (see `check`).
//! A released version is never edited: the next one stands beside it.

use bytes::Bytes;
use convoy_storage::{envelope, record, sealed};

use super::check::Check;
use super::form::Form;
use super::{Letter, Mail};
use crate::dest::Dest;
use crate::message;

const KIND: u8 = 0x44;
const VERSION: u8 = 1;

/// Bytes of a length.
const LENGTH: usize = 4;

/// What batches of a peer must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a batch. A sender closes it at a MiB, and then one more message may be in it.
    pub bytes: usize,
    /// Slots of the fleet.
    pub slots: u16,
    /// More shards than any node of the fleet has or had: letters name connections of all of them, and of earlier starts.
    pub shards: u16,
}

/// Why bytes are no mail. Nothing of it was carried out; whoever sent it is no peer to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("mail of {bytes} bytes: {most} at most")]
    Long { bytes: usize, most: usize },
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    #[error("mail with a letter that has an impossible {0}")]
    Impossible(&'static str),
    #[error("mail with what is no message: {0}")]
    Message(#[from] message::Error),
}

/// A letter tells of one node, as [`Letter::Stored`] does, and never leaves it. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a letter that is of one node was to leave it")]
pub struct OfOneNode;

impl Mail {
    /// Appends the batch to `into`.
    pub fn encode(&self, into: &mut Vec<u8>) -> Result<(), OfOneNode> {
        if self.letters.iter().any(|letter| matches!(letter, Letter::Stored(_))) {
            return Err(OfOneNode);
        }
        let shared = self.shared.iter().map(|bytes| LENGTH + bytes.len()).sum::<usize>();
        into.reserve(envelope::HEADER + self.letters.len() * 64 + self.bytes.len() + shared);
        envelope::seal(KIND, VERSION, into, |into| {
            into.extend_from_slice(&length(self.letters.len()));
            frame(into, |into| {
                for form in self.letters.iter().filter_map(Form::of) {
                    frame(into, |into| record::encode_into(&form, into));
                }
            });
            frame(into, |into| into.extend_from_slice(&self.bytes));
            for bytes in &self.shared {
                frame(into, |into| into.extend_from_slice(bytes));
            }
        });
        Ok(())
    }

    /// The batch that `bytes` are, all of them. One of more than `bounds` allow is refused before it is looked at. What is
    /// shared in it stays where it is, so that these bytes are held for as long as any of it is.
    pub fn decode(bytes: Bytes, bounds: &Bounds) -> Result<Self, Error> {
        if bytes.len() > bounds.bytes {
            return Err(Error::Long { bytes: bytes.len(), most: bounds.bytes });
        }
        let (found, body) = envelope::open(KIND, &bytes).map_err(sealed::Error::from)?;
        if found != VERSION {
            return Err(sealed::Error::Version { found, known: VERSION }.into());
        }
        let (count, rest) = body.split_first_chunk::<LENGTH>().ok_or(Error::Impossible("length"))?;
        let (letters, rest) = split_frame(rest)?;
        let (laid, mut rest) = split_frame(rest)?;
        let mut mail = Self { bytes: laid.to_vec(), ..Self::from_dest(Dest(0)) };
        while !rest.is_empty() {
            let (shared, behind) = split_frame(rest)?;
            mail.shared_bytes += shared.len();
            mail.shared.push(bytes.slice_ref(shared));
            rest = behind;
        }
        let count = u32::from_le_bytes(*count) as usize;
        mail.letters = open_letters(count, letters, Check::new(bounds, &mail.bytes, &mail.shared))?;
        Ok(mail)
    }
}

fn open_letters(count: usize, mut bytes: &[u8], mut check: Check<'_>) -> Result<Vec<Letter>, Error> {
    // Each has its length and one field at least.
    if count > bytes.len() / (LENGTH + 1) {
        return Err(Error::Impossible("number"));
    }
    let mut letters = Vec::with_capacity(count);
    for _ in 0..count {
        let (fields, rest) = split_frame(bytes)?;
        letters.push(check.letter(record::decode(fields).map_err(sealed::Error::from)?)?);
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(Error::Impossible("number"));
    }
    Ok(letters)
}

/// Appends what `write` does behind its length.
fn frame(into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = into.len();
    into.extend_from_slice(&[0; LENGTH]);
    write(into);
    let written = length(into.len() - at - LENGTH);
    into[at..at + LENGTH].copy_from_slice(&written);
}

fn length(bytes: usize) -> [u8; LENGTH] {
    u32::try_from(bytes).expect("a batch is closed long before it holds 4 GiB").to_le_bytes()
}

/// What has a length before it, and what follows.
fn split_frame(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    bytes
        .split_first_chunk::<LENGTH>()
        .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize))
        .ok_or(Error::Impossible("length"))
}
