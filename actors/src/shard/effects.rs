//! What slots decide is carried out by this shard's connections, and by mail where it is for others.

use bytes::Bytes;
use convoy_ids::SlotId;
use convoy_wire::{PacketId, QoS, ReasonCode};

use super::live_to::LiveTo;
use super::mail::{Letter, Where};
use super::outlet::{Applied, Outlet, Unreached};
use super::receipts::Taken;
use crate::call::{Answer, Begun, ReplyTo, token};
use crate::clock::Now;
use crate::dest::Dest;
use crate::message::Message;
use crate::metric;
use crate::options::Without;
use crate::session::{Delivery, Home, Seq, SessionNumber};
use crate::slot::{Effects, Leadership, Live, Note};
use crate::topic::Found;

fn note(shards: &mut Vec<Dest>, dest: Dest) {
    if !shards.contains(&dest) {
        shards.push(dest);
    }
}

impl Effects for Outlet {
    fn answer(&mut self, to: ReplyTo, mut answer: Answer) {
        if self.receipts.is_touched() && to.is_publish() && self.live.is_none() {
            // What it acknowledges was just handed out, also to other nodes.
            let then = Taken::Publish(self.applying, to);
            match answer {
                Answer::Done => return self.receipts.gather(then),
                Answer::Begun(Begun { parts, matched }) => {
                    self.receipts.gather(then);
                    answer = Answer::Begun(Begun { parts: parts + 1, matched });
                }
                _ => {}
            }
        }
        self.turned_away.note(&to, &answer, self.edge.now);
        match self.post.where_home(&to.home) {
            Where::Here => self.edge.answer(to, answer),
            Where::There(dest) => self.post.send(dest, Letter::Answer { to, answer }),
            // It waits for nothing any more: see [`super::reaching`].
            Where::Nowhere => {
                if let Answer::Granted(grant) = answer {
                    self.edge.give_back(&grant);
                }
            }
        }
    }

    fn take_over(&mut self, old: Option<Home>, to: ReplyTo, answer: Answer) {
        let is_fenced = self.without != Without::Fence;
        let Some(old) = old.filter(|old| is_fenced && self.edge.may_be_there(old)) else {
            return self.answer(to, answer);
        };
        // Whoever waits for the end of another one has not had the Session yet: that one is still to be waited for.
        let waiting = self.unreached.iter().find(|(_, of)| of.to.home == old).map(|(id, _)| *id);
        if let Some(Unreached { home, is_closed, .. }) = waiting.and_then(|id| self.unreached.remove(&id)) {
            self.close_old(old);
            let id = self.wait_for_end(Unreached { home, to, answer, is_closed });
            return if is_closed { self.closed_there(id) } else { self.close_there(id) };
        }
        let is_cleared =
            !matches!(&answer, Answer::Granted(grant) if self.uncleared.contains(&grant.session.slot()));
        match self.post.where_home(&old) {
            Where::Here if is_cleared => self.take_from(&old, to, answer),
            Where::There(dest) if self.post.is_alone() => {
                // The answer travels by way of the old one's shard.
                let then = Some((to, Box::new(answer)));
                self.post.send(dest, Letter::TakenOver { home: old, then });
            }
            Where::Here | Where::There(_) | Where::Nowhere => {
                let id = self.wait_for_end(Unreached { home: old, to, answer, is_closed: false });
                self.close_there(id);
            }
        }
    }

    fn close_old(&mut self, old: Home) {
        match self.post.where_home(&old) {
            Where::Here if self.edge.may_be_there(&old) => _ = self.edge.taken_over(&old),
            Where::There(dest) if self.edge.may_be_there(&old) => {
                self.post.send(dest, Letter::TakenOver { home: old, then: None });
            }
            _ => {}
        }
    }

    fn evict(&mut self, home: Home, session_ended: bool) {
        match self.post.where_home(&home) {
            Where::Here => self.edge.evict(&home, session_ended),
            Where::There(dest) if self.edge.may_be_there(&home) => {
                self.post.send(dest, Letter::Evict { home, session_ended });
            }
            _ => {}
        }
    }

    fn break_off(&mut self, home: Home, reason: ReasonCode) {
        self.answer(ReplyTo { home, token: token::BREAK }, Answer::Refused(reason));
    }

    fn release(&mut self, home: Home, packet_id: PacketId) {
        match self.post.where_home(&home) {
            Where::Here => self.edge.release(&home, packet_id),
            Where::There(dest) => self.post.send(dest, Letter::Release { home, packet_id }),
            Where::Nowhere => {}
        }
    }

    fn release_unknown(&mut self, home: Home, packet_id: PacketId) {
        let token = token::UNKNOWN | u64::from(packet_id.get());
        self.answer(ReplyTo { home, token }, Answer::Refused(ReasonCode::PacketIdentifierNotFound));
    }

