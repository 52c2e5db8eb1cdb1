//! The log of one slot: what is on disk, as raft asks for it.
//!
//! When the slot is opened, what is behind the applied index is read and checked: it comes out again. What is kept before
//! that, for followers, is read when one asks for it, and no sooner. raft's questions about terms are answered from memory,
//! as they come in long runs. Payloads behind the tail are read again when a follower or the caller needs them. raft
//! panics on a log that fails under it, so a failed read is kept as [`Log::take_failure`] and answered with nothing;
//! the group asks after every call and takes no further part.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use convoy_ids::{Index, NodeId, ReplicaId, SlotId};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::kept::{Kept, Piece};
use super::members::{Base, Replica, Roster};
use super::row::{self, EntryKind, Kind};
use super::tail::{Tail, TailEntry};
use super::terms::Terms;
use super::{Error, Options, transport};
use crate::engine::{self, Batch, Engine, Family};

/// The row about the entries is written when so much of a piece has gathered: a part of it.
const LISTED: u64 = 16;

pub(super) struct Log {
    engine: Arc<dyn Engine>,
    slot: SlotId,
    me: Replica,
    segment_bytes: u64,
    segment_entries: u64,
    /// As on disk, but for the commit index: that one follows from what was applied.
    hard: HardState,
    roster: Roster,
    /// The entry that made the group what it is.
    group_index: u64,
    /// The last entry that was truncated, and its term.
    base: (u64, u64),
    last: u64,
    applied: u64,
    terms: RefCell<Terms>,
    changes: BTreeSet<u64>,
    pieces: VecDeque<Piece>,
    /// Of all pieces.
    bytes: u64,
    /// The next entry begins another piece.
    is_sealed: bool,
    /// Bytes of entries of which the row on disk does not tell yet; none while there is no row.
    unlisted: Option<u64>,
    pub(super) tail: Tail,
    /// Payloads read for messages under way.
    fetched: RefCell<BTreeMap<u64, Bytes>>,
    failure: Cell<Option<Error>>,
}

/// What [`Log::open`] found beside the log.
pub(super) struct Found {
    pub log: Log,
    pub applied: u64,
    /// There was nothing: the group is to be written.
    pub new: bool,
}

impl Log {
    pub(super) fn open(
        engine: Arc<dyn Engine>,
        slot: SlotId,
        me: Replica,
        first: &[Replica],
        options: &Options,
    ) -> Result<Found, Error> {
        let mut reader = Reader { engine: &*engine, slot, value: Vec::new() };
        let hard = reader.numbers::<3>(Kind::Hard)?;
        let group = reader.group()?;
        let base = reader.numbers::<2>(Kind::Base)?.map_or((0, 0), |[index, term]| (index, term));
        let applied = reader.numbers::<1>(Kind::Applied)?.map_or(0, |[index]| index);
        let kept = reader.kept()?;
        let new = group.is_none();
        if new && (hard.is_some() || applied != 0 || base != (0, 0)) {
            return Err(reader.damaged(0, "the group is missing"));
        }
        let (me, (roster, group_index)) = match group {
            Some(found) => (reader.own(me.node)?, found),
            None => {
                if reader.ended()?.is_some_and(|ended| !me.is_after(ended)) {
                    return Err(Error::Ended { slot, replica: me.id });
                }
                (me, (first_roster(slot, me, first)?, 0))
            }
        };
        let mut log = Log {
            engine: Arc::clone(&engine),
            slot,
            me,
            segment_bytes: options.segment_bytes,
            segment_entries: options.segment_entries,
            hard: HardState::default(),
            roster,
            group_index,
            base,
            last: base.0,
            applied,
            terms: RefCell::new(Terms::behind(base.0)),
            changes: BTreeSet::new(),
            pieces: VecDeque::new(),
            bytes: 0,
            is_sealed: false,
            unlisted: None,
            tail: Tail::behind(base.0),
            fetched: RefCell::default(),
            failure: Cell::new(None),
        };
        if applied < base.0 {
            return Err(Error::StateLost { slot, applied: Index(applied), base: Index(base.0) });
        }
        if let Some(kept) = kept {
            log.skip_applied(kept)?;
        }
        log.read_on(options.cached_log_bytes)?;
        let [term, vote, commit] = hard.unwrap_or_default();
        let commit = commit.max(applied).max(base.0);
        if commit > log.last {
            return Err(Error::LogLost { slot, committed: Index(commit), last: Index(log.last) });
        }
        if term < log.term_at(log.last).unwrap_or(0) {
            return Err(log.damaged(log.last, "an entry of a term that never began here"));
        }
        log.hard.term = term;
        log.hard.vote = vote;
        log.hard.commit = commit;
        Ok(Found { log, applied, new })
    }

