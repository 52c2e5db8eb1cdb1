//! Invariant 7: a Will is published once when it is due, never after a normal disconnect, never when its Session was resumed
//! within the delay; and the Will of a new connection survives the takeover that began it.
//!
//! Each connection has a Will of its own, so the observers' deliveries say whose Will went out and how often. A Will that
//! the Server acknowledged with a lasting Session is due even when the Server itself died: the connection is gone, the
//! Session is not.

use std::collections::HashMap;
use std::time::Duration;

use super::Violation;
use crate::oracle::{Closer, Connection, Ledger, Life, Message, Qos, Will};

const NAME: &str = "7 Will";
/// How much later than due a Will may leave.
const SLACK: Duration = Duration::from_secs(3);
/// So long who begins to lead waits before it takes leave of the connections of the leader before: until whoever may serve
/// them has heard it, or is gone.
const TAKES_LEAVE: Duration = Duration::from_secs(4);
/// A DISCONNECT is on record so long after its connection was closed.
const RECORDED: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Due,
    Never(&'static str),
    Either,
}

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut counts: Vec<HashMap<&Message, usize>> = Vec::new();
    for life in &ledger.lives {
        let mut count: HashMap<&Message, usize> = HashMap::new();
        for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
            *count.entry(&delivery.message).or_default() += 1;
        }
        counts.push(count);
    }
    for (place, connection) in ledger.connections.iter().enumerate() {
        let Some(will) = &connection.terms.will else { continue };
        let verdict = verdict(ledger, place, connection, will);
        for (life, count) in ledger.lives.iter().zip(&counts).filter(|(life, _)| life.ends.is_none()) {
            let spans: Vec<_> = life.spans_for(&will.message.topic).collect();
            let [span] = spans[..] else { continue };
            if let Some(said) = overtaken(ledger, place, connection, will, life) {
                let at = connection.connect;
                violations.push(Violation { invariant: NAME, at, said });
            }
            let count = count.get(&will.message).copied().unwrap_or(0);
            let watched = span.promises_at_least_once().is_some_and(|since| since < connection.connect);
            let once = will.message.qos == Qos::ExactlyOnce && span.granted == Some(Qos::ExactlyOnce);
            let said = match verdict {
                Verdict::Due if watched && count == 0 && will.message.qos > Qos::AtMostOnce => {
                    "was due and was not published".to_owned()
                }
                Verdict::Never(why) if count > 0 => format!("was published, though {why}"),
                _ if once && count > 1 => format!("was published {count} times"),
                _ => continue,
            };
            violations.push(Violation {
                invariant: NAME,
                at: connection.closed.map_or(connection.connect, |(closed, _)| closed),
                said: format!(
                    "the Will {} of {} (connection {}) {said}, as {} saw it",
                    will.message, connection.link.client, connection.link.connection, life.client
                ),
            });
        }
    }
    violations
}

/// How many Wills were due, and how many were never to be published.
pub fn judged(ledger: &Ledger) -> [usize; 2] {
    let mut judged = [0, 0];
    for (place, connection) in ledger.connections.iter().enumerate() {
        let Some(will) = &connection.terms.will else { continue };
        match verdict(ledger, place, connection, will) {
            Verdict::Due => judged[0] += 1,
            Verdict::Never(_) => judged[1] += 1,
            Verdict::Either => {}
        }
    }
    judged
}

/// Whether what the next connection of the Client said on the topic of its Will came before the Will of this one. Behind a
/// crash nobody waits for the Will.
fn overtaken(
    ledger: &Ledger,
    place: usize,
    connection: &Connection,
    will: &Will,
    life: &Life,
) -> Option<String> {
    let first = |message: &Message| {
        life.deliveries.iter().find(|delivery| delivery.message == *message).map(|delivery| delivery.index)
    };
    let came = first(&will.message)?;
    let next = ledger.connections[place + 1..]
        .iter()
        .find(|next| next.link.client == connection.link.client && next.connack.is_some())?;
    let said = ledger.sent_to(&will.message.topic).find(|sent| {
        ledger.events[sent.first].what.link() == Some(&next.link)
            && first(&sent.message).is_some_and(|index| index < came)
    })?;
    // Nor for ever, while its partition is led by nobody.
    let disturbed = ledger.disturbances().is_disturbed(ledger.at(next.connect), ledger.at(came));
    (!disturbed && !ledger.crashed_between(connection.connect, came)).then(|| {
        format!(
            "{} of {} reached {} before the Will {}",
            said.message, next.link.client, life.client, will.message
        )
    })
}

