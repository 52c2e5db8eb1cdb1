//! What a shard expects of a letter that another one has written holds of one that a peer wrote too, or the letter is refused:
//! its parts lie in the batch, what it takes for a message is one, receivers are of the slot that is named, and slots and
//! shards are there.
//!
//! What depends on how things stand here is not for this to judge: whether the home in a letter is of this node, whether the
//! connection is still there and has asked for what it is answered, and whether the peer leads the slot it speaks for.

mod call;
mod op;

use bytes::Bytes;
use convoy_ids::{SlotId, Term};
use convoy_wire::{Forwardable, PacketId, QoS, ReasonCode, TopicFilter, TopicName};

use super::form::{AnswerForm, CallForm, Form, LevelForm, List, NewsForm, PartForm, ReplyForm};
use super::{Bounds, Error, Letter, Origin, Part};
use crate::call::{Answer, Begun, ReplyTo, token};
use crate::connection::UNTOLD;
use crate::message::{self, Message};
use crate::retained::{self, Chunk, RequestForm};
use crate::session::{Delivery, Epoch, Grant, Home, Place, Seq, SessionNumber, Subscription, Target};
use crate::slot::targets_run;
use crate::topic::{Announcement, Level, News};

/// A number in the outbox of a slot.
type Numbered = (SlotId, u64);

/// What letters of one batch are judged by.
pub(super) struct Check<'a> {
    bounds: &'a Bounds,
    bytes: &'a [u8],
    shared: &'a [Bytes],
    /// The part that was found to be a message last: it is mostly that of the next letter too.
    message: Option<Part>,
}

impl<'a> Check<'a> {
    pub(super) fn new(bounds: &'a Bounds, bytes: &'a [u8], shared: &'a [Bytes]) -> Self {
        Self { bounds, bytes, shared, message: None }
    }