    /// See [`Driver::put_base`](super::Driver::put_base).
    pub(super) fn put_base(
        engine: &dyn Engine,
        slot: SlotId,
        node: NodeId,
        open: Option<Replica>,
        base: &Base,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let mut reader = Reader { engine, slot, value: Vec::new() };
        let me = open.map_or_else(|| reader.own(node), Ok)?;
        let roster = Roster::decode(&base.group).filter(|_| base.index.0 > 0 && base.term.0 > 0);
        if roster.is_none_or(|roster| roster.node_of(me.id.get()).is_some_and(|at| at != node)) {
            return Err(Error::Voters { slot, reason: "the base is not one".into() });
        }
        if reader.reaches(base.index.0, base.term.0)? {
            return Ok(false);
        }
        let [term, vote, _] = reader.numbers::<3>(Kind::Hard)?.unwrap_or_default();
        // A vote in this term stays given; in a later one nothing was promised yet.
        let vote = if term >= base.term.0 { vote } else { 0 };
        let term = term.max(base.term.0);
        let from = row::key(slot, Kind::Entry, 0);
        let to = row::key(slot, Kind::Entry, u64::MAX);
        batch.delete_range(Family::Log, &from, &to);
        row::put(batch, slot, Kind::Hard, [term, vote, base.index.0], &[]);
        row::put(batch, slot, Kind::Group, [base.index.0], &base.group);
        put_own(slot, me, batch);
        row::put(batch, slot, Kind::Base, [base.index.0, base.term.0], &[]);
        row::put(batch, slot, Kind::Applied, [base.index.0], &[]);
        row::put(batch, slot, Kind::Kept, [], &Kept::encode(iter::empty(), iter::empty()));
        Ok(true)
    }

    /// Whether a replica is on disk.
    pub(super) fn is_there(engine: &dyn Engine, slot: SlotId) -> Result<bool, Error> {
        let mut reader = Reader { engine, slot, value: Vec::new() };
        reader.get(&row::key(slot, Kind::Group, 0))
    }

    /// The last replica that was ended here, where none is on disk.
    pub(super) fn ended(engine: &dyn Engine, slot: SlotId) -> Result<Option<ReplicaId>, Error> {
        Reader { engine, slot, value: Vec::new() }.ended()
    }

    /// See [`Driver::put_end`](super::Driver::put_end).
    pub(super) fn put_end(
        engine: &dyn Engine,
        slot: SlotId,
        node: NodeId,
        open: Option<Replica>,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut reader = Reader { engine, slot, value: Vec::new() };
        let ends = match open {
            Some(open) => Some(open.id),
            None if reader.get(&row::key(slot, Kind::Group, 0))? => Some(reader.own(node)?.id),
            None => reader.ended()?,
        };
        let (from, to) = row::range(slot);
        batch.delete_range(Family::Log, &from, &to);
        if let Some(ends) = ends {
            row::put(batch, slot, Kind::Ended, [ends.get()], &[]);
        }
        Ok(())
    }

