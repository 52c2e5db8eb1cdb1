//! What a slot knows of the streams that come to it: part of its replicated state.
//!
//! Every replica carries out the same [`Receiver::take`] for the same record and comes to the same state; nothing here depends
//! on who leads, nor on time.

use std::collections::{BTreeMap, VecDeque};

use convoy_ids::NodeId;
use convoy_membership::support::Process;

#[cfg(test)]
use super::Without;
use super::{Answer, Reply, Source};

/// How much a slot keeps of streams. Replicas must agree on it, of all releases: it stands when the fleet is born and never
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams of a slot; one more is not taken from.
    pub streams: usize,
    /// Results of one stream, those of its last numbers.
    pub results: usize,
    /// Bytes of the results of one stream. The last one is kept whatever it has.
    pub result_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams: 65_536, results: 256, result_bytes: 256 << 10 }
    }
}

/// What a number is to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The next one: it acts.
    Next,
    /// It was taken before, with this result.
    Filled(&'a Reply),
    /// It was taken before, and the result is not on record any more.
    Forgotten,
    /// This number comes first.
    Gap { expected: u64 },
    /// There is no room for another stream.
    Full,
    /// A later place of the shard came first, or this one was forgotten.
    Skipped,
    /// The process is over.
    Gone,
}

impl Verdict<'_> {
    /// What the sender is told; nothing where the number is yet to be taken.
    pub fn answer(&self, number: u64, round: u32) -> Option<Answer> {
        Some(match self {
            Self::Next => return None,
            Self::Filled(reply) => Answer::Filled { number, reply: (*reply).clone() },
            Self::Forgotten => Answer::Forgotten { number },
            Self::Gap { expected } => Answer::Expected { number: *expected, round },
            Self::Full => Answer::Full,
            Self::Skipped => Answer::Skipped,
            Self::Gone => Answer::Gone,
        })
    }
}

/// The streams to one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    limits: Limits,
    pub(super) nodes: BTreeMap<NodeId, Known>,
    pub(super) streams: BTreeMap<Source, Taken>,
    #[cfg(test)]
    pub(super) without: Without,
}

/// What is known of a node: of its newest start, for an older one is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub start: u64,
    pub is_gone: bool,
    /// The last place of each shard that opened a stream.
    pub places: BTreeMap<u16, u64>,
}

/// What was taken of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The last number.
    pub last: u64,
    /// Results of the last numbers, up to that one.
    pub replies: VecDeque<Reply>,
    pub reply_bytes: usize,
}

