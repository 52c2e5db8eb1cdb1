//! Keys of the rows a slot keeps in the families `session` and `queue`. Every key begins with the slot, big-endian;
//! a Session's number does so by itself. Numbers are big-endian so that rows lie in their order.

use convoy_ids::SlotId;

use crate::budget::User;
use crate::clock::Millis;
use crate::session::{Seq, SessionNumber};

/// Kinds of row in the family `session`, after the slot.
pub(super) mod kind {
    /// Of the meta group: the fleet.
    pub const FLEET: u8 = b'a';
    /// Next number to be granted.
    pub const GRANTS: u8 = b'g';
    /// How many Sessions and Subscriptions there are.
    pub const COUNTS: u8 = b'm';
    /// How many Retained Messages there are, and their bytes.
    pub const RETAINED: u8 = b'k';
    /// User -> how many Retained Messages it has, and their bytes.
    pub const RETAINED_OF: u8 = b'd';
    /// Number of the last Retained Message that was decided on.
    pub const NUMBERED: u8 = b'w';
    /// tenant, 0, Client Identifier -> `SessionRow`.
    pub const CLIENT: u8 = b'c';
    /// Session -> tenant, 0, Client Identifier.
    pub const NAME: u8 = b'n';
    /// Session -> nothing: it has a connection.
    pub const LIVE: u8 = b'l';
    /// Session, Topic Filter -> `Subscription`.
    pub const SUBSCRIPTION: u8 = b's';
    /// Session -> `Head` of its queue.
    pub const HEAD: u8 = b'h';
    /// Session, Packet Identifier -> nothing: a QoS 2 message was received and not released.
    pub const UNRELEASED: u8 = b'i';
    /// Session, message -> nothing: the Client has said PUBREC.
    pub const RECEIVED: u8 = b'o';
    /// Time, Session -> nothing: something of the Session is due.
    pub const DUE: u8 = b'x';
    /// Partition, subscriber, Topic Filter -> `RouteRow`.
    pub const ROUTE: u8 = b'r';
    /// Slot, number -> operation that waits to be applied there.
    pub const OUTBOX: u8 = b'b';
    /// Slot -> number of its last operation that was applied here.
    pub const INBOX: u8 = b'f';
    /// Slot -> `Open`: some of its messages are not known to be with the connections that they are for.
    pub const OPEN: u8 = b'j';
    /// Node -> how many times connections there were given up.
    pub const GIVEN_UP: u8 = b'q';
    /// Slot -> next number for it.
    pub const OUTBOX_NEXT: u8 = b'e';
    /// Number of the last message that many queues hold.
    pub const BODIES: u8 = b't';
    /// Number of such a message -> how many hold it.
    pub const HOLDERS: u8 = b'u';
    /// Session, message -> number of the message that many hold.
    pub const HELD: u8 = b'v';
    /// Number of a message -> the message, which several operations in outboxes share; or root routes likewise.
    pub const OUTBOX_BODY: u8 = b'p';
    /// Session -> `Ending`: it has ended, and not all of it has gone.
    pub const ENDING: u8 = b'y';
}

pub type Key = Vec<u8>;

fn key(slot: SlotId, kind: u8, parts: &[&[u8]]) -> Key {
    let mut key = Vec::with_capacity(3 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(&slot.0.to_be_bytes());
    key.push(kind);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The one row of the meta group's state.
pub fn fleet() -> Key {
    key(SlotId::META, kind::FLEET, &[])
}

/// All keys of one kind: from, to.
fn range(slot: SlotId, kind: u8) -> (Key, Key) {
    (key(slot, kind, &[]), key(slot, kind + 1, &[]))
}

/// The first key behind all that begin with `prefix`.
fn behind(mut prefix: Key) -> Key {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return prefix;
        }
    }
    vec![u8::MAX; 32]
}

pub fn grants(slot: SlotId) -> Key {
    key(slot, kind::GRANTS, &[])
}

pub fn counts(slot: SlotId) -> Key {
    key(slot, kind::COUNTS, &[])
}

pub fn retained(slot: SlotId) -> Key {
    key(slot, kind::RETAINED, &[])
}

pub fn retained_of(slot: SlotId, user: User) -> Key {
    key(slot, kind::RETAINED_OF, &[&user.0.to_be_bytes()])
}

pub fn all_retained_of(slot: SlotId) -> (Key, Key) {
    range(slot, kind::RETAINED_OF)
}

