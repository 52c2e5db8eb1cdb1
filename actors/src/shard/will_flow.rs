//! How many Wills are under way at once. Nobody is there who could be held back for one, and what it becomes is known only
//! where it is published: of 1,000 Clients that leave together and had all subscribed to each other's, a million messages. So
//! few go first, twice as many each time that these have arrived and no slot was full, and few again when one is: slow start,
//! as TCP has it (RFC 5681, 3.1).

use super::Shard;
use crate::clock::Now;
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
}

impl Default for WillFlow {
    fn default() -> Self {
        Self { window: LEAST, first: 0 }
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

    /// What was due at a tick has gone as far as there was room. Where none is left, what was learned of them says nothing of
    /// the next ones.
    pub fn swept(&mut self, room: &WillRoom, waits: bool) {
        if !room.was_short && !waits {
            self.window = LEAST;
        }
    }
}

impl Shard {
    /// Sends the Wills of connections that have ended on their way, as there is room for them. `is_tick`: one may go whatever
    /// waits.
    pub(super) fn send_wills(&mut self, now: Now, is_tick: bool) {
        if !self.slots.iter().any(|slot| slot.farewells.wait()) {
            return;
        }
        let mut room = self.will_room(now, is_tick);
        for place in self.by_turns() {
            if room.wills == 0 || room.bytes == 0 {
                break;
            }
            self.will_flow.first = place + 1;
            self.slots.table[place].bid_farewells(now, &mut room);
        }
    }

    /// The places of all slots, those first whose Wills have waited longest.
    pub(super) fn by_turns(&self) -> impl Iterator<Item = usize> + use<> {
        let (slots, first) = (self.slots.table.len(), self.will_flow.first);
        (first..slots).chain(0..first.min(slots))
    }

    /// How many Wills may be sent on their way now.
    pub(super) fn will_room(&mut self, now: Now, is_tick: bool) -> WillRoom {
        let underway = self.slots.iter().fold(WillsUnderway::default(), |sum, slot| {
            let (sent, proposed) = (slot.wills.underway(now.monotonic), slot.farewells.underway());
            WillsUnderway {
                wills: sum.wills + sent.wills + proposed.wills,
                bytes: sum.bytes + sent.bytes + proposed.bytes,
            }
        });
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
