//! Delivery from the queues of this slot to connections: the leader's alone, and nothing of it is replicated. What a
//! new leader needs follows from the rows (see [`crate::session::packet_id`]).

use std::ops::ControlFlow;

use bytes::Bytes;
use convoy_storage::engine::Error;
use convoy_wire::{PacketId, QoS, ReasonCode};

use super::active::{Active, Link, Row, read_queue};
use super::ahead::Copy;
use super::context::work_of;
use super::leader::SLOT_BYTES;
use super::op::Op;
use super::{Effects, Note, Slot, Turn};
use crate::call::Ack;
use crate::clock::{Millis, Now};
use crate::message::Message;
use crate::session::{self, Behind, Delivery, Epoch, Home, Inflight, Queue, Seq, SessionNumber, Stage};

/// Acknowledged messages that are kept in memory before a record is made of them; more often where a record is made
/// anyway.
const UNSAVED_LIMIT: usize = 4096;

/// Units of work that one look into a queue is: what is behind waits for the next turn.
const PUMP_WORK: u64 = 1024;

impl Slot {
    /// CONNACK is written: what waits goes out, first what an earlier connection was sent.
    pub fn ready(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        home: Home,
        receive_maximum: u16,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(active) = self.active.get_mut(&session).filter(|active| active.row.epoch == epoch) else {
            return Ok(());
        };
        let Some(queue) = &active.queue else { return Ok(()) };
        active.link = Some(Box::new(Link::new(home, queue, receive_maximum, self.pauses.hold(&active.name))));
        self.pump(session, turn)
    }

    /// Delivers a message that has just been queued, from memory, if nothing waits before it.
    pub(super) fn deliver_fresh(
        &mut self,
        session: SessionNumber,
        seq: Seq,
        delivery: Delivery,
        bytes: &[u8],
        turn: &mut Turn<'_>,
    ) {
        let Some(active) = self.active.get_mut(&session) else { return };
        let (Some(link), Some(queue)) = (&mut active.link, &active.queue) else { return };
        let may_go = link.has_room() && link.inflight.reaches(seq);
        if link.cursor == seq && may_go && queue.holds(seq) {
            let Ok(message) = Message::decode(bytes) else { return };
            link.send(seq, delivery, &message, bytes.len() as u32, turn);
        } else if let Ok(message) = Message::decode(bytes) {
            link.behind.get_or_insert_with(|| Box::new(Behind::new(0))).enter(message.topic);
        }
    }

    /// Sends what the window has room for, from disk: a piece of it, if that is much.
    pub fn pump(&mut self, session: SessionNumber, turn: &mut Turn<'_>) -> Result<(), Error> {
        // Rows on their way to the engine cannot be read yet.
        if !turn.state.is_readable() {
            self.deferred.push_back(session);
            return Ok(());
        }
        self.take_up(session, turn)?;
        let Some(active) = self.active.get_mut(&session) else { return Ok(()) };
        let Active { link: Some(link), queue: Some(queue), overflow, row, .. } = &mut **active else {
            return Ok(());
        };
        if link.cursor >= queue.next() || !link.has_room() {
            return Ok(());
        }
        let mut all_read = true;
        let (state, mut failure) = (&*turn.state, None);
        let (effects, work) = (&mut *turn.effects, &mut *turn.work);
        let (now, age) = (turn.now, row.limits.age);
        let (until, mut is_cut) = (*work + PUMP_WORK, false);
        read_queue(state, session, link.cursor, &mut |seq, row| {
            if *work >= until {
                (all_read, is_cut) = (false, true);
                return ControlFlow::Break(());
            }
            *work += work_of(row.message.len());
            link.send_copies(seq, effects, now);
            if !link.inflight.has_room() || !link.inflight.reaches(seq) {
                all_read = false;
                return ControlFlow::Break(());
            }
            let message = match Message::decode(row.message) {
                Ok(message) => message,
                Err(error) => {
                    let reason = error.to_string();
                    failure =
                        Some(Error::Damaged { place: format!("message {seq} of {:x}", session.0), reason });
                    return ControlFlow::Break(());
                }
            };
            if let Some(behind) = &mut link.behind {
                behind.leave_at(seq, message.topic);
            }
            if overflow.as_ref().is_some_and(|overflow| overflow.is_going(seq)) {
                link.inflight.skip_to(seq + 1);
                link.cursor = seq + 1;
                return ControlFlow::Continue(());
            }
            if queue.received.contains(&seq) {
                link.release_again(seq, row.message.len() as u32, effects);
            } else {
                link.send_queued(seq, &row, &message, age, effects, now);
            }
            ControlFlow::Continue(())
        })?;
        if all_read && failure.is_none() {
            // Everything was read; the numbers behind the last row are of messages that left.
            link.cursor = queue.next();
            link.send_copies(link.cursor, effects, now);
            link.behind = None;
        }
        if !link.finished.is_empty() {
            self.unsaved.push(session);
        }
        if is_cut {
            self.deferred.push_back(session);
        }
        failure.map_or(Ok(()), Err)
    }

