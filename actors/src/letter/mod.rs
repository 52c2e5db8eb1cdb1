//! Letters between nodes as bytes.
//!
//! ```text
//! envelope of kind 0x41, version 1, around the fields of one letter as `record` writes them; its first number says which
//! letter it is
//! ```
//!
//! They come from a peer that has proven to be of the fleet, and are trusted no further: a letter that is foreign, damaged, of
//! another version, too long or impossible is refused whole, and nothing of it was carried out. What calls and closings
//! carry is opaque here. A released version is never edited: the next one stands beside it.

#[cfg(test)]
mod exhaust;
mod form;
#[cfg(test)]
mod tests;

use convoy_ids::{SlotId, Term};
use convoy_membership::support::{Process, Support};
use convoy_storage::sealed;

use crate::stream::{Answer, Call, Source};

const KIND: u8 = 0x41;
const VERSION: u8 = 1;

/// What one node sends another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter<'a> {
    /// A call to a slot.
    Call { slot: SlotId, source: Source, call: Call<&'a [u8]> },
    /// What became of it, to the sender.
    Answer { slot: SlotId, source: Source, answer: Answer },
    /// A process asks the leader of a slot for support; `asked` is by its own clock and comes back with the answer.
    Ask { slot: SlotId, process: Process, asked: u64 },
    /// The leader supports it.
    Supported { slot: SlotId, process: Process, support: Support, asked: u64 },
    /// The leader of this term is to be told first which connections the process has.
    IntroduceYourself { slot: SlotId, process: Process, term: Term },
    /// The connections that the process has for the slot's Sessions.
    Introduce { slot: SlotId, process: Process, term: Term, connections: &'a [u8] },
    /// Sessions that went elsewhere: all that were closed at the process in this term, from number `first` on.
    Closings { slot: SlotId, process: Process, term: Term, first: u64, closed: &'a [u8] },
    /// All closings up to this number were carried out.
    Closed { slot: SlotId, process: Process, term: Term, number: u64 },
}

/// Why bytes are no letter. Nothing of it was carried out; whoever sent it is no peer to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a letter of {bytes} bytes: {most} at most")]
    Long { bytes: usize, most: usize },
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    #[error("a letter with an impossible {0}")]
    Impossible(&'static str),
}

impl<'a> Letter<'a> {
    /// Appends it to `into`.
    pub fn encode_into(&self, into: &mut Vec<u8>) {
        let form = form::Form::from(self);
        sealed::seal_into(KIND, VERSION, &form, into);
    }

    /// The letter that `bytes` are, all of them. One of more than `most` bytes is refused before it is looked at.
    pub fn decode(bytes: &'a [u8], most: usize) -> Result<Self, Error> {
        if bytes.len() > most {
            return Err(Error::Long { bytes: bytes.len(), most });
        }
        sealed::open::<form::Form<'a>>(KIND, VERSION, bytes)?.letter()
    }
}
