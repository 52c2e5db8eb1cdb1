//! The side that lacks the state.

use convoy_ids::SlotId;

use super::CopyId;
use super::piece::{self, Piece};
use crate::engine::{self, Batch, Generations, Staged};
use crate::replica::{self, Base, Driver};

/// Stages the pieces of one copy.
pub struct Receiver {
    staged: Staged,
    copy: CopyId,
    base: Base,
    next: u32,
    count: u64,
    digest: u32,
    is_whole: bool,
}

/// A piece was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The piece of this number is wanted next.
    More { next: u32 },
    /// It was the last one.
    Whole,
}

/// A piece was not taken, or a copy not put in force. What was staged before is still staged.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The sender goes back, or on, to this piece.
    #[error("piece {next} is wanted and not piece {found}")]
    NotNext { next: u32, found: u32 },
    #[error("a piece of another copy")]
    OtherCopy,
    /// Not what a sender of ours gives out. Another copy has to begin.
    #[error("not a piece of a copy: {0}")]
    Malformed(String),
    #[error("no room for another copy beside those that are staged")]
    NoRoom,
    /// Nothing of the piece is staged; after [`engine::Error::Full`], offer it again later.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Replica(#[from] replica::Error),
}

impl Receiver {
    /// Takes the first piece of a copy.
    pub fn begin(engine: &Generations, bytes: &[u8]) -> Result<(Self, Taken), Refused> {
        let piece = Piece::decode(bytes).map_err(Refused::Malformed)?;
        if piece.number != 0 {
            return Err(Refused::NotNext { next: 0, found: piece.number });
        }
        let Some(base) = &piece.base else {
            return Err(Refused::Malformed("the first one names no base".into()));
        };
        let staged = engine.stage(SlotId(piece.slot)).ok_or(Refused::NoRoom)?;
        let mut receiver = Self {
            staged,
            copy: CopyId(piece.copy),
            base: base.base(),
            next: 0,
            count: 0,
            digest: 0,
            is_whole: false,
        };
        match receiver.take_piece(engine, &piece) {
            Ok(taken) => Ok((receiver, taken)),
            Err(refused) => {
                let _ = engine.abandon(receiver.staged);
                Err(refused)
            }
        }
    }

    pub fn slot(&self) -> SlotId {
        self.staged.slot()
    }

    pub fn copy(&self) -> CopyId {
        self.copy
    }

    /// The piece that is wanted next.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Takes the next piece.
    pub fn take(&mut self, engine: &Generations, bytes: &[u8]) -> Result<Taken, Refused> {
        let piece = Piece::decode(bytes).map_err(Refused::Malformed)?;
        if (piece.copy, piece.slot) != (self.copy.0, self.slot().0) {
            return Err(Refused::OtherCopy);
        }
        self.take_piece(engine, &piece)
    }

    fn take_piece(&mut self, engine: &Generations, piece: &Piece<'_>) -> Result<Taken, Refused> {
        if piece.number != self.next || self.is_whole {
            return Err(Refused::NotNext { next: self.next, found: piece.number });
        }
        let malformed = |reason: &str| Refused::Malformed(reason.into());
        let mut batch = Batch::with_capacity(piece.rows.len());
        let count = piece::read_rows(piece.rows, self.slot(), &mut batch)
            .ok_or_else(|| malformed("its rows are not rows of a slot"))?;
        let digest = piece::digest(self.digest, piece.rows);
        if (self.count + count, digest) != (piece.count, piece.digest) {
            return Err(malformed("rows are missing, or there are too many"));
        }
        engine.write_staged(&self.staged, &batch)?;
        (self.count, self.digest, self.is_whole) = (piece.count, digest, piece.is_last);
        self.next += 1;
        Ok(if self.is_whole { Taken::Whole } else { Taken::More { next: self.next } })
    }

    /// Puts the whole copy in force, with the rows of the log that go on behind it, and closes the slot in the driver.
    /// The caller syncs the engine, opens the slot, and only then lets the leader know. False, with nothing changed, if the
    /// slot's own log reaches that point already: then it is to be abandoned.
    ///
    /// After an error it is staged as before, though the slot is closed: call again, or abandon it and open the slot.
    ///
    /// # Panics
    ///
    /// If pieces are missing.
    pub fn install(&self, engine: &Generations, driver: &mut Driver) -> Result<bool, Refused> {
        assert!(self.is_whole, "a copy is put in force when all of it is there");
        let mut batch = Batch::new();
        if !driver.put_base(self.slot(), &self.base, &mut batch)? {
            return Ok(false);
        }
        engine.switch(&self.staged, &batch)?;
        Ok(true)
    }

    /// Gives the copy up and deletes what was staged. Not once it is in force.
    pub fn abandon(self, engine: &Generations) -> Result<(), engine::Error> {
        engine.abandon(self.staged)
    }
}
