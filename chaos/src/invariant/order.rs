//! Invariant 3: per (publisher, topic, QoS), first deliveries come in the order of the PUBLISHes [MQTT-4.6.0]; those of QoS 0
//! and 1 of one connection also among each other. What a lasting Session publishes at QoS 2 goes by its own log first.
//!
//! Duplicates may come at any time and gaps may be (a message refused or unknown); what may not be is a message that is
//! seen for the first time after a later one. Members of a Shared Subscription are promised no order.

use std::collections::{HashMap, HashSet};

use super::Violation;
use crate::oracle::{Delivery, Ledger, Life, Message, Name, Qos};

const NAME: &str = "3 order of first deliveries";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for life in &ledger.lives {
        let mut seen: HashSet<&Message> = HashSet::new();
        let mut highest: HashMap<(&Name, &Name, Qos), u64> = HashMap::new();
        // By connection and topic, where the last one was published that came.
        let mut latest: HashMap<(u32, &Name), usize> = HashMap::new();
        for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
            let message = &delivery.message;
            // What another member left comes when it comes.
            if !seen.insert(message)
                || life.spans_for(&message.topic).any(|span| span.is_shared())
                || may_come_late(ledger, delivery)
                || may_have_been_passed_over(ledger, life, delivery)
            {
                continue;
            }
            let highest = highest.entry((&message.publisher, &message.topic, message.qos)).or_default();
            if message.seq < *highest {
                violations.push(Violation {
                    invariant: NAME,
                    at: delivery.index,
                    said: format!(
                        "{message}, {}, reached {} for the first time after {highest}",
                        sending(ledger, message),
                        life.client
                    ),
                });
                continue;
            }
            *highest = message.seq;
            let Some((connection, published)) = said_once(ledger, message) else { continue };
            let latest = latest.entry((connection, &message.topic)).or_default();
            // Where a leader goes, what needs its word is sent again, and what needs none has passed.
            let disturbances = ledger.disturbances();
            let was_disturbed = disturbances.lost_between(published, delivery.index)
                || disturbances.is_disturbed(ledger.at(published), ledger.at(delivery.index));
            if published < *latest && !was_disturbed {
                violations.push(Violation {
                    invariant: NAME,
                    at: delivery.index,
                    said: format!("{message} reached {} behind a later one of another QoS", life.client),
                });
            }
            *latest = published.max(*latest);
        }
    }
    violations
}

/// On which connection a message of QoS 0 or 1 was published and at which event, if it was sent once.
fn said_once(ledger: &Ledger, message: &Message) -> Option<(u32, usize)> {
    let sent = ledger.sent_of(message).filter(|sent| sent.first == sent.last)?;
    let link = ledger.events[sent.first].what.link()?;
    (message.qos < Qos::ExactlyOnce).then_some((link.connection, sent.first))
}

/// An expired message was passed over, and before that was on record the Server died: it cannot know then that it never
/// sent the message, and sends it again, behind others, rather than not at all. Or its publisher sent it again, and the new
/// copy has all of its time before it. Or its time was over by the clock of one node, and is not by that of the next one, or
/// by the same clock when that was set.
fn may_come_late(ledger: &Ledger, delivery: &Delivery) -> bool {
    let Some(sent) = ledger.sent_of(&delivery.message) else { return false };
    let wrong_by = ledger.clocks().apart(sent.first, delivery.index);
    sent.expiry
        .is_some_and(|interval| ledger.at(delivery.index) + wrong_by > ledger.at(sent.first) + interval)
        && (sent.last > sent.first
            || !wrong_by.is_zero()
            || ledger.crashed_between(sent.first, delivery.index))
}

/// No Subscription was there from the first PUBLISH of a message until the last copy of it. The first may have met none, and a
/// later message one: then the copy that was sent again, because nobody had acknowledged the first, comes behind it. It was
/// sent by its publisher, or at QoS 1 by the node of its connection, where a leader went before the acknowledgement.
fn may_have_been_passed_over(ledger: &Ledger, life: &Life, delivery: &Delivery) -> bool {
    let message = &delivery.message;
    let Some(sent) = ledger.sent_of(message) else { return false };
    let open_until = sent.accepted.unwrap_or(usize::MAX).min(delivery.index);
    let disturbances = ledger.disturbances();
    let by_node = message.qos == Qos::AtLeastOnce
        && disturbances.are_of_a_fleet()
        && disturbances.lost_between(sent.first, open_until);
    let last = if by_node { open_until.max(sent.last) } else { sent.last };
    last > sent.first
        && !life.spans_for(&message.topic).any(|span| {
            span.sure_from.is_some_and(|since| since < sent.first)
                && span.doubt_from.or(span.over).is_none_or(|until| until > last)
        })
}

fn sending(ledger: &Ledger, message: &Message) -> String {
    match ledger.sent_of(message) {
        Some(sent) if sent.last > sent.first => {
            format!("sent at event {} and for the last time at event {}", sent.first, sent.last)
        }
        Some(sent) => format!("sent once, at event {}", sent.first),
        None => "never sent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Fault, Fleet, Terms};

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
    fn levels_below_two_of_one_connection_are_in_order_too() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        let desk = tale.connect("desk", Terms::clean(), false);
        tale.subscribe(&van, "#", 2);
        let [two, one, zero] = [2, 1, 0].map(|qos| message("desk", "cmd", qos, 1));
        [&two, &one, &zero].into_iter().for_each(|message| tale.send(&desk, message));
        tale.deliver(&van, &zero);
        tale.deliver(&van, &two);
        assert_eq!(check(&tale.ledger()).len(), 0);
        tale.deliver(&van, &one);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }

    #[test]
    fn message_that_was_sent_again_may_come_late_to_a_subscription_made_between() {
        // Subscribed before the first copy, or between that and the next message.
        for (before, again, expected) in [(false, true, 0), (true, true, 1), (false, false, 1)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::lasting(), false);
            let desk = tale.connect("desk", Terms::lasting(), false);
            let [first, next] = [1, 2].map(|seq| message("desk", "cmd", 1, seq));
            if before {
                tale.subscribe(&van, "#", 2);
            }
            tale.send(&desk, &first);
            if !before {
                tale.subscribe(&van, "#", 2);
            }
            tale.send(&desk, &next);
            tale.deliver(&van, &next);
            tale.fault(Fault::Killed);
            let desk = tale.connect("desk", Terms::lasting(), true);
            if again {
                tale.send(&desk, &first);
            }
            tale.deliver(&van, &first);
            assert_eq!(
                check(&tale.ledger()).len(),
                expected,
                "subscribed before: {before}, sent again: {again}"
            );
        }
    }

    #[test]
    fn message_that_its_node_sent_again_may_come_late_to_a_subscription_made_between() {
        // Subscribed before the first copy, or between that and the next message; a leader went before the
        // acknowledgement, or nothing happened.
        for (before, moved, expected) in [(false, true, 0), (true, true, 1), (false, false, 1)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::lasting(), false);
            let desk = tale.connect("desk", Terms::lasting(), false);
            let [first, next] = [1, 2].map(|seq| message("desk", "cmd", 1, seq));
            if before {
                tale.subscribe(&van, "#", 2);
            }
            tale.send(&desk, &first);
            if !before {
                tale.subscribe(&van, "#", 2);
            }
            tale.send(&desk, &next);
            tale.deliver(&van, &next);
            if moved {
                tale.fault(Fault::Fleet(Fleet::Led(1)));
            }
            tale.deliver(&van, &first);
            let found = check(&tale.ledger()).len();
            assert_eq!(found, expected, "subscribed before: {before}, led elsewhere: {moved}");
        }
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
