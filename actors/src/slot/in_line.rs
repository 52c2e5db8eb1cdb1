//! Matching a Retained Message and storing it is one point in the order of its partition's slot: where its record is
//! applied. So whoever subscribes gets it live or as it is kept, and what is kept is what came last. Other messages of a
//! topic go by the log too while such a message is on its way, for they must not overtake it; all others are matched as
//! they come, and wait for nothing.
//!
//! Who is there of Shared Subscriptions belongs to no log: that the leader decides when the message comes, under a number.
//! A route tells the last of those numbers that was applied before it, and Retained Messages are read up to that.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use crate::budget::{Sums, Usage, User};
use crate::message::Message;
use crate::topic::hash_of;

/// What the leader has decided and not applied yet.
#[derive(Debug, Default)]
pub struct InLine {
    decided: VecDeque<Decided>,
    /// How many of them there are of a topic.
    topics: FxHashMap<u64, u32>,
    /// What is to be kept of them.
    kept: Sums,
}

#[derive(Debug)]
struct Decided {
    number: u64,
    topic: u64,
    /// Whose Retained Message it will be, of so many bytes; of none for what is not kept.
    kept: (User, u32),
}

impl InLine {
    /// Whether a message of this topic has to go by the log as well. Two topics may be taken for one, which only costs
    /// time.
    #[inline]
    pub fn holds(&self, topic: &str) -> bool {
        !self.decided.is_empty() && self.topics.contains_key(&hash_of(topic))
    }

    /// Bytes that are kept here.
    pub fn len_bytes(&self) -> usize {
        self.decided.len() * size_of::<Decided>()
    }

    /// Numbers ascend.
    pub fn push(&mut self, number: u64, message: &Message<'_>) {
        let kept = if message.is_kept() { message.encoded_len() as u32 } else { 0 };
        let kept = (message.user, kept);
        let decided = Decided { number, topic: hash_of(message.topic), kept };
        self.kept.add(decided.kept.0, &decided.usage());
        *self.topics.entry(decided.topic).or_default() += 1;
        self.decided.push_back(decided);
    }

    /// What was decided up to this number is applied.
    pub fn take(&mut self, number: u64) {
        while self.decided.front().is_some_and(|first| first.number <= number) {
            let decided = self.decided.pop_front().expect("there is a first");
            self.forget(&decided);
        }
    }

    /// These are not going to be applied.
    pub fn refuse(&mut self, numbers: &BTreeSet<u64>) {
        for decided in std::mem::take(&mut self.decided) {
            match numbers.contains(&decided.number) {
                true => self.forget(&decided),
                false => self.decided.push_back(decided),
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What will be kept of what is not applied yet.
    pub fn kept(&self) -> &Sums {
        &self.kept
    }

    fn forget(&mut self, decided: &Decided) {
        self.kept.remove(decided.kept.0, &decided.usage());
        if let Some(count) = self.topics.get_mut(&decided.topic) {
            *count -= 1;
            if *count == 0 {
                self.topics.remove(&decided.topic);
            }
        }
    }
}

impl Decided {
    fn usage(&self) -> Usage {
        let bytes = u64::from(self.kept.1);
        Usage { retained_messages: u64::from(bytes > 0), retained_bytes: bytes, ..Usage::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_in_line_until_the_last_of_its_messages_is_applied() {
        let mut line = InLine::default();
        assert!(!line.holds("a"));
        let message = |topic| Message { topic, retain: true, payload: b"1", ..Message::default() };
        line.push(1, &message("a"));
        line.push(4, &message("b"));
        line.push(5, &message("a"));
        assert_eq!(line.kept().total().retained_messages, 3);
        assert!(line.holds("a") && line.holds("b") && !line.holds("c"));
        line.take(2);
        assert!(line.holds("a"));
        line.refuse(&BTreeSet::from([5]));
        assert!(!line.holds("a") && line.holds("b"));
        line.take(4);
        assert!(!line.holds("b"));
        assert_eq!(line.len_bytes(), 0);
        assert!(line.kept().is_empty());
    }
}
