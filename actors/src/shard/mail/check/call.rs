//! What is expected of a connection's call. It is for the slot of its Session, but that it asks a partition first.

use convoy_ids::{ActorId, SlotId};
use convoy_wire::QoS;

use super::{Check, check_filter, check_message, check_subscription, numbered};
use crate::call::{Ack, SessionCall};
use crate::session::{Progress, SessionNumber, Wanted, Will, split_name};
use crate::shard::mail::Error;
use crate::shard::mail::form::{AckForm, CallForm, ProgressForm, WillForm};

impl Check<'_> {
    pub(super) fn call(&self, slot: SlotId, call: CallForm<'_>) -> Result<SessionCall, Error> {
        let of = |session: SessionNumber| {
            (session.slot() == slot).then_some(session).ok_or(Error::Impossible("Session"))
        };
        Ok(match call {
            connect @ CallForm::Connect { .. } => self.connect(slot, connect)?,
            CallForm::Ready { session, epoch, home, receive_maximum, is_plain } => {
                let (session, home) = (of(session)?, self.home(home)?);
                SessionCall::Ready { session, epoch, home, receive_maximum, is_plain }
            }
            CallForm::Disconnect { session, epoch, farewell, expiry_seconds, reply } => {
                let (session, reply) = (of(session)?, self.reply_if_any(reply)?);
                SessionCall::Disconnect { session, epoch, farewell, expiry_seconds, reply }
            }
            CallForm::Subscribe { session, epoch, wanted, reply } => {
                let (session, wanted) = (of(session)?, wanted.into_vec());
                wanted.iter().try_for_each(|wanted| self.check_wanted(wanted))?;
                SessionCall::Subscribe { session, epoch, wanted, reply: self.reply(reply)? }
            }
            CallForm::Unsubscribe { session, epoch, filters, reply } => {
                let (session, filters) = (of(session)?, filters.into_vec());
                filters.iter().try_for_each(|filter| check_filter(filter))?;
                SessionCall::Unsubscribe { session, epoch, filters, reply: self.reply(reply)? }
            }
            CallForm::Ack { session, epoch, ack, packet_id } => {
                let (session, packet_id) = (of(session)?, numbered(packet_id)?);
                SessionCall::Ack { session, epoch, ack: ack_of(ack), packet_id }
            }
            CallForm::Accept { session, epoch, packet_id, place, message, asks, reply } => {
                let (session, place) = (self.session(session)?, self.place(place)?);
                let asked = if asks { SlotId(place.slot) } else { session.slot() };
                if asked != slot {
                    return Err(Error::Impossible("Session"));
                }
                check_message(message)?;
                let (packet_id, message) = (numbered(packet_id)?, message.into());
                let reply = self.reply(reply)?;
                SessionCall::Accept { session, epoch, packet_id, place, message, asks, reply }
            }
            CallForm::Keep { delivery, .. } if delivery.qos == QoS::AtMostOnce => {
                return Err(Error::Impossible("receiver"));
            }
            CallForm::Keep { session, epoch, delivery, message } => {
                check_message(message)?;
                SessionCall::Keep { session: of(session)?, epoch, delivery, message: message.into() }
            }
            CallForm::Release { session, epoch, packet_id, reply } => {
                let (session, packet_id) = (of(session)?, numbered(packet_id)?);
                SessionCall::Release { session, epoch, packet_id, reply: self.reply(reply)? }
            }
            CallForm::Adopt { session, epoch, home, progress, reply } => {
                let progress = progress.map(|ProgressForm { receive_maximum, next, open }| Progress {
                    receive_maximum,
                    next,
                    open: open.into_vec(),
                });
                if progress.as_ref().is_some_and(|progress| !progress.is_possible()) {
                    return Err(Error::Impossible("progress of a connection"));
                }
                let (session, home) = (of(session)?, self.home(home)?);
                let (progress, reply) = (progress.map(Box::new), self.reply(reply)?);
                SessionCall::Adopt { session, epoch, home, progress, reply }
            }
            CallForm::Abandon { name, home } => {
                self.check_name(slot, name)?;
                SessionCall::Abandon { name: name.into(), home: self.home(home)? }
            }
        })
    }

    fn connect(&self, slot: SlotId, call: CallForm<'_>) -> Result<SessionCall, Error> {
        let CallForm::Connect {
            name,
            clean_start,
            owner,
            binds,
            expiry_seconds,
            limits,
            will,
            yields,
            reply,
        } = call
        else {
            unreachable!("it is a CONNECT");
        };
        self.check_name(slot, name)?;
        Ok(SessionCall::Connect {
            name: name.into(),
            clean_start,
            owner: owner.into(),
            binds,
            expiry_seconds,
            limits,
            will: will.map(|will| self.will(*will)).transpose()?,
            yields,
            reply: self.reply(reply)?,
        })
    }

    /// Whether a Session of this name has its place in this slot.
    fn check_name(&self, slot: SlotId, name: &[u8]) -> Result<(), Error> {
        let of = |(tenant, client_id)| {
            convoy_membership::slot_of(&ActorId::Session { tenant, client_id }, self.bounds.slots)
        };
        let is_here = split_name(name).map(of) == Some(slot);
        is_here.then_some(()).ok_or(Error::Impossible("name of a Session"))
    }

    fn will(&self, will: WillForm<'_>) -> Result<Box<Will>, Error> {
        let WillForm { place, message, expiry_seconds, delay_seconds, author } = will;
        check_message(message)?;
        let (place, message) = (self.place(place)?, message.into());
        Ok(Box::new(Will { place, message, expiry_seconds, delay_seconds, author: author.author() }))
    }

    fn check_wanted(&self, wanted: &Wanted) -> Result<(), Error> {
        check_filter(&wanted.filter)?;
        check_subscription(&wanted.subscription)?;
        wanted.places.iter().try_for_each(|place| self.slot_or_meta(place.slot).map(drop))
    }
}

fn ack_of(ack: AckForm) -> Ack {
    match ack {
        AckForm::Puback => Ack::Puback,
        AckForm::Pubrec { refused } => Ack::Pubrec { refused },
        AckForm::Pubcomp => Ack::Pubcomp,
    }
}
