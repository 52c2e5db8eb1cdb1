//! What a run found, said so that it can be repeated.

use std::fmt;
use std::time::Duration;

use crate::invariant::{Tally, Violation};
use crate::sim::seed::Seed;

/// Of each invariant; more of the same helps nobody.
const SHOWN: usize = 4;

#[derive(Clone, Debug)]
pub struct Report {
    pub story: &'static str,
    pub seed: Seed,
    pub tally: Tally,
    pub violations: Vec<Violation>,
    /// How long each start took until `/readyz`.
    pub starts: Vec<Duration>,
    pub took: Duration,
}

impl Report {
    /// Adds another round of the same run.
    pub fn join(&mut self, other: Self) {
        let Tally {
            accepted,
            refused,
            unknown,
            delivered,
            connected,
            resumed,
            reads,
            wills,
            shared,
            expired,
            overflowed,
            crashes,
            bans,
        } = other.tally;
        for (sum, more) in self.tally.accepted.iter_mut().zip(accepted) {
            *sum += more;
        }
        self.tally.refused += refused;
        self.tally.unknown += unknown;
        self.tally.delivered += delivered;
        self.tally.connected += connected;
        self.tally.resumed += resumed;
        self.tally.reads += reads;
        self.tally.wills += wills;
        self.tally.shared += shared;
        self.tally.expired += expired;
        self.tally.overflowed += overflowed;
        self.tally.crashes += crashes;
        self.tally.bans += bans;
        self.violations.extend(other.violations);
        self.starts.extend(other.starts);
        self.took += other.took;
    }

    /// Panics with everything that is needed to look into it.
    pub fn assert_kept(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} with CHAOS_SEED={}, {:.1} s: {}",
            self.story,
            self.seed.0,
            self.took.as_secs_f64(),
            self.tally
        )?;
        let mut starts = self.starts.clone();
        starts.sort();
        if let (Some(middle), Some(longest)) = (starts.get(starts.len() / 2), starts.last()) {
            writeln!(f, "ready after {} starts: median {middle:.0?}, longest {longest:.0?}", starts.len())?;
        }
        writeln!(f, "{} violations", self.violations.len())?;
        let mut kinds: Vec<&str> = self.violations.iter().map(|violation| violation.invariant).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let of_kind = || self.violations.iter().filter(|violation| violation.invariant == kind);
            for violation in of_kind().take(SHOWN) {
                writeln!(f, "  {violation}")?;
            }
            let more = of_kind().count().saturating_sub(SHOWN);
            if more > 0 {
                writeln!(f, "  {kind}: and {more} more")?;
            }
        }
        Ok(())
    }
}
