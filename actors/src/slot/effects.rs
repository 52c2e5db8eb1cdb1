//! What a slot has done outside of itself: by connections, by slots that sent it something, by what counts. It is carried out
//! at once and lost without harm, for what must not be lost stands in a row.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::{PacketId, ReasonCode};

use super::giving::{Leadership, Live};
use crate::call::{Answer, ReplyTo};
use crate::clock::Now;
use crate::message::Message;
use crate::session::{Delivery, Home, Seq, SessionNumber};
use crate::topic::Found;

/// Who carries out what slots decide.
pub trait Effects {
    /// A connection is told what became of what it asked.
    fn answer(&mut self, to: ReplyTo, answer: Answer);

    /// Another connection gets the Session. The old one, where there is one, is closed before the new one hears of it.
    fn take_over(&mut self, old: Option<Home>, to: ReplyTo, answer: Answer);

    /// A connection whose Session another one gets is closed, before that one is told.
    fn close_old(&mut self, old: Home);

    /// An operator closes a connection, perhaps with the Session that it had.
    fn evict(&mut self, home: Home, session_ended: bool);

    /// The Client of a connection has broken a rule, or there is no room for it.
    fn break_off(&mut self, home: Home, reason: ReasonCode);

    /// PUBREL for a message out of a Session's queue.
    fn release(&mut self, home: Home, packet_id: PacketId);

    /// PUBREL that answers a PUBREC of nothing.
    fn release_unknown(&mut self, home: Home, packet_id: PacketId);

    /// Another message is going to be delivered, perhaps more than once.
    fn begin_message(&mut self);

    /// The same for one that lies in these bytes, which are shared as far as it goes.
    fn begin_with(&mut self, whole: &Bytes);

    /// The message that was begun, to be kept: the same bytes for all who ask.
    fn whole(&mut self, message: &Message<'_>) -> Bytes;

    /// The message that was begun, for a Session that lives with its connection.
    fn deliver(
        &mut self,
        home: Home,
        session: SessionNumber,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    );

    /// The message that was begun, out of a Session's queue (or, without a number there, of QoS 0 for it).
    fn send(
        &mut self,
        home: Home,
        seq: Option<Seq>,
        dup: bool,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    );

    /// Whether a message of this topic for so many connections is passed on in pieces: because they are many, or because
    /// another one of the topic is.
    fn is_cast(&self, topic: &str, connections: usize) -> bool;

    /// Passes a message on in pieces, behind those of its topic before it.
    fn cast(&mut self, topic: &str, whole: Bytes, found: Vec<Found>, by: Leadership);

    /// What connections are given from here on is this message, which came by the log.
    fn begin_live(&mut self, live: Live);

    /// All were given it, unless it is passed on in pieces. Nothing of that outbox up to `given` is given again.
    fn end_live(&mut self, given: u64);

    /// Slot `to` has applied what `from` had in its outbox up to this number, and asks for nothing up to `given` again.
    fn outbox_applied(&mut self, from: SlotId, to: SlotId, number: u64, given: u64);

    /// Connections of this node were given up so many times: those that there are end.
    fn given_up(&mut self, slot: SlotId, node: u64, times: u64);

    /// Something is counted.
    fn note(&mut self, note: Note);
}

/// What is counted of what slots decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A Session that belongs to somebody else was asked for.
    NotItsOwner,
    /// A Client was refused something by the limit of this key.
    Met(&'static str),
    /// A Client was refused something because too much waits for another slot.
    OutboxFull,
    /// A connection was closed because too many Subscriptions wait to be answered.
    WaitingFull,
    /// So many messages fell out of a full queue.
    QueueDropped(u64),
    /// A message of a Shared Subscription has nobody left to go to.
    SharedDropped,
    /// So many messages of a Shared Subscription go to another member.
    Redispatched(u64),
    /// A message of QoS 0 was dropped, for want of room behind those before it.
    DroppedBehind,
    /// A message of QoS 0 was dropped, for its Client is late.
    DroppedLate,
}