/// The user at the end of a key.
pub fn user_of(key: &[u8]) -> Option<User> {
    Some(User(u64::from_be_bytes(key.get(3..11)?.try_into().ok()?)))
}

pub fn numbered(slot: SlotId) -> Key {
    key(slot, kind::NUMBERED, &[])
}

pub fn client(slot: SlotId, name: &[u8]) -> Key {
    key(slot, kind::CLIENT, &[name])
}

/// The key of a Client without a tenant.
#[cfg(test)]
pub fn client_key(slot: SlotId, client_id: &str) -> Key {
    client(slot, &crate::session::name_of("", client_id))
}

/// All Clients whose name begins with `prefix`.
pub fn clients(slot: SlotId, prefix: &[u8]) -> (Key, Key) {
    let from = client(slot, prefix);
    (from.clone(), behind(from))
}

/// The name at the end of a Client's key.
pub fn name_of_client(key: &[u8]) -> Option<&[u8]> {
    key.get(3..)
}

pub fn name(session: SessionNumber) -> Key {
    key(session.slot(), kind::NAME, &[&session.0.to_be_bytes()])
}

pub fn live(session: SessionNumber) -> Key {
    key(session.slot(), kind::LIVE, &[&session.0.to_be_bytes()])
}

pub fn all_live(slot: SlotId) -> (Key, Key) {
    range(slot, kind::LIVE)
}

/// The Session in the key of a row that begins with one, after its kind.
pub fn session_of(key: &[u8]) -> Option<SessionNumber> {
    Some(SessionNumber(u64::from_be_bytes(key.get(3..11)?.try_into().ok()?)))
}

/// The Session of a row that is a Session's by its number.
pub fn session_of_any(key: &[u8]) -> Option<SessionNumber> {
    match *key.get(2)? {
        kind::NAME
        | kind::LIVE
        | kind::SUBSCRIPTION
        | kind::HEAD
        | kind::UNRELEASED
        | kind::RECEIVED
        | kind::HELD
        | kind::ENDING => session_of(key),
        _ => None,
    }
}

/// Whether the row is that of a Session by its name.
pub fn is_client(key: &[u8]) -> bool {
    key.get(2) == Some(&kind::CLIENT)
}

/// All rows of a slot, of any family.
pub fn of_slot(slot: SlotId) -> (Key, Key) {
    let from = slot.0.to_be_bytes().to_vec();
    (from.clone(), behind(from))
}

pub fn subscription(session: SessionNumber, filter: &str) -> Key {
    key(session.slot(), kind::SUBSCRIPTION, &[&session.0.to_be_bytes(), filter.as_bytes()])
}

pub fn subscriptions(session: SessionNumber) -> (Key, Key) {
    let from = key(session.slot(), kind::SUBSCRIPTION, &[&session.0.to_be_bytes()]);
    (from.clone(), behind(from))
}

/// Those whose Topic Filters begin with `prefix`, which does not end in a byte of all ones.
pub fn subscriptions_from(session: SessionNumber, prefix: &str) -> (Key, Key) {
    let from = subscription(session, prefix);
    (from.clone(), behind(from))
}

pub fn all_subscriptions(slot: SlotId) -> (Key, Key) {
    range(slot, kind::SUBSCRIPTION)
}

pub fn filter_of_subscription(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(11..)?).ok()
}

pub fn head(session: SessionNumber) -> Key {
    key(session.slot(), kind::HEAD, &[&session.0.to_be_bytes()])
}

pub fn heads(slot: SlotId) -> (Key, Key) {
    let from = key(slot, kind::HEAD, &[]);
    (from.clone(), behind(from))
}

/// The Session at the end of the key of its queue's head.
pub fn session_of_head(key: &[u8]) -> Option<SessionNumber> {
    Some(SessionNumber(u64::from_be_bytes(*key.get(3..)?.first_chunk()?)))
}

/// Whether the row is of a QoS 2 message that is half on its way.
pub fn is_half_way(key: &[u8]) -> bool {
    matches!(key.get(2), Some(&(kind::UNRELEASED | kind::RECEIVED)))
}

pub fn unreleased(session: SessionNumber, packet_id: u16) -> Key {
    key(session.slot(), kind::UNRELEASED, &[&session.0.to_be_bytes(), &packet_id.to_be_bytes()])
}

pub fn all_unreleased(session: SessionNumber) -> (Key, Key) {
    let from = key(session.slot(), kind::UNRELEASED, &[&session.0.to_be_bytes()]);
    (from.clone(), behind(from))
}

