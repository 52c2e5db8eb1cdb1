//! Orders of an operator that are under way: each is answered once all its parts are safe, as a Client's PUBLISH is.

use convoy_wire::ReasonCode;
use rustc_hash::FxHashMap;

use crate::call;
use crate::connection::UNTOLD;
use crate::query::{Answer, Problem};
use crate::session::Home;

/// No connection has this place: what is told to it is an operator's.
const NOBODY: u32 = u32::MAX;

#[derive(Debug, Default)]
pub struct Operators {
    /// Parts that have yet to answer, by the number of the question.
    waiting: FxHashMap<u64, i32>,
    pub answers: Vec<(u64, Answer)>,
}

/// Where answers to operators go in a shard.
pub fn home(node: u64, shard: u16, serial: u64) -> Home {
    Home { node, shard, key: NOBODY, serial }
}

impl Operators {
    /// A question is answered in so many parts, or in a number that is still to be told.
    pub fn begin(&mut self, number: u64, parts: Option<u32>) {
        self.waiting.insert(number, parts.map_or(UNTOLD, |parts| parts as i32));
    }

    /// The number of parts is known.
    pub fn parts_begun(&mut self, number: u64, parts: u32) {
        self.count(number, parts as i32 - UNTOLD);
    }

    pub fn answer(&mut self, number: u64, answer: Answer) {
        self.waiting.remove(&number);
        self.answers.push((number, answer));
    }

    /// What a slot answers.
    pub fn hear(&mut self, home: &Home, number: u64, answer: &call::Answer) {
        if home.key != NOBODY || !self.waiting.contains_key(&number) {
            return;
        }
        match answer {
            call::Answer::Begun(begun) => self.parts_begun(number, begun.parts),
            call::Answer::Done => self.count(number, -1),
            call::Answer::Refused(reason) => self.answer(number, Answer::Failed(Problem::Refused(*reason))),
            call::Answer::Unknown => {
                self.answer(number, Answer::Failed(Problem::Refused(ReasonCode::ServerBusy)));
            }
            call::Answer::Subscribed { .. }
            | call::Answer::Granting(_)
            | call::Answer::Registered(_)
            | call::Answer::Granted(_)
            | call::Answer::RootsRegistered { .. }
            | call::Answer::Full => {}
        }
    }

    fn count(&mut self, number: u64, by: i32) {
        let Some(parts) = self.waiting.get_mut(&number) else { return };
        *parts += by;
        if *parts == 0 {
            self.answer(number, Answer::Done);
        }
    }
}
