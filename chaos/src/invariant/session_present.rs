//! Invariant 5: Session Present tells the truth [MQTT-3.2.2-2, MQTT-3.2.2-3].
//!
//! What it has to be follows from what the Client declared. That a Session said to be present really holds its
//! subscriptions, its queue and its QoS 2 state shows in invariants 1 and 2, whose promises run on through such a CONNACK.

use super::Violation;
use crate::oracle::{Ledger, Present};

const NAME: &str = "5 Session Present";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for connection in &ledger.connections {
        let (Some((connack, said)), Present::Must(truth)) = (connection.connack, connection.present) else {
            continue;
        };
        if said != truth {
            violations.push(Violation {
                invariant: NAME,
                at: connack,
                said: format!(
                    "{} was told Session Present {} where the Session {}",
                    connection.link.client,
                    u8::from(said),
                    if truth { "has to be there" } else { "cannot be there" }
                ),
            });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::Tale;
    use super::check;
    use crate::oracle::{Closer, Fault, Fleet, Terms, What};

    fn second(first: Terms, away: u64, second: Terms, present: bool) -> usize {
        let mut tale = Tale::default();
        let link = tale.connect("van", first, false);
        tale.close(&link, Closer::Client);
        tale.wait(away);
        tale.connect("van", second, present);
        check(&tale.ledger()).len()
    }

    fn of_seconds(seconds: u64) -> Terms {
        Terms { expiry: Duration::from_secs(seconds), ..Terms::lasting() }
    }

    #[test]
    fn forgotten_session_is_caught() {
        assert_eq!(second(Terms::lasting(), 5, Terms::lasting(), false), 1);
        assert_eq!(second(Terms::lasting(), 5, Terms::lasting(), true), 0);
    }

    #[test]
    fn session_that_cannot_be_there_is_caught() {
        let clean = Terms { clean_start: true, ..Terms::lasting() };
        assert_eq!(second(Terms::lasting(), 5, clean, true), 1, "Clean Start");
        assert_eq!(second(of_seconds(3), 9, Terms::lasting(), true), 1, "expired");
        assert_eq!(second(Terms::clean(), 9, Terms::lasting(), true), 1, "ended with its connection");

        let mut tale = Tale::default();
        tale.connect("van", Terms::lasting(), true);
        assert_eq!(check(&tale.ledger()).len(), 1, "never was");
    }

    #[test]
    fn the_interval_runs_from_the_disconnect_and_not_from_when_the_server_is_seen_to_close() {
        for with_will in [false, true] {
            for (expiry, present, wrong) in [(2, true, 0), (2, false, 0), (9, false, 1)] {
                let mut tale = Tale::default();
                let link = tale.connect("van", of_seconds(expiry), false);
                tale.leave(&link, with_will);
                tale.wait(3);
                tale.close(&link, Closer::Server);
                tale.connect("van", Terms::lasting(), present);
                assert_eq!(check(&tale.ledger()).len(), wrong, "of {expiry} s, {present}");
            }
        }
    }

    #[test]
    fn about_the_end_of_the_interval_both_are_true() {
        for present in [true, false] {
            assert_eq!(second(of_seconds(5), 5, Terms::lasting(), present), 0);
        }
    }

    #[test]
    fn unanswered_connect_leaves_both_possible() {
        for present in [true, false] {
            let mut tale = Tale::default();
            let lost = tale.sent_connect("van", Terms::lasting());
            tale.close(&lost, Closer::Server);
            tale.connect("van", Terms::lasting(), present);
            assert_eq!(check(&tale.ledger()), []);
        }
    }

    #[test]
    fn unanswered_resume_takes_nothing_away() {
        let mut tale = Tale::default();
        let link = tale.connect("van", Terms::lasting(), false);
        tale.fault(Fault::Killed);
        tale.close(&link, Closer::Server);
        let lost = tale.sent_connect("van", Terms::lasting());
        tale.close(&lost, Closer::Server);
        tale.connect("van", Terms::lasting(), false);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }

    #[test]
    fn unanswered_resume_on_shorter_terms_leaves_both_possible() {
        for present in [true, false] {
            let mut tale = Tale::default();
            let link = tale.connect("van", Terms::lasting(), false);
            tale.close(&link, Closer::Client);
            let lost = tale.sent_connect("van", of_seconds(2));
            tale.close(&lost, Closer::Server);
            tale.wait(10);
            tale.connect("van", Terms::lasting(), present);
            assert_eq!(check(&tale.ledger()), []);
        }
    }

    #[test]
    fn refusal_takes_nothing_away_unless_leaders_changed_meanwhile() {
        for (disturbed, wrong) in [(false, 1), (true, 0)] {
            let mut tale = Tale::default();
            tale.fault(Fault::Fleet(Fleet::Settled));
            let link = tale.connect("van", of_seconds(60), false);
            tale.close(&link, Closer::Client);
            let refused = tale.sent_connect("van", Terms { clean_start: true, ..of_seconds(60) });
            if disturbed {
                tale.fault(Fault::Fleet(Fleet::Disturbed));
            }
            tale.push(What::Rejected { link: refused.clone(), reason: 0x89 });
            tale.close(&refused, Closer::Server);
            tale.fault(Fault::Fleet(Fleet::Settled));
            tale.connect("van", of_seconds(60), false);
            assert_eq!(check(&tale.ledger()).len(), wrong, "disturbed: {disturbed}");
        }
    }

    #[test]
    fn session_may_outlast_its_interval_until_somebody_leads_and_no_longer() {
        for (calm, wrong) in [(2, 0), (9, 1)] {
            let mut tale = Tale::default();
            tale.fault(Fault::Fleet(Fleet::Settled));
            let link = tale.connect("van", of_seconds(3), false);
            tale.close(&link, Closer::Client);
            tale.fault(Fault::Fleet(Fleet::Disturbed));
            tale.wait(9);
            tale.fault(Fault::Fleet(Fleet::Settled));
            tale.wait(calm);
            tale.connect("van", of_seconds(3), true);
            assert_eq!(check(&tale.ledger()).len(), wrong, "{calm} s");
        }
    }

    #[test]
    fn interval_may_begin_where_another_node_begins_to_lead() {
        for (led, wrong) in [(false, 1), (true, 0)] {
            let mut tale = Tale::default();
            let link = tale.connect("van", of_seconds(5), false);
            if led {
                tale.fault(Fault::Fleet(Fleet::Led(2)));
            }
            tale.wait(6);
            tale.close(&link, Closer::Server);
            tale.connect("van", of_seconds(5), false);
            assert_eq!(check(&tale.ledger()).len(), wrong, "led: {led}");
        }
    }

    #[test]
    fn takeover_finds_the_session() {
        let mut tale = Tale::default();
        let _old = tale.connect("van", Terms::lasting(), false);
        tale.connect("van", Terms::lasting(), false);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }
}
