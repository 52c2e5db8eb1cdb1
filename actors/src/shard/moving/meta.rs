//! The meta group, as its replicas and all other shards have it. Its log carries [`Command`]s and nothing else, and its state is
//! one row, the [`Fleet`], written with the applied index in one batch, as the state of other slots is; so it is copied, moved
//! and ended like theirs. It is not on the way of any message.
//!
//! Whoever is no member of it asks somebody each second whether anything is newer: every shard passes on what it knows. A number
//! is given by the leader alone, once it stands in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use convoy_ids::{NodeId, ReplicaId, SlotId};
use convoy_storage::engine::{Engine, Family};
use convoy_storage::replica::{Committed, ProposeError};

use super::super::Shard;
use super::super::slots::fail;
use super::words::Word;
use crate::clock::Now;
use crate::meta::{Command, Effect, Fleet, Refusal};
use crate::slot;

/// Numbers that are asked for at once; more are asked for again.
const ASKED: usize = 1_024;

/// Milliseconds after which the same number may be asked for again: what was proposed for it is decided, or lost.
const ASKED_AGAIN: u64 = 2_000;

/// Why a command is not on its way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing was changed. Ask who leads it.
    #[error("the meta group is not led here")]
    NotLeader,
    /// Nothing was changed. Ask again.
    #[error("the meta group takes nothing now")]
    Busy,
    /// Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What a shard knows of the fleet.
#[derive(Default)]
pub(super) struct Known {
    /// The newest that was heard of, and the entry of the meta group's log that made it so.
    fleet: Fleet,
    at: u64,
    /// The state of the replica of the meta group here: it may be behind what is known.
    applied: Fleet,
    /// Of the leader alone: who is told the number of a slot's next replica on a node, and when that was proposed.
    asked: BTreeMap<(SlotId, NodeId), (NodeId, u64)>,
    /// Who is asked next for news.
    next: usize,
}

impl Shard {
    /// An operator's command, or a node's, for the meta group: it is carried out once it is committed, if nothing has come
    /// between. Whoever gave it sees that by [`Shard::fleet`].
    pub fn command(&mut self, command: &Command) -> Result<(), CommandError> {
        self.fleet().ok_or(CommandError::NotLeader)?.judge(command)?;
        match self.driver.propose(SlotId::META, command.encode()) {
            Ok(_) => Ok(()),
            Err((ProposeError::NotLeader { .. }, _)) => Err(CommandError::NotLeader),
            Err(_) => Err(CommandError::Busy),
        }
    }

    /// The fleet, where the meta group is led here.
    pub fn fleet(&self) -> Option<&Fleet> {
        let leads = |slot: &slot::Slot| slot.id.is_meta() && slot.is_serving();
        (self.options.moves.is_some() && self.slots.iter().any(leads)).then_some(&self.moving.known.applied)
    }

    /// The newest of the fleet that was heard of here; nothing before that.
    pub fn known_fleet(&self) -> &Fleet {
        &self.moving.known.fleet
    }

    /// Whether what the log of this slot carries are commands.
    pub(in crate::shard) fn is_of_commands(&self, slot: SlotId) -> bool {
        slot.is_meta() && self.options.moves.is_some()
    }

    /// Applies a record of the meta group. False, with nothing changed, if it is none.
    pub(in crate::shard) fn apply_command(&mut self, record: &Committed) -> bool {
        let Some(slot) = self.slots.get(record.slot).filter(|slot| slot.failure.is_none()) else {
            return false;
        };
        let command = match Command::decode(&record.data) {
            Ok(command) => command,
            Err(error) => {
                fail(slot, &error);
                return false;
            }
        };
        let (fleet, mut effects) = (&mut self.moving.known.applied, Vec::new());
        fleet.apply(&command, &mut effects);
        let row = [&record.index.0.to_be_bytes()[..], &fleet.encode()].concat();
        self.state.batch().put(Family::Session, &slot::fleet_key(), &row);
        let fleet = fleet.clone();
        self.learn_fleet(record.index.0, fleet);
        for effect in effects {
            match effect {
                Effect::Numbered { slot, node, number } => self.give_number(slot, node, number),
                Effect::Refused(refusal) => tracing::info!(%refusal, "command refused by the meta group"),
                _ => {}
            }
        }
        true
    }