pub fn packet_id_of_unreleased(key: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(key.get(11..13)?.try_into().ok()?))
}

pub fn received(session: SessionNumber, seq: Seq) -> Key {
    key(session.slot(), kind::RECEIVED, &[&session.0.to_be_bytes(), &seq.to_be_bytes()])
}

pub fn all_received(session: SessionNumber) -> (Key, Key) {
    let from = key(session.slot(), kind::RECEIVED, &[&session.0.to_be_bytes()]);
    (from.clone(), behind(from))
}

pub fn seq_of_received(key: &[u8]) -> Option<Seq> {
    Some(u64::from_be_bytes(key.get(11..19)?.try_into().ok()?))
}

pub fn due(slot: SlotId, at: Millis, session: SessionNumber) -> Key {
    key(slot, kind::DUE, &[&at.to_be_bytes(), &session.0.to_be_bytes()])
}

/// Everything due at `until` or before.
pub fn due_until(slot: SlotId, until: Millis) -> (Key, Key) {
    (key(slot, kind::DUE, &[]), key(slot, kind::DUE, &[&until.saturating_add(1).to_be_bytes()]))
}

pub fn all_due(slot: SlotId) -> (Key, Key) {
    range(slot, kind::DUE)
}

pub fn split_due(key: &[u8]) -> Option<(Millis, SessionNumber)> {
    let at = u64::from_be_bytes(key.get(3..11)?.try_into().ok()?);
    Some((at, SessionNumber(u64::from_be_bytes(key.get(11..19)?.try_into().ok()?))))
}

pub fn route(slot: SlotId, partition: u64, subscriber: u64, filter: &str) -> Key {
    key(slot, kind::ROUTE, &[&partition.to_be_bytes(), &subscriber.to_be_bytes(), filter.as_bytes()])
}

pub fn routes(slot: SlotId) -> (Key, Key) {
    range(slot, kind::ROUTE)
}

/// Partition, subscriber and Topic Filter of a route's key.
pub fn split_route(key: &[u8]) -> Option<(u64, u64, &str)> {
    let partition = u64::from_be_bytes(key.get(3..11)?.try_into().ok()?);
    let subscriber = u64::from_be_bytes(key.get(11..19)?.try_into().ok()?);
    Some((partition, subscriber, std::str::from_utf8(&key[19..]).ok()?))
}

pub fn outbox(slot: SlotId, to: SlotId, number: u64) -> Key {
    key(slot, kind::OUTBOX, &[&to.0.to_be_bytes(), &number.to_be_bytes()])
}

pub fn outboxes(slot: SlotId) -> (Key, Key) {
    range(slot, kind::OUTBOX)
}

pub fn outboxes_to(slot: SlotId, to: SlotId) -> (Key, Key) {
    let from = key(slot, kind::OUTBOX, &[&to.0.to_be_bytes()]);
    (from.clone(), behind(from))
}

pub fn split_outbox(key: &[u8]) -> Option<(SlotId, u64)> {
    let to = u16::from_be_bytes(key.get(3..5)?.try_into().ok()?);
    Some((SlotId(to), u64::from_be_bytes(key.get(5..13)?.try_into().ok()?)))
}

pub fn outbox_body(slot: SlotId, number: u64) -> Key {
    key(slot, kind::OUTBOX_BODY, &[&number.to_be_bytes()])
}

pub fn outbox_bodies(slot: SlotId) -> (Key, Key) {
    range(slot, kind::OUTBOX_BODY)
}

/// The number at the end of the key of such a message.
pub fn number_of_outbox_body(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(3..11)?.try_into().ok()?))
}

pub fn outbox_next(slot: SlotId, to: SlotId) -> Key {
    key(slot, kind::OUTBOX_NEXT, &[&to.0.to_be_bytes()])
}

pub fn outbox_nexts(slot: SlotId) -> (Key, Key) {
    range(slot, kind::OUTBOX_NEXT)
}

pub fn inbox(slot: SlotId, from: SlotId) -> Key {
    key(slot, kind::INBOX, &[&from.0.to_be_bytes()])
}

pub fn inboxes(slot: SlotId) -> (Key, Key) {
    range(slot, kind::INBOX)
}

pub fn open(slot: SlotId, from: SlotId) -> Key {
    key(slot, kind::OPEN, &[&from.0.to_be_bytes()])
}

pub fn all_open(slot: SlotId) -> (Key, Key) {
    range(slot, kind::OPEN)
}

