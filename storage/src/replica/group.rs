//! One slot's replica: raft, its log, and what this node knows beyond them.
//!
//! A [`Ready`](raft::Ready) is taken from raft only after its rows are written, so that a full disk leaves raft as it
//! was: it can still be stepped, and the next round offers the same rows, or better ones.

mod hand_over;
mod proving;
mod regrouping;
mod stepping;

use std::mem;
use std::ops::ControlFlow;

use bytes::Bytes;
use convoy_ids::{Index, NodeId, Term};
use raft::eraftpb::{HardState, Message, MessageType};
use raft::{Config, ProgressState, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};
use slog::Logger;

use super::chance::Chance;
use super::effects::{Committed, Effects, Failure, Outgoing, Role, RoleChange, SnapshotWanted};
use super::log::{Found, Log};
use super::proofs::Proofs;
use super::row::EntryKind;
use super::tail::TailEntry;
use super::transport;
use super::{Error, Options, ProposeError};
use crate::engine::Batch;
use stepping::Strangers;

pub(super) struct Group {
    raft: RawNode<Log>,
    chance: Chance,
    /// Drawn by us: raft would draw it from the thread's generator, and no run could be repeated.
    election_timeout: usize,
    /// The (term, role) that `election_timeout` was drawn for.
    drawn_for: (u64, StateRole),
    /// The last entry that came out as committed.
    delivered: u64,
    /// Proposed by this leader and not yet delivered.
    uncommitted_bytes: usize,
    /// Entries were proposed that are not yet sent to the followers.
    unsent: bool,
    group_unwritten: bool,
    /// See [`Options::lone_groups`].
    lone_group: bool,
    /// The row about the entries is in the batch being written.
    kept_collected: bool,
    truncate_through: Option<u64>,
    /// The last term whose hard state is on stable storage.
    synced_term: u64,
    reported: Role,
    proofs: Proofs,
    strangers: Strangers,
    /// The disk takes too long: this replica leads nothing that others can lead.
    is_late: bool,
    /// The only replica: it needs no tick and no follower waits for it.
    alone: bool,
    failed: bool,
    /// It leads no longer what it could not serve.
    is_left: bool,
    /// Why, until it is reported.
    failure: Option<Error>,

    /// What the driver has counted of [`Group::kept_bytes`].
    pub(super) counted_bytes: u64,
    /// In the list of groups to visit, of the driver.
    pub(super) listed: bool,
    /// The last round that has something of this group to sync, while there is one.
    pub(super) unsynced: Option<u64>,
    /// Rows of this group are in the batch being written.
    pub(super) collected: bool,
}

/// Messages kept while the disk is full.
const UNSENT_LIMIT: usize = 256;

/// Something of a group that is true once its round is synced.
#[derive(Debug)]
pub(super) struct Promise {
    number: Option<u64>,
    term: u64,
    messages: Vec<Message>,
}

impl Promise {
    /// Whether rows wait for the sync, and not messages alone.
    pub(super) fn is_rows(&self) -> bool {
        self.number.is_some()
    }
}

impl Group {
    pub(super) fn open(found: Found, options: &Options, logger: &Logger) -> Result<Self, Error> {
        let Found { log, applied, new } = found;
        let (slot, me) = (log.slot(), log.me());
        let chance =
            Chance::new(options.seed ^ me.node.get().rotate_left(17) ^ u64::from(slot.0).rotate_left(48));
        let term = log.hard().term;
        let config = Config {
            id: me.id.get(),
            election_tick: options.election_ticks as usize,
            heartbeat_tick: options.heartbeat_ticks as usize,
            applied,
            max_size_per_msg: options.message_bytes_limit,
            max_inflight_msgs: options.inflight_limit,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            // Followers learn what is committed from the next entries or heartbeat: half the messages.
            skip_bcast_commit: true,
            // raft 0.7.0 would add entries to any append not yet sent: one of another index, even of another term.
            // Entries are gathered here instead: those of a round go out together.
            batch_append: false,
            ..Config::default()
        };
        // The settings and the rows were checked, so this is not met by an operator.
        let raft = RawNode::new(&config, log, logger).map_err(|error| Error::Damaged {
            slot,
            index: Index(0),
            reason: error.to_string(),
        })?;
        let mut group = Self {
            raft,
            chance,
            election_timeout: 0,
            drawn_for: (u64::MAX, StateRole::Follower),
            delivered: applied,
            uncommitted_bytes: 0,
            unsent: false,
            group_unwritten: new,
            lone_group: options.lone_groups,
            kept_collected: false,
            truncate_through: None,
            synced_term: term,
            reported: Role::Follower { term: Term(term), leader: None },
            proofs: Proofs::default(),
            strangers: Strangers::default(),
            is_late: false,
            alone: false,
            failed: false,
            is_left: false,
            failure: None,
            counted_bytes: 0,
            listed: false,
            unsynced: None,
            collected: false,
        };
        group.learn_members();
        if !options.lone_groups {
            group.catch_up_with_state(applied)?;
        }
        group.after(options);
        group.campaign_alone(options);
        Ok(group)
    }

