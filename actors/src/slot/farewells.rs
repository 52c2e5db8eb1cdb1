//! Connections that end and leave a Will that is due at once. When a network goes, very many do so together, and what a Will
//! becomes is known only where it is published: so they wait for each other, and the shard says how many may go. Until its
//! farewell is applied, a Session is one whose Client does not read.

use std::collections::VecDeque;

use super::{Op, Slot};
use crate::call::{Farewell, ReplyTo};
use crate::clock::Now;
use crate::session::{Epoch, Seq, SessionNumber, SessionRow};

/// Of the leader alone.
#[derive(Debug, Default)]
pub struct Farewells {
    /// Those with a Will that is due, and its bytes.
    waiting: VecDeque<(Ended, usize)>,
    /// Bytes of the Will, or none, of each one that was proposed and is not applied.
    proposed: VecDeque<u32>,
    underway: WillsUnderway,
}

/// Wills on their way, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WillsUnderway {
    pub wills: usize,
    pub bytes: usize,
}

impl WillsUnderway {
    pub fn add(&mut self, bytes: usize) {
        self.wills += 1;
        self.bytes += bytes;
    }
}

impl std::ops::AddAssign for WillsUnderway {
    fn add_assign(&mut self, other: Self) {
        self.wills += other.wills;
        self.bytes += other.bytes;
    }
}

/// How many Wills may go now. The last one may be larger than what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WillRoom {
    pub wills: usize,
    pub bytes: usize,
    /// There was none for one that wanted to go.
    pub was_short: bool,
}

impl WillRoom {
    /// Takes the room of a Will of so many bytes, if there is any.
    pub fn take(&mut self, bytes: usize) -> bool {
        let has_room = self.wills > 0 && self.bytes > 0;
        if has_room {
            self.wills -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        self.was_short |= !has_room;
        has_room
    }
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
    /// This replica leads no longer: who waits for the end of a connection that was not proposed.
    pub fn give_up(self) -> impl Iterator<Item = ReplyTo> {
        self.waiting.into_iter().filter_map(|(ended, _)| ended.reply)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest one that was proposed is applied.
    pub fn applied(&mut self) {
        let bytes = self.proposed.pop_front().unwrap_or(0);
        self.underway.wills -= usize::from(bytes > 0);
        self.underway.bytes -= bytes as usize;
    }

    fn propose(&mut self, will_bytes: usize) {
        self.proposed.push_back(will_bytes as u32);
        if will_bytes > 0 {
            self.underway.add(will_bytes);
        }
    }
}

impl Ended {
    /// Bytes of the Will that is published when this is applied to the Session.
    pub fn will_bytes(&self, row: &SessionRow) -> usize {
        if self.farewell == Farewell::Normal || row.epoch != self.epoch {
            return 0;
        }
        let ends = self.expiry_seconds.unwrap_or(row.expiry_seconds) == 0;
        let due = row.will.as_ref().filter(|will| ends || will.delay_seconds == 0);
        due.map_or(0, |will| will.message.len())
    }
}

impl Slot {
    /// Wills on their way from here: proposed with a farewell or because they are due, or sent to their partitions.
    pub fn wills_underway(&self, now: Now) -> WillsUnderway {
        let mut underway = self.wills.underway(now.monotonic);
        underway += self.farewells.underway;
        underway += self.asked.due_wills;
        underway
    }

    /// A connection has ended, with so many bytes of a Will that is due; its Session may have another one now. With a Will it
    /// waits for [`Slot::bid_farewells`].
    pub(super) fn on_end(&mut self, ended: Ended, will_bytes: usize, now: Now) {
        match will_bytes {
            0 => self.propose_farewell(ended, 0, now),
            will_bytes => self.farewells.waiting.push_back((ended, will_bytes)),
        }
    }

    /// Proposes of the farewells that wait as many as there is room for.
    pub fn bid_farewells(&mut self, now: Now, room: &mut WillRoom) {
        while let Some(&(_, will_bytes)) = self.farewells.waiting.front()
            && room.take(will_bytes)
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
        let sent = match sent {
            Some(sent) => sent,
            None if self.is_unknown(session, epoch) => Seq::MAX,
            None => self.sent(session),
        };
        self.close_link(session, epoch);
        let op = Op::Disconnect { session, epoch, farewell, expiry_seconds, sent };
        self.pending.push(now.wall, &op, reply);
        self.farewells.propose(will_bytes);
    }
}
