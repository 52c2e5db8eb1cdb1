//! What a connection knows of the leaders of slots, which follow each other where there are several nodes. A node that is alone
//! leads whatever happens: its connections have nothing of this.

use super::{Connection, Sent};

#[derive(Debug, Default)]
pub struct Succession {
    /// Monotonic milliseconds since which no leader of its Session's slot goes on with it: nothing is read from the Client,
    /// and nothing is sent to it.
    pub unled_since: Option<u64>,
    /// Monotonic milliseconds at which what is open is sent again: until then nothing is read from the Client.
    pub retry_at: Option<u64>,
    /// Of a Session that does not end with the connection.
    pub sent: Option<Sent>,
}

impl Connection {
    /// What it knows of leaders, to note more.
    pub fn succession_mut(&mut self) -> &mut Succession {
        self.succession.get_or_insert_default()
    }

    pub fn unled_since(&self) -> Option<u64> {
        self.succession.as_ref()?.unled_since
    }

    pub fn retry_at(&self) -> Option<u64> {
        self.succession.as_ref()?.retry_at
    }

    pub fn sent(&self) -> Option<&Sent> {
        self.succession.as_ref()?.sent.as_ref()
    }

    pub fn sent_mut(&mut self) -> Option<&mut Sent> {
        self.succession.as_mut()?.sent.as_mut()
    }

    /// Whether a leader is waited for.
    pub fn waits_for_leader(&self) -> bool {
        self.succession.as_ref().is_some_and(|of| of.unled_since.is_some() || of.retry_at.is_some())
    }
}
