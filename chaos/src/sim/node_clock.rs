//! The two clocks of one node, which it shares with no other: they show different times, and do not run alike.
//!
//! A monotonic clock begins anywhere, and of two of them one may be faster by what `Times::drift` of a channel states. A wall
//! clock is wrong by minutes, and is set now and then, ahead and back.

use convoy_actors::Now;

use super::clock::{MILLISECOND, Micros};
use super::seed::Stream;

/// What a wall clock that is right says when a run begins: a time that every later Session and record can be compared with.
const EPOCH: u64 = 1_750_000_000_000;

/// A minute of a wall clock.
const MINUTE: i64 = 60_000;

/// How fast monotonic clocks are: so many parts.
const PARTS: u64 = 10_000;

/// The fastest clock passes so many parts while the slowest one passes [`PARTS`]: one in a hundred more.
const FASTEST: u64 = PARTS + PARTS / 100;

/// How far the clocks of a fleet are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// Not at all.
    Alike,
    /// As far as they may be: wall clocks by minutes, monotonic ones by one part in a hundred of what passes.
    Apart,
    /// Wall clocks by a few seconds, as where their setting works poorly.
    Near,
}

#[derive(Clone, Debug)]
pub struct NodeClock {
    /// What the monotonic one shows when the run begins, in milliseconds.
    begins: u64,
    speed: u64,
    /// By how many milliseconds the wall clock is ahead.
    ahead: i64,
}

impl NodeClock {
    pub fn draw(clocks: Clocks, chance: &mut Stream) -> Self {
        let speed = match clocks {
            Clocks::Alike => PARTS,
            // The ends of what is allowed more often than what lies between.
            Clocks::Apart | Clocks::Near => match chance.below(3) {
                0 => PARTS,
                1 => FASTEST,
                _ => chance.between(PARTS, FASTEST),
            },
        };
        let begins = if clocks == Clocks::Alike { 0 } else { chance.below(1 << 40) };
        let ahead = Self::draw_ahead(clocks, chance);
        Self { begins, speed, ahead }
    }

    /// By how many milliseconds a wall clock that is set is ahead then.
    pub fn draw_ahead(clocks: Clocks, chance: &mut Stream) -> i64 {
        let most = match clocks {
            Clocks::Alike => return 0,
            Clocks::Near => 3_000,
            // Some are right.
            Clocks::Apart if chance.one_in(3) => 500,
            Clocks::Apart => 10 * MINUTE,
        };
        chance.below(2 * most as u64 + 1) as i64 - most
    }

    /// What the clocks show so long after the run began.
    pub fn show(&self, since: Micros) -> Now {
        let right = EPOCH + since / MILLISECOND;
        let wall = right.checked_add_signed(self.ahead).expect("no run lasts for so long");
        Now { monotonic: self.begins + self.pass(since) / MILLISECOND, wall }
    }

    /// How much the monotonic clock counts while so much passes.
    pub fn pass(&self, passes: Micros) -> Micros {
        passes * self.speed / PARTS
    }

    /// How much passes until the monotonic clock has counted so much.
    pub fn until(&self, counts: Micros) -> Micros {
        (counts * PARTS).div_ceil(self.speed)
    }

    /// The wall clock is set.
    pub fn set(&mut self, ahead: i64) {
        self.ahead = ahead;
    }

    pub fn ahead(&self) -> i64 {
        self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::clock::SECOND;
    use crate::sim::seed::Seed;

    fn drawn(clocks: Clocks) -> Vec<NodeClock> {
        let mut chance = Seed(5).stream("clocks");
        (0..200).map(|_| NodeClock::draw(clocks, &mut chance)).collect()
    }

    #[test]
    fn two_clocks_drift_apart_by_one_part_in_a_hundred_at_most_and_some_do() {
        let counted = drawn(Clocks::Apart).iter().map(|clock| clock.pass(1_000 * SECOND)).collect::<Vec<_>>();
        let (slowest, fastest) = (counted.iter().min().unwrap(), counted.iter().max().unwrap());
        assert_eq!(fastest - slowest, slowest / 100);
    }

    #[test]
    fn wall_clocks_are_wrong_by_minutes_both_ways_until_they_are_set() {
        let clocks = drawn(Clocks::Apart);
        assert!(clocks.iter().any(|clock| clock.ahead > 5 * MINUTE));
        assert!(clocks.iter().any(|clock| clock.ahead < -5 * MINUTE));
        let mut clock = clocks[0].clone();
        let before = clock.show(SECOND);
        clock.set(clock.ahead() - 7);
        let after = clock.show(SECOND);
        assert_eq!((after.monotonic, after.wall), (before.monotonic, before.wall - 7));
    }

    #[test]
    fn a_clock_has_counted_what_it_waited_for() {
        for clock in drawn(Clocks::Apart) {
            let passes = clock.until(100 * MILLISECOND);
            assert!((100 * MILLISECOND..100 * MILLISECOND + 2).contains(&clock.pass(passes)));
        }
    }
}
