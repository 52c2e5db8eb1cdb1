//! Invariant 11: what was acknowledged before the power went is there after it came back.
//!
//! The promises are the same as ever, judged over a history that a power cut goes through; stated apart because a suite
//! whose cuts fall on idle moments would keep this promise whatever the broker did.

use super::Violation;
use crate::oracle::{Fault, Ledger};

const NAME: &str = "11 power loss";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = super::check(ledger);
    let mut since = 0;
    for (cut, _) in ledger.faults().filter(|(_, fault)| **fault == Fault::PowerCut) {
        let between = |index: usize| (since..cut).contains(&index);
        // Unfinished at the cut, or finished just before: only then has the cut met something.
        let met = ledger.sent.iter().any(|sent| sent.accepted.is_some_and(between));
        if !met {
            violations.push(Violation {
                invariant: NAME,
                at: cut,
                said: "nothing was acknowledged before this cut: it proves nothing".to_owned(),
            });
        }
        since = cut;
    }
    if since == 0 {
        violations.push(Violation { invariant: NAME, at: 0, said: "no power cut took place".to_owned() });
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Closer, Fault, Terms};

    #[test]
    fn acknowledged_before_the_cut_and_gone_after_it_is_caught() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::lasting(), false);
        tale.subscribe(&van, "cmd/#", 1);
        let desk = tale.connect("desk", Terms::lasting(), false);
        let stop = message("desk", "cmd/stop", 1, 1);
        tale.publish(&desk, &stop);
        tale.fault(Fault::PowerCut);
        tale.close(&van, Closer::Server);
        let van = tale.connect("van", Terms::lasting(), true);
        assert_eq!(check(&tale.ledger()).len(), 1);
        tale.deliver(&van, &stop);
        assert_eq!(check(&tale.ledger()), []);
    }

    #[test]
    fn cut_that_met_nothing_proves_nothing() {
        let mut tale = Tale::default();
        assert_eq!(check(&tale.ledger()).len(), 1);
        let desk = tale.connect("desk", Terms::lasting(), false);
        tale.publish(&desk, &message("desk", "cmd/stop", 1, 1));
        tale.fault(Fault::PowerCut);
        assert_eq!(check(&tale.ledger()), []);
        tale.fault(Fault::PowerCut);
        assert_eq!(check(&tale.ledger()).len(), 1);
    }
}