    /// Takes the entries up to the applied index for what the row says of them. Earlier versions wrote none: then they are
    /// read, once.
    fn skip_applied(&mut self, kept: Kept) -> Result<(), Error> {
        let (base, applied) = (self.base.0, self.applied);
        let (from, to) = (row::key(self.slot, Kind::Entry, 0), row::key(self.slot, Kind::Entry, u64::MAX));
        let last = self.engine.last(Family::Log, &from, &to);
        let last = last.map_err(|source| self.read_error(applied, source))?;
        let last = last.and_then(|(key, _)| row::index_of(&key)).map_or(base, |last| last.max(base));
        if last < applied {
            let slot = self.slot;
            return Err(Error::LogLost { slot, committed: Index(applied), last: Index(last) });
        }
        let are_there = |index: &u64| (base + 1..=applied).contains(index);
        self.changes = kept.changes.into_iter().filter(are_there).collect();
        self.pieces = kept.pieces.into_iter().filter(|piece| are_there(&piece.last)).collect();
        self.last = applied;
        self.tail = Tail::behind(applied);
        let listed = self.pieces.back().map_or(base, |piece| piece.last);
        if applied > base {
            let term = self.read_term(applied)?;
            self.terms = RefCell::new(Terms::behind(applied - 1));
            self.terms.get_mut().note(applied, term);
            if listed < applied {
                // What they hold is not known: as much as could be without the row being written anew.
                let bytes = self.segment_bytes / LISTED;
                match self.pieces.back_mut().filter(|open| open.bytes < self.segment_bytes) {
                    Some(open) => *open = Piece { last: applied, bytes: open.bytes + bytes, term },
                    None => self.pieces.push_back(Piece { last: applied, bytes, term }),
                }
            }
        }
        self.unlisted = Some(if listed < applied { self.segment_bytes / LISTED } else { 0 });
        self.bytes = self.pieces.iter().map(|piece| piece.bytes).sum();
        Ok(())
    }

    fn read_on(&mut self, cached_bytes: usize) -> Result<(), Error> {
        let from = row::key(self.slot, Kind::Entry, if self.last > self.base.0 { self.last + 1 } else { 0 });
        let to = row::key(self.slot, Kind::Entry, u64::MAX);
        let engine = Arc::clone(&self.engine);
        let mut damage = None;
        let scanned = engine.scan(Family::Log, &from, &to, &mut |key, value| {
            let index = self.last + 1;
            let checked = match row::index_of(key) {
                Some(found) if found == index => row::parse_entry(key, value),
                _ => Err("the entry is missing"),
            };
            match checked {
                Ok(entry) if entry.term >= self.term_at(self.last).unwrap_or(0) && entry.term > 0 => {
                    let payload = Bytes::copy_from_slice(entry.payload);
                    self.tail.push(TailEntry { term: entry.term, kind: entry.kind, payload });
                    self.note(index, entry.term, entry.kind, entry.payload.len());
                    self.tail.evict(cached_bytes.max(1), index);
                    ControlFlow::Continue(())
                }
                Ok(_) => {
                    damage = Some((index, "its term is before that of the entry before"));
                    ControlFlow::Break(())
                }
                Err(reason) => {
                    damage = Some((index, reason));
                    ControlFlow::Break(())
                }
            }
        });
        if let Some((index, reason)) = damage {
            return Err(self.damaged(index, reason));
        }
        scanned.map_err(|source| self.read_error(self.last + 1, source))
    }

    pub(super) fn slot(&self) -> SlotId {
        self.slot
    }

    pub(super) fn hard(&self) -> &HardState {
        &self.hard
    }

    pub(super) fn me(&self) -> Replica {
        self.me
    }

