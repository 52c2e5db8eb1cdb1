//! Proofs of leadership that one replica was asked for.
//!
//! A proof is raft's ReadIndex: a quorum answers a heartbeat that was sent after the question, so that nobody else can have
//! been elected before it, and what anybody was promised until then is within the index that it names. All that is asked
//! while one is under way is answered by the next one: its cost does not grow with the questions.

use std::mem;

use super::effects::ProofId;

#[derive(Debug, Default)]
pub(super) struct Proofs {
    /// The term in which those were asked.
    term: u64,
    /// Asked, and no heartbeat is sent for them yet.
    waiting: Vec<ProofId>,
    /// The heartbeat that is under way, and who is answered by it.
    begun: Option<(u64, Vec<ProofId>)>,
    /// Heartbeats so far: what they are told apart by.
    last: u64,
}

impl Proofs {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.begun.as_ref().map_or(0, |(_, asked)| asked.len())
    }

    /// Of a leader in `term`; all others were asked in the same.
    pub(super) fn ask(&mut self, term: u64, id: ProofId) {
        assert!(self.len() == 0 || self.term == term, "those of an earlier term were answered");
        self.term = term;
        self.waiting.push(id);
    }

    pub(super) fn can_begin(&self) -> bool {
        self.begun.is_none() && !self.waiting.is_empty()
    }

    /// What the next heartbeat is to bear.
    pub(super) fn begin(&mut self) -> u64 {
        assert!(self.can_begin(), "one proof at a time");
        self.last += 1;
        self.begun = Some((self.last, mem::take(&mut self.waiting)));
        self.last
    }

    /// A quorum has answered that heartbeat: who is answered by it.
    pub(super) fn end(&mut self, number: u64) -> Vec<ProofId> {
        self.begun.take_if(|(begun, _)| *begun == number).map_or(Vec::new(), |(_, asked)| asked)
    }

    /// Those that get no proof, unless this replica leads in `leads`.
    pub(super) fn lose(&mut self, leads: Option<u64>) -> impl Iterator<Item = ProofId> + use<> {
        let lost = self.len() > 0 && leads != Some(self.term);
        let (waiting, begun) =
            if lost { (mem::take(&mut self.waiting), self.begun.take()) } else { Default::default() };
        begun.into_iter().flat_map(|(_, asked)| asked).chain(waiting)
    }
}
