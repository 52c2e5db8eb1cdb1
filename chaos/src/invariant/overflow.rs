//! Of invariant 1: a message may be lost to a full queue only where the queue was full, so that many newer ones were
//! there for it to give way to.
//!
//! What is dropped is the oldest that was not sent yet. So a message that never came has a queue of newer ones behind it
//! before the next message of its own order came.

use std::collections::{BTreeMap, HashMap};

use super::Violation;
use crate::oracle::{Ledger, Life, Message, Name, Qos};

const NAME: &str = "1 overflow";

/// Topics whose queues may overflow; on all others the workload holds back before that.
pub const TOPICS: &str = "flood/";

/// So many newer messages are there at least when one gives way: what a Session may hold, but for those that were being
/// acknowledged.
const KEPT: usize = 900;

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let lives = ledger.lives.iter().filter(|life| life.ends.is_none());
    lives.flat_map(|life| check_life(ledger, life)).collect()
}

/// Acknowledged messages that a life was promised and that gave way.
pub fn lost(ledger: &Ledger) -> usize {
    let lives = ledger.lives.iter().filter(|life| life.ends.is_none());
    lives.map(|life| missing(ledger, life, &First::of(life)).count()).sum()
}

fn check_life(ledger: &Ledger, life: &Life) -> Vec<Violation> {
    let first = First::of(life);
    // When each message that the life takes was sent, in order.
    let sent: Vec<usize> = ledger
        .sent
        .iter()
        .filter(|sent| sent.message.qos > Qos::AtMostOnce && is_for(life, &sent.message))
        .map(|sent| sent.first)
        .collect();
    let mut violations = Vec::new();
    for lost in missing(ledger, life, &first) {
        let until = first.after(&lost.message).unwrap_or(usize::MAX);
        let newer = sent.partition_point(|at| *at < until) - sent.partition_point(|at| *at <= lost.first);
        if newer < KEPT {
            let said = format!(
                "{} never reached {}, and only {newer} newer messages were there that it could have given way to",
                lost.message, life.client
            );
            violations.push(Violation { invariant: NAME, at: lost.accepted.unwrap_or(lost.first), said });
        }
    }
    violations
}

fn is_for(life: &Life, message: &Message) -> bool {
    message.topic.starts_with(TOPICS) && life.spans_for(&message.topic).next().is_some()
}

fn missing<'a>(
    ledger: &'a Ledger,
    life: &'a Life,
    first: &'a First,
) -> impl Iterator<Item = &'a crate::oracle::Sent> {
    ledger.sent.iter().filter(move |sent| {
        let Some(accepted) = sent.accepted else { return false };
        if sent.message.qos == Qos::AtMostOnce || !is_for(life, &sent.message) {
            return false;
        }
        let is_promised = life.spans_for(&sent.message.topic).any(|span| {
            span.promises_at_least_once().is_some_and(|since| sent.first > since)
                && span.over.is_none_or(|over| accepted < over)
        });
        is_promised && !first.has(&sent.message)
    })
}

/// Where each sequence of an order (publisher, topic, QoS) first came.
struct First(HashMap<(Name, Name, Qos), BTreeMap<u64, usize>>);

impl First {
    fn of(life: &Life) -> Self {
        let mut first: HashMap<_, BTreeMap<u64, usize>> = HashMap::new();
        for delivery in life.deliveries.iter().filter(|one| one.message.topic.starts_with(TOPICS)) {
            let of_its_order = first.entry(order_of(&delivery.message)).or_default();
            of_its_order.entry(delivery.message.seq).or_insert(delivery.index);
        }
        Self(first)
    }

    fn has(&self, message: &Message) -> bool {
        self.0.get(&order_of(message)).is_some_and(|first| first.contains_key(&message.seq))
    }

    /// Where the next one of its order came.
    fn after(&self, message: &Message) -> Option<usize> {
        let (_, index) = self.0.get(&order_of(message))?.range(message.seq + 1..).next()?;
        Some(*index)
    }
}

fn order_of(message: &Message) -> (Name, Name, Qos) {
    (message.publisher.clone(), message.topic.clone(), message.qos)
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::*;
    use crate::oracle::{Closer, Terms};

    /// A tank that is away while `count` messages come, and of these gets all but the first `dropped`.
    fn story(count: u64, dropped: u64) -> Ledger {
        let mut tale = Tale::default();
        let tank = tale.connect("tank", Terms::lasting(), false);
        tale.subscribe(&tank, "flood/#", 2);
        tale.close(&tank, Closer::Client);
        let hose = tale.connect("hose", Terms::lasting(), false);
        for seq in 1..=count {
            tale.publish(&hose, &message("hose", "flood/hose", 1, seq));
        }
        let tank = tale.connect("tank", Terms::lasting(), true);
        for seq in dropped + 1..=count {
            tale.deliver(&tank, &message("hose", "flood/hose", 1, seq));
        }
        tale.ledger()
    }

    #[test]
    fn what_gave_way_to_a_full_queue_is_no_loss() {
        let ledger = story(1300, 300);
        assert_eq!(check(&ledger), []);
        assert_eq!(lost(&ledger), 300);
        assert_eq!(super::super::no_acknowledged_loss::check(&ledger), []);
    }

    #[test]
    fn what_is_lost_from_a_queue_that_was_not_full_is_caught() {
        let found = check(&story(300, 1));
        assert_eq!(found.len(), 1);
        assert!(found[0].said.contains("flood/hose/1"), "{}", found[0]);
    }

    #[test]
    fn what_is_lost_in_the_middle_is_caught_though_many_come_later() {
        let mut tale = Tale::default();
        let tank = tale.connect("tank", Terms::lasting(), false);
        tale.subscribe(&tank, "flood/#", 2);
        let hose = tale.connect("hose", Terms::lasting(), false);
        for seq in 1..=2000 {
            let one = message("hose", "flood/hose", 2, seq);
            tale.publish(&hose, &one);
            if seq != 700 {
                tale.deliver(&tank, &one);
            }
        }
        assert_eq!(check(&tale.ledger()).len(), 1);
    }
}
