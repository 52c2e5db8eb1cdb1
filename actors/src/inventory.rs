//! What a row on disk belongs to, in the words of an operator, and whether its value is one: for those who look at a
//! data folder without starting a node.

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Family};

use crate::message::Message;
use crate::retained;
use crate::session::SessionNumber;
use crate::slot::{self, Owner};

/// Names rows by what else stands on disk.
pub struct Inventory<'a> {
    engine: &'a dyn Engine,
}

impl<'a> Inventory<'a> {
    pub fn new(engine: &'a dyn Engine) -> Self {
        Self { engine }
    }

    /// Whose row this is. Keys of any bytes have an answer.
    pub fn name(&self, family: Family, key: &[u8]) -> String {
        match family {
            Family::Log => "records of the slot's log".to_owned(),
            Family::Retained => match retained::topic_of(key) {
                Some(topic) => format!("Retained Message of {topic}"),
                None => "a Retained Message".to_owned(),
            },
            Family::Queue => match key.first_chunk().map(|bytes| SessionNumber(u64::from_be_bytes(*bytes))) {
                Some(session) if session.0 << 16 == 0 => "messages that several queues hold".to_owned(),
                Some(session) => format!("messages in the queue of {}", self.session(session)),
                None => "a message in a queue".to_owned(),
            },
            Family::Session => self.owned(&slot::owner_of(key)),
            Family::Archive => "messages kept for queries".to_owned(),
            Family::Meta => "the node's identity".to_owned(),
        }
    }

    fn owned(&self, owner: &Owner<'_>) -> String {
        match owner {
            Owner::Client(name) => format!("Session {}", slot::plain_name(name)),
            Owner::Session(session, what) => format!("{what} of {}", self.session(*session)),
            Owner::Subscription(session, filter) => {
                format!("Subscription {filter} of {}", self.session(*session))
            }
            Owner::Route(session, filter) => format!("route of {filter} for {}", self.session(*session)),
            Owner::Outbox(to) => format!("operations on their way to slot {to}"),
            Owner::OutboxBody => "a message or routes on their way to several slots".to_owned(),
            Owner::Slot => "counters of the slot".to_owned(),
        }
    }

    fn session(&self, session: SessionNumber) -> String {
        slot::name_of_session(self.engine, session)
    }
}

/// Whether the value of a row is one.
///
/// # Errors
///
/// Why it is none. A node refuses the row when it reads it.
pub fn check_row(family: Family, key: &[u8], value: &[u8]) -> Result<(), String> {
    match family {
        Family::Log => convoy_storage::replica::check_row(key, value).map_err(str::to_owned),
        Family::Queue => slot::check_queued(key, value),
        Family::Session => slot::check_state(key, value),
        Family::Retained => {
            let (_, message) = retained::split(value).map_err(|error| error.to_string())?;
            Message::decode(message).map(|_| ()).map_err(|error| error.to_string())
        }
        Family::Archive | Family::Meta => Ok(()),
    }
}

/// The slot that a key begins with.
pub fn slot_of(key: &[u8]) -> Option<SlotId> {
    key.first_chunk().map(|bytes| SlotId(u16::from_be_bytes(*bytes)))
}
