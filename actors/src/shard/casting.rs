//! One message for very many is passed on in pieces, between which others have their turn. Whom it is for was decided when
//! it came. Messages of its topic that come meanwhile wait until it has reached everybody, and are matched then, so that
//! none overtakes it; those of other topics wait for nothing.
//!
//! Whoever published it here is not read from until it has been passed on, and mail of other shards is not opened while
//! much waits here: so what waits is bounded.
//!
//! A message for many Sessions that are away is much for the log. While more waits for it than should, such a message waits
//! here, and what comes behind it by the same mail does not: a small packet may cause a thousand times its bytes, and
//! who sends it is known to cause that only when it is matched.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::Shard;
use super::live_to::LiveTo;
use super::mail::Origin;
use super::proving::Waits;
use super::receipts::Address;
use crate::call::{Answer, ReplyTo};
use crate::clock::Now;
use crate::message::Message;
use crate::metric;
use crate::session::{Home, Place};
use crate::slot::{Effects, Leadership, Live};
use crate::topic::{Found, hash_of};

/// Bytes of messages and of their receivers beyond which mail stays closed.
const BYTES: usize = 16 << 20;

/// Bytes of receivers beyond which no further message is matched that is for many: it would add to them.
const FOUND_BYTES: usize = 8 << 20;

/// Messages that are passed on in pieces, and those that wait behind them.
#[derive(Debug)]
pub struct Casts {
    /// Receivers of a turn: a message for more than so many is passed on in pieces.
    pub(super) piece: usize,
    /// By the hash of their topic; two that have one only wait for each other.
    topics: FxHashMap<u64, VecDeque<Cast>>,
    /// Topics, in the order in which they have their turns.
    turns: VecDeque<u64>,
    /// Messages that wait here, and bytes of them and of their receivers.
    len: usize,
    bytes: usize,
    /// Both, as they were told last.
    told: (usize, usize),
    found_bytes: usize,
    pub(super) found_bytes_limit: usize,
    /// Numbers of messages that are to be matched, and the last that was given.
    unmatched: BTreeSet<u64>,
    last: u64,
    /// Who is to be told once all that were unmatched then, up to this number, are matched.
    asked: VecDeque<(u64, ReplyTo)>,
    /// What was taken last waits under this topic, and whether first there.
    newest: Option<(u64, bool)>,
}

#[derive(Debug)]
struct Cast {
    message: Bytes,
    stage: Stage,
    /// A connection of this shard that is not read from meanwhile.
    publisher: Option<Home>,
}

#[derive(Debug)]
enum Stage {
    /// To be matched.
    Waits { number: u64, place: Place, origin: Origin, reply: Option<ReplyTo> },
    /// For these, and passed on to those before `at`. `reply` is told when it has been to all.
    Goes { found: Vec<Found>, at: usize, by: By, reply: Option<ReplyTo>, touched: Vec<Address> },
}

/// Who passes a message on.
#[derive(Debug)]
struct By {
    leadership: Leadership,
    /// Of one that came by the log, and the shards that it went to.
    live: Option<LiveTo>,
}

impl Cast {
    fn found_bytes(&self) -> usize {
        match &self.stage {
            Stage::Waits { .. } => 0,
            Stage::Goes { found, .. } => found.len() * size_of::<Found>(),
        }
    }
}

