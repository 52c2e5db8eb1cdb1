//! Commands and state as bytes.
//!
//! ```text
//! command = envelope of kind 0x42, version 1, around the fields of `Command`
//! state   = envelope of kind 0x43, version 1, around those of `FleetRow`
//! ```

use std::collections::BTreeSet;

use convoy_ids::{NodeId, RingVersion, Zone};
use convoy_membership::{Ring, ring};
use convoy_storage::record::{Decode, Encode};
use convoy_storage::sealed;

use super::{Birth, Command, Fleet, FleetId, Member, NUMBERS_LIMIT, State, TokenHash};

const COMMAND: u8 = 0x42;
const STATE: u8 = 0x43;
const VERSION: u8 = 1;

/// Why bytes are no record of the meta group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sealed(#[from] sealed::Error),
    #[error("a fleet with an impossible {0}")]
    Impossible(&'static str),
    #[error("a ring that cannot be: {0}")]
    Ring(#[from] convoy_membership::Error),
}

#[derive(Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
struct FleetRow {
    birth: Option<(FleetId, u16, u8)>,
    format: u16,
    members: Vec<MemberRow>,
    gone: Vec<u64>,
    tokens: Vec<(TokenHash, u64)>,
    ring: Option<RingRow>,
    numbered: u64,
}

#[derive(Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
struct RingRow {
    version: u64,
    /// Node, zone and weight.
    members: Vec<(u64, String, u16)>,
}

#[derive(Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
struct MemberRow {
    node: u64,
    name: String,
    zone: String,
    weight: u16,
    address: String,
    formats: (u16, u16),
    /// 0 active, 1 draining, 2 down.
    state: u8,
}

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        sealed::seal(COMMAND, VERSION, self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Ok(sealed::open(COMMAND, VERSION, bytes)?)
    }
}

impl Fleet {
    pub fn encode(&self) -> Vec<u8> {
        let ring = self.ring.as_ref().map(|ring| {
            let members = ring.members().iter();
            let members = members.map(|member| (member.node.get(), member.zone.0.clone(), member.weight));
            RingRow { version: ring.version().0, members: members.collect() }
        });
        sealed::seal(
            STATE,
            VERSION,
            &FleetRow {
                birth: self.birth.map(|birth| (birth.fleet, birth.slots, birth.replication)),
                format: self.format,
                members: self.members.iter().map(|(node, member)| MemberRow::of(*node, member)).collect(),
                gone: self.gone.iter().map(|node| node.get()).collect(),
                tokens: self.tokens.iter().map(|(hash, until)| (*hash, *until)).collect(),
                ring,
                numbered: self.numbered,
            },
        )
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let row: FleetRow = sealed::open(STATE, VERSION, bytes)?;
        let birth = row.birth.map(|(fleet, slots, replication)| Birth { fleet, slots, replication });
        let ring = match (row.ring, birth) {
            (Some(RingRow { version, members }), Some(birth)) => {
                let members = members.into_iter().map(|(node, zone, weight)| {
                    Ok(ring::Member { node: named(node)?, zone: Zone(zone), weight })
                });
                let members = members.collect::<Result<_, Error>>()?;
                Some(Ring::new(RingVersion(version), birth.slots, birth.replication, members)?)
            }
            (None, None) => None,
            _ => return Err(Error::Impossible("birth")),
        };
        if row.numbered > NUMBERS_LIMIT {
            return Err(Error::Impossible("number of replicas"));
        }
        let names: BTreeSet<_> = row.members.iter().map(|member| &member.name).collect();
        if names.len() != row.members.len() {
            return Err(Error::Impossible("name"));
        }
        Ok(Self {
            birth,
            format: row.format,
            members: row.members.into_iter().map(MemberRow::member).collect::<Result<_, _>>()?,
            gone: row.gone.into_iter().map(named).collect::<Result<_, _>>()?,
            tokens: row.tokens.into_iter().collect(),
            ring,
            numbered: row.numbered,
        })
    }
}

impl MemberRow {
    fn of(node: NodeId, member: &Member) -> Self {
        Self {
            node: node.get(),
            name: member.name.clone(),
            zone: member.zone.0.clone(),
            weight: member.weight,
            address: member.address.clone(),
            formats: member.formats,
            state: match member.state {
                State::Active => 0,
                State::Draining => 1,
                State::Down => 2,
            },
        }
    }

    fn member(self) -> Result<(NodeId, Member), Error> {
        let state = match self.state {
            0 => State::Active,
            1 => State::Draining,
            2 => State::Down,
            _ => return Err(Error::Impossible("state of a member")),
        };
        let Self { name, weight, address, formats, .. } = self;
        Ok((named(self.node)?, Member { name, zone: Zone(self.zone), weight, address, formats, state }))
    }
}

fn named(node: u64) -> Result<NodeId, Error> {
    NodeId::new(node).ok_or(Error::Impossible("node"))
}
