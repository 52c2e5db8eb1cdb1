//! Invariant 8: a message that a Shared Subscription takes reaches one member, whichever members come and go.
//!
//! At QoS 1 it is at least one, and two only when the first was gone before it could say that it had the message. At QoS 2
//! it is one alone, and none only where a Session ended with the message in it [MQTT-4.8.2-5]. A member whose Session
//! goes with its connection takes to the grave what it holds when the Server dies; the workload has none.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Violation;
use crate::oracle::{Connection, Ledger, Life, Message, Name, Qos, Retain, Sent, Span, matches, shared};

const NAME: &str = "8 Shared Subscription";
/// How much later than another one's delivery a member may learn that its own connection is gone.
const SLACK: Duration = Duration::from_millis(500);

/// All that happened under one Topic Filter of a Shared Subscription.
#[derive(Default)]
struct Group<'a> {
    members: Vec<(&'a Life, &'a Span)>,
    /// By message: event, and the place of the member.
    got: HashMap<&'a Message, Vec<(usize, usize)>>,
}

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut groups: BTreeMap<&Name, Group<'_>> = BTreeMap::new();
    for life in &ledger.lives {
        for span in life.spans.iter().filter(|span| span.is_shared()) {
            groups.entry(&span.filter).or_default().members.push((life, span));
        }
    }
    let connections: HashMap<u32, &Connection> =
        ledger.connections.iter().map(|connection| (connection.link.connection, connection)).collect();
    let mut violations = Vec::new();
    for (filter, mut group) in groups {
        group.collect();
        let (_, taken) = shared(filter).expect("only such filters were collected");
        for topic in ledger.topics().filter(|topic| matches(taken, topic)) {
            for sent in ledger.sent_to(topic) {
                if let Some((at, said)) = group.judge(ledger, &connections, sent) {
                    let said = format!("{} {said} ({filter})", sent.message);
                    violations.push(Violation { invariant: NAME, at, said });
                }
            }
        }
    }
    violations
}

