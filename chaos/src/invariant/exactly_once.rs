//! Invariant 2: at QoS 2, end to end, a message is handed to the application once, whatever died in between.
//!
//! Promised where the publisher's PUBLISH and the Subscription are both of QoS 2 and one Subscription alone takes the topic
//! (overlapping ones may each deliver). That it arrives at all is invariant 1.

use std::collections::HashMap;

use super::Violation;
use crate::oracle::{Ledger, Message, Qos};

const NAME: &str = "2 QoS 2 exactly once";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for life in &ledger.lives {
        let mut first: HashMap<&Message, usize> = HashMap::new();
        for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
            let message = &delivery.message;
            if message.qos != Qos::ExactlyOnce {
                continue;
            }
            let mut filters = Vec::new();
            let mut granted = true;
            for span in life.spans_for(&message.topic).filter(|span| span.asked < delivery.index) {
                granted &= span.granted == Some(Qos::ExactlyOnce);
                if !filters.contains(&&span.filter) {
                    filters.push(&span.filter);
                }
            }
            if filters.len() != 1 || !granted {
                continue;
            }
            if let Some(before) = first.insert(message, delivery.index) {
                violations.push(Violation {
                    invariant: NAME,
                    at: delivery.index,
                    said: format!(
                        "{message} was delivered to {} a second time (first at event {before})",
                        life.client
                    ),
                });
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Fault, Terms};

    #[test]
    fn second_delivery_after_a_crash_is_caught() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 2);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let pay = message("desk", "cmd/pay", 2, 1);
        tale.publish(&desk, &pay);
        tale.deliver(&van, &pay);
        tale.fault(Fault::Killed);
        tale.close(&van, Closer::Server);
        let van = tale.connect("van", Terms::lasting(), true);
        assert_eq!(check(&tale.ledger()), []);
        tale.deliver(&van, &pay);
        let found = check(&tale.ledger());
        assert_eq!(found.len(), 1);
        assert!(found[0].said.contains("a second time"), "{}", found[0]);
    }

    #[test]
    fn duplicates_are_allowed_where_qos_1_or_two_subscriptions_are_in_the_way() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "a/#", 1);
        tale.subscribe(&van, "b/#", 2);
        tale.subscribe(&van, "b/+", 2);
        let desk = tale.connect("desk", Terms::lasting(), false);
        for message in
            [message("desk", "a/1", 2, 1), message("desk", "a/1", 1, 1), message("desk", "b/1", 2, 1)]
        {
            tale.publish(&desk, &message);
            tale.deliver(&van, &message);
            tale.deliver(&van, &message);
        }
        assert_eq!(check(&tale.ledger()), []);
    }
}
