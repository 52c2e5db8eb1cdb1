//! Mail from other shards is opened here, and each letter does what its sender would have done in this shard.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::Shard;
use super::mail::{Letter, Mail, Origin, Part, Where};
use super::outlet::Applied;
use crate::activity::Activity;
use crate::call::{Answer, Begun, ReplyTo, token};
use crate::clock::Now;
use crate::dest::Dest;
use crate::message::Message;
use crate::session::{Home, Place};
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
        self.look_at_links(now);
        if !self.is_settled() {
            // What records have caused goes before it.
            self.settle(now);
            return false;
        }
        let until = self.end_of_piece();
        let sender = mail.from;
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
                    let answer = match self.publish_from(now, sender, place, &message, origin, reply) {
                        Ok(begun) => begun.map(Answer::Begun),
                        Err(reason) => {
                            if origin.again.is_some() {
                                self.outlet.edge.drop_shared();
                            }
                            Some(self.refusal(reason))
                        }
                    };
                    if let Some((reply, answer)) = reply.zip(answer) {
                        self.outlet.answer(reply, answer);
                    }
                }
                Letter::Enqueue { from, slot, message, targets, reply } => {
                    // Behind a message of the partition's next leader it would be out of order.
                    let has_heard = self.is_for_now(slot, sender);
                    let is_led = self.outlet.post.is_led_by(from, sender) && has_heard;
                    let turned_away = self.turns_away(reply);
                    let is_taken = self.takes_records() && is_led && turned_away.is_none();
                    match self.slots.get(slot).filter(|slot| slot.is_serving() && is_taken) {
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
                                let answer = turned_away.unwrap_or_else(|| self.why_not_queued(slot, is_led));
                                self.outlet.answer(reply, answer);
                            }
                        }
                    }
                }
                Letter::Pass { from, session, delivery, message } => {
                    if self.outlet.post.is_led_by(from, sender) {
                        let shared = mail.shared(message).cloned();
                        let message = shared.unwrap_or_else(|| Bytes::copy_from_slice(part(message)));
                        self.pass(now, from, session, delivery, message);
                    }
                }
                Letter::Session { slot, call } => match call.reply() {
                    // It was for an earlier leader, and comes again.
                    Some(reply) if !self.is_for_now(slot, sender) => {
                        self.outlet.answer(reply, Answer::Unknown);
                    }
                    _ => self.called(now, slot, call),
                },
                Letter::Outbox { from, to, number, op, reply } => {
                    self.forwarded(now, from, to, number, part(op), mail.shared(op), reply);
                }
                Letter::OutboxMessage { from, to, number, message, targets } => {
                    let message = mail.shared(message).expect("it was shared").clone();
                    self.forwarded_message(now, from, to, number, &message, part(targets));
                }
                Letter::OutboxApplied { from, to, number, given } => {
                    self.outbox_applied(now, Applied { from, to, number, given });
                }
                Letter::Stored(report) => self.budget.hear(&report),
                Letter::Presence(announcement) => self.presence.take(sender, &announcement),
                Letter::Hear { reply, passes_on } => {
                    if passes_on {
                        let parts = self.outlet.post.others().count() as u32;
                        self.outlet.answer(reply, Answer::Begun(Begun { parts, matched: true }));
                    }
                    self.hear(reply, passes_on);
                }
                Letter::BackedUp { slot, is } if self.outlet.post.is_led_by(slot, sender) => {
                    self.note_backed_up(slot, is);
                }
                Letter::BackedUp { .. } => {}
                Letter::Short { is } => self.outlet.edge.note_shortage(Some(sender), is),
                Letter::Led { slot, term, given, given_up } => {
                    self.hear_led(sender, slot, term, given, given_up);
                }
                Letter::GivenUp { slot, times } => {
                    if self.outlet.post.is_led_by(slot, sender) {
                        self.hear_given_up(slot, times);
                    }
                }
                Letter::HeardLed { slot, term } => self.hear_heard(sender, slot, term),
                Letter::AllAsked { slot, term } => self.hear_all_asked(sender, slot, term),
                Letter::Retained(request) => self.read_retained(now, *request),
                Letter::Deliver { home, session, delivery, message, live } => {
                    self.begin(mail, message, &mut begun);
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    if self.has_others && !self.is_of_leader(sender, message.topic) {
                        // It knows old routes.
                        continue;
                    }
                    if let Some((from, number)) = live
                        && !self.takes_live(message.topic, from, number, &home)
                    {
                        continue;
                    }
                    self.outlet.edge.deliver(&home, session, &delivery, &message, now);
                }
                Letter::Given { by, from, number, given } => {
                    if self.outlet.post.is_led_by(by, sender) {
                        self.outlet.given.complete(by, from, number, given);
                    }
                }
                Letter::Send { home, .. } | Letter::Release { home, .. }
                    if self.has_others && !self.is_of_leader_of(sender, &home) =>
                {
                    // Another leader goes on with the connection.
                    continue;
                }
                Letter::Send { home, seq, dup, delivery, message } => {
                    self.begin(mail, message, &mut begun);
                    let message = Message::decode(part(message)).expect("another shard has encoded it");
                    self.outlet.edge.send(&home, seq, dup, &delivery, &message, now);
                }
                Letter::Release { home, packet_id } => self.outlet.edge.release(&home, packet_id),
                Letter::Answer { to, .. } if to.token & token::KIND == token::TAKEN => {
                    self.outlet.closed_there(to.token & !token::KIND);
                }
                Letter::Answer { to, answer } if to.token & token::KIND == token::QUEUED => {
                    self.hear_queued(to.token & !token::KIND, answer);
                }
                Letter::Answer { to, answer: Answer::Granted(grant) }
                    if self.has_others && !self.outlet.post.is_led_by(grant.session.slot(), sender) =>
                {
                    // Whoever leads since knows nothing of a connection, or takes leave of it.
                    self.outlet.edge.answer(to, Answer::Unknown);
                }
                Letter::Answer { to, answer } => {
                    let to = self.of_the_attempt(to);
                    self.outlet.edge.answer(to, answer);
                }
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
        self.return_to_led(now);
        mail.letters = letters.collect();
        mail.letters.is_empty()
    }

    /// A message of another shard, if its partition's slot is led here, and was when it was sent: whoever has sent it elsewhere
    /// since must not be overtaken.
    fn publish_from(
        &mut self,
        now: Now,
        sender: Dest,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) -> Result<Option<Begun>, ReasonCode> {
        let slot = SlotId(place.slot);
        let is_for_now = self.is_for_now(slot, sender);
        match self.outlet.post.where_is(slot) {
            Where::Here if is_for_now => self.publish_at_home(now, place, message, origin, reply),
            _ => self.refuse_leaderless(reply),
        }
    }

    /// Whether the partition of a topic is led where this comes from, as far as is known.
    fn is_of_leader(&mut self, sender: Dest, topic: &str) -> bool {
        let (_, slot) = self.locator.locate(topic);
        self.outlet.post.is_led_by(slot, sender)
    }

    /// The same of the slot of a connection's Session.
    fn is_of_leader_of(&mut self, sender: Dest, home: &Home) -> bool {
        let slot = self.outlet.edge.find(home).map(|connection| connection.session.slot());
        slot.is_some_and(|slot| self.outlet.post.is_led_by(slot, sender))
    }

    /// Why a message is not taken for Sessions of a slot.
    fn why_not_queued(&mut self, slot: SlotId, is_led: bool) -> Answer {
        let stopped = self.failure.is_some();
        match self.slots.get(slot) {
            Some(slot) if !slot.leading => Answer::Unknown,
            _ if !is_led => Answer::Unknown,
            Some(slot) if !stopped && slot.is_serving() => Answer::Refused(ReasonCode::QuotaExceeded),
            _ => Answer::Refused(ReasonCode::ServerUnavailable),
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
