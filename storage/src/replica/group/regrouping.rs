//! Of which replicas a group is, and how it becomes one of others.

use std::ops::ControlFlow;

use bytes::Bytes;
use convoy_ids::{Index, NodeId, ReplicaId, Term};
use raft::{Progress, ProgressState, StateRole};

use super::Group;
use crate::engine::Batch;
use crate::replica::effects::{Follower, Role};
use crate::replica::members::{Base, Change, Members, Replica, Roster};
use crate::replica::row::EntryKind;
use crate::replica::{Error, Options, ReconfigureError};

/// Entries that a follower may be behind by and be as good as current: they are on their way.
const ON_ITS_WAY: u64 = 64;

impl Group {
    pub(in crate::replica) fn me(&self) -> Replica {
        self.log().me()
    }

    pub(in crate::replica) fn members(&self) -> Members {
        self.log().roster().members()
    }

    pub(in crate::replica) fn applied_base(&self) -> Option<Base> {
        let log = self.log();
        let (index, term) = log.copied()?;
        let term = Term(term);
        Some(Base { index: Index(index), term, group: log.roster().encode() })
    }

    /// Whether the group is of other replicas than the row on disk says.
    pub(in crate::replica) fn is_regrouped(&self) -> bool {
        self.group_unwritten
    }

    /// Puts the row of the group if it is not on disk: the state of a batch stands behind the change that made it so.
    pub(in crate::replica) fn put_group(&self, batch: &mut Batch) {
        if self.group_unwritten && !self.failed {
            self.log().put_group(batch);
        }
    }

    /// That batch is written.
    pub(in crate::replica) fn group_written(&mut self) {
        self.group_unwritten = false;
    }

    /// Begins a change of the group. Not while another is unapplied: raft allows one at a time.
    pub(in crate::replica) fn reconfigure(
        &mut self,
        voters: &[Replica],
        learners: &[Replica],
    ) -> Result<Option<(Term, Index)>, ReconfigureError> {
        if voters.is_empty() {
            return Err(ReconfigureError::NoVoters);
        }
        let Role::Leader { term } = self.role() else {
            let (term, leader) = self.leader();
            return Err(ReconfigureError::NotLeader { term, leader });
        };
        let raft = &self.raft.raft;
        let joint = !self.log().group().get_voters_outgoing().is_empty();
        if raft.has_pending_conf() || joint || raft.lead_transferee.is_some() {
            return Err(ReconfigureError::Busy);
        }
        let roster = self.log().roster();
        for Replica { id: replica, node: asked } in voters.iter().chain(learners).copied() {
            if let Some(node) = roster.node_of(replica.get()).filter(|node| *node != asked) {
                return Err(ReconfigureError::Elsewhere { replica, node });
            }
        }
        let change = Change::between(&roster.group, voters, learners);
        if change.steps.get_changes().is_empty() {
            return Ok(None);
        }
        let index = self.append(EntryKind::Change, Bytes::from(change.encode()));
        self.raft.raft.pending_conf_index = index;
        Ok(Some((term, Index(index))))
    }

    /// A change that raft refuses is refused by every replica alike, and then it is as if it had not been asked for. One that
    /// this release cannot read others may have carried out: a replica that goes on would be of another group.
    pub(super) fn change_group(&mut self, index: u64, payload: &[u8]) -> Result<(), Error> {
        if index <= self.log().group_index() {
            return Ok(());
        }
        let slot = self.log().slot();
        let Some(change) = Change::decode(payload) else {
            return Err(self.log().damaged(index, "a change of the group in a form that is not known here"));
        };
        match self.raft.apply_conf_change(&change.steps) {
            Ok(group) => {
                let places = self.log().roster().places_with(&change);
                let roster = Roster::new(group, &places).expect("who comes has a place, as who is there has");
                self.raft.mut_store().set_roster(roster, index);
                self.group_unwritten = true;
                self.learn_members();
                let raft = &mut self.raft.raft;
                if raft.state == StateRole::Leader && !raft.promotable() {
                    // raft would let it lead on without a vote. The others hear of the commit first.
                    raft.bcast_append();
                    self.step_down();
                }
            }
            Err(error) => tracing::warn!(%slot, index, %error, "a change of the group was refused"),
        }
        Ok(())
    }

    /// Carries out the changes of the group that the state on disk stands behind and the row of the group does not: they do
    /// not come out again. Earlier versions wrote the two apart.
    pub(super) fn catch_up_with_state(&mut self, applied: u64) -> Result<(), Error> {
        let log = self.log();
        let mut missed = Vec::new();
        for index in log.changes_in(log.group_index(), applied) {
            log.read(index, index + 1, |_, entry| {
                missed.push((index, entry.payload));
                ControlFlow::Continue(())
            })?;
        }
        for (index, payload) in missed {
            self.change_group(index, &payload)?;
        }
        Ok(())
    }

    pub(in crate::replica) fn is_of_group(&self, replica: ReplicaId) -> bool {
        self.log().roster().node_of(replica.get()).is_some()
    }

    pub(in crate::replica) fn is_quorum(&self, with: impl Fn(NodeId) -> bool) -> bool {
        self.log().roster().is_quorum(with)
    }

    pub(in crate::replica) fn followers(&self) -> Vec<Follower> {
        let raft = &self.raft.raft;
        if !self.role().is_leader() {
            return Vec::new();
        }
        let committed = raft.raft_log.committed;
        let others = raft.prs().iter().filter(|(id, _)| **id != raft.id);
        let follower = |(id, progress): (&u64, &Progress)| {
            let replica = Replica { id: ReplicaId::new(*id)?, node: self.log().roster().node_of(*id)? };
            let is_current =
                progress.state == ProgressState::Replicate && progress.matched + ON_ITS_WAY >= committed;
            Some(Follower { replica, is_heard: progress.recent_active, is_current })
        };
        let mut followers: Vec<_> = others.filter_map(follower).collect();
        followers.sort_unstable_by_key(|follower| follower.replica);
        followers
    }

    pub(in crate::replica) fn hears_leader(&self, options: &Options) -> bool {
        match self.role() {
            Role::Leader { .. } => true,
            Role::Follower { leader, .. } => {
                leader.is_some() && self.raft.raft.election_elapsed <= options.election_ticks as usize * 2
            }
            Role::Candidate { .. } => false,
        }
    }

    pub(in crate::replica) fn is_regroupable(&self) -> bool {
        let raft = &self.raft.raft;
        let (log, voters) = (self.log(), self.log().group().get_voters());
        let is_done = |(id, progress): (&u64, &Progress)| {
            *id == raft.id
                || !voters.contains(id)
                || !progress.recent_active
                || progress.committed_index >= log.group_index()
        };
        self.role().is_leader()
            && raft.commit_to_current_term()
            && !raft.has_pending_conf()
            && log.group().get_voters_outgoing().is_empty()
            && raft.lead_transferee.is_none()
            && raft.prs().iter().all(is_done)
    }

    pub(super) fn learn_members(&mut self) {
        let group = self.log().group();
        let me = [self.raft.raft.id];
        self.alone = group.get_voters() == me
            && group.get_learners().is_empty()
            && group.get_voters_outgoing().is_empty()
            && group.get_learners_next().is_empty();
    }
}