impl Receiver {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            nodes: BTreeMap::new(),
            streams: BTreeMap::new(),
            #[cfg(test)]
            without: Without::Nothing,
        }
    }

    /// What a number of a stream is now.
    pub fn judge(&self, source: &Source, number: u64) -> Verdict<'_> {
        if self.is_over(source.process) {
            return Verdict::Gone;
        }
        if let Some(taken) = self.streams.get(source) {
            #[cfg(test)]
            if self.without == Without::TheNextNumberOnly && number > taken.last {
                return Verdict::Next;
            }
            return taken.judge(number);
        }
        #[cfg(test)]
        let is_past = self.is_past(source) && self.without != Without::ThePast;
        #[cfg(not(test))]
        let is_past = self.is_past(source);
        match number {
            _ if is_past => Verdict::Skipped,
            1 if self.is_full(source.process) => Verdict::Full,
            1 => Verdict::Next,
            _ => Verdict::Gap { expected: 1 },
        }
    }

    /// A record says that this number is taken. If it is the next one, `act` carries it out and what it returns is kept; if
    /// not, nothing acts. With the first call of a new start of a node, all streams of earlier ones are forgotten. The
    /// sender has the answers to the numbers before `first`: their results are dropped.
    pub fn take(
        &mut self,
        source: &Source,
        number: u64,
        first: u64,
        act: impl FnOnce() -> Reply,
    ) -> Verdict<'_> {
        #[cfg(test)]
        let is_blind = self.without == Without::TheLookAtApply && !self.is_over(source.process);
        #[cfg(not(test))]
        let is_blind = false;
        if is_blind || self.judge(source, number) == Verdict::Next {
            self.open(source);
            #[cfg(test)]
            let results = if self.without == Without::OlderResults { 1 } else { self.limits.results };
            #[cfg(not(test))]
            let results = self.limits.results;
            let taken = self.streams.entry(*source).or_default();
            taken.push(number, act());
            taken.trim(first, results, self.limits.result_bytes);
            return Verdict::Next;
        }
        self.judge(source, number)
    }

    /// The sender is no more. Nothing that comes of it later acts.
    pub fn forget(&mut self, source: &Source) {
        self.streams.remove(source);
        // One that never came here may come yet: its place is over all the same.
        if let Some(known) = self.know(source.process) {
            let place = known.places.entry(source.shard).or_default();
            *place = source.place.max(*place);
        }
    }

    /// The process is over: its streams are forgotten, and nothing that comes of it later acts.
    pub fn forget_process(&mut self, process: Process) {
        if let Some(known) = self.know(process) {
            (known.is_gone, known.places) = (true, BTreeMap::new());
            self.drop_streams(process.node);
        }
    }

    /// The node was removed from the fleet, which takes letters of members alone: nothing is remembered of it.
    pub fn forget_node(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.drop_streams(node);
    }

    /// Streams, and results of the one that has the most.
    pub fn held(&self) -> (usize, usize) {
        let most = self.streams.values().map(|taken| taken.replies.len()).max();
        (self.streams.len(), most.unwrap_or_default())
    }

    fn is_over(&self, process: Process) -> bool {
        self.nodes.get(&process.node).is_some_and(|known| {
            process.start < known.start || (process.start == known.start && known.is_gone)
        })
    }

    /// Streams of earlier starts of the node make room for this one.
    fn is_full(&self, process: Process) -> bool {
        let stays =
            |source: &&Source| source.process.node != process.node || source.process.start >= process.start;
        self.streams.len() >= self.limits.streams
            && self.streams.keys().filter(stays).count() >= self.limits.streams
    }

    fn is_past(&self, source: &Source) -> bool {
        let known = self.nodes.get(&source.process.node).filter(|known| known.start == source.process.start);
        known.and_then(|known| known.places.get(&source.shard)).is_some_and(|place| source.place <= *place)
    }

    fn open(&mut self, source: &Source) {
        if !self.streams.contains_key(source) {
            let known = self.know(source.process).expect("it was judged not to be over");
            known.places.insert(source.shard, source.place);
        }
    }

    /// What is known of a process that is not over; what was known of an earlier start of its node is forgotten.
    fn know(&mut self, process: Process) -> Option<&mut Known> {
        let is_new = self.nodes.get(&process.node).is_none_or(|known| process.start > known.start);
        if is_new {
            self.drop_streams(process.node);
            self.nodes.insert(process.node, Known { start: process.start, ..Known::default() });
        }
        self.nodes.get_mut(&process.node).filter(|known| known.start == process.start && !known.is_gone)
    }

    fn drop_streams(&mut self, node: NodeId) {
        self.streams.retain(|source, _| source.process.node != node);
    }
}

impl Taken {
    fn judge(&self, number: u64) -> Verdict<'_> {
        if number > self.last {
            let expected = self.last + 1;
            return if number == expected { Verdict::Next } else { Verdict::Gap { expected } };
        }
        let back = usize::try_from(self.last - number).ok();
        let at = back.and_then(|back| self.replies.len().checked_sub(back + 1));
        at.map_or(Verdict::Forgotten, |at| Verdict::Filled(&self.replies[at]))
    }

    fn push(&mut self, number: u64, reply: Reply) {
        self.last = number;
        self.reply_bytes += reply.len_bytes();
        self.replies.push_back(reply);
    }

    fn trim(&mut self, first: u64, results: usize, bytes: usize) {
        let needed = usize::try_from((self.last + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        while self.replies.len() > needed.min(results).max(1)
            || (self.replies.len() > 1 && self.reply_bytes > bytes)
        {
            let oldest = self.replies.pop_front().expect("there is more than one");
            self.reply_bytes -= oldest.len_bytes();
        }
    }
}
