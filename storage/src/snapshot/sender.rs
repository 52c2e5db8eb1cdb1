//! The side that has the state.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use convoy_ids::{Index, SlotId};

use super::CopyId;
use super::piece::{self, FAMILIES, Piece, PieceBase};
use crate::engine::{self, View};
use crate::replica::{self, Base};

/// Reads a slot's state of one moment and cuts it into pieces.
pub struct Sender {
    view: Box<dyn View>,
    slot: SlotId,
    copy: CopyId,
    base: Base,
    at: Position,
    /// Where pieces begin that were given out and are perhaps not taken, the oldest first.
    untaken: VecDeque<Position>,
}

/// Where a piece begins.
#[derive(Clone, Debug)]
struct Position {
    number: u32,
    /// In the order of [`FAMILIES`].
    family: usize,
    /// The first key that is not in an earlier piece.
    from: Vec<u8>,
    count: u64,
    digest: u32,
    is_over: bool,
}

/// Why no copy can be made, or not from here on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// View and base were not taken in one moment: take both again.
    #[error("the state of slot {slot} stands at entry {applied}, its base at {base}")]
    Torn { slot: SlotId, applied: Index, base: Index },
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Sender {
    /// `view` and `base` are of one moment: [`Driver::base`](crate::replica::Driver::base), asked when all that was applied
    /// is written.
    pub fn new(view: Box<dyn View>, slot: SlotId, base: Base, copy: CopyId) -> Result<Self, SenderError> {
        let applied = replica::applied(&*view, slot)?;
        if applied != base.index {
            return Err(SenderError::Torn { slot, applied, base: base.index });
        }
        let from = slot.0.to_be_bytes().to_vec();
        let at = Position { number: 0, family: 0, from, count: 0, digest: 0, is_over: false };
        Ok(Self { view, slot, copy, base, at, untaken: VecDeque::new() })
    }

    pub fn slot(&self) -> SlotId {
        self.slot
    }

    pub fn copy(&self) -> CopyId {
        self.copy
    }

    /// The number of the piece that comes next.
    pub fn number(&self) -> u32 {
        self.at.number
    }

    /// The next piece: rows of about `limit` bytes in all, and one row at least. `None` when the last was given out.
    pub fn next_piece(&mut self, limit: usize) -> Result<Option<Vec<u8>>, engine::Error> {
        if self.at.is_over {
            return Ok(None);
        }
        let began = self.at.clone();
        let mut rows = Vec::new();
        if let Err(error) = self.read(limit, &mut rows) {
            self.at = began;
            return Err(error);
        }
        self.at.digest = piece::digest(self.at.digest, &rows);
        self.at.is_over = self.at.family == FAMILIES.len();
        self.at.number += 1;
        let piece = Piece {
            copy: self.copy.0,
            slot: self.slot.0,
            number: began.number,
            base: (began.number == 0).then(|| PieceBase::of(&self.base)),
            rows: &rows,
            count: self.at.count,
            digest: self.at.digest,
            is_last: self.at.is_over,
        };
        self.untaken.push_back(began);
        Ok(Some(piece.encode()))
    }

    fn read(&mut self, limit: usize, rows: &mut Vec<u8>) -> Result<(), engine::Error> {
        while self.at.family < FAMILIES.len() && rows.len() < limit {
            if self.read_family(limit, rows)? {
                self.at.family += 1;
                self.at.from = self.slot.0.to_be_bytes().to_vec();
            }
        }
        Ok(())
    }

    /// Reads on in the family at which it stands. Whether it is read to its end.
    fn read_family(&mut self, limit: usize, rows: &mut Vec<u8>) -> Result<bool, engine::Error> {
        let (family, mut next, mut count) = (FAMILIES[self.at.family], None, 0);
        let end =
            self.slot.0.checked_add(1).map_or([u8::MAX; 4].to_vec(), |slot| slot.to_be_bytes().to_vec());
        self.view.scan(family, &self.at.from, &end, &mut |key, value| {
            if rows.len() >= limit {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            piece::push_row(rows, family, key, value);
            count += 1;
            ControlFlow::Continue(())
        })?;
        self.at.count += count;
        let is_read = next.is_none();
        self.at.from = next.unwrap_or_default();
        Ok(is_read)
    }

    /// The receiver has taken every piece before this one: no need to go back behind it.
    pub fn taken(&mut self, next: u32) {
        while self.untaken.front().is_some_and(|position| position.number < next) {
            self.untaken.pop_front();
        }
    }

    /// Goes on at this piece. False if that is not possible: then another copy has to begin.
    pub fn go_back(&mut self, next: u32) -> bool {
        if next == self.at.number {
            return true;
        }
        let Some(place) = self.untaken.iter().position(|position| position.number == next) else {
            return false;
        };
        self.at = self.untaken[place].clone();
        self.untaken.truncate(place);
        true
    }
}
