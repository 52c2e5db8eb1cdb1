//! Version 1 of letters, field by field.

use convoy_ids::{NodeId, SlotId, Term};
use convoy_membership::support::{Process, Support};
use convoy_storage::record::{BorrowDecode, Encode};

use super::{Error, Letter};
use crate::stream::{Answer, Call, Reply, Source};

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(super) enum Form<'a> {
    Call { slot: u16, source: SourceForm, number: u64, first: u64, round: u32, content: Option<&'a [u8]> },
    Answer { slot: u16, source: SourceForm, answer: AnswerForm },
    Ask { of: OfProcess, asked: u64 },
    Supported { of: OfProcess, term: u64, closings: u64, asked: u64 },
    IntroduceYourself { of: OfProcess, term: u64 },
    Introduce { of: OfProcess, term: u64, connections: &'a [u8] },
    Closings { of: OfProcess, term: u64, first: u64, closed: &'a [u8] },
    Closed { of: OfProcess, term: u64, number: u64 },
}

#[derive(Clone, Copy, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(super) struct SourceForm {
    node: u64,
    start: u64,
    shard: u16,
    place: u64,
}

/// A slot and a process.
#[derive(Clone, Copy, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(super) struct OfProcess {
    slot: u16,
    node: u64,
    start: u64,
}

#[derive(Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub(super) enum AnswerForm {
    Done {
        number: u64,
        body: Vec<u8>,
    },
    Refused {
        number: u64,
        body: Vec<u8>,
    },
    Void {
        number: u64,
    },
    Forgotten {
        number: u64,
    },
    Expected {
        number: u64,
        round: u32,
    },
    /// Zero for nobody.
    NotLeader {
        term: u64,
        leader: u64,
    },
    Full,
    Skipped,
    Gone,
}

impl<'a> From<&Letter<'a>> for Form<'a> {
    fn from(letter: &Letter<'a>) -> Self {
        match letter {
            Letter::Call { slot, source, call } => {
                let Call { number, first, round, content } = *call;
                Self::Call { slot: slot.0, source: source.into(), number, first, round, content }
            }
            Letter::Answer { slot, source, answer } => {
                Self::Answer { slot: slot.0, source: source.into(), answer: answer.into() }
            }
            Letter::Ask { slot, process, asked } => {
                Self::Ask { of: OfProcess::new(*slot, process), asked: *asked }
            }
            Letter::Supported { slot, process, support: Support { term, closings }, asked } => {
                let of = OfProcess::new(*slot, process);
                Self::Supported { of, term: term.0, closings: *closings, asked: *asked }
            }
            Letter::IntroduceYourself { slot, process, term } => {
                Self::IntroduceYourself { of: OfProcess::new(*slot, process), term: term.0 }
            }
            Letter::Introduce { slot, process, term, connections } => {
                Self::Introduce { of: OfProcess::new(*slot, process), term: term.0, connections }
            }
            Letter::Closings { slot, process, term, first, closed } => {
                let of = OfProcess::new(*slot, process);
                Self::Closings { of, term: term.0, first: *first, closed }
            }
            Letter::Closed { slot, process, term, number } => {
                Self::Closed { of: OfProcess::new(*slot, process), term: term.0, number: *number }
            }
        }
    }
}

impl<'a> Form<'a> {
    pub(super) fn letter(self) -> Result<Letter<'a>, Error> {
        Ok(match self {
            Self::Call { slot, source, number, first, round, content } => {
                if first == 0 || number < first {
                    return Err(Error::Impossible("number"));
                }
                let call = Call { number, first, round, content };
                Letter::Call { slot: SlotId(slot), source: source.source()?, call }
            }
            Self::Answer { slot, source, answer } => {
                Letter::Answer { slot: SlotId(slot), source: source.source()?, answer: answer.answer()? }
            }
            Self::Ask { of, asked } => Letter::Ask { slot: SlotId(of.slot), process: of.process()?, asked },
            Self::Supported { of, term, closings, asked } => Letter::Supported {
                slot: SlotId(of.slot),
                process: of.process()?,
                support: Support { term: Term(term), closings },
                asked,
            },
            Self::IntroduceYourself { of, term } => {
                Letter::IntroduceYourself { slot: SlotId(of.slot), process: of.process()?, term: Term(term) }
            }
            Self::Introduce { of, term, connections } => Letter::Introduce {
                slot: SlotId(of.slot),
                process: of.process()?,
                term: Term(term),
                connections,
            },
            Self::Closings { of, first: 0, .. } | Self::Closed { of, number: 0, .. } => {
                of.process()?;
                return Err(Error::Impossible("number of a closing"));
            }
            Self::Closings { of, term, first, closed } => Letter::Closings {
                slot: SlotId(of.slot),
                process: of.process()?,
                term: Term(term),
                first,
                closed,
            },
            Self::Closed { of, term, number } => {
                Letter::Closed { slot: SlotId(of.slot), process: of.process()?, term: Term(term), number }
            }
        })
    }
}

impl From<&Source> for SourceForm {
    fn from(source: &Source) -> Self {
        let Source { process: Process { node, start }, shard, place } = *source;
        Self { node: node.get(), start, shard, place }
    }
}

impl SourceForm {
    fn source(self) -> Result<Source, Error> {
        let process = Process { node: named(self.node)?, start: self.start };
        Ok(Source { process, shard: self.shard, place: self.place })
    }
}

impl OfProcess {
    fn new(slot: SlotId, process: &Process) -> Self {
        Self { slot: slot.0, node: process.node.get(), start: process.start }
    }

    fn process(self) -> Result<Process, Error> {
        Ok(Process { node: named(self.node)?, start: self.start })
    }
}

impl From<&Answer> for AnswerForm {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Filled { number, reply: Reply::Done(body) } => {
                Self::Done { number: *number, body: body.clone() }
            }
            Answer::Filled { number, reply: Reply::Refused(body) } => {
                Self::Refused { number: *number, body: body.clone() }
            }
            Answer::Filled { number, reply: Reply::Void } => Self::Void { number: *number },
            Answer::Forgotten { number } => Self::Forgotten { number: *number },
            Answer::Expected { number, round } => Self::Expected { number: *number, round: *round },
            Answer::NotLeader { term, leader } => {
                Self::NotLeader { term: term.0, leader: leader.map_or(0, NodeId::get) }
            }
            Answer::Full => Self::Full,
            Answer::Skipped => Self::Skipped,
            Answer::Gone => Self::Gone,
        }
    }
}

impl AnswerForm {
    fn answer(self) -> Result<Answer, Error> {
        Ok(match self {
            Self::Done { number: 0, .. }
            | Self::Refused { number: 0, .. }
            | Self::Void { number: 0 }
            | Self::Forgotten { number: 0 }
            | Self::Expected { number: 0, .. } => return Err(Error::Impossible("number")),
            Self::Done { number, body } => Answer::Filled { number, reply: Reply::Done(body) },
            Self::Refused { number, body } => Answer::Filled { number, reply: Reply::Refused(body) },
            Self::Void { number } => Answer::Filled { number, reply: Reply::Void },
            Self::Forgotten { number } => Answer::Forgotten { number },
            Self::Expected { number, round } => Answer::Expected { number, round },
            Self::NotLeader { term, leader } => {
                Answer::NotLeader { term: Term(term), leader: NodeId::new(leader) }
            }
            Self::Full => Answer::Full,
            Self::Skipped => Answer::Skipped,
            Self::Gone => Answer::Gone,
        })
    }
}

fn named(node: u64) -> Result<NodeId, Error> {
    NodeId::new(node).ok_or(Error::Impossible("node"))
}
