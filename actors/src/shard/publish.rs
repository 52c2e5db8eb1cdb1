//! A message of a Client finds everybody who subscribed: those who live with their connection at once, the others by the
//! records of their slots.

use convoy_ids::SlotId;
use convoy_wire::{QoS, ReasonCode};

use super::Shard;
use super::mail::{Letter, Origin, Where};
use crate::activity::Activity;
use crate::call::{Answer, Begun, ReplyTo};
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::session::{Delivery, Epoch, Place, SessionNumber, Target};
use crate::slot::{Effects, LATE_BYTES, Leadership, Op, targets_run};
use crate::topic::{Again, Chooser, Found, Pick, find_all};

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
        match self.outlet.post.where_is(slot) {
            Where::Here => self.publish_at_home(now, place, message, origin, reply),
            Where::There(dest) => {
                self.outlet.edge.begin_of(message);
                // Of what goes by the log the end is told; another shard is not asked about anything else of QoS 0.
                let reply = reply.filter(|reply| message.retain || !reply.is_credit());
                let message = self.outlet.lay(dest, message);
                self.outlet.post.send(dest, Letter::Publish { place, origin, message, reply });
                Ok(None)
            }
            Where::Nowhere => self.refuse_leaderless(reply),
        }
    }

    /// Nothing is taken of who was turned away, or has published on a later connection since.
    #[inline(never)]
    fn take_of(
        &mut self,
        message: &Message<'_>,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) -> Result<(), ReasonCode> {
        match self.turns_away(reply) {
            Some(Answer::Refused(reason)) => return Err(reason),
            Some(_) => return Err(ReasonCode::ServerBusy),
            None => {}
        }
        let is_of_client = message.qos > QoS::AtMostOnce && origin.epoch > Epoch(0);
        match is_of_client && !self.epochs.take(message.publisher, origin.epoch, self.outlet.edge.now) {
            true => Err(ReasonCode::ServerBusy),
            false => Ok(()),
        }
    }

    /// Nothing of this connection is taken here any more: see [`super::turned_away`].
    pub(super) fn refuse_leaderless<T>(&mut self, reply: Option<ReplyTo>) -> Result<T, ReasonCode> {
        if let Some(reply) = reply {
            self.outlet.turned_away.note(&reply, &Answer::Unknown, self.outlet.edge.now);
        }
        Err(ReasonCode::ServerBusy)
    }

    /// What a publisher is told whose message is refused: of one that came between two leaders, that it is to begin anew.
    pub(super) fn refusal(&self, reason: ReasonCode) -> Answer {
        match reason {
            ReasonCode::ServerBusy if self.has_others => Answer::Unknown,
            reason => Answer::Refused(reason),
        }
    }

    /// The same for a message whose partition's slot is in this shard.
    #[inline(always)] // What comes from Clients of this shard has no other way.
    pub(super) fn publish_at_home(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) -> Result<Option<Begun>, ReasonCode> {
        if self.has_others {
            self.take_of(message, origin, reply)?;
        }
        if let Some(again) = origin.again.filter(|again| again.ended) {
            // It is offered to each member once.
            self.presence.has_gone(again.not);
        }
        if origin.again.is_none() && self.outlet.casts.holds(message.topic) {
            self.wait_for_casts(place, message, origin, reply);
            return Ok(None);
        }
        self.publish_here(now, place, message, origin, reply)
    }

    /// The message is matched later.
    #[cold]
    fn wait_for_casts(
        &mut self,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) {
        self.outlet.edge.begin_of(message);
        let whole = self.outlet.edge.whole(message);
        self.outlet.casts.wait(message.topic, whole, place, origin, reply);
    }

    /// The same for a message whose partition is here and which nothing of its topic is before.
    #[inline(always)] // Of its two callers one is the hot path, and the other one the reason that it is a function.
    pub(super) fn publish_here(
        &mut self,
        now: Now,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) -> Result<Option<Begun>, ReasonCode> {
        let id = SlotId(place.slot);
        self.outlet.edge.pulse.tell(Activity::Publish, u32::from(id.0));
        let Self { slots, fan_out, roots, presence, options, published_so_far, draws, .. } = self;
        let Some(slot) = slots.get(id).filter(|slot| slot.is_serving()) else {
            return self.refuse_leaderless(reply);
        };
        let Origin { client, again, .. } = origin;
        if again.is_none() && (message.retain || slot.line.holds(message.topic)) {
            return self.publish_in_line(now, place, message, client, reply).map(|()| None);
        }
        let by = slot.leadership();
        *published_so_far = published_so_far.wrapping_add(1);
        let random = *published_so_far ^ *draws;
        let pick = Pick::Leader(Chooser { options: &options.shared, presence, client, random, again });
        find_all(slot.routes(place.partition), (slot.id, roots), message, pick, fan_out);
        fan_out.merge();
        // Whatever becomes of it: what has to wait is matched again.
        self.work += fan_out.work();
        if again.is_some() && fan_out.found().is_empty() {
            self.outlet.edge.drop_shared();
        }
        let is_many = self.outlet.casts.is_many(fan_out.found().len());
        if is_many && again.is_none() && (self.is_short || !self.outlet.casts.has_room()) {
            // What is for many is much for the log too: while that has enough, it waits beside the way of the others.
            self.wait_for_casts(place, message, origin, reply);
            if let Some(reply) = reply.filter(|_| self.is_short) {
                self.outlet.answer(reply, Answer::Full);
            }
            return Ok(None);
        }
        let matched = !fan_out.found().is_empty();
        let queues = fan_out.found().iter().filter(|found| needs_record(found)).count();
        if queues > 0 {
            // What a member of a Shared Subscription has left was acknowledged to its publisher.
            self.begin_records(id, message, queues, again.is_none(), reply)?;
        }
        self.outlet.edge.begin_of(message);
        let mut parts = 0;
        self.outlet.receipts.begin();
        let casts = is_many && self.cast(by, message, reply);
        if !is_many {
            self.hand_out(now, id, message);
        }
        if queues > 0 {
            parts += self.push_records(now, id, message, reply);
        }
        if casts {
            parts += 1;
        } else if self.has_others {
            parts += self.gather_receipt(by, reply);
        }
        Ok(Some(Begun { parts, matched }))
    }

    /// Gives the message that was matched to those who need no record for it.
    #[inline(always)] // It has one caller.
    fn hand_out(&mut self, now: Now, from: SlotId, message: &Message<'_>) {
        let Self { fan_out, outlet, passing, .. } = self;
        for found in fan_out.found() {
            if let Some(home) = found.home {
                outlet.deliver(home, found.session, &found.delivery, message, now);
            } else if found.delivery.qos == QoS::AtMostOnce {
                match outlet.post.where_is(found.session.slot()) {
                    Where::Here => passing.push((found.session, found.delivery, outlet.edge.whole(message))),
                    _ => outlet.pass_away(from, found.session, found.delivery, message),
                }
            }
        }
        if !self.passing.is_empty() {
            self.pass_those_here(now, from);
        }
    }

    /// The same where they are very many: in pieces. False if there is nobody.
    #[cold]
    fn cast(&mut self, by: Leadership, message: &Message<'_>, reply: Option<ReplyTo>) -> bool {
        let found = self.fan_out.found().iter();
        let casting: Vec<_> = found.filter(|found| !needs_record(found)).copied().collect();
        if casting.is_empty() {
            return false;
        }
        let whole = self.outlet.edge.whole(message);
        // Of QoS 0 nobody waits for the end.
        let reply = reply.filter(|reply| !reply.is_credit());
        self.outlet.casts.begin(message.topic, whole, casting, by, reply);
        true
    }

    /// Whether the message that was matched can be put on record for so many queues, which are gathered by slot then.
    /// `may_be_refused`: for want of room in what the node may store.
    #[inline(never)]
    fn begin_records(
        &mut self,
        by: SlotId,
        message: &Message<'_>,
        queues: usize,
        may_be_refused: bool,
        reply: Option<ReplyTo>,
    ) -> Result<(), ReasonCode> {
        if self.failure.is_some() {
            return Err(ReasonCode::ServerUnavailable);
        }
        let too_much = may_be_refused && self.over_stored(message.encoded_len(), queues);
        if self.stalled || self.low_space || too_much {
            return Err(ReasonCode::QuotaExceeded);
        }
        let has_others = self.has_others;
        let Self { slots, fan_out, targets, outlet, .. } = self;
        match targets.len() > TARGETS_KEPT {
            true => targets.clear(),
            false => targets.iter_mut().for_each(|(_, targets)| targets.clear()),
        }
        let run = targets_run(message.encoded_len());
        for found in fan_out.found().iter().filter(|found| needs_record(found)) {
            let slot = found.session.slot();
            if has_others && may_be_refused && slots.get(by).is_some_and(|by| by.has_unsent_to(slot)) {
                // What came by the log before it is to be there before it.
                return self.refuse_leaderless(reply);
            }
            match outlet.post.where_is(slot) {
                Where::Here if slots.get(slot).is_none_or(|slot| !slot.is_serving()) => {
                    return Err(ReasonCode::ServerUnavailable);
                }
                Where::Here | Where::There(_) => {}
                Where::Nowhere => return self.refuse_leaderless(reply),
            }
            // The run of its slot that is being filled is among the last.
            let fits = |(of, targets): &(SlotId, Vec<u8>)| *of == slot && targets.len() < run;
            let at = targets.iter().rposition(fits).unwrap_or_else(|| {
                targets.push((slot, Vec::new()));
                targets.len() - 1
            });
            Target { session: found.session, delivery: found.delivery }.push(&mut targets[at].1);
        }
        Ok(())
    }

    /// Puts the message on record for those who were gathered. In how many parts.
    #[inline(never)]
    fn push_records(&mut self, now: Now, from: SlotId, message: &Message<'_>, reply: Option<ReplyTo>) -> u32 {
        let is_large = message.encoded_len() >= LATE_BYTES;
        self.message.clear();
        if !is_large {
            message.encode_into(&mut self.message);
        }
        let Self { slots, outlet, .. } = self;
        let (mut parts, mut is_full) = (0, self.is_short);
        for (slot, targets) in self.targets.iter().filter(|(_, targets)| !targets.is_empty()) {
            parts += 1;
            if let Where::There(dest) = outlet.post.where_is(*slot) {
                let message = outlet.lay(dest, message);
                let targets = outlet.post.to(dest).lay(|bytes| bytes.extend_from_slice(targets));
                let reply = match reply {
                    Some(reply) if self.has_others => {
                        Some(self.asking.ask(*slot, dest, reply, outlet.edge.operators_home()))
                    }
                    reply => reply,
                };
                outlet.post.send(dest, Letter::Enqueue { from, slot: *slot, message, targets, reply });
                continue;
            }
            let slot = slots.get(*slot).expect("it was found to be served here");
            if is_large {
                slot.pending.push_shared(now.wall, &outlet.edge.whole(message), targets, reply);
            } else {
                slot.pending.push(now.wall, &Op::Enqueue { message: &self.message, targets }, reply);
            }
            is_full |= slot.pending.is_full();
        }
        if let Some(reply) = reply.filter(|_| is_full) {
            outlet.answer(reply, Answer::Full);
        }
        parts
    }

    /// Passes on what the message that is being published is of QoS 0 for Sessions of slots here: before its records, for of
    /// those that are pending now each is of a message before it.
    fn pass_those_here(&mut self, now: Now, from: SlotId) {
        let mut passing = std::mem::take(&mut self.passing);
        for (session, delivery, whole) in passing.drain(..) {
            self.pass(now, from, session, delivery, whole);
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
        let (partition, slot) = self.locator.locate(message.topic);
        let place = Place { slot: slot.0, partition: partition.0 };
        metrics::counter!(metric::REDISPATCHED).increment(1);
        // Nobody is told: to its publisher the message was safe when the member got it.
        let published = self.publish(now, place, &message, Origin { client, epoch: Epoch(0), again }, None);
        if published.is_err() {
            self.outlet.edge.drop_shared();
        }
    }
}

/// Whether it is for the queue of a Session, which is a matter of the log.
pub(super) fn needs_record(found: &Found) -> bool {
    found.home.is_none() && found.delivery.qos > QoS::AtMostOnce
}