pub fn given_up(slot: SlotId, node: u64) -> Key {
    key(slot, kind::GIVEN_UP, &[&node.to_be_bytes()])
}

pub fn all_given_up(slot: SlotId) -> (Key, Key) {
    range(slot, kind::GIVEN_UP)
}

/// The node at the end of the key of such a counter.
pub fn node_of_given_up(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(3..11)?.try_into().ok()?))
}

/// The other slot at the end of the key of an inbox or outbox counter.
pub fn peer_of(key: &[u8]) -> Option<SlotId> {
    Some(SlotId(u16::from_be_bytes(key.get(3..5)?.try_into().ok()?)))
}

pub fn bodies(slot: SlotId) -> Key {
    key(slot, kind::BODIES, &[])
}

pub fn holders(slot: SlotId, number: u64) -> Key {
    key(slot, kind::HOLDERS, &[&number.to_be_bytes()])
}

pub fn all_holders(slot: SlotId) -> (Key, Key) {
    range(slot, kind::HOLDERS)
}

pub fn all_held_of(slot: SlotId) -> (Key, Key) {
    range(slot, kind::HELD)
}

pub fn held(session: SessionNumber, seq: Seq) -> Key {
    key(session.slot(), kind::HELD, &[&session.0.to_be_bytes(), &seq.to_be_bytes()])
}

pub fn all_held(session: SessionNumber) -> (Key, Key) {
    let from = key(session.slot(), kind::HELD, &[&session.0.to_be_bytes()]);
    (from.clone(), behind(from))
}

pub fn ending(session: SessionNumber) -> Key {
    key(session.slot(), kind::ENDING, &[&session.0.to_be_bytes()])
}

pub fn all_ending(slot: SlotId) -> (Key, Key) {
    range(slot, kind::ENDING)
}

/// Whether the row is that of a Session which has ended.
pub fn is_ending(key: &[u8]) -> bool {
    key.get(2) == Some(&kind::ENDING)
}

/// In whose queue messages lie that many queues hold: numbers of Sessions begin with one.
pub fn nobody(slot: SlotId) -> SessionNumber {
    SessionNumber::new(slot, 0)
}

/// A message in the family `queue`.
pub fn queued(session: SessionNumber, seq: Seq) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&session.0.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub fn session_of_queued(key: &[u8]) -> Option<SessionNumber> {
    Some(SessionNumber(u64::from_be_bytes(*key.first_chunk()?)))
}

pub fn seq_of_queued(key: &[u8]) -> Option<Seq> {
    Some(u64::from_be_bytes(key.get(8..16)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: SlotId = SlotId(513);

    #[test]
    fn every_key_begins_with_its_slot() {
        let session = SessionNumber::new(SLOT, 7);
        for key in
            [name(session), live(session), head(session), due(SLOT, 9, session), route(SLOT, 1, 2, "a/#")]
        {
            assert_eq!(key[..2], [2, 1]);
        }
        assert_eq!(queued(session, 3)[..2], [2, 1]);
    }

    #[test]
    fn keys_are_taken_apart_again() {
        let session = SessionNumber::new(SLOT, 7);
        assert_eq!(split_due(&due(SLOT, 99, session)), Some((99, session)));
        assert_eq!(split_route(&route(SLOT, 1, 2, "a/#")), Some((1, 2, "a/#")));
        assert_eq!(split_outbox(&outbox(SLOT, SlotId(4), 5)), Some((SlotId(4), 5)));
        assert_eq!(filter_of_subscription(&subscription(session, "x/+")), Some("x/+"));
        assert_eq!(seq_of_queued(&queued(session, 8)), Some(8));
    }

    #[test]
    fn what_is_due_is_a_range_of_keys() {
        let (from, to) = due_until(SLOT, 100);
        let session = SessionNumber::new(SLOT, u64::MAX >> 16);
        assert!(from <= due(SLOT, 0, session) && due(SLOT, 100, session) < to);
        assert!(due(SLOT, 101, SessionNumber::new(SLOT, 0)) >= to);
    }

    #[test]
    fn a_session_that_ends_in_ones_keeps_its_range() {
        let last = SessionNumber::new(SLOT, (1 << 48) - 1);
        let (from, to) = subscriptions(last);
        let key = subscription(last, "a");
        assert!(from <= key && key < to);
        assert!(to <= subscriptions(SessionNumber::new(SlotId(SLOT.0 + 1), 0)).0);
    }
}