    fn begin_message(&mut self) {
        self.receipts.begin();
        self.edge.begin_message();
    }

    fn begin_with(&mut self, whole: &Bytes) {
        self.receipts.begin();
        self.edge.begin_with(whole);
    }

    fn whole(&mut self, message: &Message<'_>) -> Bytes {
        self.edge.whole(message)
    }

    fn deliver(
        &mut self,
        home: Home,
        session: SessionNumber,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        if !self.edge.may_be_there(&home) {
            return self.edge.return_shared(session, delivery, message);
        }
        let live = self.live.as_mut().filter(|_| delivery.group().is_none());
        match self.post.where_home(&home) {
            Where::Here => {
                if let Some(LiveTo { live, shards, .. }) = live {
                    note(shards, self.post.this());
                    if !self.given.takes(live.by.slot, live.from, live.number, &home) {
                        return;
                    }
                }
                self.edge.deliver(&home, session, delivery, message, now);
            }
            Where::There(dest) => {
                let live = live.map(|to| {
                    note(&mut to.shards, dest);
                    (to.live.from.0, to.live.number)
                });
                let message = self.lay(dest, message);
                self.post.send(dest, Letter::Deliver { home, session, delivery: *delivery, message, live });
                if delivery.qos > QoS::AtMostOnce && self.post.is_away(dest) {
                    self.receipts.touch(home);
                }
            }
            Where::Nowhere if delivery.group().is_some() => {
                self.edge.return_shared(session, delivery, message);
            }
            Where::Nowhere if delivery.qos > QoS::AtMostOnce => self.receipts.touch(home),
            Where::Nowhere => {}
        }
    }

    fn send(
        &mut self,
        home: Home,
        seq: Option<Seq>,
        dup: bool,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        let dup = dup && self.without != Without::Dup;
        match self.post.where_home(&home) {
            Where::Here => self.edge.send(&home, seq, dup, delivery, message, now),
            Where::There(dest) => {
                let message = self.lay(dest, message);
                let letter = Letter::Send { home, seq, dup, delivery: *delivery, message };
                self.post.send(dest, letter);
            }
            Where::Nowhere => {}
        }
    }

    fn is_cast(&self, topic: &str, connections: usize) -> bool {
        self.casts.is_many(connections) || self.casts.holds(topic)
    }

    fn cast(&mut self, topic: &str, whole: Bytes, found: Vec<Found>, by: Leadership) {
        let live = self.live.as_mut().map(|to| {
            to.is_cast = true;
            to.live
        });
        self.casts.begin_behind(topic, whole, found, by, live);
    }

    fn begin_live(&mut self, live: Live) {
        // A node that is alone remembers nothing: there is no next leader.
        self.live = (!self.post.is_alone()).then(|| LiveTo { live, shards: Vec::new(), is_cast: false });
    }

    fn end_live(&mut self, given: u64) {
        let Some(LiveTo { live, shards, is_cast }) = self.live.take() else { return };
        if is_cast {
            return;
        }
        let Live { by: Leadership { slot: by, .. }, from, number } = live;
        for dest in shards {
            match dest == self.post.this() {
                true => self.given.complete(by, from, number, given),
                false => self.post.send(dest, Letter::Given { by, from, number, given }),
            }
        }
        match self.receipts.is_touched() {
            true => self.receipts.gather(Taken::Live(live)),
            false => self.taken.push_back(live),
        }
    }

    fn outbox_applied(&mut self, from: SlotId, to: SlotId, number: u64, given: u64) {
        match self.post.where_is(from) {
            Where::Here => self.applied.push_back(Applied { from, to, number, given }),
            Where::There(dest) => self.post.send(dest, Letter::OutboxApplied { from, to, number, given }),
            // Who leads it next is told what has been applied.
            Where::Nowhere => {}
        }
    }

    fn given_up(&mut self, slot: SlotId, node: u64, times: u64) {
        self.given_up.push_back((slot, node, times));
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::NotItsOwner => metric::denied("session"),
            Note::Met(limit) => metric::met(limit),
            Note::OutboxFull => metrics::counter!(metric::OUTBOX_FULL).increment(1),
            Note::WaitingFull => metrics::counter!(metric::WAITING_FULL).increment(1),
            Note::QueueDropped(messages) => {
                metrics::counter!(metric::QUEUE_DROPPED).increment(messages);
            }
            Note::SharedDropped => metrics::counter!(metric::SHARED_DROPPED).increment(1),
            Note::Redispatched(messages) => metrics::counter!(metric::REDISPATCHED).increment(messages),
            Note::DroppedBehind => self.edge.drop_behind(1),
            Note::DroppedLate => self.edge.note_dropped(),
        }
    }
}
