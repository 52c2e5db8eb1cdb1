//! A message goes from its publisher to its partition, and from there to the queues of others. On either way something may come
//! between two messages: a change of leader, or room on a disk that was full. The first is not taken, the second is, and the
//! first comes again behind it: from the node of its connection, which sends again what was lost with a leader, or from a Client
//! whose connection ended before it heard that it was refused. So whoever's message was not taken gets none taken any more in
//! that attempt, and is told the same. The node of the connection begins another attempt when it sends again what is open, or
//! when all of this one is answered and what lay in the Client's socket then is read: that was sent before a refusal was heard.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::call::{Answer, ReplyTo, token};

/// Milliseconds for which a publisher is turned away: its attempt has ended long before, and nothing comes of it any more.
const LASTS: u64 = 30_000;

/// Publishers that are turned away at once.
const PUBLISHERS: usize = 1 << 16;

/// A connection, by its node, shard and serial, or what a partition's shard calls it.
type Publisher = (u64, u16, u64);

/// Whose messages were not taken, as they were told to.
#[derive(Debug)]
pub struct TurnedAway {
    /// Not where a node is alone: there nothing is sent again, and a full disk is that of all.
    is_on: bool,
    publishers: FxHashMap<Publisher, Turned>,
    /// The same in their order, with the monotonic milliseconds until which they are.
    until: VecDeque<(u64, Publisher)>,
}

#[derive(Debug)]
struct Turned {
    attempt: u8,
    answer: Answer,
    until: u64,
}

impl TurnedAway {
    pub fn new(is_on: bool) -> Self {
        Self { is_on, publishers: FxHashMap::default(), until: VecDeque::new() }
    }

    /// This is what became of a message.
    #[inline]
    pub fn note(&mut self, to: &ReplyTo, answer: &Answer, now: u64) {
        if self.is_on && to.is_of_publisher() && matches!(answer, Answer::Refused(_) | Answer::Unknown) {
            self.turn_away(to, answer.clone(), now);
        }
    }

    #[cold]
    fn turn_away(&mut self, to: &ReplyTo, answer: Answer, now: u64) {
        let (publisher, attempt) = split(to);
        self.forget_old(now);
        let until = now + LASTS;
        match self.publishers.get_mut(&publisher) {
            // What became of the first is true of those behind it.
            Some(turned) if is_over(attempt, turned.attempt) => {}
            Some(turned) => *turned = Turned { attempt, answer, until },
            None => {
                self.publishers.insert(publisher, Turned { attempt, answer, until });
                self.until.push_back((until, publisher));
            }
        }
    }

    fn forget_old(&mut self, now: u64) {
        while let Some(&(until, publisher)) = self.until.front()
            && (until <= now || self.publishers.len() >= PUBLISHERS)
        {
            self.until.pop_front();
            match self.publishers.get(&publisher) {
                // It was turned away again since.
                Some(turned) if turned.until > until && self.publishers.len() < PUBLISHERS => {
                    self.until.push_back((turned.until, publisher));
                }
                _ => drop(self.publishers.remove(&publisher)),
            }
        }
    }

    /// What is said of a message if an earlier one of this attempt was not taken.
    #[inline]
    pub fn of(&self, to: &ReplyTo) -> Option<Answer> {
        if self.publishers.is_empty() || !to.is_of_publisher() {
            return None;
        }
        let (publisher, attempt) = split(to);
        let turned = self.publishers.get(&publisher).filter(|turned| is_over(attempt, turned.attempt));
        turned.map(|turned| turned.answer.clone())
    }
}

/// Whether an attempt is the last one that was turned away, or one before it: numbers come again after 256.
fn is_over(attempt: u8, last: u8) -> bool {
    last.wrapping_sub(attempt) < 128
}

fn split(to: &ReplyTo) -> (Publisher, u8) {
    let (token, attempt) = token::split_attempt(to.token);
    let number = match to.is_publish() {
        true => to.home.serial,
        false => token & !token::QUEUED_NUMBER,
    };
    ((to.home.node, to.home.shard, number), attempt)
}

#[cfg(test)]
mod tests {
    use convoy_wire::ReasonCode;

    use super::*;
    use crate::session::Home;

    fn reply(serial: u64, attempt: u8) -> ReplyTo {
        ReplyTo { home: Home { node: 1, shard: 0, key: 0, serial }, token: token::of_attempt(7, attempt) }
    }

    #[test]
    fn a_publisher_is_turned_away_in_this_attempt_and_those_before() {
        let mut away = TurnedAway::new(true);
        away.note(&reply(1, 200), &Answer::Done, 0);
        assert!(away.publishers.is_empty());
        away.note(&reply(1, 200), &Answer::Unknown, 0);
        away.note(&reply(1, 200), &Answer::Refused(ReasonCode::QuotaExceeded), 0);
        let of = |away: &TurnedAway, serial, attempt| away.of(&reply(serial, attempt));
        assert_eq!(
            [199, 200].map(|attempt| of(&away, 1, attempt)),
            [Some(Answer::Unknown), Some(Answer::Unknown)]
        );
        assert_eq!(
            [(1, 201), (1, 10), (2, 200)].map(|(serial, attempt)| of(&away, serial, attempt)),
            [None, None, None]
        );
        away.note(&reply(1, 3), &Answer::Refused(ReasonCode::QuotaExceeded), 10);
        assert_eq!(of(&away, 1, 3), Some(Answer::Refused(ReasonCode::QuotaExceeded)));
        assert_eq!(of(&away, 1, 4), None);
    }

    #[test]
    fn a_publisher_is_turned_away_for_a_while() {
        let mut away = TurnedAway::new(true);
        away.note(&reply(1, 0), &Answer::Unknown, 0);
        away.note(&reply(2, 0), &Answer::Unknown, 10);
        away.note(&reply(1, 1), &Answer::Unknown, 20);
        away.note(&reply(3, 0), &Answer::Unknown, LASTS + 10);
        let are = |away: &TurnedAway| [1, 2, 3].map(|serial| away.of(&reply(serial, 0)).is_some());
        assert_eq!(are(&away), [true, false, true]);
        away.note(&reply(4, 0), &Answer::Unknown, LASTS + 20);
        assert_eq!(are(&away), [false, false, true]);
        for serial in 0..2 * PUBLISHERS as u64 {
            away.note(&reply(serial, 0), &Answer::Unknown, LASTS + 30);
        }
        assert_eq!((away.publishers.len(), away.until.len()), (PUBLISHERS, PUBLISHERS));
    }
}
