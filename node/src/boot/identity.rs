//! Who this node is: drawn when its data folder is made, and never used again once that is lost.

use convoy_ids::NodeId;
use convoy_storage::engine::{self, Batch, Engine, Family};
use convoy_storage::envelope;
use convoy_storage::record::{self, Decode, Encode};
use std::io::Read;

use crate::config::FleetOptions;

const KEY: &[u8] = b"\xff\xffidentity";
const KIND: u8 = b'I';
const VERSION: u8 = 1;

/// The node, as its data folder knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    /// How often it was started, this time included.
    pub start: u32,
}

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
struct Row {
    node: u64,
    starts: u32,
    slots: u16,
    partitions: u16,
    partition_levels: u32,
}

/// What was fixed when the data folder was made, as far as its rows lie by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub slots: u16,
}

/// By how much a salvaged folder is ahead of the one that it was made of: no connection of that is one of this.
const STARTS: u32 = 1 << 16;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("the node's identity is damaged: {0}")]
    Damaged(String),
    #[error("no random numbers to be had: {0}")]
    Chance(#[from] std::io::Error),
    /// Where things live follows from it, so it is fixed when the data folder is made.
    #[error(
        "fleet.{key} is {wanted}, but this data was made with {kept}: set it back, or begin with an empty folder"
    )]
    Changed { key: &'static str, wanted: u64, kept: u64 },
}

/// Bytes nobody can guess.
pub fn chance<const BYTES: usize>() -> std::io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Identity {
    /// Reads who this node is, or draws it for an empty folder, and counts this start.
    pub fn take_up(engine: &dyn Engine, fleet: &FleetOptions) -> Result<Self, Error> {
        let row = match read(engine)? {
            Some(row) => row,
            None => Row {
                // Without the highest bit: numbers of replicas that are not the first on their nodes have it.
                node: (u64::from_le_bytes(chance()?) >> 1).max(1),
                starts: 0,
                slots: fleet.slots,
                partitions: fleet.partitions,
                partition_levels: fleet.partition_levels as u32,
            },
        };
        let kept = [
            ("slots", u64::from(fleet.slots), u64::from(row.slots)),
            ("partitions", u64::from(fleet.partitions), u64::from(row.partitions)),
            ("partition_levels", fleet.partition_levels as u64, u64::from(row.partition_levels)),
        ];
        if let Some(&(key, wanted, kept)) = kept.iter().find(|(_, wanted, kept)| wanted != kept) {
            return Err(Error::Changed { key, wanted, kept });
        }
        let row = Row { starts: row.starts + 1, ..row };
        write(engine, &row)?;
        let node = NodeId::new(row.node).ok_or_else(|| Error::Damaged("a node of number zero".into()))?;
        Ok(Self { node, start: row.starts })
    }

    /// How the rows of a data folder lie.
    pub fn layout_of(engine: &dyn Engine) -> Result<Layout, Error> {
        let row = read(engine)?.ok_or_else(|| Error::Damaged("it is missing".into()))?;
        Ok(Layout { slots: row.slots })
    }

    /// Of a folder that was made of another one.
    pub fn raise_starts(engine: &dyn Engine) -> Result<(), Error> {
        let row = read(engine)?.ok_or_else(|| Error::Damaged("it is missing".into()))?;
        write(engine, &Row { starts: row.starts.saturating_add(STARTS), ..row })
    }
}

fn read(engine: &dyn Engine) -> Result<Option<Row>, Error> {
    let mut bytes = Vec::new();
    if !engine.get(Family::Meta, KEY, &mut bytes)? {
        return Ok(None);
    }
    let damaged = |error: &dyn std::fmt::Display| Error::Damaged(error.to_string());
    let (_, body) = envelope::open(KIND, &bytes).map_err(|error| damaged(&error))?;
    record::decode::<Row>(body).map(Some).map_err(|error| damaged(&error))
}

fn write(engine: &dyn Engine, row: &Row) -> Result<(), Error> {
    let mut value = Vec::new();
    envelope::seal(KIND, VERSION, &mut value, |body| record::encode_into(row, body));
    let mut batch = Batch::new();
    batch.put(Family::Meta, KEY, &value);
    engine.write(&batch)?;
    engine.sync()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoy_storage::engine::model::Model;

    fn fleet(slots: u16) -> FleetOptions {
        FleetOptions { slots, ..FleetOptions::default() }
    }

    #[test]
    fn a_node_keeps_its_identity_and_counts_its_starts() {
        let engine = Model::new();
        let first = Identity::take_up(&engine, &fleet(64)).unwrap();
        let second = Identity::take_up(&engine, &fleet(64)).unwrap();
        assert_eq!(second, Identity { start: first.start + 1, ..first });
    }

    #[test]
    fn what_was_fixed_at_birth_cannot_be_changed() {
        let engine = Model::new();
        Identity::take_up(&engine, &fleet(64)).unwrap();
        match Identity::take_up(&engine, &fleet(128)) {
            Err(Error::Changed { key: "slots", wanted: 128, kept: 64 }) => {}
            other => panic!("{other:?}"),
        }
    }
}