    fn log(&self) -> &Log {
        self.raft.store()
    }

    pub(super) fn last(&self) -> u64 {
        self.raft.raft.raft_log.last_index()
    }

    pub(super) fn log_entries(&self) -> u64 {
        self.log().entries()
    }

    /// The term that is led here.
    pub(super) fn term_led(&self) -> Option<Term> {
        let raft = &self.raft.raft;
        // A replica alone elects itself at once: it leads when its vote is durable, not before.
        let leads = raft.state == StateRole::Leader && self.synced_term == raft.term && !self.failed;
        leads.then_some(Term(raft.term))
    }

    pub(super) fn role(&self) -> Role {
        if let Some(term) = self.term_led() {
            return Role::Leader { term };
        }
        let raft = &self.raft.raft;
        let term = Term(raft.term);
        match raft.state {
            StateRole::Follower => Role::Follower { term, leader: self.node_of(raft.leader_id) },
            _ if self.failed => Role::Follower { term, leader: None },
            _ => Role::Candidate { term },
        }
    }

    /// Whether a round has anything to do for this group now.
    pub(super) fn has_news(&self) -> bool {
        if self.failed {
            return self.failure.is_some() || self.is_left && self.role() != self.reported;
        }
        let raft = &self.raft.raft;
        self.has_rows()
            || self.unsent
            || !raft.msgs.is_empty()
            || !raft.read_states.is_empty()
            || self.can_begin_proof()
            || self.delivered < self.deliverable()
            || self.role() != self.reported
    }

    /// Whether there is something to write.
    pub(super) fn has_rows(&self) -> bool {
        !self.failed
            && (!self.raft.raft.raft_log.unstable_entries().is_empty()
                || self.hard_changed()
                || self.group_unwritten && (!self.lone_group || self.log().group_index() == 0)
                || self.truncate_through.is_some())
    }

    /// While a sync is under way, writing now would only cost a second write: nobody waits for these rows but the
    /// sync that follows.
    pub(super) fn can_wait(&self) -> bool {
        // State that was applied under the new group is written meanwhile, and goes with it.
        self.alone && self.has_rows() && !self.group_unwritten && self.delivered == self.deliverable()
    }

    fn hard_changed(&self) -> bool {
        let (raft, hard) = (&self.raft.raft, self.log().hard());
        raft.term != hard.term || raft.vote != hard.vote
    }

    fn deliverable(&self) -> u64 {
        let log = &self.raft.raft.raft_log;
        log.committed.min(log.persisted)
    }

    /// raft panics if a replica is elected before its log is durable. An honest vote cannot be early, as it answers a
    /// request that waited for the sync; but a voter without others elects itself, and a peer may be broken.
    fn may_be_elected(&self) -> bool {
        let log = &self.raft.raft.raft_log;
        log.persisted == log.last_index()
    }

    /// The only replica need not wait for an election.
    fn campaign_alone(&mut self, options: &Options) {
        if self.alone && self.raft.raft.state != StateRole::Leader && self.may_be_elected() {
            let _ = self.raft.campaign();
            self.after(options);
        }
    }

    pub(super) fn tick(&mut self, options: &Options) {
        if self.failed {
            return;
        }
        if self.alone {
            if self.raft.raft.state != StateRole::Leader {
                self.campaign_alone(options);
            }
            return;
        }
        let leads = self.raft.raft.state == StateRole::Leader;
        if self.has_one_voter() && !leads && !self.may_be_elected() {
            return;
        }
        if self.gives_up() {
            // The hand-over has failed, or could not begin.
            if leads && self.raft.raft.lead_transferee.is_none() {
                self.step_down();
                self.after(options);
            }
            if self.raft.raft.state != StateRole::Leader {
                return;
            }
        }
        self.raft.tick();
        self.after(options);
    }

