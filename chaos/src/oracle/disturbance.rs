//! When a fleet was disturbed: the one place that knows what a change of leader excuses.
//!
//! Two things are told apart. What a leader alone knew is *lost* at one event: it died, it was deposed, or another one
//! begins to lead; what was acknowledged is never among it. And there are *spells* in which no node leads that has a
//! quorum and no rival, not even one that only takes itself for the leader: what is promised in time is promised for a
//! time that is calm. A history of one node has no spells.

use std::time::Duration;

use super::history::{Event, Fault, Fleet, What};

#[derive(Debug, Default)]
pub struct Disturbances {
    /// Events at which what a leader alone knew was lost.
    lost: Vec<usize>,
    /// Those of them at which a node begins to lead.
    led: Vec<usize>,
    /// Each from when until when, in their order. They do not meet.
    spells: Vec<(Duration, Duration)>,
}

impl Disturbances {
    pub fn of(events: &[Event]) -> Self {
        let mut found = Self::default();
        // A fleet is not settled before it says so.
        let mut since = None;
        if events.iter().any(|event| matches!(event.what, What::Fault(Fault::Fleet(_)))) {
            since = Some(Duration::ZERO);
        }
        for (index, event) in events.iter().enumerate() {
            match &event.what {
                What::Fault(Fault::Killed | Fault::PowerCut | Fault::Fleet(Fleet::Deposed(_))) => {
                    found.lost.push(index);
                }
                What::Fault(Fault::Fleet(Fleet::Led(_))) => {
                    found.lost.push(index);
                    found.led.push(index);
                }
                What::Fault(Fault::Fleet(Fleet::Disturbed)) => since = since.or(Some(event.at)),
                What::Fault(Fault::Fleet(Fleet::Settled)) => {
                    found.spells.extend(since.take().map(|since| (since, event.at)));
                }
                _ => {}
            }
        }
        found.spells.extend(since.map(|since| (since, Duration::MAX)));
        found
    }

    /// Whether the history is of several nodes.
    pub fn are_of_a_fleet(&self) -> bool {
        !self.led.is_empty()
    }

    /// Whether what a leader alone knew was lost between two events.
    pub fn lost_between(&self, from: usize, to: usize) -> bool {
        self.losses_between(from, to).next().is_some()
    }

    /// Where that was.
    pub fn losses_between(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + '_ {
        let next = self.lost.partition_point(|&lost| lost < from);
        self.lost[next..].iter().copied().take_while(move |&lost| lost <= to)
    }

    /// Where a node first began to lead between two events.
    pub fn led_between(&self, from: usize, to: usize) -> Option<usize> {
        let next = self.led.partition_point(|&led| led < from);
        self.led.get(next).copied().filter(|&led| led <= to)
    }

    /// Whether a spell touches that time.
    pub fn is_disturbed(&self, from: Duration, to: Duration) -> bool {
        let next = self.spells.partition_point(|&(_, end)| end < from);
        self.spells.get(next).is_some_and(|&(begin, _)| begin <= to)
    }

    /// When it has been calm for so long without a break since `from`; never, if the history ends before.
    pub fn calm_after(&self, from: Duration, calm: Duration) -> Duration {
        let mut since = from;
        let next = self.spells.partition_point(|&(_, end)| end < from);
        for &(begin, end) in &self.spells[next..] {
            if begin > since.saturating_add(calm) {
                break;
            }
            since = end;
        }
        since.saturating_add(calm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Settled from 1 to 5 and from 8 on.
    fn story() -> Disturbances {
        let of = |(at, fault): (u64, Fault)| Event { at: seconds(at), what: What::Fault(fault) };
        let events = [
            (1, Fault::Fleet(Fleet::Led(1))),
            (1, Fault::Fleet(Fleet::Settled)),
            (4, Fault::Fleet(Fleet::Died(3))),
            (5, Fault::Fleet(Fleet::Suspended(1))),
            (5, Fault::Fleet(Fleet::Disturbed)),
            (7, Fault::Fleet(Fleet::Led(2))),
            (8, Fault::Fleet(Fleet::Deposed(1))),
            (8, Fault::Fleet(Fleet::Settled)),
            (20, Fault::Killed),
        ];
        Disturbances::of(&events.map(of))
    }

    #[test]
    fn a_spell_lasts_until_one_leads_without_a_rival() {
        let story = story();
        assert!(story.is_disturbed(seconds(0), seconds(0)));
        assert!(!story.is_disturbed(seconds(2), seconds(4)));
        assert!(story.is_disturbed(seconds(2), seconds(6)));
        assert!(story.is_disturbed(seconds(6), seconds(7)));
        assert!(story.is_disturbed(seconds(7), seconds(9)));
        assert!(!story.is_disturbed(seconds(9), seconds(30)));
    }

    #[test]
    fn a_time_of_calm_begins_anew_behind_each_spell() {
        let story = story();
        assert_eq!(story.calm_after(seconds(2), seconds(1)), seconds(3));
        assert_eq!(story.calm_after(seconds(2), seconds(4)), seconds(12));
        assert_eq!(story.calm_after(seconds(6), seconds(2)), seconds(10));
        assert_eq!(story.calm_after(seconds(9), seconds(2)), seconds(11));
    }

    #[test]
    fn what_leaders_alone_knew_is_lost_with_them_and_not_with_a_follower() {
        let story = story();
        assert!(!story.lost_between(1, 4));
        assert!(story.lost_between(4, 5));
        assert_eq!(story.losses_between(2, 8).collect::<Vec<_>>(), [5, 6, 8]);
        assert_eq!(story.led_between(1, 4), None);
        assert_eq!(story.led_between(1, 8), Some(5));
    }

    #[test]
    fn one_node_has_no_spells_and_a_fleet_that_never_settles_has_nothing_else() {
        let at = |at, fault| Event { at: seconds(at), what: What::Fault(fault) };
        let alone = Disturbances::of(&[at(1, Fault::Killed), at(2, Fault::Started)]);
        assert!(!alone.is_disturbed(seconds(0), seconds(9)) && alone.lost_between(0, 1));
        let never = Disturbances::of(&[at(1, Fault::Fleet(Fleet::Mended))]);
        assert!(never.is_disturbed(seconds(0), seconds(0)) && never.is_disturbed(seconds(5), seconds(9)));
        assert_eq!(never.calm_after(seconds(3), seconds(1)), Duration::MAX);
    }
}
