//! Version 1 of the letters in mail, field by field. What stands in rows of a disk too has the form that it has there, which
//! does not change either.

mod call;
mod list;

use convoy_ids::SlotId;
use convoy_storage::record::{BorrowDecode, Encode};

use super::{Letter, Origin, Part};
use crate::call::{Answer, Begun, ReplyTo};
use crate::retained::{Chunk, RequestForm};
use crate::session::{Delivery, Epoch, Grant, Home, Place, Seq, SessionNumber};
use crate::topic::{Again, Announcement, Level, News};

pub(super) use call::{AckForm, AuthorForm, CallForm, ProgressForm, WillForm};
pub(super) use list::List;

/// What is large and rare stands apart: to be read each letter is moved, as large as the largest.
#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) enum Form<'a> {
    Publish {
        place: Place,
        client: u64,
        epoch: Epoch,
        again: Option<Again>,
        message: PartForm,
        reply: Option<ReplyForm>,
    },
    Enqueue {
        from: u16,
        slot: u16,
        message: PartForm,
        targets: PartForm,
        reply: Option<ReplyForm>,
    },
    Pass {
        from: u16,
        session: SessionNumber,
        delivery: Delivery,
        message: PartForm,
    },
    Session {
        slot: u16,
        call: CallForm<'a>,
    },
    Outbox {
        from: u16,
        to: u16,
        number: u64,
        op: PartForm,
        reply: Option<ReplyForm>,
    },
    OutboxMessage {
        from: u16,
        to: u16,
        number: u64,
        message: PartForm,
        targets: PartForm,
    },
    OutboxApplied {
        from: u16,
        to: u16,
        number: u64,
        given: u64,
    },
    BackedUp {
        slot: u16,
        is: bool,
    },
    Short {
        is: bool,
    },
    Led {
        slot: u16,
        term: u64,
        given: Option<List<'a, (SlotId, u64)>>,
        given_up: u64,
    },
    Hear {
        reply: ReplyForm,
        passes_on: bool,
    },
    Presence {
        session: SessionNumber,
        epoch: Epoch,
        news: NewsForm<'a>,
    },
    Retained(Box<RequestForm<'a>>),
    Deliver {
        home: Home,
        session: SessionNumber,
        delivery: Delivery,
        message: PartForm,
        live: Option<(u16, u64)>,
    },
    Send {
        home: Home,
        seq: Option<Seq>,
        dup: bool,
        delivery: Delivery,
        message: PartForm,
    },
    Release {
        home: Home,
        packet_id: u16,
    },
    Answer {
        to: ReplyForm,
        answer: AnswerForm<'a>,
    },
    TakenOver {
        home: Home,
        then: Option<(ReplyForm, Box<AnswerForm<'a>>)>,
    },
    RetainedChunk {
        home: Home,
        serial: u64,
        messages: List<'a, (Delivery, Vec<u8>)>,
        unused: u32,
        next: Option<Box<RequestForm<'a>>>,
    },
    Evict {
        home: Home,
        session_ended: bool,
    },
    HeardLed {
        slot: u16,
        term: u64,
    },
    AllAsked {
        slot: u16,
        term: u64,
    },
    Given {
        by: u16,
        from: u16,
        number: u64,
        given: u64,
    },
    GivenUp {
        slot: u16,
        times: u64,
    },
}

/// Where some bytes lie: in those of the batch, or as the one of this place among what is shared.
#[derive(Clone, Copy, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) enum PartForm {
    Laid { from: u32, length: u32 },
    Shared(u32),
}

#[derive(Clone, Copy, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) struct ReplyForm {
    pub home: Home,
    pub token: u64,
}

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) enum AnswerForm<'a> {
    Begun {
        parts: u32,
        matched: bool,
    },
    Done,
    Subscribed {
        more: u32,
        existed: List<'a, bool>,
    },
    Granting(List<'a, bool>),
    Registered {
        place: Place,
        until: u64,
    },
    RootsRegistered {
        slot: u16,
        until: u64,
    },
    Full,
    /// A Reason Code.
    Refused(u8),
    Granted {
        session: SessionNumber,
        epoch: Epoch,
        present: bool,
        has_queue: bool,
        unreleased: List<'a, u16>,
        groups: List<'a, u64>,
    },
    Unknown,
}

/// Of what is known of a member, what its connection tells.
#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) enum NewsForm<'a> {
    Joined { groups: List<'a, u64>, who: Box<AuthorForm<'a>> },
    Level(LevelForm),
    Left,
}

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) enum LevelForm {
    Connected { load: u8 },
    Busy,
    Absent,
    Unheard,
    Full,
    Not,
    Gone,
    Denied,
}

