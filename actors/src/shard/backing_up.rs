//! What waits in a partition's slot for the slot of a Session that has stopped, or is far behind, has a bound too: see
//! [`crate::slot::Slot::is_backed_up`]. A record that is applied enters what it causes all the same, so it is the Client
//! that is pushed back, before anything is proposed, and only where its message would add to a full outbox. Whom it is for
//! the partition alone knows: while one of its outboxes is full all shards know that, and ask it before a message by the log
//! is taken.

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::Shard;
use super::mail::Letter;
use super::publish::needs_record;
use crate::call::{Answer, SessionCall};
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::session::Place;
use crate::slot::Effects;
use crate::topic::{Chooser, Pick, find_all};

impl Shard {
    /// Tells all shards which slots of this one are backed up now, where that has changed.
    pub(super) fn tell_backed_up(&mut self) {
        let Self { slots, outlet, backed_up, .. } = self;
        for slot in slots.iter() {
            let (slot, is) = (slot.id, slot.is_backed_up());
            if is == backed_up.contains(&slot) {
                continue;
            }
            match is {
                true => backed_up.insert(slot),
                false => backed_up.remove(&slot),
            };
            for dest in outlet.post.others() {
                outlet.post.send(dest, Letter::BackedUp { slot, is });
            }
        }
    }

    pub(super) fn note_backed_up(&mut self, slot: SlotId, is: bool) {
        match is {
            true => self.backed_up.insert(slot),
            false => self.backed_up.remove(&slot),
        };
    }

    /// A QoS 2 message whose partition is asked first: it goes on to the slot of its Session, or is refused.
    pub(super) fn admit(&mut self, now: Now, call: SessionCall) {
        let SessionCall::Accept { session, epoch, packet_id, place, message, reply, .. } = call else {
            return;
        };
        let has_no_room =
            Message::decode(&message).is_ok_and(|decoded| self.has_no_room_for(place, &decoded, 0));
        if has_no_room {
            return self.outlet.answer(reply, Answer::Refused(ReasonCode::QuotaExceeded));
        }
        let asks = false;
        self.call(now, SessionCall::Accept { session, epoch, packet_id, place, message, asks, reply });
    }

    /// Whether a message that goes by its partition's log would have to wait there for a slot for which too much waits
    /// already. `client`: who published it.
    pub(super) fn has_no_room_for(&mut self, place: Place, message: &Message<'_>, client: u64) -> bool {
        let Self { slots, fan_out, roots, presence, options, published_so_far, draws, .. } = self;
        let Some(slot) = slots.get(SlotId(place.slot)).filter(|slot| slot.is_backed_up()) else {
            return false;
        };
        let random = *published_so_far ^ *draws;
        let pick = Pick::Leader(Chooser { options: &options.shared, presence, client, random, again: None });
        find_all(slot.routes(place.partition), (slot.id, roots), message, pick, fan_out);
        let mut queues = fan_out.found().iter().filter(|found| needs_record(found));
        let has_no_room = queues.any(|found| slot.is_full_for(found.session.slot()));
        fan_out.clear();
        if has_no_room {
            metrics::counter!(metric::OUTBOX_FULL).increment(1);
        }
        has_no_room
    }
}
