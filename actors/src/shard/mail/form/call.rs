//! Version 1 of what a connection asks of its Session's slot.

use convoy_storage::record::{BorrowDecode, Encode};

use super::ReplyForm;
use super::list::List;
use crate::author::Author;
use crate::call::{Ack, Farewell, SessionCall};
use crate::session::{
    Delivery, Epoch, Home, Place, Progress, QueueLimits, Seq, SessionNumber, Stage, Wanted, Will,
};

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) enum CallForm<'a> {
    Connect {
        name: &'a [u8],
        clean_start: bool,
        owner: &'a str,
        binds: bool,
        expiry_seconds: u32,
        limits: QueueLimits,
        will: Option<Box<WillForm<'a>>>,
        yields: bool,
        reply: ReplyForm,
    },
    Ready {
        session: SessionNumber,
        epoch: Epoch,
        home: Home,
        receive_maximum: u16,
        is_plain: bool,
    },
    Disconnect {
        session: SessionNumber,
        epoch: Epoch,
        farewell: Farewell,
        expiry_seconds: Option<u32>,
        reply: Option<ReplyForm>,
    },
    Subscribe {
        session: SessionNumber,
        epoch: Epoch,
        wanted: List<'a, Wanted>,
        reply: ReplyForm,
    },
    Unsubscribe {
        session: SessionNumber,
        epoch: Epoch,
        filters: List<'a, String>,
        reply: ReplyForm,
    },
    Ack {
        session: SessionNumber,
        epoch: Epoch,
        ack: AckForm,
        packet_id: u16,
    },
    Accept {
        session: SessionNumber,
        epoch: Epoch,
        packet_id: u16,
        place: Place,
        message: &'a [u8],
        asks: bool,
        reply: ReplyForm,
    },
    Keep {
        session: SessionNumber,
        epoch: Epoch,
        delivery: Delivery,
        message: &'a [u8],
    },
    Release {
        session: SessionNumber,
        epoch: Epoch,
        packet_id: u16,
        reply: ReplyForm,
    },
    Abandon {
        name: &'a [u8],
        home: Home,
    },
    Adopt {
        session: SessionNumber,
        epoch: Epoch,
        home: Home,
        progress: Option<ProgressForm<'a>>,
        reply: ReplyForm,
    },
}

/// As [`Progress`].
#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) struct ProgressForm<'a> {
    pub receive_maximum: u16,
    pub next: Seq,
    pub open: List<'a, (Seq, Stage)>,
}

#[derive(Clone, Copy, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) enum AckForm {
    Puback,
    Pubrec { refused: bool },
    Pubcomp,
}

/// As [`Will`] and [`Author`], without strings of their own: these would be allocated by what they claim.
#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) struct WillForm<'a> {
    pub place: Place,
    pub message: &'a [u8],
    pub expiry_seconds: Option<u32>,
    pub delay_seconds: u32,
    pub author: AuthorForm<'a>,
}

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(in crate::shard::mail) struct AuthorForm<'a> {
    client_id: &'a str,
    user: Option<&'a str>,
    address: u128,
    listener: &'a str,
}

impl<'a> From<&'a SessionCall> for CallForm<'a> {
    fn from(call: &'a SessionCall) -> Self {
        match *call {
            SessionCall::Connect {
                ref name,
                clean_start,
                ref owner,
                binds,
                expiry_seconds,
                limits,
                ref will,
                yields,
                reply,
            } => Self::Connect {
                name,
                clean_start,
                owner,
                binds,
                expiry_seconds,
                limits,
                will: will.as_deref().map(|will| Box::new(will.into())),
                yields,
                reply: reply.into(),
            },
            SessionCall::Ready { session, epoch, home, receive_maximum, is_plain } => {
                Self::Ready { session, epoch, home, receive_maximum, is_plain }
            }
            SessionCall::Disconnect { session, epoch, farewell, expiry_seconds, reply } => {
                Self::Disconnect { session, epoch, farewell, expiry_seconds, reply: super::some(reply) }
            }
            SessionCall::Subscribe { session, epoch, ref wanted, reply } => {
                Self::Subscribe { session, epoch, wanted: List::of(wanted), reply: reply.into() }
            }
            SessionCall::Unsubscribe { session, epoch, ref filters, reply } => {
                Self::Unsubscribe { session, epoch, filters: List::of(filters), reply: reply.into() }
            }
            SessionCall::Ack { session, epoch, ack, packet_id } => {
                Self::Ack { session, epoch, ack: ack.into(), packet_id: packet_id.get() }
            }
            SessionCall::Accept { session, epoch, packet_id, place, ref message, asks, reply } => {
                let (packet_id, reply) = (packet_id.get(), reply.into());
                Self::Accept { session, epoch, packet_id, place, message, asks, reply }
            }
            SessionCall::Keep { session, epoch, delivery, ref message } => {
                Self::Keep { session, epoch, delivery, message }
            }
            SessionCall::Release { session, epoch, packet_id, reply } => {
                Self::Release { session, epoch, packet_id: packet_id.get(), reply: reply.into() }
            }
            SessionCall::Abandon { ref name, home } => Self::Abandon { name, home },
            SessionCall::Adopt { session, epoch, home, ref progress, reply } => {
                let progress = progress.as_deref().map(|Progress { receive_maximum, next, open }| {
                    ProgressForm { receive_maximum: *receive_maximum, next: *next, open: List::of(open) }
                });
                Self::Adopt { session, epoch, home, progress, reply: reply.into() }
            }
        }
    }
}

impl From<Ack> for AckForm {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::Puback => Self::Puback,
            Ack::Pubrec { refused } => Self::Pubrec { refused },
            Ack::Pubcomp => Self::Pubcomp,
        }
    }
}

impl<'a> From<&'a Will> for WillForm<'a> {
    fn from(Will { place, message, expiry_seconds, delay_seconds, author }: &'a Will) -> Self {
        let (expiry_seconds, delay_seconds) = (*expiry_seconds, *delay_seconds);
        Self { place: *place, message, expiry_seconds, delay_seconds, author: author.into() }
    }
}

impl<'a> From<&'a Author> for AuthorForm<'a> {
    fn from(Author { client_id, user, address, listener }: &'a Author) -> Self {
        Self { client_id, user: user.as_deref(), address: *address, listener }
    }
}

impl AuthorForm<'_> {
    pub(in crate::shard::mail) fn author(self) -> Author {
        let Self { client_id, user, address, listener } = self;
        Author { client_id: client_id.into(), user: user.map(Into::into), address, listener: listener.into() }
    }
}
