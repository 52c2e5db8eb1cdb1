//! A replica begins to lead, and leads no longer. What an earlier leader knew beside the log is gone. So what waits in
//! outboxes is sent again, to each slot that is led on this node, from behind what that slot has applied; and the connections
//! that there were are taken leave of, for they are gone, or end. Either may be very much: it goes in pieces.

use convoy_ids::SlotId;
use convoy_storage::engine::Error;

use super::farewells::Ended;
use super::outbox::Outbox;
use super::outbox_body::Unpacking;
use super::{Asked, Emitted, Farewells, Slot, Turn, Wills, active, rows};
use crate::budget::Sums;
use crate::call::Farewell;
use crate::session::{Epoch, Seq, SessionRow};

/// Operations of outboxes that are sent again in one piece, and Sessions that are looked at.
const PIECE: usize = 256;

/// Bytes of operations beyond which a piece ends.
const PIECE_BYTES: usize = 1 << 20;

/// The slots that are led on this node: what is for another one waits in its outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Led {
    slots: Vec<bool>,
    meta: bool,
    count: usize,
}

impl Led {
    fn place(&mut self, id: SlotId) -> &mut bool {
        if id.is_meta() {
            return &mut self.meta;
        }
        let place = usize::from(id.0);
        if place >= self.slots.len() {
            self.slots.resize(place + 1, false);
        }
        &mut self.slots[place]
    }

    /// Notes whether a slot is led here. False if that was known.
    pub fn set(&mut self, id: SlotId, is: bool) -> bool {
        let was = std::mem::replace(self.place(id), is);
        self.count = self.count + usize::from(is) - usize::from(was);
        was != is
    }

    #[inline]
    pub fn contains(&self, id: SlotId) -> bool {
        if id.is_meta() { self.meta } else { self.slots.get(usize::from(id.0)) == Some(&true) }
    }

    /// How many they are, the meta group among them.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Slot {
    /// This replica leads from now on. The rest is for [`Slot::lead_on`].
    pub fn lead(&mut self) {
        self.leading = true;
        self.next_due = 0;
        self.outboxes.values_mut().for_each(|outbox| outbox.send_after(0));
        self.led_since = Epoch(self.grants);
        self.leaves_from = Some(rows::all_live(self.id).0);
    }

    /// Whether a connection of this epoch got its Session before it was led here: how far it was sent messages nobody knows.
    pub(super) fn is_of_before(&self, epoch: Epoch) -> bool {
        epoch <= self.led_since
    }

    /// How far messages were sent to the connection that has the Session of this Client, if one has.
    pub(super) fn sent_so_far(&mut self, name: &[u8], turn: &mut Turn<'_>) -> Result<Seq, Error> {
        if let Some(session) = self.names.get(name) {
            let row = &self.active[session].row;
            let is_unknown = row.home.is_some() && self.is_of_before(row.epoch);
            return Ok(if is_unknown { Seq::MAX } else { self.sent(*session) });
        }
        if self.leaves_from.is_none() && self.farewells.waiting() == 0 {
            return Ok(0);
        }
        let row = turn.state.get::<SessionRow>(&rows::client(self.id, name))?;
        Ok(row.filter(|row| row.home.is_some()).map_or(0, |_| Seq::MAX))
    }

