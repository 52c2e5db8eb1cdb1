//! Where a slot's effects go: to a connection of this shard at once, to any other by mail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use convoy_ids::SlotId;

use super::casting::Casts;
use super::given::Given;
use super::live_to::LiveTo;
use super::mail::{Letter, Part, Post, Where};
use super::receipts::{Address, Receipts, Taken};
use super::turned_away::TurnedAway;
use crate::call::{Answer, ReplyTo, token};
use crate::dest::Dest;
use crate::edge::Edge;
use crate::message::Message;
use crate::options::{Options, Without};
use crate::session::{Delivery, Home, SessionNumber};
use crate::slot::{Effects, Leadership, Live};

pub struct Outlet {
    pub edge: Edge,
    pub post: Post,
    pub without: Without,
    /// What slots have applied of the outboxes of slots of this shard, to be taken up when the current event is done.
    pub applied: VecDeque<Applied>,
    /// The slot whose record is being applied.
    pub applying: Leadership,
    /// The message that is being given to connections, if it came by the log.
    pub live: Option<LiveTo>,
    /// What connections of this shard have of such messages.
    pub given: Given,
    /// Those that are with all connections that they are for.
    pub taken: VecDeque<Live>,
    /// Nodes whose connections were given up by a slot, and how many times.
    pub given_up: VecDeque<(SlotId, u64, u64)>,
    /// Messages for very many, which are passed on in pieces.
    pub casts: Casts,
    /// Messages that other nodes are to take over before they are acknowledged.
    pub receipts: Receipts,
    /// Whose messages were not taken.
    pub turned_away: TurnedAway,
    /// Sessions that were taken over from connections on other nodes, which are not known to be closed.
    pub unreached: BTreeMap<u64, Unreached>,
    /// The last number that was given to one of them.
    pub last_unreached: u64,
    /// Slots here of which it is not sure that nobody serves connections of an earlier leader.
    pub uncleared: BTreeSet<SlotId>,
}

/// A Session is granted to a connection when another node has closed the one that had it, or is known to serve it no more.
#[derive(Debug)]
pub struct Unreached {
    pub home: Home,
    pub to: ReplyTo,
    pub answer: Answer,
    /// That one is closed.
    pub is_closed: bool,
}

impl Unreached {
    /// The slot of the Session.
    pub fn slot(&self) -> Option<SlotId> {
        match &self.answer {
            Answer::Granted(grant) => Some(grant.session.slot()),
            _ => None,
        }
    }
}

/// Slot `to` has applied what `from` had in its outbox up to this number.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    pub from: SlotId,
    pub to: SlotId,
    pub number: u64,
    /// Nothing up to this one is asked for again.
    pub given: u64,
}

impl Outlet {
    pub(super) fn new(edge: Edge, post: Post, options: &Options, has_others: bool) -> Self {
        Self {
            edge,
            post,
            without: options.without,
            applied: VecDeque::new(),
            applying: Leadership { slot: SlotId::META, times: 0 },
            live: None,
            given: Given::new(options.without == Without::Known),
            taken: VecDeque::new(),
            given_up: VecDeque::new(),
            casts: Casts::new(options.fan_out_piece),
            receipts: Default::default(),
            turned_away: TurnedAway::new(has_others),
            unreached: Default::default(),
            last_unreached: 0,
            uncleared: Default::default(),
        }
    }

    /// A connection waits for the end of another one; its number is never given again, for an answer may come when nobody waits
    /// for it any more.
    pub(super) fn wait_for_end(&mut self, unreached: Unreached) -> u64 {
        self.last_unreached += 1;
        self.unreached.insert(self.last_unreached, unreached);
        self.last_unreached
    }

    /// The Session of a connection here goes to another one. That is told when nothing of what the old one has published is on
    /// its way to another node any more: it would take effect behind what the new connection says.
    pub(super) fn take_from(&mut self, old: &Home, to: ReplyTo, answer: Answer) {
        let asked = self.edge.taken_over(old);
        let away = |slot| match self.post.where_is(slot) {
            Where::There(dest) if self.post.is_away(dest) => self.post.address_of(dest),
            _ => None,
        };
        let addresses: BTreeSet<Address> = asked.into_iter().filter_map(away).collect();
        match addresses.is_empty() {
            true => self.answer_next(to, answer),
            false => self.receipts.wait(addresses, Taken::Over(to, Box::new(answer))),
        }
    }

    /// The old connection has published all that it will: tells the next one, or whoever waits for that on its behalf.
    pub(super) fn answer_next(&mut self, to: ReplyTo, answer: Answer) {
        match (to.token & token::KIND, self.post.where_home(&to.home)) {
            (token::TAKEN, Where::Here) => self.closed_there(to.token & !token::KIND),
            _ => self.answer(to, answer),
        }
    }

    /// Closes the connection whose Session another one gets: that one is told when this was done.
    pub(super) fn close_there(&mut self, id: u64) {
        let Some(&Unreached { home, .. }) = self.unreached.get(&id) else { return };
        let to = ReplyTo { home: self.edge.operators_home(), token: token::TAKEN | id };
        match self.post.where_home(&home) {
            Where::Here => self.take_from(&home, to, Answer::Done),
            Where::There(dest) => {
                let then = Some((to, Box::new(Answer::Done)));
                self.post.send(dest, Letter::TakenOver { home, then });
            }
            Where::Nowhere => {}
        }
    }

    /// The connection that had the Session serves it no more.
    pub(super) fn closed_there(&mut self, id: u64) {
        let Some(unreached) = self.unreached.get_mut(&id) else { return };
        unreached.is_closed = true;
        if unreached.slot().is_some_and(|slot| self.uncleared.contains(&slot)) {
            // Nor does any other that an earlier leader granted it to.
            return;
        }
        if let Some(Unreached { to, answer, .. }) = self.unreached.remove(&id) {
            self.answer(to, answer);
        }
    }

    /// Nobody serves connections of an earlier leader of this slot any more.
    pub(super) fn cleared(&mut self, slot: SlotId) {
        self.uncleared.remove(&slot);
        let done = |of: &Unreached| of.is_closed && of.slot() == Some(slot);
        let done = self.unreached.iter().filter(|(_, of)| done(of)).map(|(id, _)| *id);
        for id in done.collect::<Vec<_>>() {
            self.closed_there(id);
        }
    }

    /// Lays the message that was begun into the mail for a shard.
    pub(super) fn lay(&mut self, dest: Dest, message: &Message<'_>) -> Part {
        self.post.to(dest).lay_message(message, &mut self.edge.encoded)
    }

    /// A QoS 0 message that was matched in slot `from`, for a Session that outlives its connection in a slot which is led
    /// elsewhere, or by nobody. It has been begun.
    pub fn pass_away(
        &mut self,
        from: SlotId,
        session: SessionNumber,
        delivery: Delivery,
        message: &Message<'_>,
    ) {
        if let Where::There(dest) = self.post.where_is(session.slot()) {
            let message = self.lay(dest, message);
            self.post.send(dest, Letter::Pass { from, session, delivery, message });
        }
    }
}
