//! Who is banned stays out until the ban is taken back, also where the Server was killed meanwhile.

use std::collections::HashMap;

use super::Violation;
use crate::oracle::{Fault, Ledger, Name};

const NAME: &str = "ban";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut since: HashMap<&Name, usize> = HashMap::new();
    for (index, fault) in ledger.faults() {
        match fault {
            Fault::Banned(client) => {
                since.insert(client, index);
            }
            Fault::Pardoned(client) => {
                if let Some(since) = since.remove(client) {
                    violations.extend(let_in(ledger, client, since, index));
                }
            }
            _ => {}
        }
    }
    violations.extend(since.iter().flat_map(|(client, since)| let_in(ledger, client, *since, usize::MAX)));
    violations
}

/// Connections that were asked for and granted within a ban.
fn let_in<'a>(
    ledger: &'a Ledger,
    client: &'a Name,
    since: usize,
    until: usize,
) -> impl Iterator<Item = Violation> + 'a {
    ledger.connections.iter().filter_map(move |connection| {
        let (at, _) = connection.connack?;
        let within = connection.link.client == *client && connection.connect > since && at < until;
        within.then(|| {
            let said = format!("{client} was let in, though it was banned at event {since}");
            Violation { invariant: NAME, at, said }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::Tale;
    use super::check;
    use crate::oracle::{Fault, Terms};

    #[test]
    fn who_is_let_in_while_banned_is_caught() {
        for (banned, pardoned, expected) in [(true, false, 1), (true, true, 0), (false, false, 0)] {
            let mut tale = Tale::default();
            tale.connect("van", Terms::lasting(), false);
            if banned {
                tale.fault(Fault::Banned("van".into()));
            }
            tale.connect("desk", Terms::lasting(), false);
            tale.fault(Fault::Killed);
            if pardoned {
                tale.fault(Fault::Pardoned("van".into()));
            }
            tale.connect("van", Terms::lasting(), true);
            assert_eq!(check(&tale.ledger()).len(), expected, "banned: {banned}, pardoned: {pardoned}");
        }
    }

    #[test]
    fn who_asked_before_the_ban_held_may_be_let_in() {
        let mut tale = Tale::default();
        let link = tale.sent_connect("van", Terms::lasting());
        tale.fault(Fault::Banned("van".into()));
        tale.push(crate::oracle::What::Connack { link, session_present: false });
        assert_eq!(check(&tale.ledger()), []);
    }
}
