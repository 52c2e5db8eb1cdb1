//! A node of the tests: a driver, its disk, and a caller that applies what is committed and checks what it is given.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use convoy_ids::{Index, NodeId, ReplicaId, SlotId, Term};

use crate::engine::{Batch, Engine, Family, Generations, Model};
use crate::replica::*;

pub(crate) const SLOT: SlotId = SlotId(7);

pub(crate) fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

/// A replica on a node.
pub(crate) fn replica(id: u64, on: u64) -> Replica {
    Replica { id: ReplicaId::new(id).unwrap(), node: node(on) }
}

/// The first one there.
pub(crate) fn first(number: u64) -> Replica {
    Replica::first(node(number))
}

pub(crate) fn firsts(nodes: &[NodeId]) -> Vec<Replica> {
    nodes.iter().copied().map(Replica::first).collect()
}

pub(crate) struct Station {
    pub node: NodeId,
    /// Who it is where it is asked to open a slot.
    pub me: ReplicaId,
    pub engine: Arc<Model>,
    /// What the driver works with.
    pub rows: Arc<Generations>,
    pub driver: Driver,
    pub options: Options,
    pub state: Batch,
    pub effects: Effects,
    /// All that came out as committed, of each slot, from index 1; a restart keeps what was durable.
    pub history: BTreeMap<SlotId, Vec<(Term, Bytes)>>,
    /// A sync that was asked for, and what it will have made durable.
    pub sync: Option<(Round, u64)>,
    pub outbox: Vec<Outgoing>,
    pub roles: Vec<RoleChange>,
    pub proofs: Vec<Proof>,
    pub snapshots: Vec<SnapshotWanted>,
    pub failures: Vec<Failure>,
}

impl Station {
    pub fn new(node: NodeId, options: Options) -> Self {
        Self::on(Arc::new(Model::new()), node, options)
    }

    pub fn on(engine: Arc<Model>, node: NodeId, options: Options) -> Self {
        let rows = Arc::new(Generations::open(engine.clone()).unwrap());
        Self {
            node,
            me: Replica::first(node).id,
            driver: Driver::new(rows.clone(), node, options.clone()),
            rows,
            engine,
            options,
            state: Batch::new(),
            effects: Effects::new(),
            history: BTreeMap::new(),
            sync: None,
            outbox: Vec::new(),
            roles: Vec::new(),
            proofs: Vec::new(),
            snapshots: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A group of this node alone, leading.
    pub fn alone(options: Options) -> Self {
        let mut station = Self::new(node(1), options);
        station.open(&[node(1)]);
        station.settle();
        station
    }

    /// Opens [`SLOT`] and reads back the state that goes with its applied index.
    pub fn open(&mut self, voters: &[NodeId]) -> Opened {
        let opened = self.driver.open(SLOT, self.me, &firsts(voters)).unwrap();
        let history = self.saved();
        assert_eq!(history.len() as u64, opened.applied.0, "state and applied index are written together");
        self.history.insert(SLOT, history);
        opened
    }

    /// The applied state on disk.
    pub fn saved(&self) -> Vec<(Term, Bytes)> {
        let mut rows = Vec::new();
        let (from, to) = (SLOT.0.to_be_bytes(), (SLOT.0 + 1).to_be_bytes());
        let visit = &mut |_: &[u8], value: &[u8]| {
            let (term, data) = value.split_first_chunk().unwrap();
            rows.push((Term(u64::from_be_bytes(*term)), Bytes::copy_from_slice(data)));
            ControlFlow::Continue(())
        };
        self.rows.scan(Family::Session, &from, &to, visit).unwrap();
        rows
    }

    /// The node after a loss of power that kept `keep` of the batches not synced.
    pub fn crash(&self, keep: usize) -> Self {
        let after = Self::on(Arc::new(self.engine.crash(keep)), self.node, self.options.clone());
        Self { me: self.me, ..after }
    }

    pub fn history(&self) -> &[(Term, Bytes)] {
        self.history.get(&SLOT).map_or(&[], Vec::as_slice)
    }

    /// The records that came out, without the empty entries of leaders.
    pub fn records(&self) -> Vec<&str> {
        let data = self.history().iter().map(|(_, data)| std::str::from_utf8(data).unwrap());
        data.filter(|data| !data.is_empty()).collect()
    }

    pub fn leads(&self) -> bool {
        self.driver.role(SLOT).is_some_and(Role::is_leader)
    }

    pub fn propose(&mut self, data: &str) -> Result<(Term, Index), ProposeError> {
        self.driver.propose(SLOT, data.into()).map_err(|(error, back)| {
            assert_eq!(back, data.as_bytes(), "a refused record comes back");
            error
        })
    }

    pub fn prove(&mut self) -> ProofId {
        let id = self.driver.prove(&[SLOT], &mut self.effects);
        self.absorb();
        id
    }

    /// One turn of the loop.
    pub fn turn(&mut self) -> Result<(), RoundError> {
        let outcome = self.driver.round(&mut self.state, &mut self.effects);
        self.absorb();
        outcome
    }

    pub fn finish_sync(&mut self) {
        if let Some((round, mark)) = self.sync.take() {
            self.engine.sync_through(mark).unwrap();
            self.driver.synced(round, &mut self.effects);
            self.absorb();
        }
    }

    pub fn is_quiet(&self) -> bool {
        !self.driver.is_dirty() && self.state.is_empty() && self.sync.is_none()
    }

    /// Turns and syncs until there is nothing to do.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.is_quiet() {
                return;
            }
            self.turn().unwrap();
            self.finish_sync();
        }
        panic!("the driver never comes to rest");
    }

    fn absorb(&mut self) {
        if let Some(round) = self.effects.sync.take() {
            assert!(self.sync.is_none(), "one sync at a time");
            self.sync = Some((round, self.engine.writes()));
        }
        for committed in std::mem::take(&mut self.effects.committed) {
            let Committed { slot, term, index, data } = committed;
            let history = self.history.entry(slot).or_default();
            assert_eq!(index.0, history.len() as u64 + 1, "in the order of the log, each once");
            let key = [&slot.0.to_be_bytes()[..], &index.0.to_be_bytes()].concat();
            self.state.put_parts(Family::Session, &key, &[&term.0.to_be_bytes(), &data]);
            history.push((term, data));
            Driver::put_applied(slot, index, &mut self.state);
            self.driver.advance_applied(slot, index);
        }
        self.outbox.append(&mut self.effects.messages);
        self.roles.append(&mut self.effects.roles);
        self.proofs.append(&mut self.effects.proofs);
        self.snapshots.append(&mut self.effects.snapshots);
        self.failures.append(&mut self.effects.failures);
        assert!(self.effects.is_empty());
    }
}
