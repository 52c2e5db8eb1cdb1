//! Invariant 16: after a fault the Server is ready in time, and what is asked of it then succeeds in time.

use std::time::Duration;

use super::Violation;
use crate::oracle::{Fault, Ledger, What};

const NAME: &str = "16 liveness";

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start of the process to `/readyz`.
    pub ready: Duration,
    /// From there to the first acknowledgement.
    pub serve: Duration,
}

pub fn check(ledger: &Ledger, limits: Limits) -> Vec<Violation> {
    let mut violations = Vec::new();
    let faults: Vec<_> = ledger.faults().collect();
    for (place, (index, fault)) in faults.iter().enumerate() {
        let (limit, what) = match fault {
            Fault::Started => (limits.ready, "be ready"),
            Fault::Ready | Fault::DiskFreed | Fault::Resumed => (limits.serve, "acknowledge again"),
            _ => continue,
        };
        let starved = match fault {
            Fault::Started => starved(&faults[place + 1..]),
            _ => Duration::ZERO,
        };
        let due = ledger.at(*index) + limit + starved;
        // A Server may acknowledge before anybody has asked it whether it is ready.
        let from = match fault {
            Fault::Ready => faults[..place].iter().rfind(|(_, fault)| **fault == Fault::Started),
            _ => None,
        };
        let from = from.map_or(*index, |(started, _)| *started);
        let done =
            ledger.events[from..].iter().take_while(|event| event.at <= due).any(|event| match fault {
                Fault::Started => event.what == What::Fault(Fault::Ready),
                _ => matches!(event.what, What::Accepted { .. }),
            });
        // The next fault, or the end of the run, may come first.
        let cut_short = faults.get(place + 1..).into_iter().flatten().any(|(next, fault)| {
            ledger.at(*next) <= due
                && matches!(fault, Fault::Killed | Fault::PowerCut | Fault::Paused | Fault::DiskFull)
        }) || ledger.end() < due;
        if !done && !cut_short {
            violations.push(Violation {
                invariant: NAME,
                at: *index,
                said: format!("after {fault:?} the Server took longer than {limit:?} to {what}"),
            });
        }
    }
    violations
}

/// How long the start before these had to wait for what others took.
fn starved(behind: &[(usize, &Fault)]) -> Duration {
    let of_start = behind.iter().map(|(_, fault)| *fault).take_while(|fault| **fault != Fault::Started);
    let told = of_start.filter_map(|fault| match fault {
        Fault::Starved(starved) => Some(*starved),
        _ => None,
    });
    told.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::{Tale, message};
    use super::{Limits, check};
    use crate::oracle::{Fault, Terms};

    const LIMITS: Limits = Limits { ready: Duration::from_secs(3), serve: Duration::from_secs(5) };

    fn found(ready_after: u64, served_after: u64) -> usize {
        let mut tale = Tale::default();
        let desk = tale.connect("desk", Terms::lasting(), false);
        tale.fault(Fault::Killed);
        tale.fault(Fault::Started);
        tale.wait(ready_after);
        tale.fault(Fault::Ready);
        tale.wait(served_after);
        tale.publish(&desk, &message("desk", "cmd", 1, 1));
        tale.wait(30);
        tale.fault(Fault::Healed);
        check(&tale.ledger(), LIMITS).len()
    }

    #[test]
    fn what_others_took_from_the_node_is_not_its_doing() {
        for (starved, violations) in [(0, 1), (1, 1), (7, 0)] {
            let mut tale = Tale::default();
            tale.fault(Fault::Killed);
            tale.fault(Fault::Started);
            tale.wait(9);
            tale.fault(Fault::Starved(Duration::from_secs(starved)));
            tale.fault(Fault::Ready);
            tale.wait(1);
            tale.fault(Fault::Healed);
            assert_eq!(check(&tale.ledger(), LIMITS).len(), violations, "{starved} s");
        }
    }

    #[test]
    fn acknowledgement_before_readiness_was_noticed_counts() {
        let mut tale = Tale::default();
        let desk = tale.connect("desk", Terms::lasting(), false);
        tale.publish(&desk, &message("desk", "cmd", 1, 1));
        for answers in [true, false] {
            tale.fault(Fault::Killed);
            tale.fault(Fault::Started);
            if answers {
                tale.publish(&desk, &message("desk", "cmd", 1, 2));
            }
            tale.fault(Fault::Ready);
            tale.wait(30);
            tale.fault(Fault::Healed);
        }
        assert_eq!(check(&tale.ledger(), LIMITS).len(), 1);
    }

    #[test]
    fn late_is_caught_and_in_time_is_not() {
        assert_eq!(found(1, 1), 0);
        assert_eq!(found(7, 1), 1);
        assert_eq!(found(1, 9), 1);
    }

    #[test]
    fn next_crash_ends_the_waiting() {
        let mut tale = Tale::default();
        tale.fault(Fault::Started);
        tale.wait(1);
        tale.fault(Fault::Killed);
        tale.wait(60);
        tale.fault(Fault::Healed);
        assert_eq!(check(&tale.ledger(), LIMITS).len(), 0);
    }
}
