//! What a Client is, and what it does all day.

use convoy_wire::ProtocolVersion;

use crate::oracle::Qos;
use crate::sim::clock::{MILLISECOND, Micros};

/// How often Clients unsubscribe: one in so many of their acts.
pub const WAVERS: u64 = 40;

/// How long the Session of a Client is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Starts clean and ends with the connection.
    Clean,
    Lasting,
    /// Ends so many seconds after its connection; 5.0 alone can say so.
    Seconds(u64),
    /// Sometimes clean, sometimes not; 5.0 alone.
    Moody,
}

/// What a Client is, and what it does all day.
#[derive(Clone, Debug)]
pub struct Character {
    pub name: String,
    pub version: ProtocolVersion,
    pub stay: Stay,
    pub receive_maximum: Option<u16>,
    pub filters: Vec<(String, Qos)>,
    pub topics: Vec<String>,
    /// The QoS of what it publishes.
    pub levels: Vec<Qos>,
    /// Topics of its own whose Retained Message it sets and deletes.
    pub retains: Vec<String>,
    /// Topics whose Retained Message it looks up, on a connection for each look.
    pub reads: Vec<String>,
    /// Seconds of delay of the Will that each of its connections has.
    pub will: Option<u64>,
    /// Gives some of its messages a Message Expiry Interval of seconds; 5.0 alone can say so.
    pub hasty: bool,
    /// Member of a Shared Subscription: judged by what the group gets.
    pub shared: bool,
    /// Publishes in one write with its SUBSCRIBEs and UNSUBSCRIBEs, before them and behind them.
    pub hurried: bool,
    /// Says on the topic of its Will that it is there, first of all.
    pub greets: bool,
    /// One in so many of its acts unsubscribes something, if it is restless or this is not the standard.
    pub wavers: u64,
    /// One in so many of its acts subscribes to another of its filters.
    pub hesitates: u64,
    /// One in so many of its acts ends its connection one way or another; 0 for none.
    pub restless: u64,
    /// Between two of its acts.
    pub pause: (Micros, Micros),
    /// How long it stays away.
    pub away: (Micros, Micros),
    /// How long it waits for its node before it tries another one; none: as long as its connection lasts.
    pub patience: Option<Micros>,
}

impl Character {
    pub fn new(name: &str, version: ProtocolVersion, stay: Stay) -> Self {
        Self {
            name: name.into(),
            version,
            stay,
            receive_maximum: None,
            filters: Vec::new(),
            topics: Vec::new(),
            levels: Qos::ALL.to_vec(),
            retains: Vec::new(),
            reads: Vec::new(),
            will: None,
            hasty: false,
            shared: false,
            hurried: false,
            greets: false,
            wavers: WAVERS,
            hesitates: 1,
            restless: 0,
            pause: (MILLISECOND, 40 * MILLISECOND),
            away: (MILLISECOND, 300 * MILLISECOND),
            patience: None,
        }
    }

    pub fn filters(mut self, filters: &[(&str, Qos)]) -> Self {
        self.filters = filters.iter().map(|(filter, qos)| ((*filter).into(), *qos)).collect();
        self
    }

    pub fn topics(mut self, topics: &[&str]) -> Self {
        self.topics = topics.iter().map(|topic| (*topic).into()).collect();
        self
    }

    pub fn restless(mut self, one_in: u64) -> Self {
        self.restless = one_in;
        self
    }
}
