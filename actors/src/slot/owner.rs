//! Whose a row of the family `session` is, and whether the value of a row of a slot is one: for those who look at a data
//! folder without starting a node.

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error, Family};
use convoy_storage::record::{self, BorrowDecode};

use super::ending::Ending;
use super::inbox::Open;
use super::op::Op;
use super::rows::{self, kind};
use super::{Counts, RetainedSize, stored};
use crate::message::Message;
use crate::session::{Head, SessionNumber, SessionRow, SubscriptionRow, split_name};
use crate::topic::RouteRow;

/// Whose a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// The Session of this name: see [`split_name`].
    Client(&'a [u8]),
    /// A Session, and what of it.
    Session(SessionNumber, &'static str),
    Subscription(SessionNumber, &'a str),
    Route(SessionNumber, &'a str),
    Outbox(SlotId),
    /// What several operations in outboxes share: a message, or root routes.
    OutboxBody,
    Slot,
}

/// Keys of any bytes have an owner: what is none of ours is the slot's.
pub fn owner_of(key: &[u8]) -> Owner<'_> {
    let of_session = |what| match key.get(3..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => Owner::Session(SessionNumber(u64::from_be_bytes(*bytes)), what),
        None => Owner::Slot,
    };
    match key.get(2) {
        Some(&kind::CLIENT) => rows::name_of_client(key).map_or(Owner::Slot, Owner::Client),
        Some(&kind::NAME) => of_session("name"),
        Some(&kind::LIVE) => of_session("connection"),
        Some(&kind::HEAD) => of_session("head of the queue"),
        Some(&kind::UNRELEASED) => of_session("Packet Identifier of a QoS 2 message"),
        Some(&kind::RECEIVED) => of_session("PUBREC of a QoS 2 message"),
        Some(&kind::HELD) => of_session("message in the queue"),
        Some(&kind::ENDING) => of_session("end"),
        Some(&kind::SUBSCRIPTION) => match (of_session(""), rows::filter_of_subscription(key)) {
            (Owner::Session(session, _), Some(filter)) => Owner::Subscription(session, filter),
            _ => of_session("Subscription"),
        },
        Some(&kind::DUE) => match rows::split_due(key) {
            Some((_, session)) => Owner::Session(session, "time"),
            None => Owner::Slot,
        },
        Some(&kind::ROUTE) => match rows::split_route(key) {
            Some((_, subscriber, filter)) => Owner::Route(SessionNumber(subscriber), filter),
            None => Owner::Slot,
        },
        Some(&kind::OUTBOX) => rows::split_outbox(key).map_or(Owner::Slot, |(to, _)| Owner::Outbox(to)),
        Some(&kind::OUTBOX_BODY) => Owner::OutboxBody,
        _ => Owner::Slot,
    }
}

/// A Session as an operator knows it, or its number where its name is not to be had.
pub fn name_of_session(engine: &dyn Engine, session: SessionNumber) -> String {
    let mut name = Vec::new();
    match engine.get(Family::Session, &rows::name(session), &mut name) {
        Ok(true) => format!("Session {}", plain_name(&name)),
        _ => format!("the Session of number {:x}", session.0),
    }
}

/// The Client Identifier in the name of a Session.
pub fn plain_name(name: &[u8]) -> String {
    match split_name(name) {
        Some((_, client_id)) => format!("{client_id:?}"),
        None => name.escape_ascii().to_string(),
    }
}

/// Whether the value of a row of the family `session` is one.
pub fn check_state(key: &[u8], value: &[u8]) -> Result<(), String> {
    match key.get(2) {
        Some(
            &(kind::GRANTS
            | kind::NUMBERED
            | kind::BODIES
            | kind::OUTBOX_NEXT
            | kind::INBOX
            | kind::GIVEN_UP),
        ) => decodes::<u64>(value),
        Some(&kind::OPEN) => decodes::<Open>(value),
        Some(&kind::COUNTS) => decodes::<Counts>(value),
        Some(&(kind::RETAINED | kind::RETAINED_OF)) => decodes::<RetainedSize>(value),
        Some(&kind::CLIENT) => decodes::<SessionRow>(value),
        Some(&kind::SUBSCRIPTION) => decodes::<SubscriptionRow>(value),
        Some(&kind::HEAD) => decodes::<Head>(value),
        Some(&kind::ENDING) => decodes::<Ending>(value),
        Some(&kind::ROUTE) => decodes::<RouteRow>(value),
        Some(&kind::OUTBOX) => decodes::<Op<'_>>(value),
        Some(&kind::OUTBOX_BODY) => match (record::decode(value), Message::decode(value)) {
            (Ok(Op::Roots { .. }), _) | (_, Ok(_)) => Ok(()),
            (_, Err(error)) => Err(error.to_string()),
        },
        _ => Ok(()),
    }
}

/// Whether the value of a row of the family `queue` is one.
pub fn check_queued(key: &[u8], value: &[u8]) -> Result<(), String> {
    let stored = stored::open(key, value).map_err(|error: Error| error.to_string())?;
    match stored.body {
        Some(_) => Ok(()),
        None => Message::decode(stored.message).map(|_| ()).map_err(|error| error.to_string()),
    }
}

fn decodes<'a, T: BorrowDecode<'a, ()>>(value: &'a [u8]) -> Result<(), String> {
    record::decode::<T>(value).map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_owners() {
        let session = SessionNumber::new(SlotId(3), 9);
        let client = rows::client(SlotId(3), b"\0van");
        assert_eq!(owner_of(&client), Owner::Client(b"\0van"));
        assert_eq!(owner_of(&rows::subscription(session, "a/#")), Owner::Subscription(session, "a/#"));
        assert_eq!(owner_of(&rows::route(SlotId(3), 1, session.0, "a/#")), Owner::Route(session, "a/#"));
        assert_eq!(owner_of(&rows::outbox(SlotId(3), SlotId(4), 1)), Owner::Outbox(SlotId(4)));
        for end in 0..client.len() {
            owner_of(&client[..end]);
        }
    }

    #[test]
    fn a_value_that_is_none_is_told() {
        assert!(check_state(&rows::client(SlotId(3), b"\0van"), b"\xff").is_err());
        assert!(check_queued(&[0; 16], b"torn").is_err());
    }
}
