//! How far the wall clocks of nodes were apart: the one place that knows what that excuses.
//!
//! When a message expires is written down by the node of its publisher and read by others. When a Session ends, or a Will is
//! due, the leader of a slot writes down and reads: that is one clock, until another node leads or the clock is set.

use std::collections::BTreeMap;
use std::time::Duration;

use super::disturbance::Disturbances;
use super::history::{Event, Fault, Fleet, What};

#[derive(Debug, Default)]
pub struct Clocks {
    /// At which event which clock was set, and by how many milliseconds it is ahead since.
    set: Vec<(usize, u64, i64)>,
}

impl Clocks {
    pub fn of(events: &[Event]) -> Self {
        let set = events.iter().enumerate().filter_map(|(index, event)| match event.what {
            What::Fault(Fault::Fleet(Fleet::Clock { node, ahead })) => Some((index, node, ahead)),
            _ => None,
        });
        Self { set: set.collect() }
    }

    /// By how much what one node has written down may be wrong for another one between two events.
    pub fn apart(&self, from: usize, to: usize) -> Duration {
        let (mut before, mut shown) = (BTreeMap::new(), Vec::new());
        for &(index, node, ahead) in self.set.iter().take_while(|(index, ..)| *index <= to) {
            match index <= from {
                true => _ = before.insert(node, ahead),
                false => shown.push(ahead),
            }
        }
        shown.extend(before.into_values());
        let (Some(most), Some(least)) = (shown.iter().max(), shown.iter().min()) else {
            return Duration::ZERO;
        };
        Duration::from_millis(most.abs_diff(*least))
    }

    /// The same of what leaders write down for themselves.
    pub fn apart_for_leaders(&self, from: usize, to: usize, disturbances: &Disturbances) -> Duration {
        let is_set = self.set.iter().any(|(index, ..)| (from..=to).contains(index));
        match is_set || disturbances.lost_between(from, to) {
            true => self.apart(from, to),
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(ahead: &[(u64, i64)], led: bool) -> Vec<Event> {
        let event = |fault| Event { at: Duration::ZERO, what: What::Fault(Fault::Fleet(fault)) };
        let mut events: Vec<_> =
            ahead.iter().map(|(node, ahead)| event(Fleet::Clock { node: *node, ahead: *ahead })).collect();
        events.push(event(if led { Fleet::Led(1) } else { Fleet::Settled }));
        events
    }

    #[test]
    fn clocks_that_nobody_sets_excuse_nothing() {
        assert_eq!(Clocks::of(&[]).apart(0, 9), Duration::ZERO);
    }

    #[test]
    fn they_are_apart_by_what_they_show_in_that_time() {
        let clocks = Clocks::of(&story(&[(1, 500), (2, -1_500), (1, 0), (2, 7_000)], false));
        assert_eq!(clocks.apart(1, 1), Duration::from_millis(2_000));
        assert_eq!(clocks.apart(2, 2), Duration::from_millis(1_500));
        assert_eq!(clocks.apart(1, 2), Duration::from_millis(2_000));
        assert_eq!(clocks.apart(2, 9), Duration::from_millis(8_500));
    }

    #[test]
    fn a_leader_that_stays_and_whose_clock_is_not_set_has_one_clock() {
        for (led, expected) in [(false, 0), (true, 2_000)] {
            let events = story(&[(1, 500), (2, -1_500)], led);
            let (clocks, disturbances) = (Clocks::of(&events), Disturbances::of(&events));
            let apart = clocks.apart_for_leaders(2, 2, &disturbances);
            assert_eq!(apart, Duration::from_millis(expected), "{led}");
        }
    }
}
