//! What a shard is doing, told to whoever watches it from another thread. Telling is a store and nothing else: it has no
//! part in what a shard decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! activities {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What is being done, to a connection by its key or to a slot by its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Activity {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Activity {
            const ALL: &[Self] = &[$(Self::$name,)+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

activities! {
    /// Nothing: it waits for events.
    Rest = "rest",
    /// A connection's task.
    Connection = "connection",
    /// Packets of a connection.
    Packets = "packets",
    /// Matching a message with a slot's routes, and passing it on.
    Publish = "publish",
    /// The end of a connection.
    Close = "close",
    /// What others have told: mail, syncs, verdicts.
    Event = "event",
    /// Letters of another shard.
    Mail = "mail",
    /// What time brings about.
    Tick = "tick",
    /// What time brings about for the Sessions of a slot.
    Sweep = "sweep",
    /// The end of a turn.
    Turn = "turn",
    /// Records are written to the log.
    Log = "log",
    /// A record of a slot is applied.
    Apply = "apply",
    /// What was applied is written.
    State = "state",
    /// Retained Messages of a slot are read.
    Retained = "retained",
    /// An operator's question.
    Query = "query",
}

/// Told by a shard's thread, read by any. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    /// Counts what was begun.
    step: AtomicU64,
    /// The activity, above what it is done to.
    doing: AtomicU64,
}

/// What a shard was doing when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    pub step: u64,
    pub activity: Activity,
    /// A connection's key or a slot's number.
    pub of: u32,
}

impl Pulse {
    /// Something begins that cannot be interrupted. Until [`Pulse::rest`] everything is part of it.
    pub fn begin(&self, activity: Activity, of: u32) {
        // One thread tells: nothing is lost between the two.
        self.0.step.store(self.0.step.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.tell(activity, of);
    }

    /// What part of it comes now.
    #[inline]
    pub fn tell(&self, activity: Activity, of: u32) {
        self.0.doing.store((activity as u64) << 32 | u64::from(of), Ordering::Relaxed);
    }

    pub fn rest(&self) {
        self.tell(Activity::Rest, 0);
    }

    pub fn read(&self) -> Beat {
        let doing = self.0.doing.load(Ordering::Relaxed);
        let activity = Activity::ALL.get((doing >> 32) as usize).copied().unwrap_or(Activity::Rest);
        Beat { step: self.0.step.load(Ordering::Relaxed), activity, of: doing as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_read_from_elsewhere() {
        let pulse = Pulse::default();
        let elsewhere = pulse.clone();
        assert_eq!(elsewhere.read().activity, Activity::Rest);
        pulse.begin(Activity::Connection, 7);
        let first = elsewhere.read();
        pulse.tell(Activity::Apply, u32::MAX);
        assert_eq!(elsewhere.read(), Beat { activity: Activity::Apply, of: u32::MAX, ..first });
        pulse.rest();
        pulse.begin(Activity::Query, 0);
        let second = elsewhere.read();
        assert_eq!((second.step, second.activity.as_str()), (first.step + 1, "query"));
        let told = Activity::ALL.iter().enumerate();
        told.for_each(|(at, activity)| assert_eq!(*activity as usize, at));
    }
}
