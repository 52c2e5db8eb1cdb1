//! What was done and what was answered, in one total order.
//!
//! One machine, one monotonic clock, one list: an event's index is its place in the order. A request is recorded before
//! its bytes leave and an answer after its bytes arrived, so the true moment of an effect lies between the two and a
//! checker that compares an answer with a later request cannot be wrong about which came first.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::message::{Message, Name, Qos};

/// One Network Connection of one Client. `connection` is unique in the history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    pub client: Name,
    pub connection: u32,
}

/// What a CONNECT asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub clean_start: bool,
    /// How long the Session outlives the connection; zero ends it with the connection. 3.1.1 without Clean Session has
    /// the Server's own interval, longer than any run: [`Terms::LASTING`].
    pub expiry: Duration,
    pub will: Option<Will>,
}

impl Terms {
    pub const LASTING: Duration = Duration::from_secs(3600);

    pub fn clean() -> Self {
        Self { clean_start: true, expiry: Duration::ZERO, will: None }
    }

    pub fn lasting() -> Self {
        Self { clean_start: false, expiry: Self::LASTING, will: None }
    }

    pub fn with_will(mut self, message: Message, delay: Duration) -> Self {
        self.will = Some(Will { message, delay });
        self
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Will {
    pub message: Message,
    pub delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    No,
    Set,
    /// An empty payload with RETAIN: the topic has no Retained Message from here on.
    Delete,
}

/// Who ended a Network Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closer {
    /// The Client dropped its socket without a word.
    Client,
    /// The Server closed, answered or died.
    Server,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    Killed,
    Paused,
    Resumed,
    PowerCut,
    /// A ban of this Client holds.
    Banned(Name),
    /// It is about to be taken back.
    Pardoned(Name),
    /// The configuration is read again.
    Reloaded,
    DiskFull,
    DiskFreed,
    Started,
    /// Since then a thread of the node has waited so long for a processor, which others on the machine had.
    Starved(Duration),
    /// `/readyz` said yes.
    Ready,
    /// Faults are over: from here the promises of liveness hold.
    Healed,
    /// Something of a fleet, in which a node that serves nobody may die unnoticed.
    Fleet(Fleet),
}

/// What befalls a fleet. Nodes are named by their identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// Nodes do not hear each other, as it is described.
    Torn(Name),
    Mended,
    /// A node stands still, with all that it believes.
    Suspended(u64),
    Woken(u64),
    /// A node that led nothing was killed, or its power cut.
    Died(u64),
    Started(u64),
    /// From now on the wall clock of a node is so many milliseconds ahead of the time.
    Clock {
        node: u64,
        ahead: i64,
    },
    /// The disk of a node takes nothing more.
    DiskFull(u64),
    /// Each sync of a node takes long.
    DiskSlow(u64),
    /// The next sync of a node fails, and everything there until it starts again.
    SyncFailed(u64),
    /// A row of a node cannot be read.
    Damaged(u64),
    /// That is over.
    DiskWell(u64),
    /// A node leads everything, as it believes.
    Led(u64),
    /// It does so no longer.
    Deposed(u64),
    /// No node leads any more that has a quorum and no rival.
    Disturbed,
    /// One does.
    Settled,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Connect {
        link: Link,
        terms: Terms,
    },
    Connack {
        link: Link,
        session_present: bool,
    },
    Rejected {
        link: Link,
        reason: u8,
    },
    /// A DISCONNECT is about to be said, which discards the Will or asks for it.
    Disconnect {
        link: Link,
        with_will: bool,
    },
    Closed {
        link: Link,
        by: Closer,
    },
    /// Also recorded for a resend, on the connection that carried it.
    Publish {
        link: Link,
        message: Message,
        retain: Retain,
        /// Its Message Expiry Interval.
        expiry: Option<Duration>,
    },
    /// PUBACK or PUBREC that says success: the promise is made.
    Accepted {
        link: Link,
        message: Message,
    },
    Refused {
        link: Link,
        message: Message,
        reason: u8,
    },
    Completed {
        link: Link,
        message: Message,
    },
    Subscribe {
        link: Link,
        filter: Name,
        qos: Qos,
    },
    /// `granted` is `None` where the Server refused.
    Suback {
        link: Link,
        filter: Name,
        granted: Option<Qos>,
    },
    Unsubscribe {
        link: Link,
        filter: Name,
    },
    Unsuback {
        link: Link,
        filter: Name,
    },
    /// Handed to the application: at QoS 2 once per Packet Identifier until its PUBREL.
    Delivered {
        link: Link,
        message: Message,
        retained: bool,
    },
    /// A payload that no publisher of this run wrote.
    Strange {
        link: Link,
        topic: Name,
        bytes: usize,
    },
    /// A subscription to a single topic was made to learn its Retained Message; `since` is the index of its `Subscribe`.
    Read {
        link: Link,
        topic: Name,
        since: usize,
        value: Option<Message>,
    },
    Fault(Fault),
}

