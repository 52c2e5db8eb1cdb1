//! Invariant 3, of one connection: what it sends takes effect in the order sent. A message behind a SUBSCRIBE comes back to
//! its sender, one before it or behind an UNSUBSCRIBE does not, whether that was answered when the message left or not.

use std::collections::HashMap;
use std::time::Duration;

use super::Violation;
use crate::oracle::{Connection, Ledger, Message, Name, Qos, Retain, Sent, Span, What, matches};

const NAME: &str = "3 order of what one connection sends";

/// A message is back so long after it was sent, on a connection that stays.
const SOON: Duration = Duration::from_millis(1_500);

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut events: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, event) in ledger.events.iter().enumerate() {
        if let Some(link) = event.what.link() {
            events.entry(link.connection).or_default().push(index);
        }
    }
    let mut violations = Vec::new();
    for connection in &ledger.connections {
        let of_this = events.get(&connection.link.connection).map_or(&[][..], Vec::as_slice);
        violations.extend(of_connection(ledger, connection, of_this));
    }
    violations
}

fn of_connection(ledger: &Ledger, connection: &Connection, events: &[usize]) -> Vec<Violation> {
    let mut violations = Vec::new();
    // For each Topic Filter where it was subscribed on this connection; `None` once it was unsubscribed.
    let mut filters: HashMap<&Name, Option<usize>> = HashMap::new();
    let closed = connection.read_until().unwrap_or(ledger.events.len());
    for &index in events {
        match &ledger.events[index].what {
            What::Subscribe { filter, .. } => drop(filters.insert(filter, Some(index))),
            What::Unsubscribe { filter, .. } => drop(filters.insert(filter, None)),
            What::Publish { message, retain: Retain::No, expiry: None, .. }
                if ledger.sent_of(message).is_some_and(|sent| sent.first == index) =>
            {
                let mut of_topic = filters.iter().filter(|(filter, _)| matches(filter, &message.topic));
                let said = match of_topic.find_map(|(_, asked)| *asked) {
                    Some(asked) => lost(ledger, connection, message, asked, index, closed),
                    None => back(ledger, connection, message, index),
                };
                violations.extend(said.map(|said| Violation { invariant: NAME, at: index, said }));
            }
            _ => {}
        }
    }
    violations
}

/// Whether a message that left behind the SUBSCRIBE at `asked` did not come back, though it had to.
fn lost(
    ledger: &Ledger,
    connection: &Connection,
    message: &Message,
    asked: usize,
    index: usize,
    closed: usize,
) -> Option<String> {
    let life = life(ledger, connection)?;
    let span = life.spans.iter().find(|span| span.asked == asked)?;
    span.sure_from.filter(|_| span.granted.is_some() && !span.is_shared())?;
    let sent = ledger.sent_of(message)?;
    let answered = match message.qos {
        Qos::AtMostOnce => index,
        _ => sent.accepted?,
    };
    let until = closed.min(ledger.events.len() - 1);
    let since = ledger.at(answered.max(span.sure_from?));
    let stays = ledger.at(until) >= ledger.disturbances().calm_after(since, SOON);
    let came = life.deliveries.iter().any(|delivery| delivery.message == *message);
    // Behind a message that was refused, and cannot be told so, nothing more is read until the connection ends.
    let is_refused = |before: &Sent| {
        let is_of_this = ledger.events[before.last].what.link() == Some(&connection.link);
        let was_sent = is_of_this && before.last < index && before.message.qos > Qos::AtMostOnce;
        was_sent && before.accepted.is_none_or(|accepted| accepted > until)
    };
    let is_read = !ledger.sent.iter().any(is_refused);
    (stays && is_read && !came && !ledger.crashed_between(asked, until))
        .then(|| format!("{message} left behind a SUBSCRIBE to {} and did not come back", span.filter))
}

