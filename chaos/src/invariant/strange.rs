//! What is delivered was published: a payload of this run, on the topic that it names, written by the publisher it names.
//! Stated apart because every other checker trusts it; a bit flipped on disk and served shows here.

use super::Violation;
use crate::oracle::{Ledger, What};

const NAME: &str = "13 nothing damaged is served";

pub fn check(ledger: &Ledger) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, event) in ledger.events.iter().enumerate() {
        let said = match &event.what {
            What::Strange { link, topic, bytes } => {
                format!("{} got {bytes} bytes on {topic} that nobody wrote", link.client)
            }
            What::Delivered { link, message, .. }
                if ledger.sent_of(message).is_none_or(|sent| sent.first > index)
                    && !ledger.is_will(message) =>
            {
                format!("{} got {message}, which nobody sent", link.client)
            }
            _ => continue,
        };
        violations.push(Violation { invariant: NAME, at: index, said });
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::by_hand::{Tale, message};
    use super::check;
    use crate::oracle::{Terms, What};

    #[test]
    fn payload_that_nobody_wrote_is_caught() {
        let mut tale = Tale::default();
        let van = tale.connect("van", Terms::clean(), false);
        tale.deliver(&van, &message("desk", "cmd", 1, 7));
        tale.push(What::Strange { link: van, topic: "cmd".into(), bytes: 12 });
        assert_eq!(check(&tale.ledger()).len(), 2);
    }

    #[test]
    fn message_and_will_of_this_run_are_known() {
        let mut tale = Tale::default();
        let will = message("van", "will/van", 1, 1);
        let van = tale.connect("van", Terms::clean().with_will(will.clone(), Duration::ZERO), false);
        let position = message("van", "pos", 0, 1);
        tale.send(&van, &position);
        tale.deliver(&van, &position);
        tale.deliver(&van, &will);
        assert_eq!(check(&tale.ledger()), []);
    }
}
