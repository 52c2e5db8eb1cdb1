//! Invariant 9: a Session that expired or was started clean does not come back, and an UNSUBACK stays true.
//!
//! Judged by what arrives: a message finished before a life made its first matching SUBSCRIBE belongs to an earlier
//! life; a message sent after the UNSUBACK of all matching Subscriptions belongs to nobody. What another member of a
//! Shared Subscription left may reach one that came later.

use super::Violation;
use crate::oracle::{Ledger, Life, Qos, Sent, Span};

const NAME: &str = "9 what ended stays ended";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for life in ledger.lives.iter().filter(|life| !life.doubtful) {
        for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
            // Wills have no PUBLISH of their own: invariant 7 judges them.
            let Some(sent) = ledger.sent_of(&delivery.message) else { continue };
            let asked: Vec<_> =
                life.spans_for(&delivery.message.topic).filter(|span| span.asked < delivery.index).collect();
            let said = if asked.is_empty() {
                "came without a Subscription that takes it".to_owned()
            } else if asked.iter().all(|span| {
                routed(sent)
                    .is_some_and(|routed| routed < span.asked && !may_be_left(ledger, life, span, routed))
            }) {
                "was finished before this Session subscribed: it belongs to an earlier one".to_owned()
            } else if asked.iter().all(|span| span.over.is_some_and(|over| over < sent.first)) {
                "was sent after the UNSUBACK".to_owned()
            } else {
                continue;
            };
            violations.push(Violation {
                invariant: NAME,
                at: delivery.index,
                said: format!("{} reached {} and {said}", delivery.message, life.client),
            });
        }
    }
    violations
}

/// Whether another Session was a member of the same Shared Subscription when the message was routed.
fn may_be_left(ledger: &Ledger, life: &Life, span: &Span, routed: usize) -> bool {
    let others = || ledger.lives.iter().filter(|other| !std::ptr::eq(*other, life));
    span.is_shared()
        && others().flat_map(|other| &other.spans).any(|of| of.filter == span.filter && of.asked < routed)
}

/// The last moment at which the message can have been matched with Subscriptions: a Server may do so at the PUBREL.
fn routed(sent: &Sent) -> Option<usize> {
    if sent.message.qos == Qos::ExactlyOnce { sent.completed } else { sent.accepted }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Terms};

    #[test]
    fn message_of_a_session_that_was_started_anew_is_caught() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 1);
        tale.close(&van, Closer::Client);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let stop = message("desk", "cmd/stop", 1, 1);
        tale.publish(&desk, &stop);
        let van = tale.connect("van", Terms { clean_start: true, ..Terms::lasting() }, false);
        tale.subscribe(&van, "cmd/#", 1);
        assert_eq!(check(&tale.ledger()), []);
        tale.deliver(&van, &stop);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }

    #[test]
    fn message_that_another_member_left_may_reach_one_that_came_later() {
        for (other, expected) in [("$share/crew/job/#", 0), ("$share/else/job/#", 1), ("job/#", 1)] {
            let mut tale = Tale::default();
            let first = tale.connect("first", Terms::lasting(), false);
            tale.subscribe(&first, other, 1);
            let desk = tale.connect("desk", Terms::lasting(), false);
            let job = message("desk", "job/1", 1, 1);
            tale.publish(&desk, &job);
            let second = tale.connect("second", Terms::lasting(), false);
            tale.subscribe(&second, "$share/crew/job/#", 1);
            tale.deliver(&second, &job);
            assert_eq!(check(&tale.ledger()).len(), expected, "{other}");
        }
    }

    #[test]
    fn subscription_of_a_session_that_was_started_anew_is_caught() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 1);
        tale.close(&van, Closer::Client);
        let van = tale.connect("van", Terms { clean_start: true, ..Terms::lasting() }, false);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let stop = message("desk", "cmd/stop", 1, 1);
        tale.publish(&desk, &stop);
        tale.deliver(&van, &stop);
        let found = check(&tale.ledger());
        assert_eq!(found.len(), 1);
        assert!(found[0].said.contains("without a Subscription"), "{}", found[0]);
    }

    #[test]
    fn message_sent_after_the_unsuback_is_caught() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        let desk = tale.connect("desk", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 1);
        let first = message("desk", "cmd/stop", 1, 1);
        tale.publish(&desk, &first);
        tale.unsubscribe(&van, "cmd/#");
        tale.deliver(&van, &first);
        assert_eq!(check(&tale.ledger()), [], "it was queued before");
        let second = message("desk", "cmd/stop", 1, 2);
        tale.publish(&desk, &second);
        tale.deliver(&van, &second);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }
}
