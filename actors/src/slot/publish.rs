//! Messages that come by the log: a QoS 2 PUBLISH is taken in where its publisher's Session is, and passed on where
//! its topic's partition is.

use convoy_ids::SlotId;
use convoy_storage::engine::Error;
use convoy_wire::{QoS, ReasonCode};

use super::context::Context;
use super::op::{Obsolete, Op, targets_run};
use super::{Emitted, Note, Slot, Turn, client_of, rows};
use crate::call::Answer;
use crate::message::Message;
use crate::session::{Epoch, Place, SessionNumber, Target};
use crate::topic::{Again, Choice, FanOut, Found, Pick};

impl Slot {
    #[expect(clippy::too_many_arguments, reason = "the fields of PUBLISH")]
    pub(super) fn accept(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        packet_id: u16,
        place: Place,
        message: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Answer>, Error> {
        let Some(active) = self.activate(session, turn)?.filter(|active| active.row.epoch == epoch) else {
            return Ok(Some(Answer::Refused(ReasonCode::SessionTakenOver)));
        };
        let client = client_of(&active.name);
        let key = rows::unreleased(session, packet_id);
        // [MQTT-4.3.3-10]: until PUBREL the same identifier is the same message.
        if !turn.state.contains(&key)? {
            turn.state.put_bytes(key, &[]);
            let op = publish(place, message, client, None);
            // PUBREC of a Retained Message waits until its partition has it: the next SUBSCRIBE finds it, and what its
            // publisher sends next, at any QoS, comes behind it.
            let retain = Message::decode(message).is_ok_and(|message| message.retain);
            let reply = context.reply.filter(|_| retain);
            self.emit(SlotId(place.slot), &op, Context { reply, ..context }, turn);
            return Ok((!retain).then_some(Answer::Done));
        }
        // The first one may be on its way to its partition still. Behind it comes what changes nothing, and its end is told.
        if Message::decode(message).is_ok_and(|message| message.retain) {
            self.emit(SlotId(place.slot), &Op::Expire { topics: Vec::new() }, context, turn);
            return Ok(None);
        }
        Ok(Some(Answer::Done))
    }

    /// PUBREL: the Packet Identifier is free.
    pub(super) fn released(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        packet_id: u16,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        if self.activate(session, turn)?.is_some_and(|active| active.row.epoch == epoch) {
            turn.state.delete(rows::unreleased(session, packet_id));
        }
        Ok(())
    }

    /// Who gets a message, as every replica finds them; to be given back to `turn.fan_out`.
    pub(super) fn find_agreed(
        &self,
        partition: u64,
        message: &Message<'_>,
        choice: Choice<'_>,
        turn: &mut Turn<'_>,
    ) -> FanOut {
        let mut fan_out = std::mem::take(turn.fan_out);
        fan_out.clear();
        let pick = Pick::Agreed(choice);
        if let Some(routes) = self.partitions.get(&partition) {
            routes.find(message, pick, &mut fan_out);
        }
        if !turn.roots.is_empty() {
            turn.roots.find(self.id, message, pick, &mut fan_out);
        }
        fan_out.merge_in_order();
        *turn.work += fan_out.work();
        fan_out
    }

    /// A message that came by the log: matched here, where the routes are, and passed on by the log. `number`: see
    /// [`Op::InLine`]. Tells whether anybody had subscribed.
    pub(super) fn publish(
        &mut self,
        partition: u64,
        bytes: &[u8],
        number: Option<u64>,
        choice: Choice<'_>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let message = Message::decode(bytes).map_err(|error| Error::Damaged {
            place: format!("slot {}", self.id),
            reason: error.to_string(),
        })?;
        if message.retain && choice.again.is_none() {
            self.retain(partition, bytes, number.unwrap_or(0), turn)?;
        }
        let fan_out = self.find_agreed(partition, &message, choice, turn);
        if let Some(number) = number {
            self.line.take(number);
        }
        if self.leading && choice.again.is_some() && fan_out.found().is_empty() {
            turn.effects.note(Note::SharedDropped);
            self.dropped += 1;
        }
        // A record holds many messages: none may go out in the encoding of the one before it.
        turn.effects.begin_message();
        let live = fan_out.found().iter().filter(|found| found.home.is_some()).count();
        let casts = live > 0 && self.leading && (turn.effects.is_cast(message.topic, live));
        let mut casting = Vec::new();
        let mut by_slot: std::collections::BTreeMap<SlotId, Vec<u8>> = Default::default();
        let run = targets_run(bytes.len());
        let queued = |found: &&Found| found.home.is_none() && found.delivery.qos != QoS::AtMostOnce;
        let parcel = self.pack(bytes, fan_out.found().iter().filter(queued), turn);
        for found in fan_out.found() {
            match found.home {
                Some(_) if casts => casting.push(*found),
                Some(home) if self.leading => {
                    turn.effects.deliver(home, found.session, &found.delivery, &message, turn.now);
                }
                Some(_) => {}
                None if found.delivery.qos == QoS::AtMostOnce => {
                    if self.leading {
                        // Behind what was emitted before.
                        let message = turn.effects.whole(&message);
                        let (session, delivery) = (found.session, found.delivery);
                        let from = self.id;
                        turn.emitted.push_back(Emitted::Copy { from, session, delivery, message });
                    }
                }
                None => {
                    let slot = found.session.slot();
                    let targets = by_slot.entry(slot).or_default();
                    Target { session: found.session, delivery: found.delivery }.push(targets);
                    if targets.len() >= run {
                        self.emit_parcel(slot, &parcel, targets, context, turn);
                        targets.clear();
                    }
                }
            }
        }
        if casts {
            let whole = turn.effects.whole(&message);
            turn.effects.cast(message.topic, whole, casting, self.leadership());
        }
        let matched = !fan_out.found().is_empty();
        *turn.fan_out = fan_out;
        for (slot, targets) in by_slot.into_iter().filter(|(_, targets)| !targets.is_empty()) {
            self.emit_parcel(slot, &parcel, &targets, context, turn);
        }
        Ok(matched)
    }
}

/// A message on its way to its partition.
pub fn publish(place: Place, message: &[u8], client: u64, again: Option<Again>) -> Op<'_> {
    let partition = place.partition;
    Op::Publish { partition, message, client, again, root_targets: Obsolete, chosen: Vec::new() }
}
