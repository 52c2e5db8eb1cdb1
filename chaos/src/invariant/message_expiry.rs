//! Invariant 1, its other side: what had expired before its Client came back is not delivered [MQTT-3.3.2-5].
//!
//! Judged only where the Client was away all the time that the message had. One that may have been sent to it once is sent
//! again, whatever its age: its delivery had begun. So is one of QoS 2 where the Server that knew has died with the
//! connection: the Client may hold its identifier.

use std::time::Duration;

use super::Violation;
use crate::oracle::{Ledger, Qos};

const NAME: &str = "1 what expired is not delivered";
/// How much later the Server may see that time has passed, or that a Client has gone.
const SLACK: Duration = Duration::from_secs(1);

/// The same of a Client on a node that is not heard any more: nobody knows it before that node serves nobody.
const SLACK_BETWEEN_NODES: Duration = Duration::from_secs(4);

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for life in &ledger.lives {
        for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
            let Some(sent) = ledger.sent_of(&delivery.message) else { continue };
            // One without an answer may have come at any time.
            let (Some(interval), Some(accepted)) = (sent.expiry, sent.accepted) else { continue };
            let wrong_by = ledger.clocks().apart(sent.first, delivery.index);
            let expired = ledger.at(accepted.max(sent.last)) + interval + SLACK + wrong_by;
            let published = ledger.at(sent.first);
            let long_before = published.saturating_sub(SLACK_BETWEEN_NODES);
            let began = match ledger.disturbances().is_disturbed(long_before, published) {
                true => long_before,
                false => published.saturating_sub(SLACK),
            };
            let perhaps_begun = sent.message.qos == Qos::ExactlyOnce
                && ledger.died_with_connection_of(&life.client, sent.first, delivery.index);
            if ledger.at(delivery.index) > expired
                && !perhaps_begun
                && !ledger.was_connected(&life.client, began, expired)
            {
                violations.push(Violation {
                    invariant: NAME,
                    at: delivery.index,
                    said: format!(
                        "{} had {interval:?} and reached {} {:?} after it was sent",
                        sent.message,
                        life.client,
                        ledger.at(delivery.index).saturating_sub(ledger.at(sent.first))
                    ),
                });
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Fault, Terms};

    fn delivered_after(seconds: u64, away: bool) -> usize {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 1);
        if away {
            tale.close(&van, Closer::Client);
            tale.wait(2);
        }
        let desk = tale.connect("desk", Terms::lasting(), false);
        let brief = message("desk", "cmd/brief", 1, 1);
        tale.send_for(&desk, &brief, Duration::from_secs(2));
        tale.accept(&desk, &brief);
        tale.wait(seconds);
        let van = if away { tale.connect("van", Terms::lasting(), true) } else { van };
        tale.deliver(&van, &brief);
        check(&tale.ledger()).len()
    }

    #[test]
    fn delivery_to_a_client_that_came_too_late_is_caught() {
        assert_eq!(delivered_after(1, true), 0);
        assert_eq!(delivered_after(5, true), 1);
    }

    #[test]
    fn delivery_that_may_have_begun_in_time_is_right() {
        assert_eq!(delivered_after(5, false), 0);
    }

    #[test]
    fn one_of_qos_2_may_come_late_where_the_server_died_with_a_connection() {
        for (qos, dies, expected) in [(1, true, 1), (2, false, 1), (2, true, 0)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::lasting(), false);
            tale.subscribe(&van, "cmd/#", qos);
            tale.close(&van, Closer::Client);
            tale.wait(2);
            let desk = tale.connect("desk", Terms::lasting(), false);
            let brief = message("desk", "cmd/brief", qos, 1);
            tale.send_for(&desk, &brief, Duration::from_secs(2));
            tale.accept(&desk, &brief);
            tale.wait(5);
            let van = tale.connect("van", Terms::lasting(), true);
            if dies {
                tale.fault(Fault::Killed);
            }
            tale.close(&van, Closer::Server);
            let van = tale.connect("van", Terms::lasting(), true);
            tale.deliver(&van, &brief);
            assert_eq!(check(&tale.ledger()).len(), expected, "QoS {qos}, dies: {dies}");
        }
    }
}
