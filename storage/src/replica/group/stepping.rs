//! What a replica takes of what another one says.

use convoy_ids::{Index, NodeId};
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use super::Group;
use crate::replica::members::Roster;
use crate::replica::tail::TailEntry;
use crate::replica::transport::{self, Received};
use crate::replica::{Options, StepError};

/// Strangers whose nodes are known at once.
const STRANGERS: usize = 8;

/// Who has spoken without being of the group, and from where: a replica that is behind does not know who has come since, and
/// must follow and elect them all the same (Ongaro's thesis, 4.1). So it knows where answers go.
#[derive(Debug, Default)]
pub(super) struct Strangers(Vec<(u64, NodeId)>);

impl Strangers {
    fn hear(&mut self, id: u64, from: NodeId, roster: &Roster) {
        if roster.node_of(id).is_some() || self.0.last() == Some(&(id, from)) {
            return;
        }
        self.0.retain(|(known, _)| *known != id);
        if self.0.len() == STRANGERS {
            self.0.remove(0);
        }
        self.0.push((id, from));
    }

    fn node_of(&self, id: u64) -> Option<NodeId> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, node)| *node)
    }
}

impl Group {
    /// Where the replica is, if that is known.
    pub(super) fn node_of(&self, id: u64) -> Option<NodeId> {
        self.log().roster().node_of(id).or_else(|| self.strangers.node_of(id))
    }

    pub(in crate::replica) fn step(
        &mut self,
        from: NodeId,
        bytes: &[u8],
        stalled: bool,
        options: &Options,
    ) -> Result<(), StepError> {
        let Received { mut message, entries } =
            transport::decode(bytes, from, self.me(), self.log().roster())?;
        if self.failed {
            return Err(StepError::NotOpen(self.log().slot()));
        }
        if stalled && !entries.is_empty() {
            return Err(StepError::Stalled);
        }
        if !self.admit(&mut message)? {
            return Ok(());
        }
        self.strangers.hear(message.from, from, self.raft.store().roster());
        let first = message.index + 1;
        // What raft refuses (an unknown sender, a message it does not expect) leaves it as it was.
        let _ = self.raft.step(message);
        self.adopt(first, entries);
        self.after(options);
        Ok(())
    }

    /// Whether raft may see the message: what would make it panic, or count what is not there, is refused.
    fn admit(&self, message: &mut Message) -> Result<bool, StepError> {
        let raft = &self.raft.raft;
        if message.term < raft.term {
            return Ok(true);
        }
        let last = raft.raft_log.last_index();
        match message.get_msg_type() {
            MessageType::MsgTimeoutNow if self.gives_up() => Ok(false),
            MessageType::MsgTimeoutNow
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse => Ok(self.may_be_elected()),
            // A leader names only what this replica acknowledged: it was there.
            MessageType::MsgHeartbeat if message.commit > last => {
                Err(StepError::LogLost { committed: Index(message.commit), last: Index(last) })
            }
            MessageType::MsgAppendResponse
                if raft.state == StateRole::Leader && message.term == raft.term =>
            {
                if message.index > last {
                    return Err(StepError::Malformed("acknowledges what was not sent"));
                }
                let matched = raft.prs().get(message.from).map_or(0, |progress| progress.matched);
                if message.reject && message.index <= matched {
                    // Late: the follower has acknowledged that entry since.
                    return Ok(false);
                }
                if message.reject && message.reject_hint < matched {
                    // raft 0.7.0 would go back behind what is known to match (raft-rs pull 557).
                    message.reject_hint = matched;
                    message.log_term = 0;
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// Takes the payloads of those entries that are now raft's.
    fn adopt(&mut self, first: u64, entries: Vec<TailEntry>) {
        for (index, entry) in (first..).zip(entries) {
            let log = &self.raft.raft.raft_log;
            if index > log.last_index() || !log.match_term(index, entry.term) {
                return;
            }
            let store = self.raft.mut_store();
            let held = match store.tail.get(index) {
                Some(held) => held.term == entry.term,
                None => index < store.tail.first() && store.term_at(index) == Some(entry.term),
            };
            if !held && index > store.base().0 {
                store.tail.cut(index);
                store.tail.push(entry);
            }
        }
    }
}