    /// What must follow every call that may have changed raft.
    fn after(&mut self, options: &Options) {
        let raft = &self.raft.raft;
        let now = (raft.term, raft.state);
        if now != self.drawn_for {
            if self.drawn_for.1 != StateRole::Leader && raft.state == StateRole::Leader {
                self.uncommitted_bytes = 0;
            }
            self.drawn_for = now;
            let least = options.election_ticks as usize;
            self.election_timeout = least + self.chance.below(least as u64) as usize;
        }
        if raft.randomized_election_timeout() != self.election_timeout {
            self.raft.raft.set_randomized_election_timeout(self.election_timeout);
        }
        self.adopt_own_entries();
        self.note_failure();
    }

    /// Entries that raft makes by itself, such as the empty first one of a leader, enter the tail too.
    fn adopt_own_entries(&mut self) {
        let last = self.raft.raft.raft_log.last_index();
        let next = self.log().tail.next();
        for index in next..=last {
            let unstable = &self.raft.raft.raft_log.unstable().entries;
            let at = (index - self.raft.raft.raft_log.unstable().offset) as usize;
            let (kind, term) = (transport::kind_of(&unstable[at]), unstable[at].term);
            self.raft.mut_store().tail.push(TailEntry { term, kind, payload: Bytes::new() });
        }
    }

    fn note_failure(&mut self) {
        if let Some(failure) = self.log().take_failure() {
            self.fail(Some(failure));
        }
    }

    /// From now on this replica is silent.
    pub(super) fn fail(&mut self, failure: Option<Error>) {
        self.failed = true;
        self.failure = failure;
        self.raft.raft.msgs.clear();
    }

    pub(super) fn propose(
        &mut self,
        data: Vec<u8>,
        options: &Options,
    ) -> Result<(Term, Index), (ProposeError, Vec<u8>)> {
        assert!(!data.is_empty(), "an empty record is a leader's first entry");
        let Role::Leader { term } = self.role() else { return Err((self.not_leader(), data)) };
        if data.len() > options.entry_bytes_limit {
            return Err((ProposeError::TooLarge { limit: options.entry_bytes_limit }, data));
        }
        let raft = &self.raft.raft;
        let full = self.uncommitted_bytes > 0
            && self.uncommitted_bytes + data.len() > options.uncommitted_bytes_limit;
        if full || raft.lead_transferee.is_some() || raft.prs().get(raft.id).is_none() {
            return Err((ProposeError::Busy, data));
        }
        let index = self.append(EntryKind::Record, Bytes::from(data));
        Ok((term, Index(index)))
    }

    fn append(&mut self, kind: EntryKind, payload: Bytes) -> u64 {
        let appended = self.raft.raft.append_entry(&mut [transport::shadow(kind, 0, 0)]);
        assert!(appended, "raft's own limit of uncommitted bytes is off");
        let (term, index) = (self.raft.raft.term, self.last());
        self.uncommitted_bytes += payload.len();
        let tail = &mut self.raft.mut_store().tail;
        assert_eq!(tail.next(), index, "the tail follows raft");
        tail.push(TailEntry { term, kind, payload });
        self.unsent = true;
        index
    }

    fn not_leader(&self) -> ProposeError {
        let (term, leader) = self.leader();
        ProposeError::NotLeader { term, leader }
    }

    fn leader(&self) -> (Term, Option<NodeId>) {
        match self.role() {
            Role::Follower { term, leader } => (term, leader),
            Role::Leader { term } | Role::Candidate { term } => (term, None),
        }
    }

    /// Whether there is anybody to replicate to.
    pub(super) fn has_others(&self) -> bool {
        !self.alone
    }

    pub(super) fn snapshot_ended(&mut self, to: NodeId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        for id in self.on(to) {
            self.raft.report_snapshot(id, status);
        }
    }

    pub(super) fn unreachable(&mut self, node: NodeId) {
        for id in self.on(node) {
            self.raft.report_unreachable(id);
        }
    }

    /// The replicas of the group on this node.
    fn on(&self, node: NodeId) -> Vec<u64> {
        self.log().roster().on(node).collect()
    }

    /// Puts the rows of this group into the batch of a round.
    pub(super) fn collect(&mut self, batch: &mut Batch) {
        if mem::take(&mut self.unsent) && self.raft.raft.state == StateRole::Leader && !self.alone {
            self.raft.raft.bcast_append();
        }
        if self.can_begin_proof() {
            let number = self.proofs.begin();
            self.raft.read_index(number.to_be_bytes().to_vec());
        }
        self.collected = self.has_rows();
        if !self.collected {
            return;
        }
        let log = self.log();
        if self.hard_changed() {
            log.put_hard(&self.raft.raft.hard_state(), batch);
        }
        log.put_entries(self.raft.raft.raft_log.unstable_entries(), batch);
        if self.group_unwritten {
            log.put_group(batch);
        }
        let listed = log.put_kept(self.raft.raft.raft_log.unstable_entries(), batch);
        if let Some(through) = self.truncate_through {
            log.put_truncation(through, batch);
        }
        self.kept_collected = listed;
    }

