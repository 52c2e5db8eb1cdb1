//! Time that passes only from event to event. What a node sees of it, its own clocks show.
//!
//! What is to happen stands in the agenda; the next of it makes the time. Two things at the same moment happen in the
//! order in which they were entered, so a run depends on nothing but its seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Microseconds of simulated time.
pub type Micros = u64;

pub const MILLISECOND: Micros = 1_000;
pub const SECOND: Micros = 1_000 * MILLISECOND;

/// What is to happen, and the time.
#[derive(Debug)]
pub struct Agenda<E> {
    now: Micros,
    entered: u64,
    /// When, the how manieth entry, and where it stands.
    order: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    entries: Vec<Option<E>>,
    /// Places where nothing stands.
    free: Vec<usize>,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { now: 0, entered: 0, order: BinaryHeap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<E> Agenda<E> {
    pub fn micros(&self) -> Micros {
        self.now
    }

    pub fn since_begin(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Enters what is to happen `delay` from now.
    pub fn enter(&mut self, delay: Micros, event: E) {
        self.entered += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[place] = Some(event);
        self.order.push(Reverse((self.now + delay, self.entered, place)));
    }

    /// The next thing to happen; it is its time now.
    pub fn take(&mut self) -> Option<E> {
        let Reverse((at, _, place)) = self.order.pop()?;
        self.now = at;
        self.free.push(place);
        self.entries[place].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_the_order_of_their_time_and_of_their_entry() {
        let mut agenda = Agenda::default();
        agenda.enter(7, "later");
        agenda.enter(5, "first");
        agenda.enter(5, "second");
        assert_eq!((agenda.take(), agenda.take(), agenda.micros()), (Some("first"), Some("second"), 5));
        agenda.enter(1, "between");
        assert_eq!((agenda.take(), agenda.take(), agenda.take()), (Some("between"), Some("later"), None));
    }
}
