//! Proofs of leadership: what is asked of a slot while one is under way has the next one together.

use std::mem;

use convoy_ids::{Index, Term};

use super::Group;
use crate::replica::Options;
use crate::replica::effects::{Answer, Effects, Proof, ProofId};

impl Group {
    pub(in crate::replica) fn prove(&mut self, id: ProofId, effects: &mut Effects, options: &Options) {
        // Those of a term that has ended go first.
        self.lose_proofs(self.leads_in(), &mut effects.proofs);
        let raft = &self.raft.raft;
        let slot = self.log().slot();
        let answer = match self.leads_in() {
            None => {
                let (term, leader) = self.leader();
                Answer::NotLeader { term, leader }
            }
            // Nobody else can be elected.
            Some(term) if self.alone && raft.commit_to_current_term() => {
                Answer::Proven { term: Term(term), index: Index(raft.raft_log.committed) }
            }
            Some(_) if self.proofs.len() >= options.proofs_limit => Answer::Busy,
            Some(term) => return self.proofs.ask(term, id),
        };
        effects.proofs.push(Proof { id, slot, answer });
    }

    pub(super) fn leads_in(&self) -> Option<u64> {
        self.role().is_leader().then_some(self.raft.raft.term)
    }

    pub(super) fn can_begin_proof(&self) -> bool {
        self.proofs.can_begin() && self.leads_in().is_some() && self.raft.raft.commit_to_current_term()
    }

    /// Tells those who will get no proof, unless this replica leads in `leads`.
    pub(in crate::replica) fn lose_proofs(&mut self, leads: Option<u64>, into: &mut Vec<Proof>) {
        let (slot, (term, leader)) = (self.log().slot(), self.leader());
        let answer = Answer::NotLeader { term, leader };
        into.extend(self.proofs.lose(leads).map(|id| Proof { id, slot, answer }));
    }

    /// Gives out what a quorum has proven since, and gives up what none can prove any more.
    pub(super) fn report_proofs(&mut self, effects: &mut Effects) {
        let leads = self.leads_in();
        self.lose_proofs(leads, &mut effects.proofs);
        for read in mem::take(&mut self.raft.raft.read_states) {
            let (Ok(number), Some(term)) = (read.request_ctx.as_slice().try_into(), leads) else { continue };
            let answer = Answer::Proven { term: Term(term), index: Index(read.index) };
            let slot = self.log().slot();
            let proven = self.proofs.end(u64::from_be_bytes(number));
            effects.proofs.extend(proven.into_iter().map(|id| Proof { id, slot, answer }));
        }
    }
}
