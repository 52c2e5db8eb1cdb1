//! What befalls a fleet, with all that chance has decided of it: a run told by its strikes is the same run, and stays much the
//! same when some of them are left out.

use std::fmt;
use std::time::Duration;

use super::clock::Micros;
use super::links::Shape;

/// How a node comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// After so long.
    pub after: Micros,
    /// With so many shards.
    pub shards: u16,
}

/// What befalls nodes, which are named by their places, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The process dies, and the disk keeps all it was given.
    Kill { node: usize, comes: Return },
    /// The power goes. Of the batches that were not synced the first ones survive: as many of them as this number modulo one
    /// more than there are.
    CutPower { node: usize, keep: u64, comes: Return },
    /// Nodes do not hear each other for so long. Clients of a node that is alone are divided by the number.
    Tear { shape: Shape, lasts: Micros, divide: u64 },
    /// A node stands still. What came meanwhile it meets in an order that follows from the number.
    Suspend { node: usize, away: Micros, order: u64 },
    /// The wall clock of a node is set, so that it is so many milliseconds ahead.
    SetClock { node: usize, ahead: i64 },
    /// Writes to the disk of a node are refused for so long.
    FillDisk { node: usize, lasts: Micros },
    /// Each sync of a node takes long, for so long.
    SlowDisk { node: usize, lasts: Micros },
    /// The next sync of a node fails, and then everything there, until it is started again.
    FailSync { node: usize, keep: u64, comes: Return },
    /// A node starts again over a row that cannot be read, which follows from the number; after so long it starts once more,
    /// and its disk is as it was.
    Damage { node: usize, row: u64, lasts: Micros, comes: Return },
}

/// The kinds of strikes, as a run counts them.
pub const KINDS: [&str; 9] = [
    "kill",
    "power cut",
    "cut of links",
    "suspend",
    "clock set",
    "disk full",
    "disk slow",
    "sync failed",
    "row damaged",
];

impl Strike {
    pub fn kind(&self) -> &'static str {
        let place = match self {
            Self::Kill { .. } => 0,
            Self::CutPower { .. } => 1,
            Self::Tear { .. } => 2,
            Self::Suspend { .. } => 3,
            Self::SetClock { .. } => 4,
            Self::FillDisk { .. } => 5,
            Self::SlowDisk { .. } => 6,
            Self::FailSync { .. } => 7,
            Self::Damage { .. } => 8,
        };
        KINDS[place]
    }
}

/// When what befalls a fleet.
pub type Schedule = Vec<(Micros, Strike)>;

/// A schedule, one strike a line.
pub struct Told<'a>(pub &'a [(Micros, Strike)]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, strike) in self.0 {
            writeln!(f, "    {:>12?}  {strike:?}", Duration::from_micros(*at))?;
        }
        Ok(())
    }
}
