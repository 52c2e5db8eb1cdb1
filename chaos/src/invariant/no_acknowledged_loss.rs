//! Invariant 1: an acknowledged message of QoS 1 or 2 reaches every Session whose SUBACK came before the PUBLISH.
//!
//! Judged when the queues have drained. A Session without a queue that has ended took with it what was on its way then, and no
//! more: what was acknowledged before its publisher sent the next one of the topic and QoS was due before that one. One that its
//! Client let end takes its queue with it, which nobody holds publishers back for. Declared overflow is kept out by the workload, which holds publishers back before a queue is full; where it does not,
//! [`overflow`](super::overflow) judges.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Violation, overflow};
use crate::oracle::{Connection, Fault, Ledger, Life, Message, Name, Qos, Retain, Sent, matches};

const NAME: &str = "1 no acknowledged loss";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for life in ledger.lives.iter().filter(|life| life.ends.is_none() || has_no_queue(ledger, life)) {
        let delivered: HashSet<&Message> = life.deliveries.iter().map(|delivery| &delivery.message).collect();
        let latest = life.ends.map(|_| Latest::of(ledger, life));
        for span in &life.spans {
            let Some(since) = span.promises_at_least_once() else { continue };
            for topic in ledger.topics().filter(|topic| is_judged(&span.filter, topic)) {
                for sent in ledger.sent_to(topic) {
                    let Some(accepted) = sent.accepted else { continue };
                    let promised = sent.message.qos > Qos::AtMostOnce
                        && sent.first > since
                        && span.over.is_none_or(|over| accepted < over)
                        // A delete carries no payload that could name it.
                        && sent.retain != Retain::Delete
                        && !may_have_expired(ledger, life, sent, accepted);
                    let was_due =
                        latest.as_ref().is_none_or(|latest| latest.is_after(&sent.message, accepted));
                    if promised && was_due && !delivered.contains(&sent.message) {
                        violations.push(Violation {
                            invariant: NAME,
                            at: accepted,
                            said: format!(
                                "{} was acknowledged and never reached {} (subscribed to {} at event {since})",
                                sent.message, life.client, span.filter
                            ),
                        });
                    }
                }
            }
        }
    }
    violations
}

/// Whether a Session lived with one connection.
fn has_no_queue(ledger: &Ledger, life: &Life) -> bool {
    let until = life.ends.unwrap_or(usize::MAX);
    let is_of_life =
        |of: &&Connection| of.link.client == life.client && (life.begins..until).contains(&of.connect);
    let mut connections = ledger.connections.iter().filter(is_of_life);
    connections.all(|of| of.terms.clean_start && of.terms.expiry.is_zero())
}

/// When the last message that reached a Session was sent, by its publisher, topic and QoS.
struct Latest<'a>(HashMap<(&'a Name, &'a Name, Qos), usize>);

impl<'a> Latest<'a> {
    fn of(ledger: &'a Ledger, life: &'a Life) -> Self {
        let mut latest = HashMap::new();
        let live: HashSet<&Message> =
            life.deliveries.iter().filter(|of| !of.retained).map(|of| &of.message).collect();
        for sent in ledger.sent.iter().filter(|sent| live.contains(&sent.message)) {
            let Message { publisher, topic, qos, .. } = &sent.message;
            let last = latest.entry((publisher, topic, *qos)).or_insert(sent.first);
            *last = sent.first.max(*last);
        }
        Self(latest)
    }

    /// Whether that was after this one was acknowledged.
    fn is_after(&self, message: &Message, accepted: usize) -> bool {
        let Message { publisher, topic, qos, .. } = message;
        self.0.get(&(publisher, topic, *qos)).is_some_and(|last| *last > accepted)
    }
}

fn is_judged(filter: &str, topic: &str) -> bool {
    matches(filter, topic) && !topic.starts_with(overflow::TOPICS)
}

/// Declared expiry is no loss, unless the Client was there all the time that the message had, and so was the Server.
fn may_have_expired(ledger: &Ledger, life: &Life, sent: &Sent, accepted: usize) -> bool {
    let Some(interval) = sent.expiry else { return false };
    let expires = ledger.at(sent.first) + interval;
    if expires.mul_f64(1.1) > ledger.end() {
        return false;
    }
    if ledger.disturbances().is_disturbed(ledger.at(sent.first), expires) {
        return true;
    }
    // Of a node whose clock is ahead it takes the rest of its time.
    let wrong_by = ledger.clocks().apart(sent.first, ledger.last_until(expires));
    if wrong_by > interval.mul_f64(0.5) {
        return true;
    }
    let mut full = false;
    let of_server = |(_, fault): &(usize, &Fault)| !matches!(fault, Fault::Fleet(_));
    let until = |(index, _): &(usize, &Fault)| ledger.at(*index) <= expires;
    for (index, fault) in ledger.faults().take_while(until).filter(of_server) {
        full = *fault == Fault::DiskFull || (full && *fault != Fault::DiskFreed);
        // Stopped, dead or without room, a Server delivers nothing for a while.
        if full || index > sent.first {
            return true;
        }
    }
    let enough = interval.mul_f64(0.5).min(ENOUGH);
    !ledger.connections.iter().any(|connection| {
        let Some((connack, _)) = connection.connack else { return false };
        let reads = || {
            let until = connection.read_until();
            until.map_or(Duration::MAX, |until| ledger.at(until)) > ledger.at(accepted) + enough
        };
        connection.link.client == life.client && connack < sent.first && reads()
    })
}

