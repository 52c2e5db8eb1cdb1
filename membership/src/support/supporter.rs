//! The side of a slot's leader.

use std::collections::BTreeMap;

use convoy_ids::Term;

use super::{Process, Times};

/// What the leader of one slot supports, in one term. Forgotten when it leads no more.
#[derive(Debug)]
pub struct Supporter {
    times: Times,
    term: Term,
    /// Before that a predecessor's support may still hold.
    inherited_until: u64,
    /// When the last proof of leadership was begun.
    proven_at: Option<u64>,
    /// Leadership is being handed over.
    is_leaving: bool,
    processes: BTreeMap<Process, Known>,
}

#[derive(Debug)]
struct Known {
    /// It has said which connections it has, in this term.
    is_introduced: bool,
    /// When it asked last, or became known.
    asked_at: u64,
    /// When the last support runs out by our clock.
    until: u64,
    /// Sessions that were closed there.
    closings: u64,
}

/// The answer to a process that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    pub term: Term,
    /// What must be carried out first.
    pub closings: u64,
}

/// Why there is no support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The process is to say which connections it has.
    Introduce,
    /// It is not proven that this is the leader, or leadership goes elsewhere: ask again.
    Unproven,
}

/// A Session is closed at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The letter to the process bears this number.
    pub number: u64,
    /// From then on nobody acknowledges for the Session there, whether the letter arrived or not.
    pub free_at: u64,
}

impl Supporter {
    /// This node was elected in `term`, and heard it at `now`.
    pub fn new(times: Times, term: Term, now: u64) -> Self {
        // The proof of a predecessor was begun before the election, and it supported nobody once that proof was old.
        let inherited_until = now + times.stretch(times.proof) + times.stretch(times.support);
        Self { times, term, inherited_until, proven_at: None, is_leaving: false, processes: BTreeMap::new() }
    }

    /// A round that proves leadership (ReadIndex) came back well. `began` is when it was begun and not when it ended: what a
    /// quorum has answered was true then.
    pub fn prove(&mut self, began: u64) {
        self.proven_at = self.proven_at.max(Some(began));
    }

    /// Whether support could be given at `now`. If not, a proof is to be begun.
    pub fn is_proven(&self, now: u64) -> bool {
        self.proven_at.is_some_and(|began| now < began + self.times.proof)
    }

    /// The process has said in this term which connections it has, and those that are another's were closed by
    /// [`Supporter::close`]. What it said to a leader of another term may be old.
    pub fn introduce(&mut self, process: Process, now: u64) {
        let known = self.know(process, now);
        known.is_introduced = true;
        known.asked_at = now;
    }

    /// A process asks.
    pub fn ask(&mut self, process: Process, now: u64) -> Result<Support, Unsupported> {
        let (is_proven, until) =
            (self.is_proven(now) && !self.is_leaving, now + self.times.stretch(self.times.support));
        let term = self.term;
        let known = self.know(process, now);
        known.asked_at = now;
        if !known.is_introduced {
            return Err(Unsupported::Introduce);
        }
        if !is_proven {
            return Err(Unsupported::Unproven);
        }
        known.until = until;
        Ok(Support { term, closings: known.closings })
    }

    /// A Session that has its connection at `process` is to go elsewhere.
    pub fn close(&mut self, process: Process, now: u64) -> Closing {
        let inherited = self.inherited_until;
        let known = self.know(process, now);
        known.closings += 1;
        Closing { number: known.closings, free_at: known.until.max(inherited).max(now) }
    }

    /// Leadership is about to be handed over: no more support is given from here. The next leader waits for what was given.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// The hand-over came to nothing.
    pub fn stay(&mut self) {
        self.is_leaving = false;
    }

    /// A process that has connections here, by the records, and perhaps never asks.
    pub fn expect(&mut self, process: Process, now: u64) {
        self.know(process, now);
    }

    /// Processes that did not ask for [`Times::gone`]: their connections are to be ended by records. They are forgotten with
    /// this; one that comes back introduces itself.
    pub fn take_gone(&mut self, now: u64) -> Vec<Process> {
        let (gone, inherited) = (self.times.gone, self.inherited_until);
        let is_gone = |known: &Known| now >= known.asked_at + gone && now >= known.until.max(inherited);
        let found = self.processes.iter().filter(|(_, known)| is_gone(known)).map(|(process, _)| *process);
        let found: Vec<_> = found.collect();
        self.processes.retain(|process, _| found.binary_search(process).is_err());
        found
    }

    fn know(&mut self, process: Process, now: u64) -> &mut Known {
        let new = Known { is_introduced: false, asked_at: now, until: 0, closings: 0 };
        self.processes.entry(process).or_insert(new)
    }
}
