//! Mail from other shards is opened here, and each letter does what its sender would have done in this shard.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::Shard;
use super::mail::{Letter, Mail, Origin, Part, Where};
use super::outlet::Applied;
use super::successors::Claim;
use crate::activity::Activity;
use crate::call::{Answer, Begun, ReplyTo, SessionCall, token};
use crate::clock::Now;
use crate::dest::Dest;
use crate::message::Message;
use crate::options::Without;
use crate::session::{Delivery, Grant, Home, Place, SessionNumber};
use crate::slot::{Effects, Op};

/// The message that was begun last, by its number, and where it lies.
type Begins = Option<(u64, Part)>;

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
        let mut letters = std::mem::take(&mut mail.letters).into_iter();
        let mut begun = None;
        while self.work < until
            && let Some(letter) = letters.next()
        {
            self.work += 1;
            self.open_letter(now, mail, letter, &mut begun);
            self.settle(now);
        }
        self.return_to_led(now);
        mail.letters = letters.collect();
        mail.letters.is_empty()
    }

    #[inline(always)] // It has one caller.
    fn open_letter(&mut self, now: Now, mail: &Mail, letter: Letter, begun: &mut Begins) {
        let sender = mail.from;
        match letter {
            Letter::Publish { place, origin, message, reply } => {
                self.open_publish(now, mail, place, message, origin, reply);
            }
            Letter::Enqueue { from, slot, message, targets, reply } => {
                self.open_enqueue(now, mail, (from, slot), message, targets, reply);
            }
            Letter::Pass { from, session, delivery, message } if self.outlet.post.is_led_by(from, sender) => {
                let shared = mail.shared(message).cloned();
                let message = shared.unwrap_or_else(|| Bytes::copy_from_slice(mail.part(message)));
                self.pass(now, from, session, delivery, message);
            }
            Letter::Session { slot, call } => self.open_call(now, sender, slot, call),
            Letter::Outbox { from, to, number, op, reply } => {
                self.forwarded(now, from, to, number, mail.part(op), mail.shared(op), reply);
            }
            Letter::OutboxMessage { from, to, number, message, targets } => {
                let message = mail.shared(message).expect("it was shared").clone();
                self.forwarded_message(now, from, to, number, &message, mail.part(targets));
            }
            Letter::OutboxApplied { from, to, number, given } => {
                self.outbox_applied(now, Applied { from, to, number, given });
            }
            Letter::Stored(report) => self.budget.hear(&report),
            Letter::Presence(announcement) => self.presence.take(sender, &announcement),
            Letter::Hear { reply, passes_on } => self.open_hear(reply, passes_on),
            Letter::BackedUp { slot, is } if self.outlet.post.is_led_by(slot, sender) => {
                self.note_backed_up(slot, is);
            }
            Letter::Short { is } => self.outlet.edge.note_shortage(Some(sender), is),
            Letter::Led { slot, term, given, given_up } => {
                self.hear_led(Claim { from: sender, slot, term, given, given_up });
            }
            Letter::GivenUp { slot, times } if self.outlet.post.is_led_by(slot, sender) => {
                self.hear_given_up(slot, times);
            }
            Letter::HeardLed { slot, term } => self.hear_heard(sender, slot, term),
            Letter::AllAsked { slot, term } => self.hear_all_asked(sender, slot, term),
            Letter::Retained(request) => self.read_retained(now, *request),
            Letter::Deliver { home, session, delivery, message, live } => {
                self.open_delivery(now, mail, (home, session), &delivery, message, live, begun);
            }
            Letter::Given { by, from, number, given } if self.outlet.post.is_led_by(by, sender) => {
                self.outlet.given.complete(by, from, number, given);
            }
            Letter::Pass { .. } | Letter::BackedUp { .. } | Letter::GivenUp { .. } | Letter::Given { .. } => {
            }
            // Another leader goes on with the connection.
            Letter::Send { home, .. } | Letter::Release { home, .. }
                if self.has_others && !self.is_of_leader_of(sender, &home) => {}
            Letter::Send { home, seq, dup, delivery, message } => {
                let message = self.begin(mail, message, begun);
                self.outlet.edge.send(&home, seq, dup, &delivery, &message, now);
            }
            Letter::Release { home, packet_id } => self.outlet.edge.release(&home, packet_id),
            Letter::Answer { to, .. } if to.token & token::KIND == token::TAKEN => {
                self.outlet.closed_there(to.token & !token::KIND);
            }
            Letter::Answer { to, answer } if to.token & token::KIND == token::QUEUED => {
                self.hear_queued(to.token & !token::KIND, answer);
            }
            Letter::Answer { to, .. } if to.token & token::KIND == token::LATE => {
                self.hear_what_was_said(now, to.token & !token::KIND);
            }
            Letter::Answer { to, answer: Answer::Granted(grant) } if !self.may_grant(sender, &grant) => {
                self.outlet.edge.answer(to, Answer::Unknown);
            }
            Letter::Answer { to, answer } => {
                let to = self.of_the_attempt(to);
                self.outlet.edge.answer(to, answer);
            }
            Letter::TakenOver { home, then } => match then {
                Some((reply, answer)) => self.outlet.take_from(&home, reply, *answer),
                None => _ = self.outlet.edge.taken_over(&home),
            },
            Letter::Evict { home, session_ended } => self.outlet.edge.evict(&home, session_ended),
            Letter::RetainedChunk(chunk) => self.outlet.edge.on_retained(*chunk, now),
        }
    }

    /// A message for a partition.
    #[inline(always)] // It has one caller.
    fn open_publish(
        &mut self,
        now: Now,
        mail: &Mail,
        place: Place,
        message: Part,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) {
        if let Some(whole) = mail.shared(message) {
            self.outlet.edge.begin_with(whole);
        }
        let message = decode(mail.part(message));
        let answer = match self.publish_from(now, mail.from, place, &message, origin, reply) {
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

    /// A message for the queues of Sessions of a slot, which another one has matched.
    #[inline(always)] // It has one caller.
    fn open_enqueue(
        &mut self,
        now: Now,
        mail: &Mail,
        (from, slot): (SlotId, SlotId),
        message: Part,
        targets: Part,
        reply: Option<ReplyTo>,
    ) {
        // Behind a message of the partition's next leader it would be out of order.
        let has_heard = self.is_for_now(slot, mail.from);
        let is_led = self.outlet.post.is_led_by(from, mail.from) && has_heard;
        let turned_away = self.turns_away(reply);
        let is_taken = self.takes_records() && is_led && turned_away.is_none();
        let Some(taking) = self.slots.get(slot).filter(|slot| slot.is_serving() && is_taken) else {
            if let Some(reply) = reply {
                let answer = turned_away.unwrap_or_else(|| self.why_not_queued(slot, is_led));
                self.outlet.answer(reply, answer);
            }
            return;
        };
        let mut reply = reply;
        if self.options.without == Without::Commit
            && let Some(reply) = reply.take()
        {
            self.outlet.answer(reply, Answer::Done);
        }
        let targets = mail.part(targets);
        match mail.shared(message) {
            Some(whole) => taking.pending.push_shared(now.wall, whole, targets, reply),
            None => {
                let op = Op::Enqueue { message: mail.part(message), targets };
                taking.pending.push(now.wall, &op, reply);
            }
        }
        let is_full = taking.pending.is_full() || self.is_short;
        if let Some(reply) = reply.filter(|_| is_full) {
            self.outlet.answer(reply, Answer::Full);
        }
    }

    /// What a connection asks of its Session's slot.
    fn open_call(&mut self, now: Now, sender: Dest, slot: SlotId, call: SessionCall) {
        match call.reply() {
            // It was for an earlier leader, and comes again.
            Some(reply) if !self.is_for_now(slot, sender) => {
                self.outlet.answer(reply, Answer::Unknown);
            }
            _ => self.called(now, slot, call),
        }
    }

    fn open_hear(&mut self, reply: ReplyTo, passes_on: bool) {
        if reply.token & token::KIND == token::LATE {
            // What was said before is on its way, and nothing else is asked.
            return self.outlet.answer(reply, Answer::Done);
        }
        if passes_on {
            let parts = self.outlet.post.others().count() as u32;
            self.outlet.answer(reply, Answer::Begun(Begun { parts, matched: true }));
        }
        self.hear(reply, passes_on);
    }

    /// A message for a Session that lives with its connection. `live`: see [`Letter::Deliver`].
    #[inline(always)] // It has one caller.
    #[expect(clippy::too_many_arguments, reason = "the fields of a letter")]
    fn open_delivery(
        &mut self,
        now: Now,
        mail: &Mail,
        (home, session): (Home, SessionNumber),
        delivery: &Delivery,
        message: Part,
        live: Option<(u16, u64)>,
        begun: &mut Begins,
    ) {
        let message = self.begin(mail, message, begun);
        // Another one than the leader knows old routes.
        let is_known = !self.has_others || self.is_of_leader(mail.from, message.topic);
        if is_known && live.is_none_or(|(from, number)| self.takes_live(message.topic, from, number, &home)) {
            self.outlet.edge.deliver(&home, session, delivery, &message, now);
        }
    }

    /// Whether a Session is granted by who leads it. Whoever leads since knows nothing of a connection, or takes leave of it.
    fn may_grant(&self, sender: Dest, grant: &Grant) -> bool {
        !self.has_others || self.outlet.post.is_led_by(grant.session.slot(), sender)
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
    #[inline(always)] // To hand a message out copies it.
    fn begin<'a>(&mut self, mail: &'a Mail, message: Part, begun: &mut Begins) -> Message<'a> {
        let edge = &mut self.outlet.edge;
        if *begun != Some((edge.encoded.number(), message)) {
            match mail.shared(message) {
                Some(whole) => edge.begin_with(whole),
                None => edge.begin_message(),
            }
            *begun = Some((edge.encoded.number(), message));
        }
        decode(mail.part(message))
    }
}

#[inline(always)] // The same.
fn decode(message: &[u8]) -> Message<'_> {
    Message::decode(message).expect("another shard has encoded it")
}
