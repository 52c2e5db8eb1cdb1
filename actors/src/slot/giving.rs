//! Messages that came by the log are given to connections by the leader, and for those of other nodes by the next leader
//! again until they have them: see [`super::inbox`]. Members of Shared Subscriptions are given theirs once, for whom a leader
//! has chosen is known to nobody else.

use std::collections::{BTreeMap, VecDeque};

use convoy_ids::SlotId;
use convoy_storage::record;
use convoy_wire::ReasonCode;

use super::inbox::{Change, Comes};
use super::op::Op;
use super::{Note, Slot, Turn, rows};
use crate::call::{Answer, ReplyTo};
use crate::message::Message;
use crate::topic::{Choice, Found};

/// A message that came by the log, and is being given to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// The slot that matched it.
    pub by: Leadership,
    /// The slot out of whose outbox it came, and its number there.
    pub from: SlotId,
    pub number: u64,
}

/// A slot, and which of the times that it has begun to lead here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub slot: SlotId,
    pub times: u32,
}

/// Bytes of Subscriptions of one slot that wait to be answered. Connections wait for one SUBSCRIBE at a time, but there are
/// many, and each may come again while its earlier ones wait still. One that finds no room ends: its routes are on record, so
/// it would not be true that it has not subscribed, and they go with its Session.
const WAITING_BYTES: usize = 8 << 20;

/// Who waits until messages are with the connections that they are for; of the leader alone.
#[derive(Debug, Default)]
pub struct Waiting {
    routes: VecDeque<Route>,
    bytes: usize,
    /// Of each outbox the newest that one of them waits for.
    named: BTreeMap<SlotId, u64>,
}

/// A Subscription of a Session without a queue has begun. What was published before may be given to its connection again by
/// the next leader, and would come behind newer Retained Messages. So it is not answered before that is over.
#[derive(Debug)]
struct Route {
    /// Until these are with their connections, and those of the ones before it.
    until: Box<[(SlotId, u64)]>,
    reply: ReplyTo,
    answer: Answer,
}

impl Route {
    fn len_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.until)
    }
}

impl Waiting {
    fn has_room(&self) -> bool {
        self.bytes < WAITING_BYTES
    }

    /// Another one waits for these: of each outbox its newest.
    fn push(&mut self, open: impl Iterator<Item = (SlotId, u64)>, reply: ReplyTo, answer: Answer) {
        // It waits for those before it in any case. So what they name is named once.
        let is_news = |(from, number): &(SlotId, u64)| self.named.insert(*from, *number) != Some(*number);
        let route = Route { until: open.filter(is_news).collect(), reply, answer };
        self.bytes += route.len_bytes();
        self.routes.push_back(route);
    }

    /// Takes out the first one, if what it waits for is with its connections.
    fn pop(&mut self, is_given: impl Fn(&(SlotId, u64)) -> bool) -> Option<(ReplyTo, Answer)> {
        self.routes.front().filter(|route| route.until.iter().all(is_given))?;
        let route = self.routes.pop_front()?;
        self.bytes -= route.len_bytes();
        if self.routes.is_empty() {
            self.named.clear();
        }
        Some((route.reply, route.answer))
    }
}

impl Slot {
    /// An operation comes out of another slot's outbox, perhaps again: what becomes of it.
    pub fn comes(&mut self, from: SlotId, number: u64) -> Comes {
        self.inboxes.entry(from).or_default().comes(number)
    }

    pub fn leadership(&self) -> Leadership {
        Leadership { slot: self.id, times: self.times_led }
    }

    /// Whether it has led here all the time since.
    pub fn leads_still(&self, since: Leadership) -> bool {
        self.leading && self.leadership() == since
    }

    /// Which message is being given, if it came by the log.
    pub(super) fn live(&self, from: SlotId, number: u64) -> Live {
        Live { by: self.leadership(), from, number }
    }

    /// Gives connections a message again that was applied, out of this operation.
    pub fn give_again(&mut self, from: SlotId, number: u64, op: &[u8], turn: &mut Turn<'_>) {
        let Ok(Op::Publish { partition, message, again: None, .. } | Op::InLine { partition, message, .. }) =
            record::decode(op)
        else {
            return;
        };
        // It was applied, so it can be read.
        let Ok(message) = Message::decode(message) else { return };
        let choice = Choice { number, chosen: &[], again: None };
        let fan_out = self.find_agreed(partition, &message, choice, turn);
        let is_wanted = |found: &&Found| found.home.is_some() && found.delivery.group().is_none();
        let live: Vec<Found> = fan_out.found().iter().filter(is_wanted).copied().collect();
        *turn.fan_out = fan_out;
        self.show(from, number);
        turn.effects.begin_live(self.live(from, number));
        turn.effects.begin_message();
        if turn.effects.is_cast(message.topic, live.len()) {
            let whole = turn.effects.whole(&message);
            turn.effects.cast(message.topic, whole, live, self.leadership());
        } else {
            for Found { session, home, delivery } in live {
                let home = home.expect("it has one");
                turn.effects.deliver(home, session, &delivery, &message, turn.now);
            }
        }
        self.end_live(from, turn);
    }