    pub(super) fn group(&self) -> &ConfState {
        &self.roster.group
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(super) fn group_index(&self) -> u64 {
        self.group_index
    }

    pub(super) fn base(&self) -> (u64, u64) {
        self.base
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn entries(&self) -> u64 {
        self.last - self.base.0
    }

    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.take()
    }

    pub(super) fn forget_fetched(&self) {
        self.fetched.borrow_mut().clear();
    }

    pub(super) fn set_roster(&mut self, roster: Roster, index: u64) {
        self.roster = roster;
        self.group_index = index;
    }

    /// Changes of the group behind `from` and up to `to`.
    pub(super) fn changes_in(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        self.changes.range(from + 1..).copied().take_while(move |index| *index <= to)
    }

    pub(super) fn set_applied(&mut self, index: u64) {
        self.applied = index;
    }

    /// Index and term at which a copy of the state stands. Not while the group of a later entry is in force.
    pub(super) fn copied(&self) -> Option<(u64, u64)> {
        if self.applied == 0 || self.group_index > self.applied {
            return None;
        }
        Some((self.applied, self.term_at(self.applied)?))
    }

    pub(super) fn put_group(&self, batch: &mut Batch) {
        row::put(batch, self.slot, Kind::Group, [self.group_index], &self.roster.encode());
        put_own(self.slot, self.me, batch);
    }

    pub(super) fn put_hard(&self, hard: &HardState, batch: &mut Batch) {
        row::put(batch, self.slot, Kind::Hard, [hard.term, hard.vote, hard.commit], &[]);
    }

    pub(super) fn set_hard(&mut self, hard: HardState) {
        self.hard = hard;
    }

    /// Puts the rows of entries raft has and the disk has not. Those on disk that they replace go first.
    pub(super) fn put_entries(&self, unstable: &[Entry], batch: &mut Batch) {
        let Some(first) = unstable.first() else { return };
        assert!(first.index > self.base.0 && first.index <= self.last + 1, "entries are put without a gap");
        if first.index <= self.last {
            let from = row::key(self.slot, Kind::Entry, first.index);
            let to = row::key(self.slot, Kind::Entry, self.last + 1);
            batch.delete_range(Family::Log, &from, &to);
        }
        for entry in unstable {
            let held = self.tail.get(entry.index).expect("what is not on disk is in the tail");
            assert_eq!(held.term, entry.term, "the tail follows raft");
            row::put_entry(batch, self.slot, entry.index, held.kind, held.term, &held.payload);
        }
    }

    /// The rows of [`Log::put_entries`] are on disk.
    pub(super) fn entries_written(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.cut(first.index);
        for entry in entries {
            let length = self.tail.get(entry.index).map_or(0, |held| held.payload.len());
            self.note(entry.index, entry.term, transport::kind_of(entry), length);
        }
    }

    fn note(&mut self, index: u64, term: u64, kind: EntryKind, length: usize) {
        self.terms.get_mut().note(index, term);
        if kind == EntryKind::Change {
            self.changes.insert(index);
        }
        self.last = index;
        let bytes = (row::ENTRY_HEAD + length) as u64;
        self.bytes += bytes;
        self.unlisted = self.unlisted.map(|unlisted| unlisted + bytes);
        let begins = self.pieces.iter().rev().nth(1).map_or(self.base.0, |before| before.last);
        let is_sealed = mem::take(&mut self.is_sealed);
        match self.pieces.back_mut() {
            Some(open)
                if !is_sealed
                    && open.bytes < self.segment_bytes
                    && open.last - begins < self.segment_entries =>
            {
                (open.last, open.term) = (index, term);
                open.bytes += bytes;
            }
            _ => self.pieces.push_back(Piece { last: index, bytes, term }),
        }
    }

    fn cut(&mut self, index: u64) {
        self.last = self.last.min(index - 1);
        self.terms.get_mut().cut(index);
        self.changes.split_off(&index);
        let term = self.term_at(index - 1).unwrap_or(0);
        while let Some(open) = self.pieces.back() {
            if open.last < index {
                break;
            }
            let before = self.pieces.iter().rev().nth(1).map_or(self.base.0, |before| before.last);
            let open = self.pieces.back_mut().expect("it was there");
            if before + 1 < index {
                // Its bytes are an estimate from now on, and too great rather than too small.
                (open.last, open.term) = (index - 1, term);
                break;
            }
            self.bytes -= open.bytes;
            self.pieces.pop_back();
            // The one before has ended, and may be about to go: it does not begin again.
            self.is_sealed = true;
        }
    }

    /// The last entry that need not be kept where nobody follows, if that makes a piece worth deleting.
    pub(super) fn truncatable(&self, applied: u64) -> Option<u64> {
        let closed = self.pieces.iter().take(self.pieces.len().saturating_sub(1));
        closed.map(|piece| piece.last).take_while(|last| *last <= applied).last()
    }

    /// The oldest piece behind `through`, if all of it is applied. The newest one ends here for that.
    pub(super) fn next_cut(&mut self, through: Option<u64>, applied: u64) -> Option<Piece> {
        let place = self.pieces.iter().position(|piece| Some(piece.last) > through)?;
        self.is_sealed |= place + 1 == self.pieces.len();
        Some(self.pieces[place]).filter(|piece| piece.last <= applied)
    }

    /// Bytes of the pieces behind `through`.
    pub(super) fn bytes_behind(&self, through: Option<u64>) -> u64 {
        let gone = self.pieces.iter().take_while(|piece| Some(piece.last) <= through);
        self.bytes - gone.map(|piece| piece.bytes).sum::<u64>()
    }

    /// Puts the row about the entries if what it says is not true once these are written, or is too little; whether it does.
    pub(super) fn put_kept(&self, unstable: &[Entry], batch: &mut Batch) -> bool {
        let replaced = unstable.first().map_or(u64::MAX, |entry| entry.index);
        let is_change = |entry: &&Entry| transport::kind_of(entry) == EntryKind::Change;
        let changes = unstable.iter().filter(is_change).map(|entry| entry.index);
        let differ = changes.clone().next().is_some() || self.changes.range(replaced..).next().is_some();
        if !differ && self.unlisted.is_some_and(|bytes| bytes < (self.segment_bytes / LISTED).max(1)) {
            return false;
        }
        // Entries that are not applied may be replaced yet: what holds some ends before them here.
        let applied = self.applied;
        let whole = self.pieces.iter().take_while(|piece| piece.last <= applied).count();
        let begins = whole.checked_sub(1).map_or(self.base.0, |before| self.pieces[before].last);
        let term = if begins < applied { self.term_at(applied) } else { None };
        let open = self.pieces.get(whole).zip(term);
        let open = open.map(|(open, term)| Piece { last: applied, bytes: open.bytes, term });
        let pieces = self.pieces.iter().take(whole).copied().chain(open);
        let bytes = Kept::encode(self.changes.range(..replaced).copied().chain(changes), pieces);
        row::put(batch, self.slot, Kind::Kept, [], &bytes);
        true
    }

    /// The row is on disk.
    pub(super) fn kept_written(&mut self) {
        self.unlisted = Some(0);
    }

    pub(super) fn put_truncation(&self, through: u64, batch: &mut Batch) {
        let term = self.piece_term(through);
        let from = row::key(self.slot, Kind::Entry, 0);
        let to = row::key(self.slot, Kind::Entry, through + 1);
        batch.delete_range(Family::Log, &from, &to);
        row::put(batch, self.slot, Kind::Base, [through, term], &[]);
    }

    fn piece_term(&self, last: u64) -> u64 {
        self.pieces.iter().find(|piece| piece.last == last).expect("whole pieces are truncated").term
    }

    pub(super) fn truncated(&mut self, through: u64) {
        self.base = (through, self.piece_term(through));
        self.terms.get_mut().forget(through);
        self.changes = self.changes.split_off(&(through + 1));
        while self.pieces.front().is_some_and(|piece| piece.last <= through) {
            self.bytes -= self.pieces.pop_front().expect("it was there").bytes;
        }
        self.tail.evict(0, through);
    }

    /// `None` if it is truncated or not there yet.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        if index < self.base.0 || index > self.last {
            return None;
        }
        let mut terms = self.terms.borrow_mut();
        while index < terms.from() {
            if let Err(error) = terms.learn(self.base.0, self.base.1, |index| self.read_term(index)) {
                self.failure.set(Some(error));
                return None;
            }
        }
        terms.get(index)
    }

    fn read_term(&self, index: u64) -> Result<u64, Error> {
        let (key, mut value) = (row::key(self.slot, Kind::Entry, index), Vec::new());
        let found = self.engine.get(Family::Log, &key, &mut value);
        if !found.map_err(|source| self.read_error(index, source))? {
            return Err(self.damaged(index, "the entry is missing"));
        }
        row::parse_entry(&key, &value).map(|entry| entry.term).map_err(|reason| self.damaged(index, reason))
    }

    /// The payload of an entry for a message: `None` if it was replaced since, or cannot be read.
    pub(super) fn payload_for(&self, index: u64, term: u64) -> Option<Bytes> {
        if let Some(held) = self.tail.get(index) {
            return (held.term == term).then(|| held.payload.clone());
        }
        if self.term_at(index) != Some(term) || index == self.base.0 {
            return None;
        }
        if let Some(payload) = self.fetched.borrow().get(&index) {
            return Some(payload.clone());
        }
        let mut found = None;
        let read = self.read(index, index + 1, |_, entry| {
            found = Some(entry.payload);
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            self.failure.set(Some(error));
        }
        found
    }

    /// Reads entries `[low, high)` from disk until `visit` breaks. Every one is checked.
    pub(super) fn read(
        &self,
        low: u64,
        high: u64,
        mut visit: impl FnMut(u64, TailEntry) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let from = row::key(self.slot, Kind::Entry, low);
        let to = row::key(self.slot, Kind::Entry, high);
        let (mut next, mut broke, mut damage) = (low, false, None);
        let scanned = self.engine.scan(Family::Log, &from, &to, &mut |key, value| {
            let checked = match row::index_of(key) {
                Some(found) if found == next => row::parse_entry(key, value),
                _ => Err("the entry is missing"),
            };
            match checked {
                Ok(entry) if (entry.kind == EntryKind::Change) != self.changes.contains(&next) => {
                    damage = Some("it is of another type");
                    ControlFlow::Break(())
                }
                Ok(entry) if Some(entry.term) == self.term_at(next) => {
                    let payload = Bytes::copy_from_slice(entry.payload);
                    let flow = visit(next, TailEntry { term: entry.term, kind: entry.kind, payload });
                    next += 1;
                    broke = flow.is_break();
                    flow
                }
                Ok(_) => {
                    damage = Some("it is of another term");
                    ControlFlow::Break(())
                }
                Err(reason) => {
                    damage = Some(reason);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(reason) = damage {
            return Err(self.damaged(next, reason));
        }
        scanned.map_err(|source| self.read_error(next, source))?;
        if next < high && !broke {
            return Err(self.damaged(next, "the entry is missing"));
        }
        Ok(())
    }

    /// How many entries of `[low, high)` fit a message; those read for it are kept until it is formed.
    fn fit(&self, low: u64, high: u64, limit: u64) -> Result<u64, Error> {
        let (mut bytes, mut end) = (0, low);
        let mut take = |index: u64, length: usize| {
            bytes += (length + row::ENTRY_HEAD) as u64;
            let fits = index == low || bytes <= limit;
            if fits {
                end = index + 1;
            }
            fits
        };
        let mut full = false;
        let from_disk = high.min(self.tail.first());
        if low < from_disk {
            let mut fetched = self.fetched.borrow_mut();
            self.read(low, from_disk, |index, entry| {
                full = !take(index, entry.payload.len());
                if full {
                    return ControlFlow::Break(());
                }
                fetched.insert(index, entry.payload);
                ControlFlow::Continue(())
            })?;
        }
        if !full {
            for index in low.max(from_disk)..high {
                let Some(held) = self.tail.get(index) else { break };
                if !take(index, held.payload.len()) {
                    break;
                }
            }
        }
        Ok(end)
    }

    pub(super) fn damaged(&self, index: u64, reason: impl Into<String>) -> Error {
        Error::Damaged { slot: self.slot, index: Index(index), reason: reason.into() }
    }

    fn read_error(&self, index: u64, source: engine::Error) -> Error {
        match source {
            engine::Error::Damaged { place, reason } => self.damaged(index, format!("{reason} ({place})")),
            source => Error::Engine { slot: self.slot, source },
        }
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.roster.group.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        // Only what goes to a follower has a size: the rest reads no payload.
        let high = if context.can_async() {
            match self.fit(low, high, max_size.into().unwrap_or(u64::MAX)) {
                Ok(end) => end,
                Err(error) => {
                    self.failure.set(Some(error));
                    return Err(StorageError::LogTemporarilyUnavailable.into());
                }
            }
        } else {
            high
        };
        let mut entries = Vec::with_capacity((high - low) as usize);
        for index in low..high {
            let kind = if self.changes.contains(&index) { EntryKind::Change } else { EntryKind::Record };
            let Some(term) = self.term_at(index) else {
                return Err(StorageError::LogTemporarilyUnavailable.into());
            };
            entries.push(transport::shadow(kind, term, index));
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing = if index < self.base.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_at(index).ok_or(missing.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    /// A snapshot in name: raft waits for the follower to have it, the state is carried outside of raft. See
    /// [`SnapshotWanted`](super::SnapshotWanted).
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let Some((index, term)) = self.copied().filter(|(index, _)| *index >= request_index) else {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = term;
        metadata.set_conf_state(self.roster.group.clone());
        Ok(snapshot)
    }
}

/// Reads the rows beside the entries.
struct Reader<'a> {
    engine: &'a dyn Engine,
    slot: SlotId,
    value: Vec<u8>,
}

impl Reader<'_> {
    fn get(&mut self, key: &row::Key) -> Result<bool, Error> {
        self.value.clear();
        self.engine.get(Family::Log, key, &mut self.value).map_err(|source| match source {
            engine::Error::Damaged { place, reason } => self.damaged(0, format!("{reason} ({place})")),
            source => Error::Engine { slot: self.slot, source },
        })
    }

    /// Whether the log has this very entry, or is truncated behind it.
    fn reaches(&mut self, index: u64, term: u64) -> Result<bool, Error> {
        if self.numbers::<2>(Kind::Base)?.is_some_and(|[base, _]| base >= index) {
            return Ok(true);
        }
        let key = row::key(self.slot, Kind::Entry, index);
        if !self.get(&key)? {
            return Ok(false);
        }
        match row::parse_entry(&key, &self.value) {
            Ok(entry) => Ok(entry.term == term),
            Err(reason) => Err(self.damaged(index, reason)),
        }
    }

    fn numbers<const N: usize>(&mut self, kind: Kind) -> Result<Option<[u64; N]>, Error> {
        let key = row::key(self.slot, kind, 0);
        if !self.get(&key)? {
            return Ok(None);
        }
        match row::parse::<N>(&key, &self.value) {
            Ok((numbers, [])) => Ok(Some(numbers)),
            Ok(_) => Err(self.damaged(0, format!("row {kind:?} is too long"))),
            Err(reason) => Err(self.damaged(0, format!("row {kind:?}: {reason}"))),
        }
    }

    /// The replica that the rows are of.
    fn own(&mut self, node: NodeId) -> Result<Replica, Error> {
        match self.numbers::<1>(Kind::Own)? {
            None => Ok(Replica::first(node)),
            Some([id]) => match ReplicaId::new(id) {
                Some(id) => Ok(Replica { id, node }),
                None => Err(self.damaged(0, "row Own names no replica")),
            },
        }
    }

    fn ended(&mut self) -> Result<Option<ReplicaId>, Error> {
        let Some([id]) = self.numbers::<1>(Kind::Ended)? else { return Ok(None) };
        ReplicaId::new(id).map(Some).ok_or_else(|| self.damaged(0, "row Ended names no replica"))
    }

    fn kept(&mut self) -> Result<Option<Kept>, Error> {
        let key = row::key(self.slot, Kind::Kept, 0);
        if !self.get(&key)? {
            return Ok(None);
        }
        match row::parse::<0>(&key, &self.value).map(|([], bytes)| Kept::decode(bytes)) {
            Ok(Some(kept)) => Ok(Some(kept)),
            Ok(None) => Err(self.damaged(0, "row Kept is not one")),
            Err(reason) => Err(self.damaged(0, format!("row Kept: {reason}"))),
        }
    }

    fn group(&mut self) -> Result<Option<(Roster, u64)>, Error> {
        let key = row::key(self.slot, Kind::Group, 0);
        if !self.get(&key)? {
            return Ok(None);
        }
        let parsed = row::parse::<1>(&key, &self.value);
        match parsed.map(|([index], bytes)| (Roster::decode(bytes), index)) {
            Ok((Some(group), index)) => Ok(Some((group, index))),
            Ok((None, _)) => Err(self.damaged(0, "row Group names no group")),
            Err(reason) => Err(self.damaged(0, format!("row Group: {reason}"))),
        }
    }

    fn damaged(&self, index: u64, reason: impl Into<String>) -> Error {
        Error::Damaged { slot: self.slot, index: Index(index), reason: reason.into() }
    }
}

/// A replica that has the number of its node says so by having no such row.
fn put_own(slot: SlotId, me: Replica, batch: &mut Batch) {
    if me != Replica::first(me.node) {
        row::put(batch, slot, Kind::Own, [me.id.get()], &[]);
    }
}

fn first_roster(slot: SlotId, me: Replica, first: &[Replica]) -> Result<Roster, Error> {
    let refused = |reason: &str| Error::Voters { slot, reason: reason.into() };
    if first.is_empty() {
        return Err(refused("there is none"));
    }
    let places: BTreeMap<u64, NodeId> =
        first.iter().map(|replica| (replica.id.get(), replica.node)).collect();
    let nodes: BTreeSet<NodeId> = places.values().copied().collect();
    if nodes.len() < first.len() {
        return Err(refused("one is named twice"));
    }
    if places.get(&me.id.get()).is_some_and(|node| *node != me.node) {
        return Err(refused("this one is on another node"));
    }
    let voters: Vec<u64> = places.keys().copied().collect();
    Ok(Roster::new(ConfState::from((voters, [])), &places).expect("each has its place"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Model;

    #[test]
    fn a_piece_that_is_about_to_go_stays_as_it_is_whatever_is_replaced_behind_it() {
        let me = Replica::first(NodeId::new(1).expect("it is not zero"));
        let found = Log::open(Arc::new(Model::new()), SlotId(7), me, &[me], &Options::default());
        let mut log = found.expect("there is nothing yet").log;
        let entries = |term: u64, indexes: std::ops::RangeInclusive<u64>| -> Vec<Entry> {
            indexes.map(|index| transport::shadow(EntryKind::Record, term, index)).collect()
        };
        log.entries_written(&entries(1, 1..=2));
        let through = log.next_cut(None, 2).expect("all of it is applied").last;
        assert_eq!(through, 2);
        log.entries_written(&entries(1, 3..=4));
        // Another leader has others there.
        log.entries_written(&entries(2, 3..=5));
        log.truncated(through);
        assert_eq!((log.base(), log.last()), ((2, 1), 5));
    }
}
