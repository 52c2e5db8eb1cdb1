//! How far a connection has come with what its Session's queue holds. The leader of the slot knows that beside the log, so
//! it is gone with it. Whoever has the connection knows it too, and tells the next leader.

use super::{Seq, Stage};

/// Messages that may be open: their identifiers are all different.
const OPEN: u64 = 65_534;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub receive_maximum: u16,
    /// The next message to be sent. What is before it, and not open, the Client has finished or is not to get; zero where it
    /// was sent nothing.
    pub next: Seq,
    /// What the Client was sent and has not finished, ascending.
    pub open: Vec<(Seq, Stage)>,
}

impl Progress {
    /// Whether a connection can have come so far.
    pub fn is_possible(&self) -> bool {
        let ascends = self.open.is_sorted_by(|a, b| a.0 < b.0);
        let is_open = |stage: Stage| stage != Stage::Finished;
        let in_reach = self.open.first().is_none_or(|(first, _)| self.next.saturating_sub(*first) <= OPEN);
        let are_sent = self.open.last().is_none_or(|(last, _)| *last < self.next);
        ascends && in_reach && are_sent && self.open.iter().all(|(_, stage)| is_open(*stage))
    }

    /// How far this message has come, if the Client has it and has not finished it.
    pub fn stage(&self, seq: Seq) -> Option<Stage> {
        let at = self.open.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some(self.open[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_connection_can_have_done_is_noticed() {
        let is_possible =
            |next, open: &[_]| Progress { receive_maximum: 1, next, open: open.to_vec() }.is_possible();
        assert!(is_possible(0, &[]) && is_possible(9, &[(3, Stage::Published), (8, Stage::Released)]));
        assert!(is_possible(3 + OPEN, &[(3, Stage::Published)]));
        assert!(!is_possible(4 + OPEN, &[(3, Stage::Published)]), "two have the same identifier");
        assert!(!is_possible(8, &[(8, Stage::Published)]), "it was not sent");
        assert!(!is_possible(9, &[(8, Stage::Published), (3, Stage::Published)]));
        assert!(!is_possible(9, &[(3, Stage::Finished)]));
    }
}
