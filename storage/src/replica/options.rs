//! What an operator may set about replication. The relations between the fields are checked together.

use std::time::Duration;

/// Settings of a [`Driver`](super::Driver). Limits count the bytes of records as they were proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ticks without a leader before a replica campaigns; up to as many again are added by chance. Raise it where
    /// links are slow or nodes pause; a failover then takes longer.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats. Raise it to send fewer; fewer of them fit an election.
    pub heartbeat_ticks: u32,
    /// Messages with entries on their way to one follower. Raise it for long links; a slow follower then holds up to
    /// this many times `message_bytes_limit` in memory.
    pub inflight_limit: usize,
    /// Bytes of entries in one message to a follower that catches up. A single greater entry still goes.
    pub message_bytes_limit: u64,
    /// The greatest record that may be proposed.
    pub entry_bytes_limit: usize,
    /// Bytes a leader may have proposed and not yet committed, per slot. Beyond it, propose answers Busy.
    pub uncommitted_bytes_limit: usize,
    /// Committed bytes handed out per slot and call; the rest follows in the next.
    pub committed_bytes_limit: usize,
    /// Questions for a proof of leadership that wait for a quorum, per slot. Beyond it, they are answered Busy. One for
    /// each turn and slot is enough, whatever hangs on it.
    pub proofs_limit: usize,
    /// How long a sync may take before this node stops to lead what others can lead: its messages leave, so that they
    /// would follow it for ever. Raise it where disks pause and recover; publishers wait that long when one does not.
    pub disk_patience: Duration,
    /// Bytes of applied entries kept in memory per slot, so that followers close behind cost no read.
    pub cached_log_bytes: usize,
    /// Bytes of applied entries kept on disk for followers, of all slots of a driver together: a node of several drivers
    /// gives each its part. Beyond it the slot that keeps most is cut first, and a follower that is behind the cut needs
    /// a snapshot. Raise it to bridge longer absences; it costs disk.
    pub kept_log_bytes: u64,
    /// The log is truncated in pieces of at least this size: smaller ones cost more deletes.
    pub segment_bytes: u64,
    /// As `segment_bytes`, counted in entries.
    pub segment_entries: u64,
    /// Where chance begins: election timeouts follow from it, the node and the slot.
    pub seed: u64,
    /// For a simulation alone, to see that its judges notice: the row of a group is not written with the state that was applied
    /// under it, but with the next entries.
    pub lone_groups: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            election_ticks: 10,
            heartbeat_ticks: 2,
            inflight_limit: 64,
            message_bytes_limit: 256 << 10,
            entry_bytes_limit: Self::ENTRY_BYTES,
            uncommitted_bytes_limit: 8 << 20,
            committed_bytes_limit: 8 << 20,
            proofs_limit: 1024,
            disk_patience: Duration::from_secs(1),
            cached_log_bytes: 256 << 10,
            kept_log_bytes: 256 << 20,
            segment_bytes: 4 << 20,
            segment_entries: 4 << 10,
            seed: 0,
            lone_groups: false,
        }
    }
}

/// The settings contradict each other; nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("heartbeat_ticks must be at least 1")]
    NoHeartbeat,
    #[error("election_ticks must be greater than heartbeat_ticks")]
    ElectionWithinHeartbeat,
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl Options {
    /// The greatest record, unless it is set otherwise.
    pub const ENTRY_BYTES: usize = 64 << 20;

    /// Whether a driver can be built from these settings.
    pub fn check(&self) -> Result<(), OptionsError> {
        if self.heartbeat_ticks == 0 {
            return Err(OptionsError::NoHeartbeat);
        }
        if self.election_ticks <= self.heartbeat_ticks {
            return Err(OptionsError::ElectionWithinHeartbeat);
        }
        let counts = [
            ("inflight_limit", self.inflight_limit as u64),
            ("message_bytes_limit", self.message_bytes_limit),
            ("entry_bytes_limit", self.entry_bytes_limit as u64),
            ("uncommitted_bytes_limit", self.uncommitted_bytes_limit as u64),
            ("committed_bytes_limit", self.committed_bytes_limit as u64),
            ("proofs_limit", self.proofs_limit as u64),
            ("disk_patience", self.disk_patience.as_micros() as u64),
            ("segment_bytes", self.segment_bytes),
            ("segment_entries", self.segment_entries),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(OptionsError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(Options::default().check(), Ok(()));
    }

    #[test]
    fn contradictions_are_named() {
        let refused = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert_eq!(refused(|o| o.heartbeat_ticks = 0), "heartbeat_ticks must be at least 1");
        assert_eq!(refused(|o| o.election_ticks = 2), "election_ticks must be greater than heartbeat_ticks");
        assert_eq!(refused(|o| o.proofs_limit = 0), "proofs_limit must be at least 1");
    }
}