    /// The letter of these fields.
    pub(super) fn letter(&mut self, form: Form<'_>) -> Result<Letter, Error> {
        Ok(match form {
            Form::Publish { place, client, epoch, again, message, reply } => {
                let (place, message) = (self.place(place)?, self.message(message)?);
                let (origin, reply) = (Origin { client, epoch, again }, self.reply_if_any(reply)?);
                Letter::Publish { place, origin, message, reply }
            }
            Form::Enqueue { from, slot, message, targets, reply } => {
                let (from, slot, message) = (self.slot(from)?, self.slot(slot)?, self.message(message)?);
                let targets = self.targets(slot, targets, message)?;
                Letter::Enqueue { from, slot, message, targets, reply: self.reply_if_any(reply)? }
            }
            Form::Pass { from, session, delivery, message } => {
                let (from, session) = (self.slot(from)?, self.session(session)?);
                Letter::Pass { from, session, delivery, message: self.message(message)? }
            }
            Form::Session { slot, call } => self.session_call(slot, call)?,
            Form::Outbox { from, to, number, op, reply } => {
                let (from, to, op) = (self.slot(from)?, self.slot(to)?, self.part(op)?);
                self.op(to, self.bytes_of(op))?;
                Letter::Outbox { from, to, number, op, reply: self.reply_if_any(reply)? }
            }
            Form::OutboxMessage { from, to, number, message, targets } => {
                let (from, to, message) = (self.slot(from)?, self.slot(to)?, self.shared(message)?);
                let targets = self.targets(to, targets, message)?;
                Letter::OutboxMessage { from, to, number, message, targets }
            }
            Form::OutboxApplied { from, to, number, given } => {
                Letter::OutboxApplied { from: self.slot(from)?, to: self.slot(to)?, number, given }
            }
            Form::BackedUp { slot, is } => Letter::BackedUp { slot: self.slot_or_meta(slot)?, is },
            Form::Short { is } => Letter::Short { is },
            Form::Led { slot, term, given, given_up } => {
                let (slot, term, given) = (self.slot_or_meta(slot)?, Term(term), self.outboxes(given)?);
                Letter::Led { slot, term, given, given_up }
            }
            Form::GivenUp { slot, times } => Letter::GivenUp { slot: self.slot_or_meta(slot)?, times },
            Form::HeardLed { slot, term } => {
                Letter::HeardLed { slot: self.slot_or_meta(slot)?, term: Term(term) }
            }
            Form::AllAsked { slot, term } => {
                Letter::AllAsked { slot: self.slot_or_meta(slot)?, term: Term(term) }
            }
            Form::Hear { reply, passes_on } => Letter::Hear { reply: self.reply(reply)?, passes_on },
            Form::Presence { session, epoch, news } => self.presence(session, epoch, news)?,
            Form::Retained(request) => Letter::Retained(Box::new(self.request(*request)?)),
            Form::Deliver { home, session, delivery, message, live } => {
                let (home, session) = (self.home(home)?, self.session(session)?);
                live.map_or(Ok(()), |(from, _)| self.slot(from).map(drop))?;
                Letter::Deliver { home, session, delivery, message: self.message(message)?, live }
            }
            Form::Given { by, from, number, given } if given < number => {
                Letter::Given { by: self.slot(by)?, from: self.slot(from)?, number, given }
            }
            Form::Given { .. } => return Err(Error::Impossible("number of what is given")),
            Form::Send { home, seq, dup, delivery, message } => {
                check_number(seq, &delivery)?;
                let (home, message) = (self.home(home)?, self.message(message)?);
                Letter::Send { home, seq, dup, delivery, message }
            }
            Form::Release { home, packet_id } => {
                Letter::Release { home: self.home(home)?, packet_id: numbered(packet_id)? }
            }
            Form::Answer { to, answer } => {
                Letter::Answer { to: self.reply(to)?, answer: self.answer(answer)? }
            }
            Form::TakenOver { home, then } => {
                let then = then.map(|(reply, answer)| self.answered(reply, *answer)).transpose()?;
                Letter::TakenOver { home: self.home(home)?, then }
            }
            Form::RetainedChunk { home, serial, messages, unused, next } => {
                let (home, messages) = (self.home(home)?, messages.into_vec());
                messages.iter().try_for_each(|(_, message)| check_message(message))?;
                let next = next.map(|next| self.request(*next)).transpose()?;
                Letter::RetainedChunk(Box::new(Chunk { home, serial, messages, unused, next }))
            }
            Form::Evict { home, session_ended } => Letter::Evict { home: self.home(home)?, session_ended },
        })
    }

    fn session_call(&self, slot: u16, call: CallForm<'_>) -> Result<Letter, Error> {
        let slot = self.slot(slot)?;
        Ok(Letter::Session { slot, call: self.call(slot, call)? })
    }

    fn presence(&self, session: SessionNumber, epoch: Epoch, news: NewsForm<'_>) -> Result<Letter, Error> {
        let (session, news) = (self.session(session)?, news_of(news)?);
        Ok(Letter::Presence(Announcement { session, epoch, news }))
    }

    fn answered(&self, reply: ReplyForm, answer: AnswerForm<'_>) -> Result<(ReplyTo, Box<Answer>), Error> {
        Ok((self.reply(reply)?, Box::new(self.answer(answer)?)))
    }

    /// What it is, it lies in the batch.
    fn part(&self, part: PartForm) -> Result<Part, Error> {
        const ERROR: Error = Error::Impossible("part");
        match part {
            PartForm::Laid { from, length } => {
                let to = from.checked_add(length).filter(|to| *to as usize <= self.bytes.len());
                // What ends there would be taken for a shared one.
                to.filter(|to| *to < Part::SHARED).map(|to| Part { from, to }).ok_or(ERROR)
            }
            PartForm::Shared(at) if (at as usize) < self.shared.len() => {
                Ok(Part { from: at, to: Part::SHARED })
            }
            PartForm::Shared(_) => Err(ERROR),
        }
    }

