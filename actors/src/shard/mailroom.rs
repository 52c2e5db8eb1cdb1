//! Mail from other shards is opened here, and each letter does what its sender would have done in this shard.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::Shard;
use super::mail::{Letter, Mail, Part};
use super::outlet::Applied;
use crate::activity::Activity;
use crate::call::Answer;
use crate::clock::Now;
use crate::message::Message;
use crate::slot::{Effects, Op};

impl Shard {
    /// Mail from another shard, all at once.
    pub fn mail(&mut self, now: Now, mut mail: Mail) {
        while !self.open(now, &mut mail) {}
    }

    /// A piece of mail from another shard, as far as it goes before others have their turn: whether that was all of it.
    pub fn open(&mut self, now: Now, mail: &mut Mail) -> bool {
        self.outlet.edge.now = now.monotonic;
        self.outlet.edge.pulse.tell(Activity::Mail, 0);
        if !self.is_settled() {
            // What records have caused goes before it.
            self.settle(now);
            return false;
        }
        let until = self.end_of_piece();
        let mut letters = std::mem::take(&mut mail.letters).into_iter();
        let part = |part: Part| mail.part(part);
        // The message that was begun last, by its number, and where it lies.
        let mut begun = None;
        while self.work < until
            && let Some(letter) = letters.next()
        {
            self.work += 1;
            match letter {
                Letter::Publish { place, origin, message, reply } => {
                    if let Some(whole) = mail.shared(message) {
                        self.outlet.edge.begin_with(whole);
                    }
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    let answer = match self.publish(now, place, &message, origin, reply) {
                        Ok(begun) => begun.map(Answer::Begun),
                        Err(reason) => {
                            if origin.again.is_some() {
                                self.outlet.edge.drop_shared();
                            }
                            Some(Answer::Refused(reason))
                        }
                    };
                    if let Some((reply, answer)) = reply.zip(answer) {
                        self.outlet.answer(reply, answer);
                    }
                }
                Letter::Enqueue { slot, message, targets, reply } => {
                    let takes_records = self.takes_records();
                    match self.slots.get(slot).filter(|slot| slot.is_serving() && takes_records) {
                        Some(slot) => {
                            let targets = part(targets);
                            match mail.shared(message) {
                                Some(whole) => slot.pending.push_shared(now.wall, whole, targets, reply),
                                None => {
                                    let op = Op::Enqueue { message: part(message), targets };
                                    slot.pending.push(now.wall, &op, reply);
                                }
                            }
                            let is_full = slot.pending.is_full() || self.is_short;
                            if let Some(reply) = reply.filter(|_| is_full) {
                                self.outlet.answer(reply, Answer::Full);
                            }
                        }
                        None => {
                            if let Some(reply) = reply {
                                let reason = self.why_not_queued(slot);
                                self.outlet.answer(reply, Answer::Refused(reason));
                            }
                        }
                    }
                }
                Letter::Pass { session, delivery, message } => {
                    let shared = mail.shared(message).cloned();
                    let message = shared.unwrap_or_else(|| Bytes::copy_from_slice(part(message)));
                    self.pass(now, session, delivery, message);
                }
                Letter::Session { slot, call } => self.called(now, slot, call),
                Letter::Outbox { from, to, number, op, reply } => {
                    self.forwarded(now, from, to, number, part(op), mail.shared(op), reply);
                }
                Letter::OutboxMessage { from, to, number, message, targets } => {
                    let message = mail.shared(message).expect("it was shared").clone();
                    self.forwarded_message(now, from, to, number, &message, part(targets));
                }
                Letter::OutboxApplied { from, to, number } => {
                    self.outbox_applied(now, Applied { from, to, number });
                }
                Letter::Stored(report) => self.budget.hear(&report),
                Letter::Presence(announcement) => self.presence.take(&announcement),
                Letter::Hear { reply, passes_on } => {
                    self.hear(reply, passes_on);
                }
                Letter::BackedUp { slot, is } => self.note_backed_up(slot, is),
                Letter::Short { shard, is } => self.outlet.edge.note_shortage(shard, is),
                Letter::Led { slot, applied } => self.hear_led(slot, applied.as_deref()),
                Letter::Retained(request) => self.read_retained(now, *request),
                Letter::Deliver { home, session, delivery, message } => {
                    self.begin(mail, message, &mut begun);
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    self.outlet.edge.deliver(&home, session, &delivery, &message, now);
                }
                Letter::Send { home, packet_id, dup, delivery, message } => {
                    self.begin(mail, message, &mut begun);
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    self.outlet.edge.send(&home, packet_id, dup, &delivery, &message, now);
                }
                Letter::Release { home, packet_id } => self.outlet.edge.release(&home, packet_id),
                Letter::Answer { to, answer } => self.outlet.edge.answer(to, answer),
                Letter::TakenOver { home, then } => {
                    self.outlet.edge.taken_over(&home);
                    if let Some((reply, answer)) = then {
                        self.outlet.answer(reply, *answer);
                    }
                }
                Letter::Evict { home, session_ended } => self.outlet.edge.evict(&home, session_ended),
                Letter::RetainedChunk(chunk) => self.outlet.edge.on_retained(*chunk, now),
            }
            self.settle(now);
        }
        mail.letters = letters.collect();
        mail.letters.is_empty()
    }

    /// Why a message is not taken for Sessions of a slot.
    fn why_not_queued(&mut self, slot: SlotId) -> ReasonCode {
        let stopped = self.failure.is_some();
        match self.slots.get(slot) {
            Some(slot) if !stopped && slot.is_serving() => ReasonCode::QuotaExceeded,
            _ => ReasonCode::ServerUnavailable,
        }
    }

    /// Begins a message of the mail, unless it is the one that was begun last.
    fn begin(&mut self, mail: &Mail, message: Part, begun: &mut Option<(u64, Part)>) {
        let edge = &mut self.outlet.edge;
        if *begun == Some((edge.encoded.number(), message)) {
            return;
        }
        match mail.shared(message) {
            Some(whole) => edge.begin_with(whole),
            None => edge.begin_message(),
        }
        *begun = Some((edge.encoded.number(), message));
    }
}