impl<'a> Form<'a> {
    /// `None` for a letter that never leaves its node.
    pub(in crate::shard::mail) fn of(letter: &'a Letter) -> Option<Self> {
        Some(match *letter {
            Letter::Stored(_) => return None,
            Letter::Publish { place, origin: Origin { client, epoch, again }, message, reply } => {
                Self::Publish { place, client, epoch, again, message: message.into(), reply: some(reply) }
            }
            Letter::Enqueue { from, slot, message, targets, reply } => Self::Enqueue {
                from: from.0,
                slot: slot.0,
                message: message.into(),
                targets: targets.into(),
                reply: some(reply),
            },
            Letter::Pass { from, session, delivery, message } => {
                Self::Pass { from: from.0, session, delivery, message: message.into() }
            }
            Letter::Session { slot, ref call } => Self::Session { slot: slot.0, call: call.into() },
            Letter::Outbox { from, to, number, op, reply } => {
                Self::Outbox { from: from.0, to: to.0, number, op: op.into(), reply: some(reply) }
            }
            Letter::OutboxMessage { from, to, number, message, targets } => {
                let (message, targets) = (message.into(), targets.into());
                Self::OutboxMessage { from: from.0, to: to.0, number, message, targets }
            }
            Letter::OutboxApplied { from, to, number, given } => {
                Self::OutboxApplied { from: from.0, to: to.0, number, given }
            }
            Letter::BackedUp { slot, is } => Self::BackedUp { slot: slot.0, is },
            Letter::Short { is } => Self::Short { is },
            Letter::Led { slot, term, ref given, given_up } => {
                Self::Led { slot: slot.0, term: term.0, given: given.as_deref().map(List::of), given_up }
            }
            Letter::GivenUp { slot, times } => Self::GivenUp { slot: slot.0, times },
            Letter::HeardLed { slot, term } => Self::HeardLed { slot: slot.0, term: term.0 },
            Letter::AllAsked { slot, term } => Self::AllAsked { slot: slot.0, term: term.0 },
            Letter::Hear { reply, passes_on } => Self::Hear { reply: reply.into(), passes_on },
            Letter::Presence(Announcement { session, epoch, ref news }) => {
                Self::Presence { session, epoch, news: news.into() }
            }
            Letter::Retained(ref request) => Self::Retained(Box::new((&**request).into())),
            Letter::Deliver { home, session, delivery, message, live } => {
                Self::Deliver { home, session, delivery, message: message.into(), live }
            }
            Letter::Given { by, from, number, given } => {
                Self::Given { by: by.0, from: from.0, number, given }
            }
            Letter::Send { home, seq, dup, delivery, message } => {
                Self::Send { home, seq, dup, delivery, message: message.into() }
            }
            Letter::Release { home, packet_id } => Self::Release { home, packet_id: packet_id.get() },
            Letter::Answer { to, ref answer } => Self::Answer { to: to.into(), answer: answer.into() },
            Letter::TakenOver { home, ref then } => {
                let then =
                    then.as_ref().map(|(reply, answer)| ((*reply).into(), Box::new((&**answer).into())));
                Self::TakenOver { home, then }
            }
            Letter::RetainedChunk(ref chunk) => {
                let Chunk { home, serial, ref messages, unused, ref next } = **chunk;
                let next = next.as_ref().map(|next| Box::new(next.into()));
                Self::RetainedChunk { home, serial, messages: List::of(messages), unused, next }
            }
            Letter::Evict { home, session_ended } => Self::Evict { home, session_ended },
        })
    }
}

fn some(reply: Option<ReplyTo>) -> Option<ReplyForm> {
    reply.map(Into::into)
}

impl From<Part> for PartForm {
    fn from(part: Part) -> Self {
        match part {
            Part { from, to: Part::SHARED } => Self::Shared(from),
            Part { from, to } => Self::Laid { from, length: to - from },
        }
    }
}

impl From<ReplyTo> for ReplyForm {
    fn from(ReplyTo { home, token }: ReplyTo) -> Self {
        Self { home, token }
    }
}

impl<'a> From<&'a Answer> for AnswerForm<'a> {
    fn from(answer: &'a Answer) -> Self {
        match *answer {
            Answer::Begun(Begun { parts, matched }) => Self::Begun { parts, matched },
            Answer::Done => Self::Done,
            Answer::Subscribed { more, ref existed } => Self::Subscribed { more, existed: List::of(existed) },
            Answer::Granting(ref granted) => Self::Granting(List::of(granted)),
            Answer::Registered(registered) => {
                Self::Registered { place: registered.place, until: registered.until }
            }
            Answer::RootsRegistered { slot, until } => Self::RootsRegistered { slot: slot.0, until },
            Answer::Full => Self::Full,
            Answer::Refused(reason) => Self::Refused(reason.as_u8()),
            Answer::Unknown => Self::Unknown,
            Answer::Granted(Grant { session, epoch, present, has_queue, ref unreleased, ref groups }) => {
                let (unreleased, groups) = (List::of(unreleased), List::of(groups));
                Self::Granted { session, epoch, present, has_queue, unreleased, groups }
            }
        }
    }
}

impl<'a> From<&'a News> for NewsForm<'a> {
    fn from(news: &'a News) -> Self {
        match news {
            News::Joined { groups, who } => {
                Self::Joined { groups: List::of(groups), who: Box::new((&**who).into()) }
            }
            News::Level(level) => Self::Level((*level).into()),
            News::Left => Self::Left,
        }
    }
}

impl From<Level> for LevelForm {
    fn from(level: Level) -> Self {
        match level {
            Level::Connected { load } => Self::Connected { load },
            Level::Busy => Self::Busy,
            Level::Absent => Self::Absent,
            Level::Unheard => Self::Unheard,
            Level::Full => Self::Full,
            Level::Not => Self::Not,
            Level::Gone => Self::Gone,
            Level::Denied => Self::Denied,
        }
    }
}
