//! A message of a Client finds everybody who subscribed: those who live with their connection at once, the others by the
//! records of their slots.

use convoy_ids::SlotId;
use convoy_wire::{QoS, ReasonCode};

use super::Shard;
use super::mail::{Answer, Begun, Letter, Origin, ReplyTo};
use crate::activity::Activity;
use crate::clock::Now;
use crate::connection;
use crate::message::Message;
use crate::metric;
use crate::session::{Place, SessionNumber};
use crate::slot::{Again, Delivery, LATE_BYTES, Op, Target, targets_run};
use crate::topic::{Chooser, Pick};

/// Runs of targets whose memory is kept for the next message: one or two for each slot.
const TARGETS_KEPT: usize = 128;

impl Shard {
    /// Passes a message of QoS 0 or 1, or one whose publisher's Session ends with its connection, to everybody who
    /// subscribed. Tells how many parts have yet to become safe, each of which answers to `reply`; `None` if the
    /// partition is another shard's, or the message goes by the partition's log: then these will tell.
    pub(super) fn publish(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) -> Result<Option<Begun>, ReasonCode> {
        let slot = SlotId(place.slot);
        let shard = self.outlet.post.shard_of(slot);
        if shard != self.outlet.post.here() {
            self.outlet.edge.begin_of(message);
            let message = self.outlet.lay(shard, message);
            self.outlet.post.send(shard, Letter::Publish { place, origin, message, reply });
            return Ok(None);
        }
        if let Some(again) = origin.again.filter(|again| again.ended) {
            // It is offered to each member once.
            self.presence.has_gone(again.not);
        }
        if origin.again.is_none() && self.outlet.casts.holds(message.topic) {
            self.outlet.edge.begin_of(message);
            let whole = self.outlet.edge.whole(message);
            self.outlet.casts.wait(message.topic, whole, place, origin, reply);
            return Ok(None);
        }
        self.publish_here(now, place, message, origin, reply)
    }

