//! Invariant 6: a later SUBSCRIBE sees the Retained Message that was acknowledged, or a later one; a delete stays.
//!
//! Each retained topic has one writer that writes one value at a time, so the order of its PUBLISHes is the order of the
//! topic. A value without an answer may hold or not, and once it was seen it holds.

use std::collections::HashMap;
use std::time::Duration;

use super::Violation;
use crate::oracle::{Ledger, Message, Name, Qos, Retain, Sent, What};

const NAME: &str = "6 Retained Messages";

/// Where nothing stands in the way, a message of QoS 2 is at its partition so long after its PUBCOMP.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    // Per topic: the place in the order of writes that reads have shown, and the event of that read.
    let mut shown: HashMap<&Name, (usize, usize)> = HashMap::new();
    for (index, event) in ledger.events.iter().enumerate() {
        let What::Read { link, topic, since, value } = &event.what else { continue };
        // While nobody leads, silence is no answer.
        if value.is_none() && ledger.disturbances().is_disturbed(ledger.at(*since), event.at) {
            continue;
        }
        let writes: Vec<&Sent> = ledger.sent_to(topic).filter(|sent| sent.retain != Retain::No).collect();
        let acknowledged = writes.iter().rposition(|sent| is_kept(ledger, sent, *since));
        let seen = shown.get(topic).filter(|(_, read)| read < since).map(|&(place, _)| place);
        let floor = acknowledged.max(seen);
        let place = match value {
            Some(message) => place_of(&writes, message),
            None => {
                deleted_from(&writes, floor, index).or_else(|| deleted_late(ledger, &writes, floor?, *since))
            }
        };
        match (place, value) {
            (Some(place), _)
                if floor.is_some_and(|floor| was_late(ledger, writes[place], writes[floor], *since)) => {}
            (Some(place), _) if Some(place) >= floor => {
                let known = shown.entry(topic).or_insert((place, index));
                if place >= known.0 {
                    *known = (place, index);
                }
            }
            // Nothing was promised and nothing is there.
            (None, None) if floor.is_none() => {}
            _ => violations.push(Violation {
                invariant: NAME,
                at: index,
                said: format!(
                    "{} read {} from {topic}, where {} was {}",
                    link.client,
                    value.as_ref().map_or("nothing".to_owned(), |message| format!("value {}", message.seq)),
                    floor.map_or("nothing".to_owned(), |floor| describe(writes[floor])),
                    if floor > acknowledged { "read before" } else { "acknowledged before" },
                ),
            }),
        }
    }
    violations
}

/// Whether a value that was acknowledged is there for a SUBSCRIBE at this event. In a fleet one of QoS 2 goes by way of its
/// publisher's Session, over links that lose things, and may be on its way still.
fn is_kept(ledger: &Ledger, sent: &Sent, since: usize) -> bool {
    let Some(accepted) = sent.accepted.filter(|accepted| *accepted < since) else { return false };
    let disturbances = ledger.disturbances();
    let is_by_session = sent.message.qos == Qos::ExactlyOnce && disturbances.are_of_a_fleet();
    !is_by_session || disturbances.calm_after(ledger.at(accepted), ON_ITS_WAY) < ledger.at(since)
}

/// Whether a value of QoS 2 may have come behind one that was published after it: that one went straight to the partition, and
/// this one by way of its Session, while the fleet was disturbed.
fn was_late(ledger: &Ledger, sent: &Sent, next: &Sent, read: usize) -> bool {
    let Some(completed) = sent.completed else { return false };
    let (completed, accepted) = (ledger.at(completed), ledger.at(next.accepted.unwrap_or(read).min(read)));
    let disturbances = ledger.disturbances();
    sent.first < next.first
        && sent.message.qos == Qos::ExactlyOnce
        && disturbances.are_of_a_fleet()
        && disturbances.calm_after(completed, ON_ITS_WAY) > accepted
}