    /// The rows of this group are on disk, though not yet durable. What must wait for that is the promise.
    pub(super) fn written(&mut self, effects: &mut Effects) -> Option<Promise> {
        let mut promise = Promise { number: None, term: self.raft.raft.term, messages: Vec::new() };
        if mem::take(&mut self.collected) {
            self.group_unwritten = false;
            if mem::take(&mut self.kept_collected) {
                self.raft.mut_store().kept_written();
            }
            if !self.raft.raft.raft_log.unstable_entries().is_empty() || self.hard_changed() {
                promise.number = Some(self.advance(&mut promise.messages));
            }
            if let Some(through) = self.truncate_through.take() {
                self.raft.mut_store().truncated(through);
            }
        }
        promise.messages.append(&mut self.raft.raft.msgs);
        let leads = self.raft.raft.state == StateRole::Leader && self.synced_term == self.raft.raft.term;
        if leads || (promise.number.is_none() && self.unsynced.is_none()) {
            // A leader need not wait for its own disk (Ongaro's thesis, 10.2.1): its followers sync meanwhile.
            let messages = mem::take(&mut promise.messages);
            self.send(&messages, effects);
        } else if self.synced_term == self.raft.raft.term {
            let messages = take_heartbeat_answers(&mut promise.messages);
            self.send(&messages, effects);
        }
        (promise.number.is_some() || !promise.messages.is_empty()).then_some(promise)
    }

    /// The disk had no room for the rows of this group. raft still has them; a leader goes on to speak.
    pub(super) fn refused(&mut self, effects: &mut Effects) {
        self.collected = false;
        let raft = &mut self.raft.raft;
        if raft.state == StateRole::Leader && self.synced_term == raft.term {
            let messages = mem::take(&mut raft.msgs);
            self.send(&messages, effects);
            return;
        }
        if self.synced_term == raft.term {
            let messages = take_heartbeat_answers(&mut raft.msgs);
            self.send(&messages, effects);
        }
        let raft = &mut self.raft.raft;
        if raft.msgs.len() > UNSENT_LIMIT {
            // Lost, as any message may be: their receivers ask again.
            raft.msgs.clear();
        }
    }

    /// Hands the written entries and hard state over from raft to the log.
    fn advance(&mut self, messages: &mut Vec<Message>) -> u64 {
        let mut ready = self.raft.ready();
        assert!(ready.snapshot().is_empty(), "no message brings a snapshot");
        messages.append(&mut ready.take_messages());
        messages.append(&mut ready.take_persisted_messages());
        // raft hands them out once, and they may be there already.
        let mut reads = ready.take_read_states();
        reads.append(&mut self.raft.raft.read_states);
        self.raft.raft.read_states = reads;
        let hard: HardState = self.raft.raft.hard_state();
        let log = self.raft.mut_store();
        log.entries_written(ready.entries());
        log.set_hard(hard);
        let number = ready.number();
        self.raft.advance_append_async(ready);
        number
    }

    pub(super) fn synced(&mut self, promise: Promise, effects: &mut Effects, options: &Options) {
        if self.failed {
            return;
        }
        if let Some(number) = promise.number {
            self.raft.on_persist_ready(number);
            self.synced_term = self.synced_term.max(promise.term);
        }
        self.send(&promise.messages, effects);
        self.after(options);
        if self.raft.raft.state == StateRole::Leader && self.synced_term == self.raft.raft.term {
            let messages = mem::take(&mut self.raft.raft.msgs);
            self.send(&messages, effects);
        }
    }

    fn send(&mut self, messages: &[Message], effects: &mut Effects) {
        let log = self.raft.store();
        for message in messages {
            // On this node there is no other: what was here before is gone, though the group may not know yet.
            let Some(to) = self.node_of(message.to).filter(|to| *to != log.me().node) else { continue };
            if message.get_msg_type() == MessageType::MsgSnapshot {
                effects.snapshots.push(SnapshotWanted { slot: log.slot(), to });
                continue;
            }
            if let Some(bytes) = transport::encode(message, |index, term| log.payload_for(index, term)) {
                effects.messages.push(Outgoing { slot: log.slot(), to, bytes });
            }
        }
        log.forget_fetched();
    }