    /// Reads what the replica here has written, or a copy has brought; of one that is new, nothing.
    pub(in crate::shard) fn load_fleet(&mut self) {
        self.moving.known.applied = Fleet::default();
        let mut row = Vec::new();
        let found = self.rows.get(Family::Session, &slot::fleet_key(), &mut row);
        let error = match found.map(|found| found.then(|| row.split_first_chunk::<8>()).flatten()) {
            Ok(None) => return,
            Ok(Some((at, bytes))) => match Fleet::decode(bytes) {
                Ok(fleet) => {
                    self.moving.known.applied = fleet.clone();
                    return self.learn_fleet(u64::from_be_bytes(*at), fleet);
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        if let Some(slot) = self.slots.get(SlotId::META) {
            fail(slot, &error);
        }
    }

    /// Takes what is newer than what is known here.
    fn learn_fleet(&mut self, at: u64, fleet: Fleet) {
        if at <= self.moving.known.at {
            return;
        }
        if let Some(ring) = fleet.ring() {
            self.hear_ring(Arc::new(ring.clone()));
        }
        let told = self.options.replicas.iter().copied().filter(|node| !fleet.is_gone(*node));
        let members = fleet.members().map(|(node, _)| node);
        let mut nodes: Vec<NodeId> = told.chain(members).collect();
        nodes.sort_unstable();
        nodes.dedup();
        self.hear_fleet(nodes);
        (self.moving.known.at, self.moving.known.fleet) = (at, fleet);
    }

    /// Asks one after the other whether anything is newer.
    pub(super) fn ask_for_news(&mut self) {
        let (known, nodes) = (&mut self.moving.known, &self.options.replicas);
        known.next += 1;
        let Some(node) = nodes.get(known.next % nodes.len().max(1)).copied() else { return };
        let (at, back) = (known.at, self.outlet.post.here());
        self.say(node, SlotId::META, Word::AsksNews { at, back });
    }

    pub(super) fn answer_news(&mut self, from: NodeId, at: u64, back: u16) {
        let known = &self.moving.known;
        if known.at > at {
            let word = Word::News { at: known.at, fleet: known.fleet.encode() };
            self.say(from, SlotId(back), word);
        }
    }

    pub(super) fn hear_news(&mut self, from: NodeId, at: u64, fleet: &[u8]) {
        match Fleet::decode(fleet) {
            Ok(fleet) if self.could_follow(&fleet) => self.learn_fleet(at, fleet),
            Ok(_) => tracing::warn!(%from, "news of another fleet refused, or of before what is known"),
            Err(error) => tracing::warn!(%from, %error, "news of the fleet refused"),
        }
    }

    /// Whether the fleet that is known here may have become this one.
    fn could_follow(&self, fleet: &Fleet) -> bool {
        let known = &self.moving.known.fleet;
        let version = |fleet: &Fleet| fleet.ring().map(convoy_membership::Ring::version);
        known.birth().is_none_or(|birth| fleet.birth() == Some(birth)) && version(fleet) >= version(known)
    }

    /// Asks for the number of a new replica: every node, for one of them leads the meta group.
    pub(super) fn want_number(&mut self, slot: SlotId, node: NodeId) {
        for to in self.options.replicas.clone() {
            self.say(to, SlotId::META, Word::WantsNumber { node: node.get(), slot: slot.0 });
        }
    }

    /// Somebody needs a number: it stands in the log before it is given.
    pub(super) fn number_wanted(&mut self, now: Now, from: NodeId, slot: SlotId, node: NodeId) {
        let known = &mut self.moving.known;
        known.asked.retain(|_, (_, at)| now.monotonic.saturating_sub(*at) < ASKED_AGAIN);
        if known.asked.len() >= ASKED || known.asked.contains_key(&(slot, node)) {
            return;
        }
        if self.command(&Command::Number { slot: slot.0, node: node.get() }).is_ok() {
            self.moving.known.asked.insert((slot, node), (from, now.monotonic));
        }
    }

    fn give_number(&mut self, slot: SlotId, node: NodeId, number: ReplicaId) {
        let Some((to, _)) = self.moving.known.asked.remove(&(slot, node)) else { return };
        self.say(to, slot, Word::Number { node: node.get(), number: number.get() });
    }
}
