//! What goes by its partition's log: see [`crate::slot::InLine`]. Here the leader decides what belongs to no log.

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::Shard;
use crate::call::{Answer, Begun, ReplyTo};
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::options::Without;
use crate::session::{Place, SessionNumber};
use crate::slot::{Effects, Obsolete, Op};
use crate::topic::{Again, Chooser, Pick, Routes};

impl Shard {
    /// A message of QoS 0 or 1 that is retained, or comes behind one of its topic that is. Its record tells `reply`.
    pub(super) fn publish_in_line(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
        client: u64,
        reply: Option<ReplyTo>,
    ) -> Result<(), ReasonCode> {
        let adds = !message.retain || message.is_kept();
        let id = SlotId(place.slot);
        let is_full = self.is_short || self.slots.get(id).is_some_and(|slot| slot.pending.is_full());
        if is_full && reply.is_none() && !message.retain {
            // Of QoS 0, from another shard: nobody there counts it.
            self.outlet.edge.drop_behind(1);
            return Ok(());
        }
        if self.failure.is_some() {
            return Err(ReasonCode::ServerUnavailable);
        }
        if self.stalled || self.low_space && adds {
            return Err(ReasonCode::QuotaExceeded);
        }
        if let Some(limit) = self.over_retained(place, message) {
            metric::met(limit);
            return Err(ReasonCode::QuotaExceeded);
        }
        if self.has_no_room_for(place, message, client) {
            return Err(ReasonCode::QuotaExceeded);
        }
        if self.options.without == Without::LogOrder && message.retain {
            let slot = self.slots.get(id).expect("the caller has found it");
            if slot.keeps_later(place.partition, message, &self.state).unwrap_or(false) {
                let begun = Answer::Begun(Begun { parts: 0, matched: true });
                reply.into_iter().for_each(|reply| self.outlet.answer(reply, begun.clone()));
                return Ok(());
            }
        }
        let chosen = self.decision(id, place.partition, message, client, None);
        let number = self.enter(id, message);
        self.message.clear();
        message.encode_into(&mut self.message);
        let op = Op::InLine {
            number,
            partition: place.partition,
            message: &self.message,
            root_targets: Obsolete,
            chosen,
        };
        self.slots.get(id).expect("the caller has found it").pending.push(now.wall, &op, reply);
        if let Some(reply) = reply.filter(|_| is_full) {
            self.outlet.answer(reply, Answer::Full);
        }
        Ok(())
    }

    /// Gives a message of this topic its place in line: the number that stands in its record.
    pub(super) fn enter(&mut self, slot: SlotId, message: &Message<'_>) -> u64 {
        let Some(slot) = self.slots.get(slot) else { return 0 };
        // One of another shard's time may be higher, where a slot is not led yet.
        self.numbers = self.numbers.max(slot.numbered) + 1;
        slot.line.push(self.numbers, message);
        self.numbers
    }

    /// Who gets a message of Shared Subscriptions: the leader's to decide, for it alone knows who is connected.
    pub(super) fn decision(
        &mut self,
        to: SlotId,
        partition: u64,
        message: &Message<'_>,
        client: u64,
        again: Option<Again>,
    ) -> Vec<SessionNumber> {
        self.published_so_far = self.published_so_far.wrapping_add(1);
        if let Some(again) = again.filter(|again| again.ended) {
            self.presence.has_gone(again.not);
        }
        let Self { slots, fan_out, roots, presence, options, work, .. } = self;
        let random = self.published_so_far ^ self.draws;
        let pick = Pick::Leader(Chooser { options: &options.shared, presence, client, random, again });
        fan_out.clear();
        let routes = slots.get(to).and_then(|slot| slot.routes(partition));
        if let Some(routes) = routes.filter(|routes| routes.has_shared()) {
            routes.find(message, pick, fan_out);
        }
        if roots.has_shared() {
            roots.find(to, message, pick, fan_out);
        }
        *work += fan_out.work();
        let shared = fan_out.found().iter().filter(|found| found.delivery.group().is_some());
        shared.map(|found| found.session).collect()
    }

    /// Whether anything of a plain message is the leader's to decide.
    pub(super) fn has_to_decide(&mut self, to: SlotId, partition: u64) -> bool {
        let routes = self.slots.get(to).and_then(|slot| slot.routes(partition));
        self.roots.has_shared() || routes.is_some_and(Routes::has_shared)
    }
}
