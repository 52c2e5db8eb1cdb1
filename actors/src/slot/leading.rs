//! A replica begins to lead, and leads no longer. What an earlier leader knew beside the log is gone. So what waits in
//! outboxes is sent again, to each slot that is led, from behind what that slot has applied; and the connections that there
//! were are taken leave of once no node serves them any more: see `leaving`. Either may be very much: it goes in pieces.

use convoy_ids::SlotId;
use convoy_storage::engine::Error;

use super::active::Adoption;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::outbox_body::Unpacking;
use super::{Asked, Emitted, Leaving, Slot, Turn, rows};
use crate::budget::Sums;
use crate::call::ReplyTo;
use crate::session::{Epoch, Seq, SessionNumber, SessionRow};

/// Operations of outboxes that are sent again in one piece.
const PIECE: usize = 256;

/// Bytes of operations beyond which a piece ends.
const PIECE_BYTES: usize = 1 << 20;

/// The slots of which it is known where they are led: what is for another one waits in its outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Led {
    slots: Vec<bool>,
    meta: bool,
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

    /// Notes whether it is known where a slot is led. False if that was so.
    pub fn set(&mut self, id: SlotId, is: bool) -> bool {
        std::mem::replace(self.place(id), is) != is
    }

    #[inline]
    pub fn contains(&self, id: SlotId) -> bool {
        if id.is_meta() { self.meta } else { self.slots.get(usize::from(id.0)) == Some(&true) }
    }
}

impl Slot {
    /// This replica leads from now on. The rest is for [`Slot::lead_on`].
    pub fn lead(&mut self) {
        self.leading = true;
        self.times_led = self.times_led.wrapping_add(1);
        self.inboxes.values_mut().for_each(Inbox::lead);
        self.next_due = 0;
        self.outboxes.values_mut().for_each(|outbox| outbox.send_after(0));
        self.led_since = Epoch(self.grants);
        self.leaving.begin();
    }

    /// Whether nobody knows how far messages were sent to the connection of this epoch: it got its Session before the slot was
    /// led here, and has not been adopted.
    pub(super) fn is_unknown(&self, session: SessionNumber, epoch: Epoch) -> bool {
        let is_adopted = || {
            let active = self.active.get(&session).filter(|active| active.row.epoch == epoch);
            active.is_some_and(|active| active.adoption.is_done())
        };
        epoch <= self.led_since && !is_adopted()
    }

    /// How far messages were sent to the connection that has the Session of this Client, if one has.
    pub(super) fn sent_so_far(&mut self, name: &[u8], turn: &mut Turn<'_>) -> Result<Seq, Error> {
        if let Some(session) = self.names.get(name) {
            let row = &self.active[session].row;
            let is_unknown = row.home.is_some() && self.is_unknown(*session, row.epoch);
            return Ok(if is_unknown { Seq::MAX } else { self.sent(*session) });
        }
        if self.leaving.is_done() && self.farewells.waiting() == 0 {
            return Ok(0);
        }
        let row = turn.state.get::<SessionRow>(&rows::client(self.id, name))?;
        Ok(row.filter(|row| row.home.is_some()).map_or(0, |_| Seq::MAX))
    }

    /// Numbers behind which the outboxes of other slots are to be sent here again.
    pub fn inboxes(&self) -> impl Iterator<Item = (SlotId, u64)> + '_ {
        self.inboxes.iter().map(|(from, inbox)| (*from, inbox.given()))
    }

    /// Another slot is led anew, which asks for what is in the outbox for it behind `given`. True if there is more.
    pub fn send_after(&mut self, to: SlotId, given: u64) -> bool {
        let Some(outbox) = self.outboxes.get_mut(&to).filter(|_| self.leading) else { return false };
        outbox.applied(given, given);
        outbox.send_after(given);
        outbox.has_unsent()
    }

    /// Whether something waits in an outbox for a slot that is led, and is still to be sent.
    pub fn has_unsent(&self, led: &Led) -> bool {
        self.outboxes.iter().any(|(to, outbox)| outbox.has_unsent() && led.contains(*to))
    }

    /// Whether something waits for this one, led or not.
    pub fn has_unsent_to(&self, to: SlotId) -> bool {
        self.outboxes.get(&to).is_some_and(Outbox::has_unsent)
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

    /// The same of what connections may have to be given again: see [`crate::options::Without::Again`].
    pub fn pass_over_open(&mut self) {
        self.inboxes.values_mut().for_each(Inbox::pass_over_open);
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

    /// This replica no longer leads. Who waits for what was asked of it, of which nobody knows here what becomes of it.
    pub fn follow(&mut self) -> Vec<ReplyTo> {
        self.leading = false;
        self.elected = None;
        let mut waiting = self.underway.give_up(std::mem::take(&mut self.pending));
        let unsent = self.outboxes.values_mut().flat_map(Outbox::forget_leading);
        waiting.extend(unsent.chain(self.wills.give_up()));
        waiting.extend(std::mem::take(&mut self.farewells).give_up());
        waiting.extend(self.forget_waiting());
        self.asked = Asked::default();
        self.leaving = Leaving::default();
        self.left.clear();
        self.heir.forget();
        self.line.clear();
        self.connecting = Sums::default();
        self.pauses = Default::default();
        self.unsaved.clear();
        self.deferred.clear();
        self.overfull.clear();
        self.departed.clear();
        for active in self.active.values_mut() {
            active.link = None;
            active.adoption = Adoption::default();
            active.overflow = None;
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_that_are_led_are_known() {
        let mut led = Led::default();
        assert!(led.set(SlotId(3), true) && led.set(SlotId::META, true) && !led.set(SlotId(3), true));
        assert!(led.contains(SlotId(3)) && !led.contains(SlotId(2)));
        assert!(led.contains(SlotId::META) && led.set(SlotId::META, false) && !led.set(SlotId(9), false));
        assert!(led.contains(SlotId(3)) && !led.contains(SlotId::META));
    }
}
