//! What a member of a Shared Subscription leaves unacknowledged when it goes is dispatched again, to another member
//! (MQTT 5.0, 4.8.2): at once when its Client disconnects and another one is there, and in any case when its Session
//! ends. Not so a QoS 2 message that was sent: it waits for its Client, and goes with its Session [MQTT-4.8.2-4],
//! [MQTT-4.8.2-5].

use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_storage::engine::Error;
use convoy_wire::QoS;

use super::active::read_queue;
use super::context::{Context, work_of};
use super::op::Op;
use super::publish::publish;
use super::{Note, Slot, Turn, client_of, rows};
use crate::message::Message;
use crate::session::{Delivery, Place, Queue, Seq, SessionNumber, Target, name_of, split_name};
use crate::tenant::TENANT;
use crate::topic::{Again, Presence, SHARED, group_of};

/// Messages that one record sends on.
const RUN: usize = 256;

/// Units of work that one look through what was left is.
const LOOK_WORK: u64 = 1024;

impl Slot {
    /// The Shared Subscriptions of a Session.
    pub(super) fn groups_of(&self, session: SessionNumber, turn: &mut Turn<'_>) -> Result<Vec<u64>, Error> {
        if self.active.get(&session).is_none_or(|active| active.row.subscriptions == 0) {
            return Ok(Vec::new());
        }
        let (from, to) = rows::subscriptions_from(session, SHARED);
        let rows = turn.state.scan(&from, &to)?;
        let filters = rows.iter().filter_map(|(key, _)| rows::filter_of_subscription(key));
        Ok(filters.map(group_of).collect())
    }

    /// Proposes to send on what a departed Client has left of Shared Subscriptions that somebody else is there for, of the
    /// messages from this one on: a piece of them, if there are many.
    pub fn offer_again(
        &mut self,
        (session, from): (SessionNumber, Seq),
        presence: &Presence,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(active) = self.active.get(&session).filter(|active| active.row.home.is_none()) else {
            return Ok(());
        };
        let Some(queue) = &active.queue else { return Ok(()) };
        if !self.groups_of(session, turn)?.iter().any(|group| presence.has_other(*group, session)) {
            return Ok(());
        }
        let (mut seqs, mut next) = (Vec::new(), None);
        let work = &mut *turn.work;
        let until = *work + LOOK_WORK;
        read_queue(turn.state, session, from.max(queue.floor()), &mut |seq, row| {
            if *work >= until {
                next = Some(seq);
                return ControlFlow::Break(());
            }
            *work += work_of(row.message.len());
            let group = row.delivery.group().filter(|group| presence.has_other(*group, session));
            if group.is_some() && queue.holds(seq) && may_go(queue, seq, &row.delivery) {
                seqs.push(seq);
            }
            match seqs.len() < RUN {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        if !seqs.is_empty() {
            self.pending.push(turn.now.wall, &Op::Redispatch { session, seqs }, None);
        }
        self.departed.extend(next.map(|next| (session, next)));
        Ok(())
    }

    /// Sends messages on that a departed Client has left, unless it is back.
    pub(super) fn redispatch(
        &mut self,
        session: SessionNumber,
        seqs: &[Seq],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        for &seq in seqs {
            let Some(active) = self.activate(session, turn)?.filter(|active| active.row.home.is_none())
            else {
                return Ok(());
            };
            let Some(queue) = active.queue.as_deref_mut().filter(|queue| queue.holds(seq)) else { continue };
            let name = active.name.clone();
            let (delivery, message) = turn.state.queued_message(session, seq)?;
            queue.remove(seq, message.len() as u32);
            turn.state.remove_queued(session, seq, message.len() as u32)?;
            turn.state.put(rows::head(session), &queue.head());
            active.weigh(turn.budget);
            self.send_on(session, &name, false, &delivery, &message, context, turn)?;
        }
        if self.leading && seqs.len() >= RUN {
            self.departed.extend(seqs.last().map(|last| (session, last + 1)));
        }
        Ok(())
    }

    /// A message that was on its way to a Session when that ended goes to another member, if it came by a group.
    pub(super) fn send_on_late(
        &mut self,
        target: &Target,
        message: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let name = name_of(TENANT, "");
        self.send_on(target.session, &name, true, &target.delivery, message, context, turn)
    }

    #[expect(clippy::too_many_arguments, reason = "each tells something else of one message")]
    pub(super) fn send_on(
        &mut self,
        session: SessionNumber,
        name: &[u8],
        ended: bool,
        delivery: &Delivery,
        bytes: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(group) = delivery.group() else { return Ok(()) };
        let message = Message::decode(bytes).map_err(|error| Error::Damaged {
            place: format!("a message of Session {:x}", session.0),
            reason: error.to_string(),
        })?;
        let tenant = split_name(name).map_or("", |(tenant, _)| tenant);
        let (partition, slot) = self.partitioning.locate(tenant, message.topic, self.slots);
        let place = Place { slot: slot.0, partition: partition.0 };
        let op = publish(place, bytes, client_of(name), Some(Again { group, not: session, ended }));
        self.emit(SlotId(place.slot), &op, context.unanswered(), turn);
        if self.leading {
            turn.effects.note(Note::Redispatched(1));
        }
        Ok(())
    }
}

/// Whether a message may go to another member.
fn may_go(queue: &Queue, seq: Seq, delivery: &Delivery) -> bool {
    delivery.qos != QoS::ExactlyOnce || seq >= queue.perhaps_sent() && !queue.received.contains(&seq)
}