    /// An acknowledgement of the Client.
    pub fn on_ack(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        ack: Ack,
        packet_id: PacketId,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(active) = self.active.get_mut(&session).filter(|active| active.row.epoch == epoch) else {
            return Ok(());
        };
        let (Some(link), Some(queue)) = (&mut active.link, &active.queue) else { return Ok(()) };
        let answer = match ack {
            Ack::Puback => link.inflight.on_puback(packet_id),
            Ack::Pubrec { refused } => link.inflight.on_pubrec(packet_id, refused),
            Ack::Pubcomp => link.inflight.on_pubcomp(packet_id),
        };
        let first_unsaved = link.finished.is_empty() && link.received.is_empty();
        match answer {
            session::Answer::Finished(seq, bytes) => link.finished.push((seq, bytes)),
            session::Answer::Received(seq) => link.received.push(seq),
            session::Answer::ReleaseAgain(_) => turn.effects.release(link.home, packet_id),
            session::Answer::Waiting => return Ok(()),
            // PUBREC of a message we know nothing of is still answered, so that the Client can forget it.
            session::Answer::Unknown => {
                if matches!(ack, Ack::Pubrec { refused: false }) {
                    turn.effects.release_unknown(link.home, packet_id);
                }
                return Ok(());
            }
            session::Answer::Wrong => {
                turn.effects.break_off(link.home, ReasonCode::ProtocolError);
                return Ok(());
            }
        }
        if first_unsaved {
            self.unsaved.push(session);
        }
        // Reading in halves of a window spares a search for each message.
        let worth = link.inflight.room() >= link.inflight.used().max(1);
        if link.cursor < queue.next() && worth { self.pump(session, turn) } else { Ok(()) }
    }

    /// PUBREC is on record for these messages: PUBREL is due.
    pub(super) fn release(&mut self, session: SessionNumber, seqs: &[Seq], turn: &mut Turn<'_>) {
        let Some(link) = self.active.get_mut(&session).and_then(|active| active.link.as_mut()) else {
            return;
        };
        for &seq in seqs {
            if link.inflight.released(seq) {
                turn.effects.release(link.home, session::packet_id(seq));
            }
        }
    }

    /// A QoS 0 message for a Session that outlives its connection: delivered if there is one, behind what was published of
    /// its topic before.
    pub fn pass(&mut self, session: SessionNumber, delivery: Delivery, message: &Bytes, turn: &mut Turn<'_>) {
        if self.active.get(&session).is_none_or(|active| active.link.is_none()) {
            return;
        }
        let Ok(Message { topic, .. }) = Message::decode(message) else { return };
        if !self.pending.ahead.holds(topic, session) {
            return self.pass_on(session, delivery, message, turn);
        }
        if self.pending.is_full() || self.underway.len_bytes() > SLOT_BYTES {
            return turn.effects.note(Note::DroppedBehind);
        }
        let copy = Copy::new(session, topic, delivery, message.clone());
        let copy = self.pending.attach(copy).and_then(|copy| self.underway.attach(copy, &mut self.pending));
        if let Some(copy) = copy {
            self.pass_on(session, delivery, &copy.message, turn);
        }
    }

    /// The same, where nothing is before it that is not in the queue.
    pub fn pass_on(
        &mut self,
        session: SessionNumber,
        delivery: Delivery,
        message: &Bytes,
        turn: &mut Turn<'_>,
    ) {
        let Some(active) = self.active.get_mut(&session) else { return };
        let (Some(link), Some(queue)) = (&mut active.link, &active.queue) else { return };
        if let Some(behind) = &mut link.behind
            && let Ok(Message { topic, .. }) = Message::decode(message)
            && behind.holds(topic, link.cursor)
        {
            if !behind.push(queue.next(), topic, delivery, message.clone()) {
                turn.effects.note(Note::DroppedLate);
            }
            return;
        }
        link.send_copy(&delivery, message, turn.effects, turn.now);
    }

    /// How far a Session's messages were sent to its Client.
    pub fn sent(&self, session: SessionNumber) -> Seq {
        match self.active.get(&session).map(|active| &**active) {
            Some(Active { link: Some(link), .. }) => link.cursor,
            Some(Active { queue: Some(queue), .. }) => queue.sent(),
            _ => 0,
        }
    }