impl What {
    pub fn link(&self) -> Option<&Link> {
        match self {
            What::Connect { link, .. }
            | What::Connack { link, .. }
            | What::Rejected { link, .. }
            | What::Disconnect { link, .. }
            | What::Closed { link, .. }
            | What::Publish { link, .. }
            | What::Accepted { link, .. }
            | What::Refused { link, .. }
            | What::Completed { link, .. }
            | What::Subscribe { link, .. }
            | What::Suback { link, .. }
            | What::Unsubscribe { link, .. }
            | What::Unsuback { link, .. }
            | What::Delivered { link, .. }
            | What::Strange { link, .. }
            | What::Read { link, .. } => Some(link),
            What::Fault(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Since the history began.
    pub at: Duration,
    pub what: What,
}

/// Shared by all Clients of a run.
#[derive(Clone)]
pub struct History {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    connections: u32,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    pub fn new() -> Self {
        Self { began: Instant::now(), inner: Arc::default() }
    }

    /// A history that goes on from `events`, at the moment of the last of them.
    pub fn resumed(events: &[Event]) -> Self {
        let connections =
            events.iter().filter_map(|event| event.what.link()).map(|link| link.connection).max();
        let since = events.last().map_or(Duration::ZERO, |event| event.at);
        let now = Instant::now();
        Self {
            began: now.checked_sub(since).unwrap_or(now),
            inner: Arc::new(Mutex::new(Inner {
                events: events.to_vec(),
                connections: connections.unwrap_or(0),
            })),
        }
    }

    /// Returns the event's index. The clock is read under the lock: index and time never disagree.
    pub fn record(&self, what: What) -> usize {
        let mut inner = self.lock();
        let at = self.began.elapsed();
        inner.events.push(Event { at, what });
        inner.events.len() - 1
    }

    pub fn fault(&self, fault: Fault) -> usize {
        self.record(What::Fault(fault))
    }

    /// A link that no other connection of this run has.
    pub fn link(&self, client: &Name) -> Link {
        let mut inner = self.lock();
        inner.connections += 1;
        Link { client: client.clone(), connection: inner.connections }
    }

    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Those behind the first `count`.
    pub fn since(&self, count: usize) -> Vec<Event> {
        self.lock().events[count..].to_vec()
    }

    /// Whether the node was stopped, or went on, behind the first `count` events.
    pub fn was_paused_since(&self, count: usize) -> bool {
        let is_pause = |event: &Event| matches!(event.what, What::Fault(Fault::Paused | Fault::Resumed));
        self.lock().events[count..].iter().any(is_pause)
    }

    /// Whether an event like this was recorded; the latest are looked at first.
    pub fn any(&self, like: impl Fn(&What) -> bool) -> bool {
        self.lock().events.iter().rev().any(|event| like(&event.what))
    }

    pub fn len(&self) -> usize {
        self.lock().events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A Client's panic ends its task, not the record of what it saw.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("events", &self.len()).finish()
    }
}
