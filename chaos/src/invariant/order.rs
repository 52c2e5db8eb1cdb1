//! Invariant 3: per (publisher, topic, QoS), first deliveries come in the order of the PUBLISHes [MQTT-4.6.0].
//!
//! Duplicates may come at any time and gaps may be (a message refused or unknown); what may not be is a message that is
//! seen for the first time after a later one. Members of a Shared Subscription are promised no order.

use std::collections::{HashMap, HashSet};

use super::Violation;
use crate::oracle::{Ledger, Message, Name, Qos};

const NAME: &str = "3 order of first deliveries";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for life in &ledger.lives {
        let mut seen: HashSet<&Message> = HashSet::new();
        let mut highest: HashMap<(&Name, &Name, Qos), u64> = HashMap::new();
        for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
            let message = &delivery.message;
            // What another member left comes when it comes.
            if !seen.insert(message) || life.spans_for(&message.topic).any(|span| span.is_shared()) {
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

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::Terms;

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
}