    /// Whether acknowledgements wait that can wait no longer: PUBREC holds PUBREL up.
    pub fn must_save(&self) -> bool {
        self.unsaved.iter().any(|session| {
            let link = self.active.get(session).and_then(|active| active.link.as_ref());
            link.is_some_and(|link| !link.received.is_empty() || link.finished.len() >= UNSAVED_LIMIT)
        })
    }

    pub fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Puts what Clients acknowledged into the next record.
    pub fn save_acknowledged(&mut self, at: u64) {
        for session in std::mem::take(&mut self.unsaved) {
            self.save_acknowledged_of(session, at);
        }
    }

    pub(super) fn save_acknowledged_of(&mut self, session: SessionNumber, at: u64) {
        let Some(link) = self.active.get_mut(&session).and_then(|active| active.link.as_mut()) else {
            return;
        };
        if !link.received.is_empty() {
            let op = Op::Received { session, seqs: std::mem::take(&mut link.received) };
            self.pending.push(at, &op, None);
        }
        if !link.finished.is_empty() {
            let messages = std::mem::take(&mut link.finished);
            self.pending.push(at, &Op::Finished { session, messages, sent: link.cursor }, None);
        }
    }
}

impl Link {
    /// To a connection that is sent everything from the first message on.
    pub(super) fn new(home: Home, queue: &Queue, receive_maximum: u16, is_paused: bool) -> Self {
        Self {
            home,
            inflight: Inflight::new(queue.floor(), receive_maximum),
            cursor: queue.floor(),
            sent_until: queue.sent(),
            dup_until: queue.perhaps_sent(),
            finished: Vec::new(),
            received: Vec::new(),
            is_paused,
            is_over: false,
            behind: (!queue.is_empty()).then(|| Box::new(Behind::new(queue.next()))),
        }
    }

    /// Whether a message may go out now.
    fn has_room(&self) -> bool {
        self.inflight.has_room() && !self.is_paused && !self.is_over
    }

    /// The copies of QoS 0 that waited for what is before `seq`.
    fn send_copies(&mut self, seq: Seq, effects: &mut dyn Effects, now: Now) {
        while let Some((delivery, message)) = self.behind.as_mut().and_then(|behind| behind.take(seq)) {
            self.send_copy(&delivery, &message, effects, now);
        }
    }

    /// A message out of the queue whose PUBREC is on record.
    fn release_again(&mut self, seq: Seq, bytes: u32, effects: &mut dyn Effects) {
        self.inflight.send(seq, Stage::Released, bytes);
        self.cursor = seq + 1;
        effects.release(self.home, session::packet_id(seq));
    }

    /// A message out of the queue, unless it has expired before it was sent. `age`: how old one may be.
    #[inline(always)] // It has one caller.
    fn send_queued(
        &mut self,
        seq: Seq,
        row: &Row<'_>,
        message: &Message<'_>,
        age: Millis,
        effects: &mut dyn Effects,
        now: Now,
    ) {
        let bytes = row.message.len() as u32;
        // What was sent once is sent again, expired or not [MQTT-4.4.0-1], [MQTT-4.3.3-7]. Where nobody knows any more
        // whether it was, one of QoS 2 is: the Client may hold its identifier, and would take the next message
        // under it for this one.
        let was_sent = seq < self.sent_until || seq < self.dup_until && row.delivery.qos == QoS::ExactlyOnce;
        let too_old = message.published_at.saturating_add(age) < now.wall;
        if !was_sent && (too_old || message.remaining(now.wall).is_none()) {
            self.inflight.skip_to(seq + 1);
            self.cursor = seq + 1;
            return self.finished.push((seq, bytes));
        }
        match row.shared {
            Some(whole) => effects.begin_with(whole),
            None => effects.begin_message(),
        }
        self.send_by(seq, row.delivery, message, bytes, effects, now);
    }

    fn send_copy(&self, delivery: &Delivery, message: &Bytes, effects: &mut dyn Effects, now: Now) {
        effects.begin_with(message);
        let Ok(message) = Message::decode(message) else { return };
        effects.send(self.home, None, false, delivery, &message, now);
    }

    fn send(&mut self, seq: Seq, delivery: Delivery, message: &Message<'_>, bytes: u32, turn: &mut Turn<'_>) {
        self.send_by(seq, delivery, message, bytes, turn.effects, turn.now);
    }

    fn send_by(
        &mut self,
        seq: Seq,
        delivery: Delivery,
        message: &Message<'_>,
        bytes: u32,
        effects: &mut dyn Effects,
        now: Now,
    ) {
        let stage = if delivery.qos == QoS::ExactlyOnce { Stage::Unreceived } else { Stage::Published };
        self.inflight.send(seq, stage, bytes);
        self.cursor = seq + 1;
        effects.send(self.home, Some(seq), seq < self.dup_until, &delivery, message, now);
    }
}
