//! Invariant 6 where a Retained Message meets a SUBSCRIBE: who stays subscribed has the last value, as it came or as it
//! was kept, and never neither; and not both of one Subscription.

use std::collections::HashMap;
use std::time::Duration;

use super::Violation;
use crate::oracle::{Ledger, Life, Name, Qos, Retain, Sent, Span};

const NAME: &str = "6 Retained Message that races a SUBSCRIBE";

/// A value is with its subscribers so long after its acknowledgement, or after SUBACK.
const SOON: Duration = Duration::from_millis(700);

/// The same where it goes from node to node, over links that stand still for a second or two.
const SOON_BETWEEN_NODES: Duration = Duration::from_secs(4);

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let (mut violations, changes) = (Vec::new(), changes(ledger));
    for life in &ledger.lives {
        let changes = changes.get(&life.client).map_or(&[][..], Vec::as_slice);
        for span in
            life.spans.iter().filter(|span| !span.is_shared() && span.granted >= Some(Qos::AtLeastOnce))
        {
            let Some(since) = span.sure_from else { continue };
            let until = ends(ledger, changes, span, since);
            if ledger.crashed_between(span.asked, until) {
                continue;
            }
            for topic in ledger.topics().filter(|topic| span.takes(topic)) {
                let writes: Vec<_> = ledger.sent_to(topic).filter(|sent| sent.retain != Retain::No).collect();
                let said = neither(ledger, life, span, (since, until), &writes)
                    .or_else(|| both(ledger, life, span, until, &writes));
                violations.extend(said.map(|said| Violation { invariant: NAME, at: since, said }));
            }
        }
    }
    violations
}

/// Where connections of a Client begin and end, in their order.
fn changes(ledger: &Ledger) -> HashMap<&Name, Vec<usize>> {
    let mut changes: HashMap<&Name, Vec<usize>> = HashMap::new();
    for connection in &ledger.connections {
        let closed = connection.closed.map(|(closed, _)| closed);
        let ends = [Some(connection.connect), connection.disconnect, closed];
        changes.entry(&connection.link.client).or_default().extend(ends.into_iter().flatten());
    }
    changes.values_mut().for_each(|changes| changes.sort_unstable());
    changes
}

/// Up to where the Subscription was there on the connection that made it: what is kept is sent on that one alone.
fn ends(ledger: &Ledger, changes: &[usize], span: &Span, since: usize) -> usize {
    let next = changes.get(changes.partition_point(|index| *index <= since)).copied();
    let ends = [next, span.doubt_from, span.over].into_iter().flatten().min();
    ends.unwrap_or(ledger.events.len() - 1)
}

/// The value that stood for long enough while the Subscription was there, if it did not come.
fn neither(
    ledger: &Ledger,
    life: &Life,
    span: &Span,
    (since, until): (usize, usize),
    writes: &[&Sent],
) -> Option<String> {
    let place = writes.iter().rposition(|sent| sent.first < since)?;
    let sent = writes[place];
    let accepted = sent.accepted.filter(|_| sent.retain == Retain::Set)?;
    let disturbances = ledger.disturbances();
    // A message of QoS 1 may overtake one of QoS 2 that its publisher sent before, and then that one is the last.
    let overtakes = |before: &&Sent| {
        before.message.qos > sent.message.qos && before.accepted.is_none_or(|accepted| accepted > sent.first)
    };
    if disturbances.are_of_a_fleet() && writes[..place].iter().any(overtakes) {
        return None;
    }
    let soon = if disturbances.are_of_a_fleet() { SOON_BETWEEN_NODES } else { SOON };
    let seen_by = disturbances.calm_after(ledger.at(accepted.max(since)), soon);
    let next = writes.get(place + 1).map(|next| next.first);
    let stood = [Some(until), next].into_iter().flatten().all(|index| ledger.at(index) >= seen_by);
    let came = life.deliveries.iter().any(|delivery| {
        delivery.message == sent.message && delivery.index > span.asked && delivery.index < until
    });
    (stood && !came).then(|| {
        let message = &sent.message;
        format!(
            "{message} reached {} neither as it came nor as it was kept (event {})",
            life.client, sent.first
        )
    })
}

