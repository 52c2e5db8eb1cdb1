//! Many groups, one write: a round gathers the rows of every group that has some, and the caller's state, into one
//! batch; one sync makes all of it durable; while it runs, the next round accumulates.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use convoy_ids::{Index, NodeId, ReplicaId, SlotId, Term};
use slog::Logger;

use super::effects::{Answer, Effects, Follower, Proof, ProofId, Role, Round};
use super::group::{Group, Promise};
use super::log::Log;
use super::members::{Base, Members, Replica};
use super::row::{self, Kind};
use super::{Error, Options, ProposeError, ReconfigureError, RoundError, StepError, logger};
use crate::engine::{self, Batch, Engine};

/// What was found when a slot was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which replica is here.
    pub replica: ReplicaId,
    /// The last entry whose state is on disk. Those behind it come out as committed, when they are.
    pub applied: Index,
    /// The last entry of the log.
    pub last: Index,
}

/// Rows that are written and wait for the same sync.
#[derive(Debug, Default)]
struct Gathered {
    round: u64,
    promises: Vec<(usize, Promise)>,
    /// Whoever wrote something beside the groups wants it synced: see [`Driver::want_sync`].
    is_wanted: bool,
}

/// The replicas of many slots on one node, or on one of its shards. It has no thread, no clock and no disk but the
/// engine it was given; what it decides comes out as [`Effects`].
pub struct Driver {
    engine: Arc<dyn Engine>,
    node: NodeId,
    options: Options,
    logger: Logger,
    /// In the order they were opened; a closed one leaves its place empty.
    groups: Vec<Option<Group>>,
    places: BTreeMap<SlotId, usize>,
    /// Groups to visit in the next round, in the order they got news.
    listed: Vec<usize>,
    /// Groups whose rows wait until the sync under way is done.
    waiting: Vec<usize>,
    visiting: Vec<usize>,
    batch: Batch,
    syncing: Option<Gathered>,
    gathering: Gathered,
    stalled: bool,
    /// A group perhaps is of other replicas than its row says.
    is_regrouped: bool,
    /// Bytes of all logs that are kept for followers.
    kept_bytes: u64,
    /// Questions for a proof so far.
    proofs: u64,
    /// Of slots that were closed, for the next round.
    lost_proofs: Vec<Proof>,
    /// The sync that was under way when the disk was last looked at, and when it was first seen.
    watched: Option<(u64, Duration)>,
}

impl Driver {
    /// The settings have passed [`Options::check`].
    pub fn new(engine: Arc<dyn Engine>, node: NodeId, options: Options) -> Self {
        assert_eq!(options.check(), Ok(()), "the settings are checked before anything starts");
        Self {
            engine,
            node,
            options,
            logger: logger::to_tracing(),
            groups: Vec::new(),
            places: BTreeMap::new(),
            listed: Vec::new(),
            waiting: Vec::new(),
            visiting: Vec::new(),
            batch: Batch::new(),
            syncing: None,
            gathering: Gathered { round: 1, ..Gathered::default() },
            stalled: false,
            is_regrouped: false,
            kept_bytes: 0,
            proofs: 0,
            lost_proofs: Vec::new(),
            watched: None,
        }
    }

    /// The node that the replicas are on.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Creates replica `me` of `slot`, whose log begins with the group `first`, or recovers the one that is on disk: then
    /// both say nothing, the replica is who it was and the group is what its log made it. One that is not of the first
    /// group follows whoever says that it leads. A replica alone leads as soon as its first round is synced.
    ///
    /// A number is used for one life only: a replica whose disk was lost, or that was removed, has voted, and must not vote
    /// in the same term again.
    pub fn open(&mut self, slot: SlotId, me: ReplicaId, first: &[Replica]) -> Result<Opened, Error> {
        if self.places.contains_key(&slot) {
            return Err(Error::Open { slot });
        }
        let me = Replica { id: me, node: self.node };
        let found = Log::open(Arc::clone(&self.engine), slot, me, first, &self.options)?;
        let opened = Opened {
            replica: found.log.me().id,
            applied: Index(found.applied),
            last: Index(found.log.last()),
        };
        let group = Group::open(found, &self.options, &self.logger)?;
        self.is_regrouped |= group.is_regrouped();
        let place = self.empty_place().unwrap_or(self.groups.len());
        if place == self.groups.len() {
            self.groups.push(None);
        }
        self.groups[place] = Some(group);
        self.places.insert(slot, place);
        self.list(place);
        Ok(opened)
    }