    fn bytes_of(&self, part: Part) -> &'a [u8] {
        match part.to {
            Part::SHARED => &self.shared[part.from as usize],
            to => &self.bytes[part.from as usize..to as usize],
        }
    }

    #[inline]
    fn message(&mut self, part: PartForm) -> Result<Part, Error> {
        let part = self.part(part)?;
        if self.message != Some(part) {
            check_message(self.bytes_of(part))?;
            self.message = Some(part);
        }
        Ok(part)
    }

    /// A message that is to be shared.
    fn shared(&mut self, part: PartForm) -> Result<Part, Error> {
        match part {
            PartForm::Shared(_) => self.message(part),
            PartForm::Laid { .. } => Err(Error::Impossible("part that is not shared")),
        }
    }

    /// Outboxes of other slots, with numbers in them.
    fn outboxes(&self, given: Option<List<'_, Numbered>>) -> Result<Option<Box<[Numbered]>>, Error> {
        let given = given.map(|given| given.into_vec().into_boxed_slice());
        given.iter().flatten().try_for_each(|(from, _)| self.slot_or_meta(from.0).map(drop))?;
        Ok(given)
    }

    /// Sessions of a slot that get a message.
    fn targets(&self, slot: SlotId, targets: PartForm, message: Part) -> Result<Part, Error> {
        let targets = self.part(targets)?;
        check_targets(slot, self.bytes_of(targets), self.bytes_of(message).len())?;
        Ok(targets)
    }

    #[inline]
    fn slot(&self, slot: u16) -> Result<SlotId, Error> {
        (slot < self.bounds.slots).then_some(SlotId(slot)).ok_or(Error::Impossible("slot"))
    }

    fn slot_or_meta(&self, slot: u16) -> Result<SlotId, Error> {
        if SlotId(slot).is_meta() { Ok(SlotId::META) } else { self.slot(slot) }
    }

    #[inline]
    fn shard(&self, shard: u16) -> Result<u16, Error> {
        (shard < self.bounds.shards).then_some(shard).ok_or(Error::Impossible("shard"))
    }

    #[inline]
    fn session(&self, session: SessionNumber) -> Result<SessionNumber, Error> {
        self.slot(session.slot().0)?;
        Ok(session)
    }

    fn place(&self, place: Place) -> Result<Place, Error> {
        self.slot(place.slot)?;
        Ok(place)
    }

    #[inline]
    fn home(&self, home: Home) -> Result<Home, Error> {
        self.shard(home.shard)?;
        Ok(home)
    }

    #[inline]
    fn reply(&self, ReplyForm { home, token }: ReplyForm) -> Result<ReplyTo, Error> {
        let is_of_identifier = matches!(token & token::KIND, token::RELEASE | token::UNKNOWN);
        if is_of_identifier && token as u16 == 0 {
            // An edge makes a Packet Identifier of it.
            return Err(Error::Impossible("token"));
        }
        Ok(ReplyTo { home: self.home(home)?, token })
    }

    #[inline]
    fn reply_if_any(&self, reply: Option<ReplyForm>) -> Result<Option<ReplyTo>, Error> {
        reply.map(|reply| self.reply(reply)).transpose()
    }

    fn request(&self, form: RequestForm<'_>) -> Result<retained::Request, Error> {
        self.home(form.home)?;
        self.session(form.session)?;
        check_subscription(&form.subscription)?;
        form.request(self.bounds.slots).ok_or(Error::Impossible("place to read at"))
    }

    fn answer(&self, answer: AnswerForm<'_>) -> Result<Answer, Error> {
        Ok(match answer {
            AnswerForm::Begun { parts, matched } => Answer::Begun(Begun { parts: counted(parts)?, matched }),
            AnswerForm::Done => Answer::Done,
            AnswerForm::Subscribed { more, existed } => {
                Answer::Subscribed { more: counted(more)?, existed: existed.into_vec() }
            }
            AnswerForm::Granting(granted) => Answer::Granting(granted.into_vec()),
            AnswerForm::Registered { place, until } => {
                Answer::Registered(retained::Place { place: self.place(place)?, until })
            }
            AnswerForm::RootsRegistered { slot, until } => {
                Answer::RootsRegistered { slot: self.slot(slot)?, until }
            }
            AnswerForm::Full => Answer::Full,
            AnswerForm::Refused(reason) => {
                Answer::Refused(ReasonCode::from_u8(reason).ok_or(Error::Impossible("Reason Code"))?)
            }
            AnswerForm::Unknown => Answer::Unknown,
            AnswerForm::Granted { session, epoch, present, has_queue, unreleased, groups } => {
                let session = self.session(session)?;
                let (unreleased, groups) = (unreleased.into_vec(), groups.into_vec());
                Answer::Granted(Grant { session, epoch, present, has_queue, unreleased, groups })
            }
        })
    }
}

