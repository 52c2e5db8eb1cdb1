//! What the meta group's log holds. Numbers of nodes and slots are as they came: a command is judged before it is believed.

use convoy_storage::record::{Decode, Encode};

/// Drawn with the first node of a fleet, and never again: a node of another fleet is known by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct FleetId(pub [u8; 16]);

/// The hash of a join token: the token itself is on no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct TokenHash(pub [u8; 32]);

/// A node as it presents itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub struct Entrant {
    pub node: u64,
    pub name: String,
    pub zone: String,
    pub weight: u16,
    pub address: String,
    /// The oldest and newest version of records that it reads.
    pub formats: (u16, u16),
}

/// One command. Times are milliseconds since the Unix epoch, by the clock of whoever proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub enum Command {
    /// The fleet is born with its first node, and with its first ring version.
    Found {
        fleet: FleetId,
        slots: u16,
        replication: u8,
        format: u16,
        founder: Entrant,
    },
    /// A node joins, or a member says again who it is: its address, weight and release may have changed.
    Join {
        entrant: Entrant,
        fleet: FleetId,
        slots: u16,
        token: TokenHash,
        at: u64,
    },
    Readdress {
        node: u64,
        address: String,
    },
    Reweigh {
        node: u64,
        weight: u16,
    },
    /// The node is to keep nothing any more, from the next ring version on.
    Drain {
        node: u64,
    },
    /// The node is down for too long: others are to take its place, from the next ring version on.
    Replace {
        node: u64,
    },
    /// A node that was drained or replaced takes part again, from the next ring version on.
    Restore {
        node: u64,
    },
    /// The node is no member any more and never again.
    Remove {
        node: u64,
    },
    /// The members as they are now make this ring version, if it is the next one.
    Reshape {
        version: u64,
    },
    /// All members read records of this version and write it from now on.
    Raise {
        format: u16,
    },
    /// A new replica of the slot on the node is given its number.
    Number {
        slot: u16,
        node: u64,
    },
    AddToken {
        hash: TokenHash,
        expires_at: u64,
        at: u64,
    },
    RevokeToken {
        hash: TokenHash,
    },
}
