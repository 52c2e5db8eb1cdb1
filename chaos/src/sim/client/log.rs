//! What Clients write down of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::oracle::{Event, Link, Message, Name, What};

/// The history of a run, in simulated time.
#[derive(Debug, Default)]
pub struct Log {
    /// The time of what is written next.
    pub at: Duration,
    pub events: Vec<Event>,
    pub connections: u32,
    /// Rules of the protocol that the node broke towards one Client.
    pub findings: Vec<String>,
    /// The same where a Session that began without its Client's knowledge would account for it: at which place in the history
    /// a Client found what.
    pub of_one_session: Vec<(usize, Name, String)>,
    /// What members of the Shared Subscription got, with the place in the history.
    pub shared: Vec<(usize, Name, Message)>,
    /// Since when each member has had its Subscription.
    pub members: BTreeMap<Name, usize>,
}

impl Log {
    pub fn record(&mut self, what: What) -> usize {
        self.events.push(Event { at: self.at, what });
        self.events.len() - 1
    }

    pub(super) fn link(&mut self, client: &Name) -> Link {
        self.connections += 1;
        Link { client: client.clone(), connection: self.connections }
    }
}