/// A connection knows a number of parts by what it is above [`UNTOLD`].
fn counted(parts: u32) -> Result<u32, Error> {
    (parts <= UNTOLD as u32).then_some(parts).ok_or(Error::Impossible("number of parts"))
}

/// A message has a number if it is of a queue.
#[inline]
fn check_number(seq: Option<Seq>, delivery: &Delivery) -> Result<(), Error> {
    let is_queued = delivery.qos > QoS::AtMostOnce;
    (seq.is_some() == is_queued).then_some(()).ok_or(Error::Impossible("number for its QoS"))
}

fn numbered(packet_id: u16) -> Result<PacketId, Error> {
    PacketId::new(packet_id).ok_or(Error::Impossible("Packet Identifier"))
}

/// Whether a message can be passed on: in memory it is read again, and its properties are copied into packets as they are.
fn check_message(bytes: &[u8]) -> Result<(), Error> {
    let message = Message::decode(bytes)?;
    let is_named = TopicName::new(message.topic).is_ok();
    if !is_named || !message.properties.is_empty() && Forwardable::parse(message.properties).is_err() {
        return Err(Error::Message(message::Error::new("its topic or properties are not well formed")));
    }
    Ok(())
}

/// Whether these are receivers of a slot, in the log of which they are to have a message of so many bytes: not more than
/// [`targets_run`] lets go together.
fn check_targets(slot: SlotId, bytes: &[u8], message: usize) -> Result<(), Error> {
    let mut read = 0;
    for target in Target::all(bytes) {
        if target.session.slot() != slot || target.delivery.qos == QoS::AtMostOnce {
            return Err(Error::Impossible("receiver"));
        }
        read += target.len_bytes();
    }
    let most = targets_run(message) + Target::MOST;
    (read == bytes.len() && read < most).then_some(()).ok_or(Error::Impossible("run of receivers"))
}

fn check_subscription(subscription: &Subscription) -> Result<(), Error> {
    let is_possible = QoS::from_u8(subscription.qos).is_some();
    is_possible.then_some(()).ok_or(Error::Impossible("Subscription"))
}

fn check_filter(filter: &str) -> Result<(), Error> {
    TopicFilter::new(filter).map(drop).map_err(|_| Error::Impossible("Topic Filter"))
}

fn news_of(news: NewsForm<'_>) -> Result<News, Error> {
    Ok(match news {
        NewsForm::Joined { groups, who } => {
            News::Joined { groups: groups.into_vec(), who: Box::new(who.author()) }
        }
        NewsForm::Level(LevelForm::Connected { load }) => News::Level(Level::Connected { load }),
        NewsForm::Level(LevelForm::Busy) => News::Level(Level::Busy),
        NewsForm::Level(LevelForm::Full) => News::Level(Level::Full),
        // A shard finds these itself; no connection tells them.
        NewsForm::Level(
            LevelForm::Absent | LevelForm::Unheard | LevelForm::Not | LevelForm::Gone | LevelForm::Denied,
        ) => return Err(Error::Impossible("level of a member")),
        NewsForm::Left => News::Left,
    })
}
