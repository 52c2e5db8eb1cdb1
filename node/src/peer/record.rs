//! What a data folder knows of the fleet that its node is a member of. It is written once the node belongs to it, and then as
//! members change.

use convoy_actors::meta::{Fleet, FleetId};
use convoy_ids::NodeId;
use convoy_storage::engine::{self, Batch, Engine, Family};
use convoy_storage::envelope;
use convoy_storage::record::{self, Decode, Encode};
use std::ops::ControlFlow;

const KEY: &[u8] = b"\xff\xfffleet";
const KIND: u8 = b'F';
const VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("what is known of the fleet is damaged: {0}")]
    Damaged(String),
}

/// A node's place in its fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belongs {
    pub fleet: FleetId,
    /// The nodes that the fleet began with.
    pub founders: Vec<NodeId>,
    /// The newest that was known; nothing where it was never heard of.
    pub known: Fleet,
}

#[derive(Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
struct Row {
    fleet: FleetId,
    founders: Vec<u64>,
    known: Vec<u8>,
}

impl Belongs {
    /// What the folder says; `None` if its node was always alone.
    pub fn read(engine: &dyn Engine) -> Result<Option<Self>, Error> {
        let mut bytes = Vec::new();
        if !engine.get(Family::Meta, KEY, &mut bytes)? {
            return Ok(None);
        }
        let damaged = |error: &dyn std::fmt::Display| Error::Damaged(error.to_string());
        let (_, body) = envelope::open(KIND, &bytes).map_err(|error| damaged(&error))?;
        let row: Row = record::decode(body).map_err(|error| damaged(&error))?;
        let founders = row.founders.into_iter().map(NodeId::new).collect::<Option<Vec<_>>>();
        let founders = founders.ok_or_else(|| Error::Damaged("a node of number zero".into()))?;
        let known = match row.known.is_empty() {
            true => Fleet::default(),
            false => Fleet::decode(&row.known).map_err(|error| damaged(&error))?,
        };
        Ok(Some(Self { fleet: row.fleet, founders, known }))
    }

    /// Writes it, and returns when it is on disk.
    pub fn keep(&self, engine: &dyn Engine) -> Result<(), Error> {
        let known = if self.known.birth().is_some() { self.known.encode() } else { Vec::new() };
        let founders = self.founders.iter().map(|node| node.get()).collect();
        let row = Row { fleet: self.fleet, founders, known };
        let mut value = Vec::new();
        envelope::seal(KIND, VERSION, &mut value, |body| record::encode_into(&row, body));
        let mut batch = Batch::new();
        batch.put(Family::Meta, KEY, &value);
        engine.write(&batch)?;
        engine.sync()?;
        Ok(())
    }
}

/// Whether slots have never written anything into this folder.
pub fn is_blank(engine: &dyn Engine) -> Result<bool, Error> {
    let mut is_blank = true;
    engine.scan(Family::Log, &[], &[0xff; 32], &mut |_, _| {
        is_blank = false;
        ControlFlow::Break(())
    })?;
    Ok(is_blank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoy_storage::engine::model::Model;

    #[test]
    fn a_folder_knows_its_fleet_again() {
        let engine = Model::new();
        assert_eq!(Belongs::read(&engine).unwrap(), None);
        let founders = vec![NodeId::new(3).unwrap()];
        let belongs = Belongs { fleet: FleetId([7; 16]), founders, known: Fleet::default() };
        belongs.keep(&engine).unwrap();
        assert_eq!(Belongs::read(&engine).unwrap(), Some(belongs));
    }
}