/// A value that came live and as retained, where no other Subscription accounts for one of them.
fn both(ledger: &Ledger, life: &Life, span: &Span, until: usize, writes: &[&Sent]) -> Option<String> {
    // A SUBSCRIBE that waits for another leader is asked for anew: the value may have come by the first asking, and is kept when the
    // last one is answered.
    let since = span.sure_from?;
    let disturbances = ledger.disturbances();
    let is_asked_anew = disturbances.is_disturbed(ledger.at(span.asked), ledger.at(since))
        || disturbances.lost_between(span.asked, since);
    // One that its publisher sent again may come again.
    let is_once = |sent: &&&Sent| sent.first == sent.last && !(is_asked_anew && sent.first < since);
    writes.iter().filter(is_once).find_map(|sent| {
        let others = life.spans_for(&sent.message.topic).filter(|other| other.asked != span.asked);
        let accounts = |other: &Span| other.over.is_none_or(|over| over > sent.first) && other.asked < until;
        if others.into_iter().any(accounts) {
            return None;
        }
        let came = |retained| {
            life.deliveries.iter().find(|delivery| {
                delivery.message == sent.message
                    && delivery.retained == retained
                    && (span.asked..until).contains(&delivery.index)
            })
        };
        let (live, kept) = (came(false)?, came(true)?);
        let link = |index: usize| ledger.events[index].what.link().cloned();
        let twice = link(live.index) == link(kept.index);
        twice.then(|| format!("{} reached {} live and as retained", sent.message, life.client))
    })
}

/// How many Subscriptions a run had whose SUBACK came while a value was on its way.
pub fn races(ledger: &Ledger) -> usize {
    let writes: Vec<_> = ledger.sent.iter().filter(|sent| sent.retain == Retain::Set).collect();
    let spans = ledger.lives.iter().flat_map(|life| &life.spans);
    spans
        .filter(|span| {
            span.sure_from.is_some_and(|since| {
                writes.iter().any(|sent| {
                    let answered = sent.accepted.unwrap_or(usize::MAX);
                    span.takes(&sent.message.topic) && sent.first < since && answered > span.asked
                })
            })
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Fault, Fleet, Link, Message, Qos, Retain, Terms, What};

    /// A value is on its way while a Client subscribes.
    fn race() -> (Tale, Link, Message) {
        let mut tale = Tale::default();
        let desk = tale.connect("desk", Terms::lasting(), false);
        let van = tale.connect("van", Terms::clean(), false);
        let open = message("desk", "door", 1, 1);
        let retain = Retain::Set;
        tale.push(What::Publish { link: desk.clone(), message: open.clone(), retain, expiry: None });
        tale.subscribe(&van, "door", 1);
        tale.accept(&desk, &open);
        (tale, van, open)
    }

    fn get(tale: &mut Tale, link: &Link, message: &Message, retained: bool) {
        tale.push(What::Delivered { link: link.clone(), message: message.clone(), retained });
    }

    #[test]
    fn a_value_that_came_neither_way_is_caught() {
        for ways in [&[][..], &[false], &[true], &[false, true]] {
            let (mut tale, van, open) = race();
            ways.iter().for_each(|&retained| get(&mut tale, &van, &open, retained));
            tale.wait(2);
            tale.unsubscribe(&van, "door");
            let found = check(&tale.ledger());
            assert_eq!(found.len(), usize::from(ways.len() != 1), "{ways:?} {found:?}");
        }
    }

    #[test]
    fn a_value_may_come_both_ways_where_the_subscribe_waited_for_another_leader() {
        for (is_settled, comes_late) in [(false, false), (true, false), (false, true)] {
            let (mut tale, settled) = (Tale::default(), Fault::Fleet(Fleet::Settled));
            tale.fault(Fault::Fleet(Fleet::Led(1)));
            tale.fault(settled.clone());
            tale.wait(10);
            let desk = tale.connect("desk", Terms::lasting(), false);
            let van = tale.connect("van", Terms::clean(), false);
            let open = message("desk", "door", 1, 1);
            let (link, filter, retain) = (van.clone(), "door".into(), Retain::Set);
            tale.push(What::Subscribe { link, filter, qos: Qos::AtLeastOnce });
            if !is_settled {
                tale.fault(Fault::Fleet(Fleet::Disturbed));
                tale.fault(settled);
            }
            let publish = What::Publish { link: desk, message: open.clone(), retain, expiry: None };
            let suback =
                What::Suback { link: van.clone(), filter: "door".into(), granted: Some(Qos::AtLeastOnce) };
            let both = if comes_late { [suback, publish] } else { [publish, suback] };
            both.into_iter().for_each(|what| _ = tale.push(what));
            get(&mut tale, &van, &open, false);
            get(&mut tale, &van, &open, true);
            tale.wait(2);
            tale.unsubscribe(&van, "door");
            let found = check(&tale.ledger());
            assert_eq!(found.len(), usize::from(is_settled || comes_late), "{found:?}");
        }
    }

    #[test]
    fn who_leaves_soon_is_promised_nothing_and_may_have_it_twice_by_two_subscriptions() {
        let (mut tale, van, _) = race();
        tale.unsubscribe(&van, "door");
        tale.wait(2);
        assert_eq!(check(&tale.ledger()), []);
        let (mut tale, van, open) = race();
        tale.subscribe(&van, "#", 1);
        get(&mut tale, &van, &open, false);
        get(&mut tale, &van, &open, true);
        tale.wait(2);
        assert_eq!(check(&tale.ledger()), []);
    }
}