    /// Last numbers that were applied here, of the outboxes of other slots.
    pub fn inboxes(&self) -> impl Iterator<Item = (SlotId, u64)> + '_ {
        self.inboxes.iter().map(|(from, number)| (*from, *number))
    }

    /// Another slot is led here from now on, which has applied what is in the outbox for it up to `applied`. True if there is
    /// more.
    pub fn send_after(&mut self, to: SlotId, applied: u64) -> bool {
        let Some(outbox) = self.outboxes.get_mut(&to).filter(|_| self.leading) else { return false };
        outbox.applied(applied);
        outbox.send_after(applied);
        outbox.has_unsent()
    }

    /// Whether something waits in an outbox for a slot that is led here, and is still to be sent.
    pub fn has_unsent(&self, led: &Led) -> bool {
        self.outboxes.iter().any(|(to, outbox)| outbox.has_unsent() && led.contains(*to))
    }

    /// A piece of what a replica does that has begun to lead. False if nothing is left.
    pub fn lead_on(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        if !self.is_serving() {
            return Ok(false);
        }
        Ok(self.send_again(turn)? || self.take_leave(turn)?)
    }

    /// Passes over what waits in outboxes: a rule that is left out, see [`crate::options::Without::Resend`].
    pub fn pass_over_unsent(&mut self) {
        self.outboxes.values_mut().for_each(Outbox::sent_all);
    }

    /// Sends a piece of what waits in outboxes.
    fn send_again(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let led = turn.led;
        let mut unsent =
            self.outboxes.iter().filter(|(to, outbox)| outbox.has_unsent() && led.contains(**to));
        let Some((&to, outbox)) = unsent.next() else { return Ok(false) };
        let (from, (_, end)) = (rows::outbox(self.id, to, outbox.sent() + 1), rows::outboxes_to(self.id, to));
        let found = turn.state.scan_some(&from, &end, PIECE)?;
        let mut is_all = found.len() < PIECE;
        let (mut sent, mut bytes) = (Vec::with_capacity(found.len()), 0);
        let mut unpacking = Unpacking::new(self.id, turn.state);
        for (key, op) in found {
            let Some((_, number)) = rows::split_outbox(&key) else { continue };
            let emitted = unpacking.unpack(to, number, op)?;
            bytes += emitted.len_bytes();
            sent.push((number, emitted));
            if bytes >= PIECE_BYTES {
                is_all = false;
                break;
            }
        }
        let outbox = self.outboxes.entry(to).or_default();
        match sent.last() {
            Some((number, _)) if !is_all => outbox.sent_up_to(*number),
            // What is not there was trimmed: it is applied.
            _ => outbox.sent_all(),
        }
        for (number, mut emitted) in sent {
            *turn.work += 1;
            if let Emitted::Op { reply, .. } = &mut emitted {
                *reply = outbox.reply_of(number);
            }
            turn.emitted.push_back(emitted);
        }
        Ok(true)
    }

    /// Takes leave of a piece of the connections that there were before.
    fn take_leave(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let Some(from) = self.leaves_from.take() else { return Ok(false) };
        let (_, end) = rows::all_live(self.id);
        let found = turn.state.scan_some(&from, &end, PIECE)?;
        if found.len() == PIECE {
            let mut next = found.last().map(|(key, _)| key.clone()).unwrap_or_default();
            next.push(0);
            self.leaves_from = Some(next);
        }
        for (key, _) in found {
            *turn.work += 1;
            let Some(session) = rows::session_of(&key) else { continue };
            let Some((_, row)) = active::load(turn.state, session)? else { continue };
            if row.home.is_none() || !self.is_of_before(row.epoch) {
                continue;
            }
            let ended = Ended {
                session,
                epoch: row.epoch,
                farewell: Farewell::WithWill,
                expiry_seconds: None,
                // Nobody knows any more how far it was sent: all of it is sent again with DUP.
                sent: Some(Seq::MAX),
                reply: None,
            };
            let will_bytes = ended.will_bytes(&row);
            self.on_end(ended, will_bytes, turn.now);
        }
        Ok(self.leaves_from.is_some())
    }

    /// This replica no longer leads.
    pub fn follow(&mut self) {
        self.leading = false;
        self.elected = None;
        self.underway.lose(std::mem::take(&mut self.pending));
        self.underway.clear();
        self.asked = Asked::default();
        self.outboxes.values_mut().for_each(Outbox::forget_leading);
        self.leaves_from = None;
        self.heir.forget();
        self.line.clear();
        self.connecting = Sums::default();
        self.wills = Wills::default();
        self.farewells = Farewells::default();
        self.unsaved.clear();
        self.deferred.clear();
        self.overfull.clear();
        self.departed.clear();
        for active in self.active.values_mut() {
            active.link = None;
            active.overflow = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_that_are_led_are_known_and_counted() {
        let mut led = Led::default();
        assert!(led.set(SlotId(3), true) && led.set(SlotId::META, true) && !led.set(SlotId(3), true));
        assert_eq!((led.count(), led.contains(SlotId(3)), led.contains(SlotId(2))), (2, true, false));
        assert!(led.contains(SlotId::META) && led.set(SlotId::META, false) && !led.set(SlotId(9), false));
        assert_eq!((led.count(), led.contains(SlotId::META)), (1, false));
    }
}