    pub(super) fn show(&mut self, from: SlotId, number: u64) {
        self.inboxes.entry(from).or_default().show(number);
    }

    pub(super) fn end_live(&self, from: SlotId, turn: &mut Turn<'_>) {
        turn.effects.end_live(self.given_of(from));
    }

    /// Nothing of this outbox up to this number is given to connections again.
    pub fn given_of(&self, from: SlotId) -> u64 {
        self.inboxes.get(&from).map_or(0, |inbox| inbox.given())
    }

    /// A message that was given to connections is with all of them.
    pub fn taken(&mut self, live: Live) {
        if self.leads_still(live.by) {
            self.inboxes.entry(live.from).or_default().taken(live.number);
        }
    }

    /// Whether there is something to put on record of what connections were given.
    pub fn has_given(&mut self) -> bool {
        self.leading && self.inboxes.values_mut().any(|inbox| inbox.is_to_ask())
    }

    /// Puts on record what is with the connections that it was for.
    pub fn save_given(&mut self, at: u64) {
        for (from, inbox) in &mut self.inboxes {
            if let Some(number) = inbox.ask() {
                self.pending.push(at, &Op::Given { from: from.0, number }, None);
            }
        }
    }

    pub(super) fn apply_given(&mut self, from: SlotId, number: u64, turn: &mut Turn<'_>) {
        let inbox = self.inboxes.entry(from).or_default();
        let change = inbox.on_record(number);
        let (applied, given) = (inbox.applied(), inbox.given());
        self.put_open(from, change, turn);
        if self.leading {
            turn.effects.outbox_applied(from, self.id, applied, given);
            self.answer_routes(turn);
        }
    }

    pub(super) fn put_open(&self, from: SlotId, change: Change, turn: &mut Turn<'_>) {
        let key = rows::open(self.id, from);
        match change {
            Change::Nothing => {}
            Change::Put(open) => turn.state.put(key, &open),
            Change::Delete => turn.state.delete(key),
        }
    }

    /// A route of a Session without a queue has begun: its SUBSCRIBE is answered when nothing that came before is open.
    pub(super) fn answer_route(&mut self, reply: Option<ReplyTo>, answer: Answer, turn: &mut Turn<'_>) {
        let Some(reply) = reply.filter(|_| self.leading) else { return };
        let open = self.inboxes.iter().filter(|(_, inbox)| inbox.is_open());
        let mut open = open.map(|(from, inbox)| (*from, inbox.applied())).peekable();
        if open.peek().is_none() {
            turn.effects.answer(reply, answer);
        } else if self.waiting.has_room() {
            self.waiting.push(open, reply, answer);
        } else {
            turn.effects.note(Note::WaitingFull);
            turn.effects.break_off(reply.home, ReasonCode::QuotaExceeded);
        }
    }

    fn answer_routes(&mut self, turn: &mut Turn<'_>) {
        let Self { waiting, inboxes, .. } = self;
        let is_given =
            |(from, number): &(SlotId, u64)| inboxes.get(from).is_none_or(|inbox| inbox.given() >= *number);
        while let Some((reply, answer)) = waiting.pop(is_given) {
            turn.effects.answer(reply, answer);
        }
    }

    /// Who waited for it is told nothing by this leader.
    pub(super) fn forget_waiting(&mut self) -> impl Iterator<Item = ReplyTo> + use<> {
        std::mem::take(&mut self.waiting).routes.into_iter().map(|route| route.reply)
    }

    /// Connections of a node are owed messages that they cannot be given. They end once that is on record.
    pub fn give_up(&mut self, node: u64, at: u64) {
        self.pending.push(at, &Op::GivenUp { node }, None);
    }

    pub(super) fn apply_given_up(&mut self, node: u64, turn: &mut Turn<'_>) {
        let times = self.given_up.entry(node).or_default();
        *times += 1;
        // The row stays, also of a node that is removed from the fleet. That one may be cut off, know nothing of it, and serve
        // connections that were given up here. When it is heard again it ends them because it is told another number than it
        // knew; a leader without the row would tell it the same one. A row has about 20 bytes.
        turn.state.put(rows::given_up(self.id, node), times);
        if self.leading {
            turn.effects.given_up(self.id, node, *times);
        }
    }

    /// How many times connections of this node were given up.
    pub fn times_given_up(&self, node: u64) -> u64 {
        self.given_up.get(&node).copied().unwrap_or(0)
    }
}

/// How many times connections of each node were given up.
pub type GivenUp = BTreeMap<u64, u64>;

/// Whether connections on other nodes may have to be given what this operation brings.
pub fn is_live(op: &[u8]) -> bool {
    matches!(record::decode(op), Ok(Op::Publish { again: None, .. } | Op::InLine { .. } | Op::Will { .. }))
}
