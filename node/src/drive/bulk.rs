//! Those who are sent much take turns. One message of 1 MB for 2,000 Clients is 2 GB for the kernel, and whoever is sent
//! little would wait until all of it has been handed over. So a connection writes a piece at a time, a turn of the shard
//! has so many pieces, and whoever finds none left stands in line for those of the next turns.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::client::Wake;

/// Outputs up to this size wait for nobody.
pub const SMALL_BYTES: usize = 16 << 10;

/// What is written of a larger one before others have their turn: some ten microseconds of the kernel's.
pub const PIECE_BYTES: usize = 64 << 10;

/// Pieces of a turn: about a millisecond.
const PIECES: usize = 16;

pub struct Bulk {
    waiting: RefCell<VecDeque<Rc<Wake>>>,
    /// Pieces of this turn that nobody in line was given.
    left: Cell<usize>,
}

/// Where a connection with a large output stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Nowhere,
    InLine,
    /// It was woken to write one piece.
    Called,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { waiting: RefCell::default(), left: Cell::new(PIECES) }
    }
}

impl Bulk {
    /// Whether this connection may write a piece now. If not it is in line, and will be woken.
    pub fn may_write(&self, wake: &Rc<Wake>) -> bool {
        match wake.place.get() {
            Place::InLine => false,
            Place::Called => {
                wake.place.set(Place::Nowhere);
                true
            }
            Place::Nowhere if self.left.get() > 0 => {
                self.left.set(self.left.get() - 1);
                true
            }
            Place::Nowhere => {
                self.stand_in_line(wake);
                false
            }
        }
    }

    /// A connection that has written a piece and has more stands in line behind the others.
    pub fn stand_in_line(&self, wake: &Rc<Wake>) {
        if wake.place.replace(Place::InLine) != Place::InLine {
            self.waiting.borrow_mut().push_back(Rc::clone(wake));
        }
    }

    /// Another turn begins: who stands first in line is woken. Whether there was somebody.
    pub fn next_turn(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let called = waiting.len().min(PIECES);
        for wake in waiting.drain(..called) {
            wake.place.set(Place::Called);
            wake.wake();
        }
        self.left.set(PIECES - called);
        called > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_so_many_pieces_and_who_waited_comes_first() {
        let (bulk, wakes) = (Bulk::default(), [(); PIECES * 2].map(|()| Rc::new(Wake::default())));
        let may_write = || wakes.iter().filter(|wake| bulk.may_write(wake)).count();
        assert_eq!(may_write(), PIECES);
        // Those who had their turn ask again, behind the others.
        assert_eq!(may_write(), 0);
        assert!(bulk.next_turn());
        let late: Vec<_> = wakes.iter().map(|wake| bulk.may_write(wake)).collect();
        assert!(late[..PIECES].iter().all(|may| !may) && late[PIECES..].iter().all(|may| *may));
    }

    #[test]
    fn where_nobody_waits_every_turn_has_all_of_its_pieces() {
        let (bulk, wake) = (Bulk::default(), Rc::new(Wake::default()));
        for _ in 0..3 {
            assert!((0..PIECES).all(|_| bulk.may_write(&wake)));
            assert!(!bulk.next_turn());
        }
    }
}
