//! Connections that break off and leave a Will that is due at once. When a network goes, very many do so together, and each
//! Will is written three times on its way: the farewells of a slot wait for each other, so that only so much is under way.
//! Until its farewell is applied, a Session is one whose Client does not read.

use std::collections::VecDeque;

use super::{Op, Slot};

use crate::call::{Farewell, SessionCall};
use crate::clock::Now;

/// Bytes of Wills of one slot that are under way, beyond which farewells with others wait. One may always go.
const UNDERWAY_BYTES: usize = 128 << 10;

/// Of the leader alone.
#[derive(Debug, Default)]
pub struct Farewells {
    /// Calls [`SessionCall::Disconnect`].
    waiting: VecDeque<SessionCall>,
    /// Bytes of the Will, or none, of each one that was proposed and is not applied.
    proposed: VecDeque<u32>,
    proposed_bytes: usize,
}

impl Farewells {
    /// The oldest one that was proposed is applied.
    pub fn applied(&mut self) {
        let bytes = self.proposed.pop_front().unwrap_or(0);
        self.proposed_bytes -= bytes as usize;
    }

    fn propose(&mut self, will_bytes: usize) {
        self.proposed.push_back(will_bytes as u32);
        self.proposed_bytes += will_bytes;
    }

    fn has_room(&self, will_bytes: usize, sent_bytes: usize) -> bool {
        let underway = self.proposed_bytes + sent_bytes;
        will_bytes == 0 || underway == 0 || underway + will_bytes <= UNDERWAY_BYTES
    }
}

impl Slot {
    /// A connection has ended. What waits is proposed by [`Slot::bid_farewells`].
    pub(super) fn on_disconnect(&mut self, call: SessionCall, now: Now) {
        let will_bytes = self.will_at_once(&call);
        let is_in_line = will_bytes > 0 && !self.farewells.waiting.is_empty();
        if is_in_line || !self.farewells.has_room(will_bytes, self.wills.len_bytes(now.monotonic)) {
            return self.farewells.waiting.push_back(call);
        }
        self.propose_farewell(call, will_bytes, now);
    }

    /// Proposes of the farewells that wait as many as may be under way: to be called when some are, and at every tick.
    pub fn bid_farewells(&mut self, now: Now) {
        while let Some(call) = self.farewells.waiting.front() {
            let will_bytes = self.will_at_once(call);
            if !self.farewells.has_room(will_bytes, self.wills.len_bytes(now.monotonic)) {
                break;
            }
            let call = self.farewells.waiting.pop_front().expect("there is a front");
            self.propose_farewell(call, will_bytes, now);
        }
    }

    fn propose_farewell(&mut self, call: SessionCall, will_bytes: usize, now: Now) {
        let SessionCall::Disconnect { session, epoch, farewell, expiry_seconds, reply } = call else {
            return;
        };
        if self.epoch(session) == Some(epoch) {
            // What the Client acknowledged goes first: it must not be sent again.
            self.save_acknowledged_of(session, now.wall);
        }
        let sent = self.sent(session);
        let op = Op::Disconnect { session, epoch, farewell, expiry_seconds, sent };
        self.pending.push(now.wall, &op, reply);
        self.farewells.propose(will_bytes);
    }

    /// Bytes of the Will that is published when this call is applied.
    fn will_at_once(&self, call: &SessionCall) -> usize {
        let SessionCall::Disconnect { session, epoch, farewell, expiry_seconds, .. } = call else { return 0 };
        if *farewell == Farewell::Normal || self.epoch(*session) != Some(*epoch) {
            return 0;
        }
        let row = &self.active[session].row;
        let ends = expiry_seconds.unwrap_or(row.expiry_seconds) == 0;
        let due = row.will.as_ref().filter(|will| ends || will.delay_seconds == 0);
        due.map_or(0, |will| will.message.len())
    }
}
