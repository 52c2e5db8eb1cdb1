//! Reading what matches a Topic Filter, in chunks whose work is bounded whether anything matches or not: a Client may
//! subscribe to a filter that fits a million topics, or none of them.

use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error, Family};

use super::key::{self, BELOW_END, FRONT};
use super::seek::{Verdict, judge, literal_front};
use super::value;

/// So many keys are stepped over before a seek: each costs about as much as an eighth of one.
const STEPS_BEFORE_SEEK: usize = 8;

/// Where to go on reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(Place);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    /// At this key or the first one behind it.
    At(Vec<u8>),
    End,
}

impl Cursor {
    /// At `key` or the first one behind it.
    pub(super) fn at(key: Vec<u8>) -> Self {
        Self(Place::At(key))
    }

    /// What [`Cursor::into_key`] gives, where it stays.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match &self.0 {
            Place::At(key) => Some(key),
            Place::Start | Place::End => None,
        }
    }

    /// The key at which reading goes on, if it has begun and not ended.
    pub(super) fn into_key(self) -> Option<Vec<u8>> {
        match self.0 {
            Place::At(key) => Some(key),
            Place::Start | Place::End => None,
        }
    }
}

/// What one chunk may take, and while it is read what is left of that. It ends at whichever is met first, and has one step
/// or one message at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub messages: usize,
    /// Bytes of Topic Names and values; the message that goes beyond is still visited.
    pub bytes: usize,
    /// Keys that are looked at, whether they match or not; a seek counts as eight.
    pub steps: usize,
}

impl Limits {
    pub fn are_met(&self) -> bool {
        self.messages == 0 || self.bytes == 0 || self.steps == 0
    }

    /// Something was looked up.
    pub fn take_seek(&mut self) {
        self.steps = self.steps.saturating_sub(STEPS_BEFORE_SEEK);
    }

    fn take_message(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Default for Limits {
    /// Some milliseconds of work.
    fn default() -> Self {
        Self { messages: 1000, bytes: 256 * 1024, steps: 10_000 }
    }
}

/// How far a chunk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything that matches has been visited.
    Done,
    /// There may be more: read again with the same cursor.
    More,
}

/// Visits the Retained Messages of a partition whose Topic Names match `filter`, in the order of their keys, from
/// `cursor` on, which goes on with them. Topic Names that begin with `$` are hidden from filters that begin with a
/// wildcard [MQTT-4.7.2-1]. What was decided under a number above `until` is passed over. Once `visit` breaks the chunk
/// ends; its message counts as visited. What was taken of `limits` is missing there afterwards.
///
/// A message that is there throughout is visited once; one that comes, goes or changes between two chunks may be visited
/// as it was or as it is. After an error the cursor is where it was before the call.
#[expect(clippy::too_many_arguments, reason = "where is read, what, from where to where, and how much")]
pub fn read(
    engine: &dyn Engine,
    slot: SlotId,
    partition: u64,
    filter: &str,
    until: u64,
    cursor: &mut Cursor,
    limits: &mut Limits,
    visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
) -> Result<Progress, Error> {
    if cursor.0 == Place::End {
        return Ok(Progress::Done);
    }
    if !filter.contains(['+', '#']) {
        limits.take_seek();
        let mut value = Vec::new();
        if engine.get(Family::Retained, &key::of(slot, partition, filter), &mut value)? {
            let (number, message) = value::split(&value)?;
            if number <= until {
                limits.take_message(filter.len() + value.len());
                // Nothing follows, so it does not matter whether the visitor has had enough.
                let _ = visit(filter, message);
            }
        }
        cursor.0 = Place::End;
        return Ok(Progress::Done);
    }

    let (start, end) = range(slot, partition, filter);
    let mut chunk = Chunk { filter, until, limits, visit, next: Vec::new(), topic: Vec::new() };
    let mut from = match &cursor.0 {
        Place::At(key) => key.clone(),
        _ => start,
    };
    loop {
        match chunk.scan(engine, &from, &end)? {
            Stop::Seek(to) => from = to,
            Stop::Full(to) => {
                cursor.0 = Place::At(to);
                return Ok(Progress::More);
            }
            Stop::End => {
                cursor.0 = Place::End;
                return Ok(Progress::Done);
            }
        }
    }
}

/// Where the topics lie that a filter may match.
fn range(slot: SlotId, partition: u64, filter: &str) -> (Vec<u8>, Vec<u8>) {
    match literal_front(filter) {
        Some(front) => {
            let start = key::of(slot, partition, front);
            let end = [&start[..], &[BELOW_END]].concat();
            (start, end)
        }
        None => key::all(slot, partition),
    }
}

/// Why a scan stopped.
enum Stop {
    /// To go on at this key, which is far.
    Seek(Vec<u8>),
    /// A limit is met; there may be more from this key on.
    Full(Vec<u8>),
    End,
}

struct Chunk<'a> {
    filter: &'a str,
    until: u64,
    /// What is left of them.
    limits: &'a mut Limits,
    visit: &'a mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    /// Room for the part of a key that a seek names, and for a Topic Name.
    next: Vec<u8>,
    topic: Vec<u8>,
}

impl Chunk<'_> {
    fn scan(&mut self, engine: &dyn Engine, from: &[u8], end: &[u8]) -> Result<Stop, Error> {
        let mut stop = Ok(Stop::End);
        // Keys before this one do not match.
        let mut target: Vec<u8> = Vec::new();
        let mut stepped = 0;
        self.limits.take_seek();
        engine.scan(Family::Retained, from, end, &mut |key, value| {
            let flow = if key < &target[..] {
                stepped += 1;
                if stepped > STEPS_BEFORE_SEEK { Some(Ok(Stop::Seek(target.clone()))) } else { None }
            } else {
                stepped = 0;
                self.step(key, value, &mut target)
            };
            if let Some(why) = flow {
                stop = why;
                return ControlFlow::Break(());
            }
            self.limits.steps = self.limits.steps.saturating_sub(1);
            if self.limits.steps == 0 {
                let at = if key < &target[..] { target.clone() } else { behind(key) };
                stop = Ok(Stop::Full(at));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match stop {
            // A seek that finds the limit met waits for the next chunk.
            Ok(Stop::Seek(to)) if self.limits.steps == 0 => Ok(Stop::Full(to)),
            stop => stop,
        }
    }

    /// Takes a key for what it is; the scan stops if this gives a reason.
    fn step(&mut self, key: &[u8], value: &[u8], target: &mut Vec<u8>) -> Option<Result<Stop, Error>> {
        let levels = key.get(FRONT..).unwrap_or_default();
        match judge(levels, self.filter, &mut self.next) {
            Verdict::End => Some(Ok(Stop::End)),
            Verdict::Seek => {
                target.clear();
                target.extend_from_slice(&key[..FRONT]);
                target.extend_from_slice(&self.next);
                None
            }
            Verdict::Match => {
                let Some(topic) = key::topic(key, &mut self.topic) else {
                    let place = format!("family {}, key {}", Family::Retained.name(), key.escape_ascii());
                    return Some(Err(Error::Damaged { place, reason: "its topic is not UTF-8".into() }));
                };
                let (number, message) = match value::split(value) {
                    Ok(parts) => parts,
                    Err(error) => return Some(Err(error)),
                };
                if number > self.until {
                    return None;
                }
                let flow = (self.visit)(topic, message);
                self.limits.take_message(topic.len() + value.len());
                let full = flow.is_break() || self.limits.messages == 0 || self.limits.bytes == 0;
                full.then(|| Ok(Stop::Full(behind(key))))
            }
        }
    }
}

/// The least key behind `key`.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
