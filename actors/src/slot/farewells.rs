//! Connections that break off and leave a Will that is due at once. When a network goes, very many do so together, and each
//! Will is written three times on its way: the farewells of a slot wait for each other, so that only so much is under way.
//! Until its farewell is applied, a Session is one whose Client does not read.

use std::collections::VecDeque;

use super::{Op, Slot};
use crate::call::{Farewell, ReplyTo};
use crate::clock::Now;
use crate::session::{Epoch, Seq, SessionNumber, SessionRow};

/// Bytes of Wills of one slot that are under way, beyond which farewells with others wait. One may always go.
const UNDERWAY_BYTES: usize = 128 << 10;

/// Of the leader alone.
#[derive(Debug, Default)]
pub struct Farewells {
    /// With the bytes of the Will of each.
    waiting: VecDeque<(Ended, usize)>,
    /// Bytes of the Will, or none, of each one that was proposed and is not applied.
    proposed: VecDeque<u32>,
    proposed_bytes: usize,
}

/// A connection that has ended.
#[derive(Debug)]
pub struct Ended {
    pub session: SessionNumber,
    pub epoch: Epoch,
    pub farewell: Farewell,
    pub expiry_seconds: Option<u32>,
    /// How far the Session's messages were sent by it, where this leader cannot know.
    pub sent: Option<Seq>,
    pub reply: Option<ReplyTo>,
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

impl Ended {
    /// Bytes of the Will that is published when this is applied.
    fn will_bytes(&self, row: &SessionRow) -> usize {
        if self.farewell == Farewell::Normal || row.epoch != self.epoch {
            return 0;
        }
        let ends = self.expiry_seconds.unwrap_or(row.expiry_seconds) == 0;
        let due = row.will.as_ref().filter(|will| ends || will.delay_seconds == 0);
        due.map_or(0, |will| will.message.len())
    }
}

impl Slot {
    /// A connection has ended, whose Session may have another one now. What has to wait is proposed by
    /// [`Slot::bid_farewells`].
    pub(super) fn on_end(&mut self, ended: Ended, now: Now) {
        let row = self.active.get(&ended.session).map(|active| &active.row);
        let will_bytes = row.map_or(0, |row| ended.will_bytes(row));
        self.enter_farewell(ended, will_bytes, now);
    }

    /// The same of a connection that an earlier leader had, by the row of its Session.
    pub(super) fn on_end_by_row(&mut self, ended: Ended, row: &SessionRow, now: Now) {
        let will_bytes = ended.will_bytes(row);
        self.enter_farewell(ended, will_bytes, now);
    }

    fn enter_farewell(&mut self, ended: Ended, will_bytes: usize, now: Now) {
        let is_in_line = will_bytes > 0 && !self.farewells.waiting.is_empty();
        if is_in_line || !self.farewells.has_room(will_bytes, self.wills.len_bytes(now.monotonic)) {
            return self.farewells.waiting.push_back((ended, will_bytes));
        }
        self.propose_farewell(ended, will_bytes, now);
    }

    /// Proposes of the farewells that wait as many as may be under way: to be called when some are no more, and at every
    /// tick.
    pub fn bid_farewells(&mut self, now: Now) {
        while let Some(&(_, will_bytes)) = self.farewells.waiting.front()
            && self.farewells.has_room(will_bytes, self.wills.len_bytes(now.monotonic))
        {
            let (ended, will_bytes) = self.farewells.waiting.pop_front().expect("there is a front");
            self.propose_farewell(ended, will_bytes, now);
        }
    }

    fn propose_farewell(&mut self, ended: Ended, will_bytes: usize, now: Now) {
        let Ended { session, epoch, farewell, expiry_seconds, sent, reply } = ended;
        if self.epoch(session) == Some(epoch) {
            // What the Client acknowledged goes first: it must not be sent again.
            self.save_acknowledged_of(session, now.wall);
        }
        let sent = sent.unwrap_or_else(|| self.sent(session));
        let op = Op::Disconnect { session, epoch, farewell, expiry_seconds, sent };
        self.pending.push(now.wall, &op, reply);
        self.farewells.propose(will_bytes);
    }
}