/// Whether a message came back, though nothing was subscribed when it left that it could come by.
fn back(ledger: &Ledger, connection: &Connection, message: &Message, index: usize) -> Option<String> {
    let life = life(ledger, connection)?;
    // Sent again it may meet what was subscribed since.
    ledger.sent_of(message).filter(|sent| sent.first == sent.last)?;
    let ends_before = |span: &Span| match (span.over, span.doubt_from) {
        (Some(over), _) if over < index => true,
        // Behind an UNSUBSCRIBE that was done; one that was followed by a SUBSCRIBE was perhaps not.
        (Some(_), Some(doubt)) => {
            let again = |other: &Span| other.filter == span.filter && other.asked > doubt;
            doubt < index && !life.spans.iter().any(again)
        }
        _ => false,
    };
    let accounts = life.spans_for(&message.topic).any(|span| span.asked < index && !ends_before(span));
    let came =
        life.deliveries.iter().find(|delivery| delivery.message == *message && delivery.index > index)?;
    (!accounts && !life.doubtful).then(|| {
        format!("{message} left while nothing was subscribed for it and came back at event {}", came.index)
    })
}

/// The Session of a connection.
fn life<'a>(ledger: &'a Ledger, connection: &Connection) -> Option<&'a crate::oracle::Life> {
    let (answered, _) = connection.connack?;
    ledger.lives.iter().find(|life| {
        life.client == connection.link.client
            && life.begins <= answered
            && life.ends.is_none_or(|ends| ends > answered)
    })
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Link, Terms, What};

    fn asks(tale: &mut Tale, link: &Link, subscribes: bool) {
        let (link, filter, qos) = (link.clone(), "echo/#".into(), crate::oracle::Qos::AtLeastOnce);
        tale.push(match subscribes {
            true => What::Subscribe { link, filter, qos },
            false => What::Unsubscribe { link, filter },
        });
    }

    #[test]
    fn own_message_behind_a_subscribe_that_does_not_come_is_caught() {
        for (came, expected) in [(true, 0), (false, 1)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::clean(), false);
            asks(&mut tale, &van, true);
            let own = message("van", "echo/1", 0, 1);
            tale.send(&van, &own);
            let (filter, granted) = ("echo/#".into(), Some(crate::oracle::Qos::AtLeastOnce));
            tale.push(What::Suback { link: van.clone(), filter, granted });
            if came {
                tale.deliver(&van, &own);
            }
            tale.wait(2);
            tale.send(&van, &message("van", "other", 0, 1));
            assert_eq!(check(&tale.ledger()).len(), expected);
        }
    }

    #[test]
    fn who_has_begun_another_connection_reads_the_old_one_no_more() {
        for (begins, expected) in [(false, 1), (true, 0)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::clean(), false);
            asks(&mut tale, &van, true);
            tale.send(&van, &message("van", "echo/1", 0, 1));
            let (filter, granted) = ("echo/#".into(), Some(crate::oracle::Qos::AtLeastOnce));
            tale.push(What::Suback { link: van.clone(), filter, granted });
            if begins {
                tale.sent_connect("van", Terms::clean());
            }
            tale.wait(2);
            tale.send(&van, &message("van", "other", 0, 1));
            assert_eq!(check(&tale.ledger()).len(), expected, "begins: {begins}");
        }
    }

    #[test]
    fn own_message_before_a_subscribe_that_comes_is_caught() {
        for (came, expected) in [(true, 1), (false, 0)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::clean(), false);
            let own = message("van", "echo/1", 0, 1);
            tale.send(&van, &own);
            tale.subscribe(&van, "echo/#", 1);
            if came {
                tale.deliver(&van, &own);
            }
            assert_eq!(check(&tale.ledger()).len(), expected);
        }
    }

    #[test]
    fn own_message_behind_an_unsubscribe_that_comes_is_caught() {
        for (came, expected) in [(true, 1), (false, 0)] {
            let mut tale = Tale::default();
            let van = tale.connect("van", Terms::clean(), false);
            tale.subscribe(&van, "echo/#", 1);
            asks(&mut tale, &van, false);
            let own = message("van", "echo/1", 0, 1);
            tale.send(&van, &own);
            if came {
                tale.deliver(&van, &own);
            }
            tale.push(What::Unsuback { link: van.clone(), filter: "echo/#".into() });
            tale.wait(2);
            assert_eq!(check(&tale.ledger()).len(), expected);
        }
    }
}
