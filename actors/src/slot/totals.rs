//! What a slot counts in rows of its own. Many operations of a record change them: their rows are put once, at its end.

use super::{Counts, RetainedSize, Slot, Turn, rows};

/// The counts as they were before a record.
pub(super) struct Totals {
    grants: u64,
    counts: Counts,
    numbered: u64,
    retained: RetainedSize,
}

impl Slot {
    pub(super) fn totals(&self) -> Totals {
        Totals { grants: self.grants, counts: self.counts, numbered: self.numbered, retained: self.retained }
    }

    /// Puts the rows of what has changed since.
    pub(super) fn put_totals(&mut self, before: &Totals, turn: &mut Turn<'_>) {
        if self.grants != before.grants {
            turn.state.put(rows::grants(self.id), &self.grants);
        }
        if self.counts != before.counts {
            turn.state.put(rows::counts(self.id), &self.counts);
        }
        if self.numbered != before.numbered {
            turn.state.put(rows::numbered(self.id), &self.numbered);
        }
        if self.retained != before.retained {
            turn.state.put(rows::retained(self.id), &self.retained);
        }
        self.put_recounted(turn);
    }
}