fn verdict(ledger: &Ledger, place: usize, connection: &Connection, will: &Will) -> Verdict {
    if connection.rejected || connection.connack.is_none() {
        return Verdict::Either;
    }
    let next = ledger.connections[place + 1..]
        .iter()
        .find(|next| next.link.client == connection.link.client && !next.rejected);
    let Some((closed, by)) = connection.closed else {
        return if next.is_some() { Verdict::Either } else { Verdict::Never("its connection is open") };
    };
    if let Some(left) = connection.disconnect {
        // The Server's own close shows that it has read the DISCONNECT, unless its death closed the connection. A Client
        // that does not know yet of that writes on. And a leader that was about to be deposed recorded nothing.
        let recorded = !ledger.disturbances().is_disturbed(ledger.at(left), ledger.at(closed) + RECORDED);
        return if by == Closer::Server && recorded && !ledger.crashed_between(connection.connect, closed) {
            Verdict::Never("its Client disconnected normally")
        } else {
            Verdict::Either
        };
    }
    let crashed = ledger.crashed_between(connection.connect, ledger.events.len());
    if connection.terms.expiry.is_zero() && crashed {
        // Such a Session, Will included, may die with the process.
        return Verdict::Either;
    }
    let delay = will.delay.min(connection.terms.expiry);
    let ended = ledger.at(closed);
    let earliest = ledger.may_have_ended(connection, closed);
    if delay.is_zero() {
        return in_time(ledger, ended);
    }
    let until = next.and_then(|next| next.connack).map_or(ledger.events.len(), |(answered, _)| answered);
    let wrong_by = ledger.wait_may_be_wrong_by(connection.connect, until);
    let Some(next) = next else { return in_time(ledger, ended + delay + wrong_by) };
    let Some((answered, _)) = next.connack else { return Verdict::Either };
    if next.terms.clean_start {
        // The Session ends, and with it the delay.
        return in_time(ledger, ledger.at(answered));
    }
    if ledger.at(answered).saturating_sub(earliest) + wrong_by < delay.mul_f64(0.8) {
        return Verdict::Never("its Session was resumed within the delay");
    }
    // A fleet goes on: who leads next takes leave of the connection, and the delay begins anew.
    let disturbances = ledger.disturbances();
    let crashed = ledger.crashed_between(connection.connect, next.connect);
    let lost = disturbances.losses_between(connection.connect, next.connect).last();
    let since = lost.map_or(ended, |lost| ended.max(ledger.at(lost) + TAKES_LEAVE));
    let over = disturbances.calm_after(since, delay + SLACK + wrong_by);
    if ledger.at(next.connect) > over && (disturbances.are_of_a_fleet() || !crashed) {
        return in_time(ledger, since + delay + wrong_by);
    }
    Verdict::Either
}