impl Casts {
    pub fn new(piece: usize) -> Self {
        let (topics, turns) = (FxHashMap::default(), VecDeque::new());
        let (unmatched, last, asked) = (BTreeSet::new(), 0, VecDeque::new());
        Self {
            unmatched,
            last,
            asked,
            piece,
            topics,
            turns,
            len: 0,
            bytes: 0,
            told: (0, 0),
            found_bytes: 0,
            found_bytes_limit: FOUND_BYTES,
            newest: None,
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether there is something to do. Where too much waits for the log nothing is matched that is for many.
    #[inline]
    pub fn goes_on(&self, is_short: bool) -> bool {
        if is_short { self.found_bytes > 0 } else { !self.is_empty() }
    }

    /// Bytes that wait here.
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Tells operators what waits here.
    pub fn tell(&mut self) {
        let (now, before) = ((self.len, self.bytes), self.told);
        if now != before {
            metrics::gauge!(metric::CASTS).increment(now.0 as f64 - before.0 as f64);
            metrics::gauge!(metric::CASTS_BYTES).increment(now.1 as f64 - before.1 as f64);
            self.told = now;
        }
    }

    #[cfg(test)]
    pub fn told(&self) -> (usize, usize) {
        self.told
    }

    pub fn is_full(&self) -> bool {
        self.bytes > BYTES
    }

    /// Whether so many receivers are more than a piece.
    #[inline]
    pub fn is_many(&self, receivers: usize) -> bool {
        receivers > self.piece
    }

    /// Whether a message of this topic waits here.
    #[inline]
    pub fn holds(&self, topic: &str) -> bool {
        !self.topics.is_empty() && self.topics.contains_key(&hash_of(topic))
    }

    /// Whether there is room for the receivers of one more.
    pub fn has_room(&self) -> bool {
        self.found_bytes < self.found_bytes_limit
    }

    /// Keeps a message that is to be matched later.
    pub fn wait(
        &mut self,
        topic: &str,
        message: Bytes,
        place: Place,
        origin: Origin,
        reply: Option<ReplyTo>,
    ) {
        self.last += 1;
        self.unmatched.insert(self.last);
        self.enter(topic, message, Stage::Waits { number: self.last, place, origin, reply }, false);
    }

    /// Tells when all that came before this is matched. False if that is so already.
    pub fn ask(&mut self, reply: ReplyTo) -> bool {
        if !self.unmatched.is_empty() {
            self.asked.push_back((self.last, reply));
        }
        !self.unmatched.is_empty()
    }

    /// Who is to be told that, now that this one is matched.
    fn matched(&mut self, number: u64) -> Vec<ReplyTo> {
        self.unmatched.remove(&number);
        let first = self.unmatched.first().copied().unwrap_or(u64::MAX);
        let told = self.asked.iter().take_while(|(until, _)| *until < first).count();
        self.asked.drain(..told).map(|(_, reply)| reply).collect()
    }

    /// Takes a message that has been matched and is the next of its topic.
    pub fn begin(
        &mut self,
        topic: &str,
        message: Bytes,
        found: Vec<Found>,
        by: Leadership,
        reply: Option<ReplyTo>,
    ) {
        let by = By { leadership: by, live: None };
        self.enter(topic, message, Stage::Goes { found, at: 0, by, reply, touched: Vec::new() }, true);
    }

    /// The same for one that comes by the log, behind those of its topic that wait.
    pub fn begin_behind(
        &mut self,
        topic: &str,
        message: Bytes,
        found: Vec<Found>,
        by: Leadership,
        live: Option<Live>,
    ) {
        let live = live.map(|live| LiveTo { live, shards: Vec::new(), is_cast: false });
        let by = By { leadership: by, live };
        let stage = Stage::Goes { found, at: 0, by, reply: None, touched: Vec::new() };
        self.enter(topic, message, stage, false);
    }

    fn enter(&mut self, topic: &str, message: Bytes, stage: Stage, is_first: bool) {
        let topic = hash_of(topic);
        let cast = Cast { message, stage, publisher: None };
        self.weigh(&cast);
        let turns = &mut self.turns;
        let waiting = self.topics.entry(topic).or_insert_with(|| {
            turns.push_back(topic);
            VecDeque::new()
        });
        match is_first {
            true => waiting.push_front(cast),
            false => waiting.push_back(cast),
        }
        self.newest = Some((topic, is_first));
    }

    /// What is taken from here on is somebody else's.
    #[inline]
    pub fn forget_newest(&mut self) {
        self.newest = None;
    }

    /// Whether a message was taken since then.
    #[inline]
    pub fn has_newest(&self) -> bool {
        self.newest.is_some()
    }

    /// The same: this connection has published it.
    #[inline]
    pub fn is_held_for(&mut self, publisher: Home) -> bool {
        let Some((topic, is_first)) = self.newest.take() else { return false };
        let waiting = self.topics.get_mut(&topic);
        let cast =
            waiting.and_then(|waiting| if is_first { waiting.front_mut() } else { waiting.back_mut() });
        cast.is_some_and(|cast| {
            cast.publisher = Some(publisher);
            true
        })
    }

    /// The next message of the topic whose turn it is. It is to be given back, or its topic is to have an end.
    fn next(&mut self) -> Option<(u64, Cast)> {
        let topic = self.turns.pop_front()?;
        let cast =
            self.topics.get_mut(&topic).and_then(VecDeque::pop_front).expect("a topic that waits has one");
        self.len -= 1;
        self.found_bytes -= cast.found_bytes();
        self.bytes -= cast.found_bytes() + cast.message.len();
        Some((topic, cast))
    }

    fn weigh(&mut self, cast: &Cast) {
        self.len += 1;
        self.found_bytes += cast.found_bytes();
        self.bytes += cast.found_bytes() + cast.message.len();
    }

    fn give_back(&mut self, topic: u64, cast: Cast) {
        self.weigh(&cast);
        self.topics.get_mut(&topic).expect("it was taken from there").push_front(cast);
        self.turns.push_back(topic);
    }

    /// A message of this topic is done with.
    fn end(&mut self, topic: u64) {
        if self.topics.get(&topic).is_some_and(VecDeque::is_empty) {
            self.topics.remove(&topic);
        } else {
            self.turns.push_back(topic);
        }
    }
}

impl Shard {
    /// Passes messages on to a piece of their receivers, each topic in its turn.
    pub(super) fn cast_on(&mut self, now: Now) {
        if !self.outlet.casts.goes_on(self.is_short) {
            return;
        }
        let (mut left, mut topics) = (self.outlet.casts.piece, self.outlet.casts.turns.len());
        while left > 0
            && topics > 0
            && let Some((topic, cast)) = self.outlet.casts.next()
        {
            topics -= 1;
            let Cast { message, stage, publisher } = cast;
            match stage {
                Stage::Waits { .. } if self.is_short || !self.outlet.casts.has_room() => {
                    self.outlet.casts.give_back(topic, Cast { message, stage, publisher });
                }
                Stage::Waits { number, place, origin, reply } => {
                    left -= 1;
                    self.publish_late(now, place, &message, origin, reply, publisher);
                    self.outlet.casts.end(topic);
                    for reply in self.outlet.casts.matched(number) {
                        self.outlet.answer(reply, Answer::Done);
                    }
                }
                Stage::Goes { by, reply, .. } if !self.leads_still(by.leadership) => {
                    // The next leader passes it on.
                    self.outlet.casts.end(topic);
                    if let Some(reply) = reply {
                        self.leave_unproven(Waits::Reply(reply));
                    }
                    self.outlet.edge.casting_ends(publisher);
                }
                Stage::Goes { found, at, mut by, reply, touched } => {
                    let until = found.len().min(at + left);
                    left -= until - at;
                    self.outlet.live = by.live.take();
                    self.pass_on(now, &message, &found[at..until]);
                    self.outlet.receipts.touch_again(touched);
                    if until < found.len() {
                        by.live = self.outlet.live.take();
                        let touched = self.outlet.receipts.take_touched();
                        let stage = Stage::Goes { found, at: until, by, reply, touched };
                        self.outlet.casts.give_back(topic, Cast { message, stage, publisher });
                        continue;
                    }
                    self.outlet.casts.end(topic);
                    match self.outlet.live.as_ref().map(|to| to.live) {
                        Some(live) => {
                            let given =
                                self.slots.get(live.by.slot).map_or(0, |slot| slot.given_of(live.from));
                            self.outlet.end_live(given);
                        }
                        None => self.acknowledge(by.leadership, reply),
                    }
                    self.outlet.edge.casting_ends(publisher);
                }
            }
        }
    }

    /// Publishes what has waited for its topic.
    fn publish_late(
        &mut self,
        now: Now,
        place: Place,
        whole: &Bytes,
        origin: Origin,
        reply: Option<ReplyTo>,
        publisher: Option<Home>,
    ) {
        self.outlet.edge.begin_with(whole);
        let message = Message::decode(whole).expect("it was encoded by this shard");
        self.outlet.casts.forget_newest();
        // One before it may have been turned away meanwhile.
        let answer = match self.turns_away(reply) {
            Some(answer) => Some(answer),
            None => match self.publish_here(now, place, &message, origin, reply) {
                Ok(begun) => begun.map(Answer::Begun),
                Err(reason) => Some(self.refusal(reason)),
            },
        };
        if let Some((reply, answer)) = reply.zip(answer) {
            self.outlet.answer(reply, answer);
        }
        if publisher.is_none_or(|publisher| !self.outlet.casts.is_held_for(publisher)) {
            self.outlet.edge.casting_ends(publisher);
        }
    }

    fn pass_on(&mut self, now: Now, whole: &Bytes, found: &[Found]) {
        self.outlet.begin_with(whole);
        let message = Message::decode(whole).expect("it was encoded by this shard");
        let (_, from) = self.locator.locate(message.topic);
        for Found { session, home, delivery } in found {
            match home {
                Some(home) => self.outlet.deliver(*home, *session, delivery, &message, now),
                None => self.pass(now, from, *session, *delivery, whole.clone()),
            }
        }
    }
}
