//! What the leader of a slot knows of streams beyond what is applied: numbers that it has proposed.
//!
//! It saves proposals and nothing more: a number is looked at again when its record is applied, for what this leader has
//! proposed may come to nothing and what its predecessor has proposed may still be applied. So it is forgotten
//! with the term.

use std::collections::BTreeMap;

use super::{Receiver, Source, Verdict};

/// What a leader does with a number that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// To be proposed; the answer follows when it is applied.
    Propose,
    /// It is proposed already.
    UnderWay,
    /// There is an answer to it now.
    Answered(Verdict<'a>),
}

/// Numbers that are proposed in this term and not applied.
#[derive(Debug, Default)]
pub struct Leading {
    proposed: BTreeMap<Source, u64>,
}

impl Leading {
    /// A number came. Of one that is to be proposed it is taken that it is.
    pub fn look<'a>(&mut self, receiver: &'a Receiver, source: &Source, number: u64) -> Look<'a> {
        let Some(proposed) = self.proposed.get_mut(source) else {
            let verdict = receiver.judge(source, number);
            if verdict != Verdict::Next {
                return Look::Answered(verdict);
            }
            self.proposed.insert(*source, number);
            return Look::Propose;
        };
        match receiver.judge(source, number) {
            Verdict::Next | Verdict::Gap { .. } if number <= *proposed => Look::UnderWay,
            Verdict::Gap { .. } if number > *proposed + 1 => {
                Look::Answered(Verdict::Gap { expected: *proposed + 1 })
            }
            Verdict::Next | Verdict::Gap { .. } => {
                *proposed = number;
                Look::Propose
            }
            verdict => Look::Answered(verdict),
        }
    }

    /// A record with this number was applied, whoever proposed it, or did not act when it was.
    pub fn applied(&mut self, source: &Source, number: u64, acted: bool) {
        if !acted || self.proposed.get(source).is_some_and(|proposed| *proposed <= number) {
            self.proposed.remove(source);
        }
    }

    /// The proposal could not be made: the sender is to go back to this number.
    pub fn dropped(&mut self, source: &Source) {
        self.proposed.remove(source);
    }
}