/// Due, if the run went on for long enough to see it.
fn in_time(ledger: &Ledger, due: Duration) -> Verdict {
    if ledger.end() >= ledger.disturbances().calm_after(due, SLACK) { Verdict::Due } else { Verdict::Either }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Fault, Fleet, Link, Message, Terms};

    /// A watcher with a QoS 2 Subscription, and a van whose Will has `delay` seconds.
    fn scene(delay: u64) -> (Tale, Link, Link, Message) {
        let mut tale = Tale::default();
        let watcher = tale.connect("watcher", Terms::lasting(), false);
        tale.subscribe(&watcher, "will/#", 2);
        let will = message("van", "will/van", 2, 1);
        let terms = Terms::lasting().with_will(will.clone(), Duration::from_secs(delay));
        let van = tale.connect("van", terms, false);
        (tale, watcher, van, will)
    }

    fn violations(mut tale: Tale, watcher: &Link, will: &Message, times: usize) -> usize {
        tale.wait(20);
        for _ in 0..times {
            tale.deliver(watcher, will);
        }
        tale.fault(Fault::Healed);
        check(&tale.ledger()).len()
    }

    #[test]
    fn lost_connection_publishes_once() {
        for (times, expected) in [(0, 1), (1, 0), (2, 1)] {
            let (mut tale, watcher, van, will) = scene(0);
            tale.close(&van, Closer::Client);
            assert_eq!(violations(tale, &watcher, &will, times), expected, "published {times} times");
        }
    }

    #[test]
    fn crash_of_the_server_leaves_it_due() {
        let (mut tale, watcher, van, will) = scene(0);
        tale.fault(Fault::Killed);
        tale.close(&van, Closer::Server);
        assert_eq!(violations(tale, &watcher, &will, 0), 1);
    }

    #[test]
    fn normal_disconnect_publishes_nothing() {
        for (times, expected) in [(0, 0), (1, 1)] {
            let (mut tale, watcher, van, will) = scene(0);
            tale.disconnect(&van);
            assert_eq!(violations(tale, &watcher, &will, times), expected);
        }
    }

    #[test]
    fn a_disconnect_that_a_leader_is_told_who_is_soon_deposed_may_not_be_on_record() {
        for (calm, times, expected) in [(0, 0, 0), (0, 1, 0), (0, 2, 1), (2, 0, 0), (2, 1, 1)] {
            let (mut tale, watcher, van, will) = scene(0);
            tale.fault(Fault::Fleet(Fleet::Settled));
            tale.disconnect(&van);
            tale.wait(calm);
            tale.fault(Fault::Fleet(Fleet::Disturbed));
            tale.fault(Fault::Fleet(Fleet::Settled));
            assert_eq!(
                violations(tale, &watcher, &will, times),
                expected,
                "calm for {calm} s, {times} times"
            );
        }
    }

    #[test]
    fn a_will_waits_for_a_leader_and_not_for_ever() {
        for (settles, expected) in [(true, 1), (false, 0)] {
            let (mut tale, watcher, van, will) = scene(1);
            tale.fault(Fault::Fleet(Fleet::Settled));
            tale.close(&van, Closer::Client);
            tale.fault(Fault::Fleet(Fleet::Disturbed));
            tale.wait(20);
            if settles {
                tale.fault(Fault::Fleet(Fleet::Settled));
            }
            assert_eq!(violations(tale, &watcher, &will, 0), expected, "settles: {settles}");
        }
    }

    #[test]
    fn a_disconnect_that_a_dead_server_is_told_may_be_unheard() {
        for times in [0, 1] {
            let (mut tale, watcher, van, will) = scene(0);
            tale.fault(Fault::Killed);
            tale.disconnect(&van);
            assert_eq!(violations(tale, &watcher, &will, times), 0);
        }
    }

    #[test]
    fn resume_within_the_delay_publishes_nothing() {
        for (times, expected) in [(0, 0), (1, 1)] {
            let (mut tale, watcher, van, will) = scene(10);
            tale.close(&van, Closer::Client);
            tale.wait(2);
            tale.connect("van", Terms::lasting(), true);
            assert_eq!(violations(tale, &watcher, &will, times), expected);
        }
    }

    #[test]
    fn the_delay_runs_from_the_disconnect_and_not_from_when_the_server_is_seen_to_close() {
        for (says, delay, wrong) in [(true, 2, 0), (true, 10, 1), (false, 2, 1), (false, 10, 1)] {
            let (mut tale, watcher, van, will) = scene(delay);
            if says {
                tale.leave(&van, true);
            }
            tale.wait(3);
            tale.close(&van, Closer::Server);
            tale.connect("van", Terms::lasting(), true);
            assert_eq!(violations(tale, &watcher, &will, 1), wrong, "{says}, {delay} s");
        }
    }

    #[test]
    fn resume_after_the_delay_comes_too_late() {
        for (times, expected) in [(0, 1), (1, 0)] {
            let (mut tale, watcher, van, will) = scene(2);
            tale.close(&van, Closer::Client);
            tale.wait(9);
            tale.connect("van", Terms::lasting(), true);
            assert_eq!(violations(tale, &watcher, &will, times), expected);
        }
    }

    #[test]
    fn old_will_behind_what_the_new_connection_says_is_caught() {
        for (will_first, expected) in [(true, 0), (false, 1)] {
            let (mut tale, watcher, old, will) = scene(0);
            let new = tale.connect("van", Terms::lasting(), true);
            tale.close(&old, Closer::Server);
            let online = message("van", "will/van", 1, 1);
            tale.publish(&new, &online);
            let order = if will_first { [&will, &online] } else { [&online, &will] };
            for message in order {
                tale.deliver(&watcher, message);
            }
            assert_eq!(violations(tale, &watcher, &will, 0), expected);
        }
    }

    #[test]
    fn takeover_publishes_the_old_will_and_keeps_the_new() {
        let (mut tale, watcher, old, first) = scene(0);
        let second = message("van", "will/van", 2, 2);
        let new = tale.connect("van", Terms::lasting().with_will(second.clone(), Duration::ZERO), true);
        tale.close(&old, Closer::Server);
        tale.deliver(&watcher, &first);
        tale.close(&new, Closer::Client);
        assert_eq!(violations(tale, &watcher, &second, 0), 1, "the new Will was lost in the takeover");
    }
}
