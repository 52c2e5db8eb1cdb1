//! What goes from a queue that holds more than it may. What a Client was sent and has not finished never does: it is sent
//! again when the Session is resumed [MQTT-4.4.0-1]. What has expired goes first, and then the oldest.
//!
//! Only the leader knows what was sent up to now, and what time it is. So it decides, and what goes stands in a record; a
//! queue is over its limits until that is applied.
//!
//! Where the Sessions of a user together hold more than they may, a queue that a message comes into lets as many bytes go, as
//! if it were full: whoever published it is not held up by those who do not read.

use std::ops::ControlFlow;

use convoy_storage::engine::Error;

use super::active::{Active, Overflow, Row, read_queue};
use super::op::Op;
use super::{Note, Slot, State, Turn};
use crate::clock::Millis;
use crate::message::Message;
use crate::session::{Excess, Seq, SessionNumber};

/// Messages that one record lets go, and bytes that are read to find them: what is over goes with the next ones.
const RUN: usize = 1024;
const RUN_BYTES: usize = 4 << 20;

/// Messages and bytes that are looked through for what has expired, each time that something has to go.
const SCAN: usize = 512;
const SCAN_BYTES: usize = 1 << 20;

/// What has expired is not taken from between other messages where there are so many gaps already: the row beside the
/// queue holds them all.
const RUNS: usize = 1024;

/// Looks through a queue for what goes.
struct Search<'a> {
    now: Millis,
    age: Millis,
    excess: Excess,
    found: Vec<(Seq, u32)>,
    overflow: &'a mut Overflow,
}

impl Active {
    /// The Client was sent messages before this one.
    fn unsent(&self) -> Seq {
        match &self.link {
            Some(link) => link.cursor.max(link.sent_until),
            None => self.queue.as_ref().map_or(0, |queue| queue.sent()),
        }
    }

    /// Messages from this one on wait. What an earlier process may have sent is as good as sent, until it was sent again
    /// or is known not to have been.
    fn waiting_from(&self) -> Seq {
        self.unsent().max(self.queue.as_ref().map_or(0, |queue| queue.perhaps_sent()))
    }

    /// What waits beyond the limits of the queue. What the Client has finished counts no more, though the record of
    /// that is still to come.
    fn excess(&self) -> Option<Excess> {
        let owed = self.overflow.as_ref().map_or(0, |overflow| overflow.owed);
        let own = self.own_excess();
        if owed == 0 {
            return own;
        }
        let own = own.unwrap_or(Excess { messages: 0, bytes: 0 });
        Some(Excess { bytes: own.bytes.max(owed), ..own })
    }

    fn own_excess(&self) -> Option<Excess> {
        let queue = self.queue.as_ref()?;
        if self.row.limits.hold(queue.len(), queue.bytes()) {
            return None;
        }
        let underway = self.link.as_ref().map_or(0, |link| {
            link.inflight.bytes() + link.finished.iter().map(|(_, bytes)| u64::from(*bytes)).sum::<u64>()
        });
        queue.excess(&self.row.limits, self.waiting_from(), underway)
    }
}

impl Slot {
    /// A message has come into the queue of this Session, whose user may not hold more.
    pub(super) fn owe(&mut self, session: SessionNumber, bytes: usize) {
        if let Some(active) = self.active.get_mut(&session) {
            active.overflow.get_or_insert_default().owed += bytes as u64;
        }
    }

    /// A message has come into the queue of this Session, and some may have to go.
    pub(super) fn watch_overflow(&mut self, session: SessionNumber, message: &[u8]) {
        let Some(active) = self.active.get_mut(&session) else { return };
        if let Some(overflow) = &mut active.overflow {
            overflow.comes(Message::decode(message).ok().and_then(|message| message.expires_at));
        }
        if active.excess().is_none() {
            return;
        }
        let overflow = active.overflow.get_or_insert_default();
        if !overflow.is_listed && overflow.going.is_empty() {
            overflow.is_listed = true;
            self.overfull.push_back(session);
        }
    }

