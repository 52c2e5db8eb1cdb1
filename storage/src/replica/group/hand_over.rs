//! A leader hands over what another replica is to lead, and gives up what it cannot lead well.

use std::mem;

use convoy_ids::NodeId;
use raft::{INVALID_ID, Progress, StateRole};

use super::Group;
use crate::replica::Options;

impl Group {
    pub(super) fn has_one_voter(&self) -> bool {
        let group = self.log().group();
        group.get_voters().len() == 1 && group.get_voters_outgoing().is_empty()
    }

    /// Whether others can lead, and are to.
    pub(super) fn gives_up(&self) -> bool {
        self.is_late && !self.has_one_voter()
    }

    pub(in crate::replica) fn set_late(&mut self, is_late: bool, options: &Options) {
        let was_late = mem::replace(&mut self.is_late, is_late);
        if !is_late
            || was_late
            || self.failed
            || !self.gives_up()
            || self.raft.raft.state != StateRole::Leader
        {
            return;
        }
        match self.heir() {
            Some(heir) => self.raft.transfer_leader(heir),
            None => self.step_down(),
        }
        self.after(options);
    }

    /// What is led here cannot be served. The others elect one of them, and go on without this replica: one that only led no
    /// longer would be handed the slot again and again.
    pub(in crate::replica) fn leave(&mut self) {
        if !self.failed && !self.has_one_voter() && self.role().is_leader() {
            self.fail(None);
            (self.is_left, self.unsent) = (true, false);
        }
    }

    /// The voter that has most of the log among those that were heard of lately.
    fn heir(&self) -> Option<u64> {
        let raft = &self.raft.raft;
        let voters = self.log().group().get_voters();
        let others = raft
            .prs()
            .iter()
            .filter(|(id, progress)| **id != raft.id && voters.contains(id) && progress.recent_active);
        others.max_by_key(|(id, progress)| (progress.matched, **id)).map(|(id, _)| *id)
    }

    /// Whether this replica leads and `to`, a voter that was heard of lately, has all that is committed.
    pub(in crate::replica) fn could_transfer(&self, to: NodeId) -> bool {
        let raft = &self.raft.raft;
        let is_able =
            |progress: &Progress| progress.recent_active && progress.matched >= raft.raft_log.committed;
        self.role().is_leader()
            && raft.lead_transferee.is_none()
            && to != self.me().node
            && self.log().roster().voter_on(to).and_then(|to| raft.prs().get(to)).is_some_and(is_able)
    }

    pub(super) fn step_down(&mut self) {
        let raft = &mut self.raft.raft;
        raft.become_follower(raft.term, INVALID_ID);
    }

    pub(in crate::replica) fn transfer(&mut self, to: NodeId, options: &Options) {
        if self.role().is_leader()
            && let Some(to) = self.log().roster().voter_on(to)
        {
            self.raft.transfer_leader(to);
            self.after(options);
        }
    }
}
