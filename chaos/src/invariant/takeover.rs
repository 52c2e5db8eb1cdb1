//! Invariant 4: one owner per Client Identifier. Once a Client holds the CONNACK of a new connection, nothing that it sends
//! on the old one is acknowledged, and the Server closes the old one [MQTT-3.1.4-3].

use std::collections::HashMap;

use super::Violation;
use crate::oracle::{Closer, Ledger, Message, Name, What};

const NAME: &str = "4 one owner per Client Identifier";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    // The moment each connection was superseded.
    let mut superseded: HashMap<u32, usize> = HashMap::new();
    let mut open: HashMap<&Name, Vec<(u32, usize)>> = HashMap::new();
    for connection in &ledger.connections {
        let Some((connack, _)) = connection.connack else { continue };
        let earlier = open.entry(&connection.link.client).or_default();
        for (number, place) in earlier.drain(..) {
            let old = &ledger.connections[place];
            match old.closed {
                Some((closed, _)) if closed < connack => {}
                Some((_, Closer::Server)) => {
                    superseded.insert(number, connack);
                }
                Some((closed, Closer::Client)) => {
                    superseded.insert(number, connack);
                    violations.push(outlived(&connection.link.client, closed));
                }
                None => {
                    superseded.insert(number, connack);
                    violations.push(outlived(&connection.link.client, connack));
                }
            }
        }
        let place = ledger.connections.partition_point(|other| other.connect < connection.connect);
        earlier.push((connection.link.connection, place));
    }

    let mut late: HashMap<(u32, &Message), usize> = HashMap::new();
    for (index, event) in ledger.events.iter().enumerate() {
        match &event.what {
            What::Publish { link, message, .. }
                if superseded.get(&link.connection).is_some_and(|&since| index > since) =>
            {
                late.insert((link.connection, message), index);
            }
            What::Accepted { link, message } => {
                if let Some(sent) = late.get(&(link.connection, message)) {
                    violations.push(Violation {
                        invariant: NAME,
                        at: index,
                        said: format!(
                            "{message}, sent at event {sent} on a connection of {} that another had taken over, was acknowledged",
                            link.client
                        ),
                    });
                }
            }
            _ => {}
        }
    }
    violations
}

fn outlived(client: &Name, at: usize) -> Violation {
    Violation {
        invariant: NAME,
        at,
        said: format!(
            "an old connection of {client} was left open by the Server after another had taken over"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Terms};

    #[test]
    fn acknowledgement_on_the_old_connection_is_caught() {
        let mut tale = Tale::default();
        let old = tale.connect("van", Terms::lasting(), false);
        let before = message("van", "pos", 1, 1);
        tale.send(&old, &before);
        let _new = tale.connect("van", Terms::lasting(), true);
        tale.accept(&old, &before);
        let after = message("van", "pos", 1, 2);
        tale.send(&old, &after);
        tale.close(&old, Closer::Server);
        assert_eq!(check(&tale.ledger()), [], "what was sent before may have been answered before");

        let mut tale = Tale::default();
        let old = tale.connect("van", Terms::lasting(), false);
        let _new = tale.connect("van", Terms::lasting(), true);
        tale.publish(&old, &after);
        tale.close(&old, Closer::Server);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }

    #[test]
    fn old_connection_that_stays_open_is_caught() {
        for closed in [false, true] {
            let mut tale = Tale::default();
            let old = tale.connect("van", Terms::lasting(), false);
            let _new = tale.connect("van", Terms::lasting(), true);
            if closed {
                tale.close(&old, Closer::Client);
            }
            let found = check(&tale.ledger());
            assert_eq!(found.len(), 1);
            assert!(found[0].said.contains("left open"), "{}", found[0]);
        }
    }

    #[test]
    fn reconnect_is_no_takeover() {
        let mut tale = Tale::default();
        for _ in 0..3 {
            let link = tale.connect("van", Terms::clean(), false);
            tale.publish(&link, &message("van", "pos", 1, 1));
            tale.close(&link, Closer::Client);
        }
        assert_eq!(check(&tale.ledger()), []);
    }
}
