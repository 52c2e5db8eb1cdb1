//! What goes by its partition's log: see [`crate::slot::InLine`]. Here the leader decides what belongs to other logs, and
//! says when what it had decided is applied.

use std::collections::VecDeque;

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::Shard;
use super::mail::Letter;
use crate::call::{Answer, ReplyTo};
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::options::Without;
use crate::retained;
use crate::session::{Place, SessionNumber, Target};
use crate::slot::{Effects, Op, RootChange};
use crate::topic::{Again, Chooser, Found, Pick, Routes};

/// Who is to be told of a root route once everything that was decided before it is applied.
#[derive(Debug, Default)]
pub(super) struct Rooted(VecDeque<(u64, ReplyTo, Answer)>);

/// What the leader of a partition decides about a message.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// What the root routes match of Sessions that last, as [`Target`] packs them.
    pub root_targets: Vec<u8>,
    /// Whom it chose of Shared Subscriptions.
    pub chosen: Vec<SessionNumber>,
    /// What the root routes match of the others.
    pub found: Vec<Found>,
}

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
        let decision = self.decision(id, place.partition, message, client, None);
        let number = self.enter(id, message, decision.found);
        self.message.clear();
        message.encode_into(&mut self.message);
        let op = Op::InLine {
            number,
            partition: place.partition,
            message: &self.message,
            root_targets: &decision.root_targets,
            chosen: decision.chosen,
        };
        self.slots.get(id).expect("the caller has found it").pending.push(now.wall, &op, reply);
        if let Some(reply) = reply.filter(|_| is_full) {
            self.outlet.answer(reply, Answer::Full);
        }
        Ok(())
    }

    /// Gives a message of this topic its place in line: the number that stands in its record.
    pub(super) fn enter(&mut self, slot: SlotId, message: &Message<'_>, found: Vec<Found>) -> u64 {
        self.work += found.len() as u64;
        let Some(slot) = self.slots.get(slot) else { return 0 };
        // One of another shard's time may be higher, where a slot is not led yet.
        self.numbers = self.numbers.max(slot.numbered) + 1;
        slot.line.push(self.numbers, message, found);
        self.numbers
    }

    /// What the leader decides about a message: what the root routes match, for they are another log's and other replicas
    /// of this slot may know them differently; and who gets it of Shared Subscriptions, for only the leader knows who is
    /// connected.
    pub(super) fn decision(
        &mut self,
        to: SlotId,
        partition: u64,
        message: &Message<'_>,
        client: u64,
        again: Option<Again>,
    ) -> Decision {
        let mut decision = Decision::default();
        self.published_so_far = self.published_so_far.wrapping_add(1);
        if let Some(again) = again.filter(|again| again.ended) {
            self.presence.has_gone(again.not);
        }
        let Self { slots, fan_out, root, presence, options, work, .. } = self;
        let random = self.published_so_far ^ self.draws;
        let pick = Pick::Leader(Chooser { options: &options.shared, presence, client, random, again });
        fan_out.clear();
        let routes = slots.get(to).and_then(|slot| slot.routes(partition));
        if let Some(routes) = routes.filter(|routes| routes.has_shared()) {
            routes.find(message, pick, fan_out);
            let shared = fan_out.found().iter().filter(|found| found.delivery.group().is_some());
            decision.chosen.extend(shared.map(|found| found.session));
            *work += fan_out.work();
            fan_out.clear();
        }
        if !root.is_empty() {
            root.find(message, pick, fan_out);
        }
        *work += fan_out.work();
        for found in fan_out.found() {
            if found.delivery.group().is_some() {
                decision.chosen.push(found.session);
            }
            match found.home {
                Some(_) => decision.found.push(*found),
                None => Target { session: found.session, delivery: found.delivery }
                    .push(&mut decision.root_targets),
            }
        }
        decision
    }

    /// Whether anything of a plain message is the leader's to decide.
    pub(super) fn has_to_decide(&mut self, to: SlotId, partition: u64) -> bool {
        let routes = self.slots.get(to).and_then(|slot| slot.routes(partition));
        !self.root.is_empty() || routes.is_some_and(Routes::has_shared)
    }

    /// A root route begins or ends in this shard, which says so when what it had decided before is applied: until then
    /// who subscribed does not have it, and who unsubscribed may get it.
    pub(super) fn root_changed(&mut self, change: RootChange) {
        let RootChange { filter, subscriber, route, reply } = change;
        let answer = match route {
            Some(_) => {
                let place = retained::root_place(self.outlet.post.here());
                Answer::Registered(retained::Place { place, until: self.numbers })
            }
            None => Answer::Done,
        };
        match route {
            Some(route) => self.root.insert(&filter, subscriber, route),
            None => self.root.remove(&filter, subscriber),
        }
        if let Some(reply) = reply {
            if self.options.without == Without::RootAnswer {
                return self.outlet.answer(reply, answer);
            }
            self.rooted.0.push_back((self.numbers, reply, answer));
            self.tell_rooted();
        }
    }

    /// Tells of root routes whose time has come.
    pub(super) fn tell_rooted(&mut self) {
        if self.rooted.0.is_empty() {
            return;
        }
        // What a stopped slot has decided is not applied before the next start, and then all of it is.
        let serving = self.slots.iter().filter(|slot| slot.is_serving());
        let first = serving.filter_map(|slot| slot.line.first()).min().unwrap_or(u64::MAX);
        while self.rooted.0.front().is_some_and(|(number, ..)| *number < first) {
            let (_, reply, answer) = self.rooted.0.pop_front().expect("there is a front");
            self.outlet.answer(reply, answer);
        }
    }

    /// A root route that this shard's meta group has applied: here, and in every other shard, each of which answers for
    /// itself.
    pub(super) fn change_root(&mut self, change: RootChange) {
        let (here, shards) = (self.outlet.post.here(), self.outlet.post.shards());
        for shard in (0..shards).filter(|shard| *shard != here) {
            let RootChange { filter, subscriber, route, reply } = change.clone();
            self.outlet.post.send(shard, Letter::RootRoute { filter, subscriber, route, reply });
        }
        self.root_changed(change);
    }
}