/// A Client that is connected for so long after the acknowledgement gets the message.
const ENOUGH: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Fault, Link, Terms, What};

    #[test]
    fn delivered_after_a_crash_is_kept() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/van/#", 1);
        tale.close(&van, Closer::Client);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let stop = message("desk", "cmd/van/stop", 1, 1);
        tale.publish(&desk, &stop);
        tale.fault(Fault::Killed);
        let van = tale.connect("van", Terms::lasting(), true);
        tale.deliver(&van, &stop);
        assert_eq!(check(&tale.ledger()), []);
    }

    #[test]
    fn acknowledged_and_never_delivered_is_caught() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/van/#", 1);
        let desk = tale.connect("desk", Terms::lasting(), false);
        tale.publish(&desk, &message("desk", "cmd/van/stop", 1, 1));
        let found = check(&tale.ledger());
        assert_eq!(found.len(), 1);
        assert!(found[0].said.contains("cmd/van/stop/1 QoS 1 from desk"), "{}", found[0]);
    }

    #[test]
    fn who_has_left_or_begun_another_connection_may_miss_what_expires_though_the_old_one_is_open() {
        let leave = |tale: &mut Tale, van: &Link| tale.leave(van, false);
        let begin = |tale: &mut Tale, _: &Link| drop(tale.sent_connect("van", Terms::lasting()));
        type Step = fn(&mut Tale, &Link);
        for (step, expected) in [(None::<Step>, 1), (Some(leave as Step), 0), (Some(begin as Step), 0)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::lasting(), false);
            tale.subscribe(&van, "cmd/#", 1);
            let desk = tale.connect("desk", Terms::lasting(), false);
            let brief = message("desk", "cmd/brief", 1, 1);
            tale.send_for(&desk, &brief, Duration::from_secs(2));
            step.into_iter().for_each(|step| step(&mut tale, &van));
            tale.accept(&desk, &brief);
            tale.wait(9);
            tale.close(&van, Closer::Server);
            assert_eq!(check(&tale.ledger()).len(), expected);
        }
    }

    #[test]
    fn session_that_the_server_forgot_still_counts() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 2);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let stop = message("desk", "cmd/van/stop", 2, 1);
        tale.publish(&desk, &stop);
        tale.close(&van, Closer::Server);
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 2);
        assert_eq!(check(&tale.ledger()).len(), 1, "a second SUBSCRIBE does not make up for the loss");
    }

    #[test]
    fn no_promise_is_seen_where_none_was_made() {
        let mut tale = Tale::default();
        let early = message("desk", "cmd/van/early", 1, 1);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let van = tale.connect("van", Terms::lasting(), false);
        tale.send(&desk, &early);
        tale.subscribe(&van, "cmd/#", 1);
        tale.accept(&desk, &early);
        // Not acknowledged, refused, or of QoS 0.
        tale.send(&desk, &message("desk", "cmd/van/unknown", 1, 1));
        let refused = message("desk", "cmd/van/refused", 1, 1);
        tale.send(&desk, &refused);
        tale.push(What::Refused { link: desk.clone(), message: refused, reason: 0x97 });
        tale.publish(&desk, &message("desk", "cmd/van/loose", 0, 1));
        // Unsubscribed on the way.
        let late = message("desk", "cmd/van/late", 1, 1);
        tale.publish(&desk, &late);
        tale.unsubscribe(&van, "cmd/#");
        // A Session of its connection alone, closed before it could read.
        let guest = tale.connect("guest", Terms::clean(), false);
        tale.subscribe(&guest, "cmd/#", 1);
        tale.publish(&desk, &message("desk", "cmd/van/late", 1, 2));
        tale.close(&guest, Closer::Server);
        assert_eq!(check(&tale.ledger()), []);
    }

    #[test]
    fn a_session_that_has_ended_may_miss_what_came_last_and_nothing_before() {
        for (got, expected) in [(&[1][..], 0), (&[1, 2], 0), (&[1, 3], 1), (&[3], 2)] {
            let mut tale = Tale::default();
            let guest = tale.connect("guest", Terms::clean(), false);
            tale.subscribe(&guest, "cmd/#", 1);
            let desk = tale.connect("desk", Terms::lasting(), false);
            for number in 1..=3 {
                let message = message("desk", "cmd/stop", 1, number);
                tale.publish(&desk, &message);
                if got.contains(&number) {
                    tale.deliver(&guest, &message);
                }
            }
            tale.close(&guest, Closer::Server);
            assert_eq!(check(&tale.ledger()).len(), expected, "{got:?}");
        }
    }

    #[test]
    fn message_that_expired_is_lost_only_on_a_client_that_was_there() {
        for (there, expected) in [(false, 0), (true, 1)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::lasting(), false);
            tale.subscribe(&van, "cmd/#", 1);
            if !there {
                tale.close(&van, Closer::Client);
            }
            let desk = tale.connect("desk", Terms::lasting(), false);
            let brief = message("desk", "cmd/brief", 1, 1);
            tale.send_for(&desk, &brief, Duration::from_secs(2));
            tale.accept(&desk, &brief);
            tale.wait(20);
            tale.fault(Fault::Healed);
            assert_eq!(check(&tale.ledger()).len(), expected, "connected: {there}");
        }
    }

    #[test]
    fn message_whose_time_was_not_over_is_no_less_promised() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 1);
        tale.close(&van, Closer::Client);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let long = message("desk", "cmd/long", 1, 1);
        tale.send_for(&desk, &long, Duration::from_secs(600));
        tale.accept(&desk, &long);
        tale.wait(20);
        tale.fault(Fault::Healed);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }
}
