//! Actors are virtual: an identity that always exists, activated from storage by its first message.

/// Identity of an actor. Topic and Retained actors of the same partition hash alike, hence share a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActorId<'a> {
    Session { tenant: &'a str, client_id: &'a str },
    Topic { tenant: &'a str, parent: &'a str, partition: u16 },
    Retained { tenant: &'a str, parent: &'a str, partition: u16 },
}