impl Group<'_> {
    fn collect(&mut self) {
        // A member that subscribed several times in its life is one.
        self.members.sort_by_key(|(life, span)| (life.begins, span.asked));
        for (place, (life, _)) in self.members.iter().enumerate() {
            if place > 0 && std::ptr::eq(self.members[place - 1].0, *life) {
                continue;
            }
            for delivery in life.deliveries.iter().filter(|delivery| !delivery.retained) {
                self.got.entry(&delivery.message).or_default().push((delivery.index, place));
            }
        }
        for got in self.got.values_mut() {
            got.sort_unstable();
        }
    }

    fn judge(
        &self,
        ledger: &Ledger,
        connections: &HashMap<u32, &Connection>,
        sent: &Sent,
    ) -> Option<(usize, String)> {
        if sent.message.qos == Qos::AtMostOnce || sent.retain == Retain::Delete {
            return None;
        }
        let got = self.got.get(&sent.message).map_or(&[][..], Vec::as_slice);
        let exactly_once = sent.message.qos == Qos::ExactlyOnce
            && self.members.iter().all(|(_, span)| span.granted == Some(Qos::ExactlyOnce));
        match (got, sent.accepted) {
            ([], Some(accepted)) if self.is_promised(sent, exactly_once) => {
                Some((accepted, "was acknowledged and reached no member".to_owned()))
            }
            ([_, (again, _), ..], _) if exactly_once => {
                Some((*again, format!("reached members {} times", got.len())))
            }
            // A publisher that sent it twice made two of it.
            _ if exactly_once || sent.last != sent.first => None,
            _ => got.windows(2).find_map(|pair| {
                let [(first, one), (second, other)] = pair else { return None };
                let said = || "reached a second member while the first had it and was connected".to_owned();
                (one != other && self.held(ledger, connections, *first, *second)).then(|| (*second, said()))
            }),
        }
    }

    /// Somebody was a member before it was sent, and still is at the end.
    fn is_promised(&self, sent: &Sent, exactly_once: bool) -> bool {
        let stays = |life: &Life, span: &Span| {
            life.ends.is_none()
                && span.over.is_none()
                && span.promises_at_least_once().is_some_and(|since| since < sent.first)
        };
        let ended = |life: &Life| life.ends.is_some_and(|end| end > sent.first);
        self.members.iter().any(|(life, span)| stays(life, span))
            && !(exactly_once && self.members.iter().any(|(life, _)| ended(life)))
            && sent.expiry.is_none()
    }

    /// Whether the connection that got it at event `first` was still open well after event `second`.
    fn held(
        &self,
        ledger: &Ledger,
        connections: &HashMap<u32, &Connection>,
        first: usize,
        second: usize,
    ) -> bool {
        let link = ledger.events[first].what.link();
        let Some(connection) = link.and_then(|link| connections.get(&link.connection)) else { return false };
        let until = ledger.at(second) + SLACK;
        ledger.end() > until
            && connection.closed.is_none_or(|(closed, _)| ledger.at(closed) > until)
            && !ledger.crashed_between(first, second)
            && !ledger.disturbances().is_disturbed(ledger.at(first), ledger.at(second))
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Fault, Link, Message, Terms};

    /// Two members and a message that was acknowledged.
    fn scene(qos: u8) -> (Tale, [Link; 2], Message) {
        let mut tale = Tale::default();
        let members = ["left", "right"].map(|name| tale.connect(name, Terms::lasting(), false));
        for member in &members {
            tale.subscribe(member, "$share/crew/job/#", qos);
        }
        let desk = tale.connect("desk", Terms::lasting(), false);
        let job = message("desk", "job/1", qos, 1);
        tale.publish(&desk, &job);
        (tale, members, job)
    }

    fn found(mut tale: Tale) -> Vec<String> {
        tale.wait(10);
        tale.fault(Fault::Healed);
        check(&tale.ledger()).into_iter().map(|violation| violation.said).collect()
    }

    #[test]
    fn one_member_is_enough_and_none_is_a_loss() {
        for qos in [1, 2] {
            let (mut tale, [left, _], job) = scene(qos);
            tale.deliver(&left, &job);
            assert_eq!(found(tale), [""; 0]);
            let (tale, ..) = scene(qos);
            assert!(found(tale)[0].contains("reached no member"), "QoS {qos}");
        }
    }

    #[test]
    fn two_members_at_once_are_caught() {
        for (qos, said) in [(1, "reached a second member"), (2, "reached members 2 times")] {
            let (mut tale, [left, right], job) = scene(qos);
            tale.deliver(&left, &job);
            tale.deliver(&right, &job);
            assert!(found(tale)[0].contains(said), "QoS {qos}");
        }
    }

    #[test]
    fn what_a_member_left_unacknowledged_may_reach_another_at_qos_1_alone() {
        for (qos, expected) in [(1, 0), (2, 1)] {
            let (mut tale, [left, right], job) = scene(qos);
            tale.deliver(&left, &job);
            tale.close(&left, Closer::Client);
            tale.wait(1);
            tale.deliver(&right, &job);
            assert_eq!(found(tale).len(), expected, "QoS {qos}");
        }
    }

    #[test]
    fn session_that_ends_takes_a_qos_2_message_with_it_and_leaves_one_of_qos_1() {
        for (qos, expected) in [(1, 1), (2, 0)] {
            let (mut tale, [left, _], _) = scene(qos);
            tale.close(&left, Closer::Client);
            let left = tale.connect("left", Terms::clean(), false);
            tale.disconnect(&left);
            assert_eq!(found(tale).len(), expected, "QoS {qos}");
        }
    }

    #[test]
    fn nothing_is_promised_to_a_group_that_nobody_stays_in() {
        let (mut tale, members, _) = scene(1);
        for member in &members {
            tale.unsubscribe(member, "$share/crew/job/#");
        }
        assert_eq!(found(tale), [""; 0]);
    }
}
