//! What one Session counts as.

use crate::budget::{Usage, User};
use crate::session::{Queue, SessionRow, Will};

/// What a Session was counted as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub user: User,
    /// In its queue.
    pub queued: u64,
    will: u64,
    pub lasts: bool,
}

impl Counted {
    pub fn of(row: &SessionRow, queue: Option<&Queue>) -> Self {
        Self::weigh(User::of(&row.owner), row, queue)
    }

    pub fn weigh(user: User, row: &SessionRow, queue: Option<&Queue>) -> Self {
        // Queues come with Sessions that last, and stay with those that did.
        let (queued, will) = (queue.map_or(0, Queue::bytes), bytes_of(row.will.as_ref()));
        Self { user, queued, will, lasts: row.has_queue }
    }

    pub fn usage(&self) -> Usage {
        let Self { user: _, queued, will, lasts } = *self;
        usage(lasts, queued, will)
    }
}

/// What a CONNECT asks for, if it finds no Session.
pub fn wanted_by(expiry_seconds: u32, will: Option<&Will>) -> Usage {
    usage(expiry_seconds > 0, 0, bytes_of(will))
}

fn bytes_of(will: Option<&Will>) -> u64 {
    will.map_or(0, |will| will.message.len() as u64)
}

fn usage(lasts: bool, queued: u64, will: u64) -> Usage {
    let (sessions, stored_bytes) = (u64::from(lasts), queued + will);
    Usage { sessions, stored_bytes, will_bytes: will, ..Usage::default() }
}
