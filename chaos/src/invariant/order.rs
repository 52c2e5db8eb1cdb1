//! Invariant 3: per (publisher, topic, QoS), first deliveries come in the order of the PUBLISHes [MQTT-4.6.0].
//!
//! Duplicates may come at any time and gaps may be (a message refused or unknown); what may not be is a message that is
//! seen for the first time after a later one. Members of a Shared Subscription are promised no order.

use std::collections::{HashMap, HashSet};

use super::Violation;
use crate::oracle::{Delivery, Ledger, Message, Name, Qos};

const NAME: &str = "3 order of first deliveries";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for life in &ledger.lives {
        let mut seen: HashSet<&Message> = HashSet::new();
        let mut highest: HashMap<(&Name, &Name, Qos), u64> = HashMap::new();
        for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
            let message = &delivery.message;
            // What another member left comes when it comes.
            if !seen.insert(message)
                || life.spans_for(&message.topic).any(|span| span.is_shared())
                || may_come_late(ledger, delivery)
            {
                continue;
            }
            let highest = highest.entry((&message.publisher, &message.topic, message.qos)).or_default();
            if message.seq < *highest {
                violations.push(Violation {
                    invariant: NAME,
                    at: delivery.index,
                    said: format!("{message} reached {} for the first time after {highest}", life.client),
                });
            } else {
                *highest = message.seq;
            }
        }
    }
    violations
}

/// An expired message was passed over, and before that was on record the Server died: it cannot know then that it never
/// sent the message, and sends it again, behind others, rather than not at all. Or its publisher sent it again, and the new
/// copy has all of its time before it.
fn may_come_late(ledger: &Ledger, delivery: &Delivery) -> bool {
    let Some(sent) = ledger.sent_of(&delivery.message) else { return false };
    sent.expiry.is_some_and(|interval| ledger.at(delivery.index) > ledger.at(sent.first) + interval)
        && (sent.last > sent.first || ledger.crashed_between(sent.first, delivery.index))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Fault, Terms};

    fn delivered(order: &[(u8, u64)]) -> usize {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "#", 2);
        for &(qos, seq) in order {
            tale.deliver(&van, &message("desk", "cmd", qos, seq));
        }
        check(&tale.ledger()).len()
    }

    #[test]
    fn first_delivery_behind_a_later_one_is_caught() {
        assert_eq!(delivered(&[(1, 1), (1, 3), (1, 2)]), 1);
        assert_eq!(delivered(&[(0, 2), (0, 1)]), 1);
    }

    #[test]
    fn duplicates_gaps_and_other_levels_are_in_order() {
        assert_eq!(delivered(&[(1, 1), (1, 2), (1, 4), (1, 1), (1, 2), (1, 5)]), 0);
        assert_eq!(delivered(&[(1, 2), (2, 1), (0, 1)]), 0);
    }

    #[test]
    fn expired_message_may_come_late_only_after_a_crash() {
        for (crash, expected) in [(true, 0), (false, 1)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::lasting(), false);
            let desk = tale.connect("desk", Terms::lasting(), false);
            let [brief, next] = [1, 2].map(|seq| message("desk", "cmd", 1, seq));
            tale.send_for(&desk, &brief, Duration::from_secs(1));
            tale.send_for(&desk, &next, Duration::from_secs(60));
            tale.wait(3);
            tale.deliver(&van, &next);
            if crash {
                tale.fault(Fault::Killed);
            }
            tale.deliver(&van, &brief);
            assert_eq!(check(&tale.ledger()).len(), expected, "crash: {crash}");
        }
    }
}
