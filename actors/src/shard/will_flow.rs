//! How many Wills are under way at once. Nobody is there who could be held back for one, and what it becomes is known only
//! where it is published: of 1,000 Clients that leave together and had all subscribed to each other's, a million messages. So
//! few go first, twice as many each time that these have arrived and no slot was full, and few again when one is: slow start,
//! as TCP has it (RFC 5681, 3.1).

use super::Shard;
use crate::clock::Now;
use crate::metric;
use crate::slot::{WillRoom, WillsUnderway};

/// Wills of a shard that may be under way at first, and while more waits for the logs than may.
const LEAST: usize = 8;

/// And at most.
const MOST: usize = 4096;

/// Bytes of them, at most.
const BYTES: usize = 4 << 20;

#[derive(Debug)]
pub struct WillFlow {
    window: usize,
    /// The slot, by its place, whose Wills go first.
    pub first: usize,
    /// How many waited at the last tick.
    told: usize,
}

impl Default for WillFlow {
    fn default() -> Self {
        Self { window: LEAST, first: 0, told: 0 }
    }
}

impl WillFlow {
    /// So many have arrived where they are published.
    pub fn arrived(&mut self, wills: usize) {
        self.window = (self.window + wills).min(MOST);
    }

    fn room(&self, underway: WillsUnderway) -> WillRoom {
        WillRoom {
            wills: self.window.saturating_sub(underway.wills),
            bytes: BYTES.saturating_sub(underway.bytes),
            was_short: false,
        }
    }

    /// What was due at a tick has gone as far as there was room, and so many connections wait. Where nothing is left, what was
    /// learned of them says nothing of the next ones.
    pub fn swept(&mut self, room: &WillRoom, waiting: usize) {
        if !room.was_short && waiting == 0 {
            self.window = LEAST;
        }
        if waiting != self.told {
            metrics::gauge!(metric::WILLS_WAITING).increment(waiting as f64 - self.told as f64);
            self.told = waiting;
        }
    }
}

impl Shard {
    /// Sends the Wills of connections that have ended on their way, as there is room for them. `is_tick`: one may go whatever
    /// waits.
    pub(super) fn send_wills(&mut self, now: Now, is_tick: bool) {
        if !self.slots.iter().any(|slot| slot.farewells.waiting() > 0) {
            return;
        }
        let mut room = self.will_room(now, is_tick);
        for place in self.slots.by_turns(self.will_flow.first) {
            if room.wills == 0 || room.bytes == 0 {
                break;
            }
            self.will_flow.first = place + 1;
            self.slots.table[place].bid_farewells(now, &mut room);
        }
    }

    /// How many Wills may be sent on their way now.
    pub(super) fn will_room(&mut self, now: Now, is_tick: bool) -> WillRoom {
        let mut underway = WillsUnderway::default();
        self.slots.iter().for_each(|slot| underway += slot.wills_underway(now));
        if self.outlet.edge.shortage.is_on() {
            self.will_flow.window = LEAST;
            let wills = usize::from(is_tick && underway.wills == 0);
            return WillRoom { wills, bytes: BYTES, was_short: false };
        }
        self.will_flow.room(underway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_many_go_each_time_that_all_have_arrived_up_to_a_bound_in_wills_and_bytes() {
        let (mut flow, mut sent) = (WillFlow::default(), Vec::new());
        for _ in 0..12 {
            let room = flow.room(WillsUnderway::default());
            sent.push(room.wills);
            assert_eq!(flow.room(WillsUnderway { wills: room.wills, bytes: BYTES }).wills, 0);
            flow.arrived(room.wills);
        }
        assert_eq!(sent[..4], [8, 16, 32, 64]);
        assert_eq!(sent[11], MOST);
        let mut room = flow.room(WillsUnderway { wills: 0, bytes: BYTES - 1 });
        assert!(room.take(1 << 16) && !room.take(1));
    }
}