    /// Proposes what goes from a queue; to be called when the state is written.
    pub fn relieve(&mut self, session: SessionNumber, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(active) = self.active.get_mut(&session) else { return Ok(()) };
        let excess = active.excess();
        let from = active.waiting_from();
        let Some(overflow) = &mut active.overflow else { return Ok(()) };
        overflow.is_listed = false;
        let owed = std::mem::take(&mut overflow.owed);
        let (Some(excess), Some(queue)) = (excess, &active.queue) else { return Ok(()) };
        let mut search =
            Search { now: turn.now.wall, age: active.row.limits.age, excess, found: Vec::new(), overflow };
        if queue.runs() < RUNS {
            search.expired(turn.state, session, from)?;
        }
        let expired = search.found.len();
        search.oldest(turn.state, session, from)?;
        let mut messages = search.found;
        *turn.work += messages.len() as u64;
        messages.retain(|(seq, _)| !queue.received.contains(seq));
        let dropped = messages.len().saturating_sub(expired) as u64;
        messages.sort_unstable();
        overflow.going = messages.iter().map(|(seq, _)| *seq).collect();
        if messages.is_empty() {
            return Ok(());
        }
        if owed > 0 && dropped > 0 {
            turn.effects.note(Note::Met("stored_bytes_per_user"));
        }
        self.dropped += dropped;
        turn.effects.note(Note::QueueDropped(dropped));
        let sent = self.sent(session);
        self.pending.push(turn.now.wall, &Op::Finished { session, messages, sent }, None);
        Ok(())
    }

    /// Messages have left a queue, perhaps those that were to go.
    pub(super) fn relieved(&mut self, session: SessionNumber) {
        let Some(active) = self.active.get_mut(&session) else { return };
        let (Some(overflow), Some(queue)) = (&mut active.overflow, &active.queue) else { return };
        overflow.going.retain(|seq| queue.holds(*seq));
        if overflow.is_idle() && active.excess().is_some() {
            active.overflow.as_mut().expect("it is there").is_listed = true;
            self.overfull.push_back(session);
        }
    }
}

impl Search<'_> {
    /// What has expired, as far as a look of bounded length finds it. All of it goes: nobody would get it.
    fn expired(&mut self, state: &State, session: SessionNumber, from: Seq) -> Result<(), Error> {
        if self.now < self.overflow.expires {
            return Ok(());
        }
        let (mut seen, mut seen_bytes) = (0, 0);
        let at = std::mem::take(&mut self.overflow.at).max(from);
        read_queue(state, session, at, &mut |seq, row| {
            if seen == SCAN || seen_bytes >= SCAN_BYTES {
                self.overflow.at = seq;
                return ControlFlow::Break(());
            }
            seen += 1;
            seen_bytes += row.message.len();
            self.look_at(seq, &row);
            ControlFlow::Continue(())
        })?;
        if self.overflow.at == 0 {
            // All of it was looked at.
            self.overflow.expires = self.overflow.soonest.take().unwrap_or(Millis::MAX);
        }
        Ok(())
    }

    fn look_at(&mut self, seq: Seq, row: &Row<'_>) {
        // What cannot be read complains when it is to be sent.
        let Ok(message) = Message::decode(row.message) else { return };
        let too_old = message.published_at.saturating_add(self.age) < self.now;
        if too_old || message.remaining(self.now).is_none() {
            self.take(seq, row.message.len() as u32);
        } else if let Some(at) = message.expires_at {
            let soonest = self.overflow.soonest.get_or_insert(at);
            *soonest = at.min(*soonest);
        }
    }

    /// The oldest messages, until what is left may stay.
    fn oldest(&mut self, state: &State, session: SessionNumber, from: Seq) -> Result<(), Error> {
        if self.excess.is_over() {
            return Ok(());
        }
        let expired: Vec<_> = self.found.iter().map(|(seq, _)| *seq).collect();
        let mut bytes = 0;
        read_queue(state, session, from, &mut |seq, row| {
            bytes += row.message.len();
            if expired.binary_search(&seq).is_err() {
                self.take(seq, row.message.len() as u32);
            }
            match self.excess.is_over() || self.found.len() >= RUN || bytes >= RUN_BYTES {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }

    fn take(&mut self, seq: Seq, bytes: u32) {
        self.excess.take(bytes);
        self.found.push((seq, bytes));
    }
}