    /// The same for a message whose partition is here and which nothing of its topic is before.
    pub(super) fn publish_here(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) -> Result<Option<Begun>, ReasonCode> {
        let slot = SlotId(place.slot);
        let (stalled, low_space, failed) = (self.stalled, self.low_space, self.failure.is_some());
        self.outlet.edge.pulse.tell(Activity::Publish, u32::from(slot.0));
        let Self { slots, fan_out, root, presence, options, published_so_far, draws, .. } = self;
        let Some(slot) = slots.get(slot).filter(|slot| slot.is_serving()) else {
            return Err(ReasonCode::ServerBusy);
        };
        let Origin { client, again } = origin;
        if again.is_none() && (message.retain || slot.line.holds(message.topic)) {
            return self.publish_in_line(now, place, message, client, reply).map(|()| None);
        }
        *published_so_far = published_so_far.wrapping_add(1);
        fan_out.clear();
        let random = *published_so_far ^ *draws;
        let pick = Pick::Leader(Chooser { options: &options.shared, presence, client, random, again });
        if let Some(routes) = slot.routes(place.partition) {
            routes.find(message, pick, fan_out);
        }
        if !root.is_empty() {
            root.find(message, pick, fan_out);
        }
        fan_out.merge();
        if origin.again.is_some() && fan_out.found().is_empty() {
            self.outlet.edge.drop_shared();
        }
        let is_many = self.outlet.casts.is_many(fan_out.found().len());
        if is_many && again.is_none() && !self.outlet.casts.has_room() {
            self.outlet.edge.begin_of(message);
            let whole = self.outlet.edge.whole(message);
            self.outlet.casts.wait(message.topic, whole, place, origin, reply);
            return Ok(None);
        }
        self.outlet.edge.work += fan_out.work();
        let needs_record =
            |found: &crate::topic::Found| found.home.is_none() && found.delivery.qos > QoS::AtMostOnce;
        let queues = fan_out.found().iter().filter(|found| needs_record(found)).count();
        let needed = queues > 0;
        // What a member of a Shared Subscription has left was acknowledged to its publisher.
        let too_much = again.is_none() && self.over_stored(message.encoded_len(), queues);
        let is_large = message.encoded_len() >= LATE_BYTES;
        let Self { slots, fan_out, outlet, .. } = self;
        if needed {
            if failed {
                return Err(ReasonCode::ServerUnavailable);
            }
            if stalled || low_space || too_much {
                return Err(ReasonCode::QuotaExceeded);
            }
            let queues = fan_out.found().iter().filter(|found| needs_record(found));
            for slot in queues.map(|found| found.session.slot()) {
                if slots.get(slot).is_some_and(|slot| slot.failure.is_some()) {
                    return Err(ReasonCode::ServerUnavailable);
                }
            }
            self.message.clear();
            if !is_large {
                message.encode_into(&mut self.message);
            }
            match self.targets.len() > TARGETS_KEPT {
                true => self.targets.clear(),
                false => self.targets.iter_mut().for_each(|(_, targets)| targets.clear()),
            }
        }

        outlet.edge.begin_of(message);
        let mut casting = Vec::new();
        for found in fan_out.found() {
            if is_many && !needs_record(found) {
                casting.push(*found);
                continue;
            }
            if let Some(home) = found.home {
                outlet.deliver(home, found.session, &found.delivery, message, now);
                continue;
            }
            if found.delivery.qos == QoS::AtMostOnce {
                if outlet.post.is_here(found.session.slot()) {
                    let whole = outlet.edge.whole(message);
                    self.passing.push((found.session, found.delivery, whole));
                } else {
                    outlet.pass_away(found.session, found.delivery, message);
                }
                continue;
            }
            let slot = found.session.slot();
            // The run of its slot that is being filled is among the last.
            let run = targets_run(message.encoded_len());
            let fits = |(of, targets): &(SlotId, Vec<u8>)| *of == slot && targets.len() < run;
            let at = self.targets.iter().rposition(fits).unwrap_or_else(|| {
                self.targets.push((slot, Vec::new()));
                self.targets.len() - 1
            });
            Target { session: found.session, delivery: found.delivery }.push(&mut self.targets[at].1);
        }

        if !self.passing.is_empty() {
            self.pass_those_here(now);
        }
        let matched = !self.fan_out.found().is_empty();
        let mut parts = 0;
        if !casting.is_empty() {
            parts += 1;
            let whole = self.outlet.edge.whole(message);
            // Of QoS 0 nobody waits for the end.
            let reply = reply.filter(|reply| !reply.is_credit());
            self.outlet.casts.begin(message.topic, whole, casting, reply);
        }
        if !needed {
            return Ok(Some(Begun { parts, matched }));
        }
        let Self { slots, outlet, .. } = self;
        let mut is_full = self.is_short;
        for (slot, targets) in self.targets.iter().filter(|(_, targets)| !targets.is_empty()) {
            parts += 1;
            if let Some(slot) = slots.get(*slot) {
                match is_large {
                    true => slot.pending.push_shared(
                        now.wall,
                        &outlet.edge.encoded.whole(message),
                        targets,
                        reply,
                    ),
                    false => {
                        slot.pending.push(now.wall, &Op::Enqueue { message: &self.message, targets }, reply)
                    }
                }
                is_full |= slot.pending.is_full();
                continue;
            }
            let shard = outlet.post.shard_of(*slot);
            let message = outlet.lay(shard, message);
            let targets = outlet.post.to(shard).lay(|bytes| bytes.extend_from_slice(targets));
            outlet.post.send(shard, Letter::Enqueue { slot: *slot, message, targets, reply });
        }
        if let Some(reply) = reply.filter(|_| is_full) {
            outlet.answer(reply, Answer::Full);
        }
        Ok(Some(Begun { parts, matched }))
    }

    /// Passes on what the message that is being published is of QoS 0 for Sessions of slots here: before its records, for of
    /// those that are pending now each is of a message before it.
    fn pass_those_here(&mut self, now: Now) {
        let mut passing = std::mem::take(&mut self.passing);
        for (session, delivery, whole) in passing.drain(..) {
            self.pass(now, session, delivery, whole);
        }
        self.passing = passing;
    }

    /// What a member of a Shared Subscription has left goes to another one.
    pub(super) fn dispatch_again(
        &mut self,
        now: Now,
        session: SessionNumber,
        client: u64,
        delivery: &Delivery,
        message: &[u8],
    ) {
        let message = Message::decode(message).expect("it was encoded in this process");
        let again = delivery.group().map(|group| Again { group, not: session, ended: true });
        let (partition, slot) =
            self.options.partitioning.locate(connection::TENANT, message.topic, self.options.slots);
        let place = Place { slot: slot.0, partition: partition.0 };
        metrics::counter!(metric::REDISPATCHED).increment(1);
        // Nobody is told: to its publisher the message was safe when the member got it.
        let published = self.publish(now, place, &message, Origin { client, again }, None);
        if published.is_err() {
            self.outlet.edge.drop_shared();
        }
    }
}
