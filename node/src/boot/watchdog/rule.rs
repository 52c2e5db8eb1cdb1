//! When a step of a shard takes long, and when the shard is stuck: looks at its thread go in, a verdict comes out.

use std::time::Duration;

/// A step that takes so long holds all others of its shard up noticeably.
pub const LONG: Duration = Duration::from_millis(100);

/// Between two looks, above which whoever looks was stopped or starved itself and blames nobody for the time.
const LATE: Duration = Duration::from_millis(250);

/// How a thread was found.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// On any clock that goes on.
    pub at: Duration,
    /// The step that is under way; `None` if none is.
    pub step: Option<u64>,
    /// Time of a processor that the thread has had since it began.
    pub cpu: Duration,
}

/// How long a step has taken so far, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    pub time: Duration,
    pub cpu: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// It takes long; said once of a step.
    Slow(Took),
    /// It has used more than may be used: it will not end.
    Stuck(Took),
}

/// What is remembered of one thread.
#[derive(Debug)]
pub struct Rule {
    /// Time of a processor that a step may use.
    limit: Duration,
    seen: Option<Seen>,
    looked_at: Duration,
}

/// A step that was under way when it was first looked at.
#[derive(Debug)]
struct Seen {
    step: u64,
    since: Duration,
    cpu: Duration,
    is_said: bool,
}

impl Rule {
    pub fn new(limit: Duration) -> Self {
        Self { limit, seen: None, looked_at: Duration::ZERO }
    }

    pub fn look(&mut self, look: Look) -> Verdict {
        let passed = look.at.saturating_sub(self.looked_at);
        let unseen = if passed > LATE { passed } else { Duration::ZERO };
        self.looked_at = look.at;
        let Some(step) = look.step else {
            self.seen = None;
            return Verdict::Fine;
        };
        let Some(seen) = self.seen.as_mut().filter(|seen| seen.step == step) else {
            self.seen = Some(Seen { step, since: look.at, cpu: look.cpu, is_said: false });
            return Verdict::Fine;
        };
        seen.since += unseen;
        let took = Took { time: look.at.saturating_sub(seen.since), cpu: look.cpu.saturating_sub(seen.cpu) };
        if took.cpu >= self.limit {
            return Verdict::Stuck(took);
        }
        if took.time >= LONG && !std::mem::replace(&mut seen.is_said, true) {
            return Verdict::Slow(took);
        }
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Looks every 50 ms at a thread that gets `share` percent of a processor, and is in one step all the time.
    fn verdicts(looks: u32, share: u32) -> Vec<Verdict> {
        let mut rule = Rule::new(MILLI * 10_000);
        let look = |at: u32| Look { at: MILLI * 50 * at, step: Some(7), cpu: MILLI * 50 * at * share / 100 };
        (1..=looks).map(|at| rule.look(look(at))).filter(|verdict| *verdict != Verdict::Fine).collect()
    }

    #[test]
    fn a_long_step_is_said_once() {
        let took = Took { time: MILLI * 100, cpu: MILLI * 50 };
        assert_eq!(verdicts(100, 50), [Verdict::Slow(took)]);
        assert_eq!(verdicts(2, 100), []);
    }

    #[test]
    fn who_burns_is_stuck_and_who_waits_or_starves_is_not() {
        // 10 s of a processor from the first look on.
        assert!(
            matches!(verdicts(201, 100).last(), Some(Verdict::Stuck(took)) if took.cpu == MILLI * 10_000)
        );
        assert_eq!(verdicts(200, 100).len(), 1);
        // The same with a quarter of one takes four times as long; a disk that never answers is another's to tell.
        assert_eq!(verdicts(800, 25).len(), 1);
        assert_eq!(verdicts(801, 25).len(), 2);
        assert_eq!(verdicts(10_000, 0).len(), 1);
    }

    #[test]
    fn steps_that_end_are_fine_however_many_they_are() {
        let mut rule = Rule::new(MILLI * 10_000);
        for at in 1..10_000 {
            let look = Look { at: MILLI * 50 * at, step: Some(u64::from(at)), cpu: MILLI * 50 * at };
            assert_eq!(rule.look(look), Verdict::Fine);
        }
        for at in 10_000..10_010 {
            let look = Look { at: MILLI * 50 * at, step: None, cpu: MILLI * 50 * at };
            assert_eq!(rule.look(look), Verdict::Fine);
        }
    }

    #[test]
    fn time_in_which_the_process_was_stopped_does_not_count() {
        let mut rule = Rule::new(MILLI * 10_000);
        for at in [0, 50, 60_000, 60_050] {
            let look = Look { at: MILLI * at, step: Some(7), cpu: MILLI * at.min(80) };
            let expected = match at {
                // 50 ms before and 50 after.
                60_050 => Verdict::Slow(Took { time: MILLI * 100, cpu: MILLI * 80 }),
                _ => Verdict::Fine,
            };
            assert_eq!(rule.look(look), expected);
        }
    }
}
