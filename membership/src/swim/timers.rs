//! What is due later, in the order in which it is due.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use foca::Timer;

use super::process::Process;

#[derive(Default)]
pub(super) struct Timers {
    waiting: BinaryHeap<Reverse<Due>>,
    entered: u64,
}

struct Due {
    at: u64,
    timer: Timer<Process>,
    order: u64,
}

impl Timers {
    pub fn enter(&mut self, at: u64, timer: Timer<Process>) {
        self.entered += 1;
        self.waiting.push(Reverse(Due { at, timer, order: self.entered }));
    }

    /// The next one that is due.
    pub fn take(&mut self, now: u64) -> Option<Timer<Process>> {
        self.waiting.peek().filter(|Reverse(next)| next.at <= now)?;
        self.waiting.pop().map(|Reverse(due)| due.timer)
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // Of those that are due at the same time some have to come before others: the timers know which.
        self.at.cmp(&other.at).then_with(|| self.timer.cmp(&other.timer)).then(self.order.cmp(&other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}