/// A delete that came so late.
fn deleted_late(ledger: &Ledger, writes: &[&Sent], floor: usize, read: usize) -> Option<usize> {
    (0..floor).find(|&place| {
        writes[place].retain == Retain::Delete && was_late(ledger, writes[place], writes[floor], read)
    })
}

fn place_of(writes: &[&Sent], message: &Message) -> Option<usize> {
    writes.iter().position(|sent| sent.message == *message && sent.retain == Retain::Set)
}

/// The earliest delete, sent before `index`, that explains an empty topic.
fn deleted_from(writes: &[&Sent], floor: Option<usize>, index: usize) -> Option<usize> {
    (floor.unwrap_or(0)..writes.len())
        .find(|&place| writes[place].retain == Retain::Delete && writes[place].first < index)
}

fn describe(sent: &Sent) -> String {
    match sent.retain {
        Retain::Delete => format!("delete {}", sent.message.seq),
        _ => format!("value {}", sent.message.seq),
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Fault, Fleet, Link, Message, Retain, Terms, What};

    struct Topic {
        tale: Tale,
        link: Link,
        seq: u64,
    }

    impl Topic {
        fn new() -> Self {
            let mut tale = Tale::default();
            let link = tale.connect("desk", Terms::lasting(), false);
            Self { tale, link, seq: 0 }
        }

        fn write(&mut self, retain: Retain, accepted: bool) -> Message {
            self.seq += 1;
            let message = message("desk", "door", 1, self.seq);
            self.tale.push(What::Publish {
                link: self.link.clone(),
                message: message.clone(),
                retain,
                expiry: None,
            });
            if accepted {
                self.tale.accept(&self.link, &message);
            }
            message
        }

        fn read(&mut self, value: Option<&Message>) -> usize {
            let link = self.tale.connect("reader", Terms::clean(), false);
            let since = self.tale.subscribe(&link, "door", 1);
            self.tale.push(What::Read { link, topic: "door".into(), since, value: value.cloned() });
            check(&self.tale.ledger()).len()
        }
    }

    #[test]
    fn acknowledged_value_is_seen() {
        let mut topic = Topic::new();
        assert_eq!(topic.read(None), 0);
        let open = topic.write(Retain::Set, true);
        assert_eq!(topic.read(Some(&open)), 0);
        assert_eq!(topic.read(None), 1, "lost");
    }

    #[test]
    fn silence_is_no_answer_while_nobody_leads_and_an_older_value_is_one() {
        for (settled, empty) in [(true, 1), (false, 0)] {
            let mut topic = Topic::new();
            topic.tale.fault(Fault::Fleet(Fleet::Settled));
            let old = topic.write(Retain::Set, true);
            topic.write(Retain::Set, true);
            if !settled {
                topic.tale.fault(Fault::Fleet(Fleet::Disturbed));
            }
            assert_eq!(topic.read(None), empty, "settled: {settled}");
            assert_eq!(topic.read(Some(&old)), empty + 1, "settled: {settled}");
        }
    }

    #[test]
    fn older_value_is_caught() {
        let mut topic = Topic::new();
        let open = topic.write(Retain::Set, true);
        topic.write(Retain::Set, true);
        assert_eq!(topic.read(Some(&open)), 1);
    }

    #[test]
    fn deleted_value_that_comes_back_is_caught() {
        let mut topic = Topic::new();
        let open = topic.write(Retain::Set, true);
        topic.write(Retain::Delete, true);
        assert_eq!(topic.read(None), 0);
        assert_eq!(topic.read(Some(&open)), 1);
    }

    #[test]
    fn value_without_an_answer_may_hold_or_not_until_it_was_seen() {
        let mut topic = Topic::new();
        let open = topic.write(Retain::Set, true);
        let shut = topic.write(Retain::Set, false);
        assert_eq!(topic.read(Some(&open)), 0);
        assert_eq!(topic.read(Some(&shut)), 0);
        assert_eq!(topic.read(Some(&open)), 1, "it was seen to have changed");
    }
}