    /// A place that a closed group has left, and that nothing names any more which is still to come.
    fn empty_place(&self) -> Option<usize> {
        if self.places.len() == self.groups.len() {
            return None;
        }
        let gathered = [Some(&self.gathering), self.syncing.as_ref()];
        let promised: Vec<usize> =
            gathered.into_iter().flatten().flat_map(|of| &of.promises).map(|(place, _)| *place).collect();
        let is_named =
            |place: &usize| [&self.listed, &self.waiting, &promised].iter().any(|of| of.contains(place));
        (0..self.groups.len()).find(|place| self.groups[*place].is_none() && !is_named(place))
    }

    #[cfg(test)]
    pub(super) fn places_held(&self) -> usize {
        self.groups.len()
    }

    /// Forgets the replica of `slot`. What is on disk stays; what was promised by rounds not yet synced is not kept.
    pub fn close(&mut self, slot: SlotId) -> bool {
        match self.places.remove(&slot) {
            Some(place) => {
                let Some(mut closed) = self.groups[place].take() else { return false };
                self.kept_bytes -= closed.counted_bytes;
                closed.lose_proofs(None, &mut self.lost_proofs);
                true
            }
            None => false,
        }
    }

    /// The slots that are open, in their order.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.places.keys().copied()
    }

    /// One tick for every group. One that is alone costs nothing but the look at it.
    pub fn tick(&mut self) {
        for (place, group) in self.groups.iter_mut().enumerate() {
            let Some(group) = group else { continue };
            group.tick(&self.options);
            list(&mut self.listed, place, group);
        }
    }

    /// Appends a record to the log of `slot`. It is decided when it comes out as committed with this term and index;
    /// another term at this index means that it is lost. `data` is not empty.
    pub fn propose(&mut self, slot: SlotId, data: Vec<u8>) -> Result<(Term, Index), (ProposeError, Vec<u8>)> {
        if self.stalled {
            return Err((ProposeError::Stalled, data));
        }
        let Some(&place) = self.places.get(&slot) else {
            return Err((ProposeError::NotLeader { term: Term(0), leader: None }, data));
        };
        let group = self.groups[place].as_mut().expect(OPEN);
        let proposed = group.propose(data, &self.options);
        list(&mut self.listed, place, group);
        proposed
    }

    /// Begins to change the group of `slot` to these replicas, through a joint state if it takes more than one step.
    /// `None` if that is what it is already. Learners follow without a vote: let a new replica catch up as one.
    pub fn reconfigure(
        &mut self,
        slot: SlotId,
        voters: &[Replica],
        learners: &[Replica],
    ) -> Result<Option<(Term, Index)>, ReconfigureError> {
        if self.stalled {
            return Err(ReconfigureError::Busy);
        }
        let nowhere = ReconfigureError::NotLeader { term: Term(0), leader: None };
        self.visit(slot, |group, _| group.reconfigure(voters, learners)).unwrap_or(Err(nowhere))
    }

    /// Asks whether this node leads each of `slots`. Each is answered by a [`Proof`] of this number, of a moment after
    /// this call: in `effects` at once where that is known without asking others, and else by a later round. A leader that
    /// has not committed in its term answers when it has. What is asked of a slot until the next round is answered
    /// together, by one message to each of its replicas and one back.
    pub fn prove(&mut self, slots: &[SlotId], effects: &mut Effects) -> ProofId {
        self.proofs += 1;
        let id = ProofId(self.proofs);
        for &slot in slots {
            let asked = self.visit(slot, |group, options| group.prove(id, effects, options));
            if asked.is_none() {
                let answer = Answer::NotLeader { term: Term(0), leader: None };
                effects.proofs.push(Proof { id, slot, answer });
            }
        }
        id
    }

    /// Looks how long the sync under way has taken; `now` is of any clock that only goes forward. Beyond
    /// [`Options::disk_patience`] this node hands over what it leads with other voters, or, where none can take it, leads it
    /// no longer, and asks for no leadership until that sync is done. Call it as often as [`Driver::tick`]: what it sees
    /// began since the call before.
    pub fn watch_disk(&mut self, now: Duration) {
        let syncing = self.syncing.as_ref().map(|gathered| gathered.round);
        let began = self.watched.filter(|(round, _)| Some(*round) == syncing).map_or(now, |(_, began)| began);
        self.watched = syncing.map(|round| (round, began));
        let is_late = now.saturating_sub(began) >= self.options.disk_patience;
        for (place, group) in self.groups.iter_mut().enumerate() {
            let Some(group) = group else { continue };
            group.set_late(is_late, &self.options);
            list(&mut self.listed, place, group);
        }
    }

    /// Hands leadership of `slot` over, if this replica has it. Proposals are Busy until `to` leads or an election's
    /// time has passed.
    pub fn transfer(&mut self, slot: SlotId, to: NodeId) {
        self.visit(slot, |group, options| group.transfer(to, options));
    }

    /// `slot` is led here and cannot be served, and so it is until it is opened anew: this replica takes no further part, if
    /// there are others.
    pub fn leave(&mut self, slot: SlotId) {
        self.visit(slot, |group, _| group.leave());
    }

    /// Whether this node leads `slot` and could hand it over to `to` at once: that is a voter that was heard of lately and has
    /// all that is committed. Of one that is well it is not true at every moment.
    pub fn could_transfer(&self, slot: SlotId, to: NodeId) -> bool {
        self.open_group(slot).is_some_and(|group| group.could_transfer(to))
    }

    /// Whether a slot here has replicas on other nodes: then rounds do not wait for the sync under way.
    pub fn has_others(&self) -> bool {
        self.groups.iter().flatten().any(Group::has_others)
    }

    /// The copy of the state that was wanted for node `to` is in force there, or it failed: entries follow it, or it
    /// is wanted again. Until this is called, or leadership changes, that follower gets nothing.
    pub fn snapshot_ended(&mut self, slot: SlotId, to: NodeId, arrived: bool) {
        self.visit(slot, |group, _| group.snapshot_ended(to, arrived));
    }

    /// The link to `node` broke: what was on its way there is lost, and each group that leads sends it again.
    pub fn unreachable(&mut self, node: NodeId) {
        for group in self.groups.iter_mut().flatten() {
            group.unreachable(node);
        }
    }

    /// Takes a message of the replica of `slot` on node `from`. `bytes` are what its driver gave out.
    pub fn step(&mut self, slot: SlotId, from: NodeId, bytes: &[u8]) -> Result<(), StepError> {
        let stalled = self.stalled;
        self.visit(slot, |group, options| group.step(from, bytes, stalled, options))
            .unwrap_or(Err(StepError::NotOpen(slot)))
    }

    /// Whether [`Driver::round`] has something to do. While the disk is full it has, and the caller waits a little
    /// between two calls.
    pub fn is_dirty(&self) -> bool {
        !self.listed.is_empty() || self.stalled || !self.lost_proofs.is_empty()
    }

    /// Whether a sync was asked for and is not reported yet.
    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Collects what every group has to write, and `state`, into one batch and writes it. `state` is cleared when it
    /// is written and left as it was when not. Effects come out in either case: they are true even if the disk is
    /// full.
    ///
    /// May be called while a sync is under way. What it then writes becomes durable with the sync after that, so a
    /// leader sends entries early, and groups with nobody to send them to wait.
    pub fn round(&mut self, state: &mut Batch, effects: &mut Effects) -> Result<(), RoundError> {
        effects.proofs.append(&mut self.lost_proofs);
        mem::swap(&mut self.visiting, &mut self.listed);
        self.batch.clear();
        for place in &self.visiting {
            let Some(group) = &mut self.groups[*place] else { continue };
            if self.syncing.is_none() || !group.can_wait() {
                group.collect(&mut self.batch);
            }
        }
        self.batch.append(state);
        let written = if self.batch.is_empty() { Ok(()) } else { self.engine.write(&self.batch) };
        let outcome = match written {
            Ok(()) => {
                state.clear();
                Ok(())
            }
            Err(engine::Error::Full { path }) => Err(RoundError::Full { path }),
            Err(error) => {
                // Nothing that was promised may be kept: the groups take no further part.
                for group in self.groups.iter_mut().flatten() {
                    group.fail(None);
                    group.lose_proofs(None, &mut effects.proofs);
                }
                self.visiting.clear();
                return Err(match error {
                    engine::Error::Stopped { .. } => RoundError::Stopped(error.to_string()),
                    error => RoundError::Failed(error.to_string()),
                });
            }
        };
        self.stalled = outcome.is_err();
        let mut visiting = mem::take(&mut self.visiting);
        for place in visiting.drain(..) {
            let Some(group) = &mut self.groups[place] else { continue };
            if self.stalled && group.collected {
                group.refused(effects);
            } else if let Some(promise) = group.written(effects) {
                match (&mut self.syncing, group.unsynced) {
                    (Some(syncing), Some(round)) if !promise.is_rows() && round == syncing.round => {
                        syncing.promises.push((place, promise));
                    }
                    _ => {
                        group.unsynced = Some(self.gathering.round);
                        self.gathering.promises.push((place, promise));
                    }
                }
            }
            group.report(effects, &self.options);
            self.is_regrouped |= group.is_regrouped();
            count_kept(&mut self.kept_bytes, group);
            group.listed = false;
            if self.syncing.is_some() && group.can_wait() {
                group.listed = true;
                self.waiting.push(place);
            } else {
                list(&mut self.listed, place, group);
            }
        }
        self.visiting = visiting;
        if self.kept_bytes > self.options.kept_log_bytes {
            self.cut_logs();
        }
        self.begin_sync(effects);
        outcome
    }

    /// Gives up pieces of what is kept for followers until it is within its bound: of the slot that keeps most, and then of
    /// the one that keeps most after that. So no cut is smaller than a slot's equal share. A slot whose state is being
    /// copied to a follower is spared while others have something: its follower would have to begin anew.
    fn cut_logs(&mut self) {
        for spare_copies in [true, false] {
            let kept = |group: &Option<Group>| group.as_ref().map_or(0, |group| group.counted_bytes);
            let mut places: Vec<_> =
                (0..self.groups.len()).filter(|&place| kept(&self.groups[place]) > 0).collect();
            while self.kept_bytes > self.options.kept_log_bytes {
                let largest = places.iter().enumerate().max_by_key(|(_, place)| kept(&self.groups[**place]));
                let Some((at, &place)) = largest else { break };
                let group = self.groups[place].as_mut().expect(OPEN);
                if !group.cut_oldest(spare_copies) {
                    places.swap_remove(at);
                    continue;
                }
                count_kept(&mut self.kept_bytes, group);
                list(&mut self.listed, place, group);
            }
        }
    }

    /// The engine's sync that was asked for as `round` has returned well: what waited for it comes out.
    pub fn synced(&mut self, round: Round, effects: &mut Effects) {
        let gathered = self.syncing.take().expect("a sync is reported once, and only if it was asked for");
        assert_eq!(gathered.round, round.0, "syncs are reported in the order they were asked for");
        self.listed.append(&mut self.waiting);
        for (place, promise) in gathered.promises {
            let Some(group) = &mut self.groups[place] else { continue };
            if group.unsynced == Some(gathered.round) {
                group.unsynced = None;
            }
            group.synced(promise, effects, &self.options);
            group.report(effects, &self.options);
            self.is_regrouped |= group.is_regrouped();
            list(&mut self.listed, place, group);
        }
        self.begin_sync(effects);
    }

    /// Asks for a sync of all that is written until now, by whomever: the one of this number, which `effects` ask for now or
    /// when the one under way is done.
    pub fn want_sync(&mut self, effects: &mut Effects) -> Round {
        let round = Round(self.gathering.round);
        self.gathering.is_wanted = true;
        self.begin_sync(effects);
        round
    }

    fn begin_sync(&mut self, effects: &mut Effects) {
        let is_due = self.gathering.is_wanted || !self.gathering.promises.is_empty();
        if self.syncing.is_some() || !is_due {
            return;
        }
        let next = Gathered { round: self.gathering.round + 1, ..Gathered::default() };
        let gathered = mem::replace(&mut self.gathering, next);
        effects.sync = Some(Round(gathered.round));
        self.syncing = Some(gathered);
    }

    /// Puts the applied index of a slot into the batch of the state it made, which goes to [`Driver::round`] or
    /// [`Driver::write_applied`] and nowhere else: after a crash the slot goes on behind it.
    pub fn put_applied(slot: SlotId, index: Index, batch: &mut Batch) {
        row::put(batch, slot, Kind::Applied, [index.0], &[]);
    }

    /// Writes applied state at once and clears it; it becomes durable with the next sync. The groups that it was applied
    /// under go with it: a crash leaves both or neither. After an error the state is as it was.
    pub fn write_applied(&mut self, state: &mut Batch) -> Result<(), engine::Error> {
        let mark = state.mark();
        if self.is_regrouped && !self.options.lone_groups {
            self.groups.iter().flatten().for_each(|group| group.put_group(state));
        }
        if let Err(error) = self.engine.write(state) {
            state.rewind(mark);
            return Err(error);
        }
        if !self.options.lone_groups && mem::take(&mut self.is_regrouped) {
            self.groups.iter_mut().flatten().for_each(Group::group_written);
        }
        state.clear();
        Ok(())
    }

    /// The state up to `index`, with the applied index, is in a batch that was or will be given to the next round or to
    /// [`Driver::write_applied`]. From there on the log need not be kept.
    pub fn advance_applied(&mut self, slot: SlotId, index: Index) {
        self.visit(slot, |group, options| group.advance_applied(index.0, options));
    }

    pub fn role(&self, slot: SlotId) -> Option<Role> {
        self.open_group(slot).map(Group::role)
    }

    /// In which term `slot` is led here, if it is: as [`Driver::role`], for who asks very often.
    pub fn term_led(&self, slot: SlotId) -> Option<Term> {
        self.open_group(slot).and_then(Group::term_led)
    }

    /// The last entry of the log, proposed or received, whether committed or not.
    pub fn last(&self, slot: SlotId) -> Option<Index> {
        self.open_group(slot).map(|group| Index(group.last()))
    }

    /// Entries of `slot` that are on disk.
    pub fn log_entries(&self, slot: SlotId) -> Option<u64> {
        self.open_group(slot).map(Group::log_entries)
    }

    /// Bytes of the logs of all slots that are kept for followers, about.
    pub fn kept_log_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// The replicas of `slot` as the log has made them so far.
    pub fn members(&self, slot: SlotId) -> Option<Members> {
        self.open_group(slot).map(Group::members)
    }

    /// Which replica of `slot` is open here.
    pub fn replica(&self, slot: SlotId) -> Option<ReplicaId> {
        self.open_group(slot).map(|group| group.me().id)
    }

    /// Whether that replica is of the group of `slot` in whichever way, in a joint state before or after it, as far as the one
    /// here has heard.
    pub fn is_of_group(&self, slot: SlotId, replica: ReplicaId) -> bool {
        self.open_group(slot).is_some_and(|group| group.is_of_group(replica))
    }

    /// Whether these nodes have a quorum of the group of `slot`, as far as the replica here has heard.
    pub fn is_quorum(&self, slot: SlotId, with: impl Fn(NodeId) -> bool) -> bool {
        self.open_group(slot).is_some_and(|group| group.is_quorum(with))
    }

    /// How the other members of `slot` do, as the leader of its group sees them; of no other replica anything.
    pub fn followers(&self, slot: SlotId) -> Vec<Follower> {
        self.open_group(slot).map(Group::followers).unwrap_or_default()
    }

    /// Whether the replica of `slot` here leads, or has heard a leader within two election timeouts.
    pub fn hears_leader(&self, slot: SlotId) -> bool {
        self.open_group(slot).is_some_and(|group| group.hears_leader(&self.options))
    }

    /// Whether the leader of `slot` may begin a change of its group: none is under way, and of the last one every voter that is
    /// heard knows that it is committed. Before, one that has not heard of its end may still ask those who have gone.
    pub fn is_regroupable(&self, slot: SlotId) -> bool {
        self.open_group(slot).is_some_and(Group::is_regroupable)
    }

    /// Whether a replica of `slot` is on disk, open or not.
    pub fn is_on_disk(&self, slot: SlotId) -> Result<bool, Error> {
        Log::is_there(&*self.engine, slot)
    }

    /// The last replica of `slot` that was ended here, where none is on disk: none that came before it may be opened.
    pub fn ended(&self, slot: SlotId) -> Result<Option<ReplicaId>, Error> {
        Log::ended(&*self.engine, slot)
    }

    /// Where a copy of the state of `slot` stands that is taken now, for [`Driver::put_base`] elsewhere. `None` if
    /// the slot is not open, nothing is applied, or a change of the group is not applied yet: ask again then.
    pub fn base(&self, slot: SlotId) -> Option<Base> {
        self.open_group(slot).and_then(Group::applied_base)
    }

    /// Puts the rows that let the replica of `slot`, the one that is open or on disk and else the first of this node, go on
    /// behind a state copied from another one, and closes it. The caller puts
    /// that state into the same batch, writes and syncs it, and only then opens the slot.
    ///
    /// Returns false, with nothing put, if the log reaches that point already: then it needs no copy.
    pub fn put_base(&mut self, slot: SlotId, base: &Base, batch: &mut Batch) -> Result<bool, Error> {
        let open = self.open_group(slot).map(Group::me);
        if !Log::put_base(&*self.engine, slot, self.node, open, base, batch)? {
            return Ok(false);
        }
        self.close(slot);
        Ok(true)
    }

    /// Puts the end of the replica of `slot` that is open or on disk, and closes it. The caller deletes its state with the same
    /// batch, and writes it. What is opened after that is another replica and has another number, which is checked.
    ///
    /// After an error nothing is put and nothing closed.
    pub fn put_end(&mut self, slot: SlotId, batch: &mut Batch) -> Result<(), Error> {
        let open = self.open_group(slot).map(Group::me);
        Log::put_end(&*self.engine, slot, self.node, open, batch)?;
        self.close(slot);
        Ok(())
    }

    fn open_group(&self, slot: SlotId) -> Option<&Group> {
        self.groups[*self.places.get(&slot)?].as_ref()
    }

    fn list(&mut self, place: usize) {
        if let Some(group) = &mut self.groups[place] {
            list(&mut self.listed, place, group);
        }
    }

    fn visit<R>(&mut self, slot: SlotId, call: impl FnOnce(&mut Group, &Options) -> R) -> Option<R> {
        let place = *self.places.get(&slot)?;
        let group = self.groups[place].as_mut().expect(OPEN);
        let result = call(group, &self.options);
        list(&mut self.listed, place, group);
        Some(result)
    }
}

fn count_kept(sum: &mut u64, group: &mut Group) {
    let kept = group.kept_bytes();
    *sum = *sum - mem::replace(&mut group.counted_bytes, kept) + kept;
}

const OPEN: &str = "a slot that has a place is open";

fn list(listed: &mut Vec<usize>, place: usize, group: &mut Group) {
    if !group.listed && group.has_news() {
        group.listed = true;
        listed.push(place);
    }
}