    /// What needs no write: commits, reads, roles, followers left behind.
    pub(super) fn report(&mut self, effects: &mut Effects, options: &Options) {
        let slot = self.log().slot();
        if !self.failed
            && let Err(error) = self.deliver(effects, options)
        {
            self.fail(Some(error));
        }
        self.note_failure();
        if let Some(error) = self.failure.take() {
            effects.failures.push(Failure { slot, error });
        }
        self.report_proofs(effects);
        let role = self.role();
        if role != self.reported {
            self.reported = role;
            effects.roles.push(RoleChange { slot, role });
        }
    }

    /// Hands out what is committed and durable here, in the order of the log.
    fn deliver(&mut self, effects: &mut Effects, options: &Options) -> Result<(), Error> {
        let through = self.deliverable();
        let mut bytes = 0;
        while self.delivered < through && bytes < options.committed_bytes_limit {
            let index = self.delivered + 1;
            let alone = self.alone;
            let tail = &mut self.raft.mut_store().tail;
            if alone {
                // A change that was delivered just now may have made it so: what was kept for followers goes.
                tail.evict(0, self.delivered);
            }
            // Nobody else will ask for it: no need to share.
            let held = if alone { tail.take_first(index) } else { tail.get(index).cloned() };
            if let Some(entry) = held {
                bytes += entry.payload.len();
                self.deliver_one(index, entry, effects)?;
                continue;
            }
            let end = self.log().tail.first().min(through + 1);
            let mut read = Vec::new();
            self.log().read(index, end, |_, entry| {
                bytes += entry.payload.len();
                read.push(entry);
                if bytes < options.committed_bytes_limit && read.len() < 1024 {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            for (index, entry) in (index..).zip(read) {
                self.deliver_one(index, entry, effects)?;
            }
        }
        self.trim_tail(options);
        Ok(())
    }

    fn deliver_one(&mut self, index: u64, entry: TailEntry, effects: &mut Effects) -> Result<(), Error> {
        let TailEntry { term, kind, payload } = entry;
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(payload.len());
        self.delivered = index;
        let data = match kind {
            EntryKind::Record => payload,
            EntryKind::Change => {
                self.change_group(index, &payload)?;
                Bytes::new()
            }
        };
        effects.committed.push(Committed {
            slot: self.log().slot(),
            term: Term(term),
            index: Index(index),
            data,
        });
        Ok(())
    }

    fn trim_tail(&mut self, options: &Options) {
        let (delivered, alone) = (self.delivered, self.alone);
        let written = self.log().last();
        let tail = &mut self.raft.mut_store().tail;
        if alone {
            tail.evict(0, delivered);
        } else {
            tail.evict(options.cached_log_bytes, delivered);
            tail.evict(options.cached_log_bytes + options.uncommitted_bytes_limit, written);
        }
    }

    pub(super) fn advance_applied(&mut self, index: u64, options: &Options) {
        assert!(index <= self.delivered, "applied is what was committed");
        if index <= self.raft.raft.raft_log.applied() {
            return;
        }
        self.raft.mut_store().set_applied(index);
        self.raft.advance_apply_to(index);
        self.after(options);
        if self.raft.raft.state != StateRole::Leader {
            self.campaign_alone(options);
        }
        if self.alone {
            self.truncate_through = self.log().truncatable(index).or(self.truncate_through);
        }
    }

    /// Bytes of the log that are kept for followers. Those that go with the next round do not count.
    pub(super) fn kept_bytes(&self) -> u64 {
        if self.alone || self.failed { 0 } else { self.log().bytes_behind(self.truncate_through) }
    }

    /// Gives up the oldest piece of the log. False if there is none that is applied, or, with `spare_copies`, if a follower
    /// that is sent a copy of the state would have to be sent another.
    pub(super) fn cut_oldest(&mut self, spare_copies: bool) -> bool {
        let raft = &self.raft.raft;
        let applied = raft.raft_log.applied();
        let copied = raft.prs().iter().filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let copied = copied.map(|(_, progress)| progress.pending_snapshot).min();
        let through = self.truncate_through;
        let Some(piece) = self.raft.mut_store().next_cut(through, applied) else { return false };
        if spare_copies && copied.is_some_and(|copied| piece.last > copied) {
            return false;
        }
        self.truncate_through = Some(piece.last);
        true
    }
}

/// That a replica follows says nothing of its log: who proves that it leads, or wants to know whom it can reach, does not
/// wait for the disks of followers.
fn take_heartbeat_answers(messages: &mut Vec<Message>) -> Vec<Message> {
    let is_one = |message: &Message| message.get_msg_type() == MessageType::MsgHeartbeatResponse;
    let (answers, others) = mem::take(messages).into_iter().partition(is_one);
    *messages = others;
    answers
}
