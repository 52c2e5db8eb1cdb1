//! Clients that are late: what was written to them stays in their sockets. Each may make the node hold what
//! `limits.output_bytes` says, and there are many of them. While all together hold more than [`crate::unread::Unread`] has
//! room for, nothing more is held for a late one that may be left out: QoS 0 is dropped, and of a queue in memory the oldest
//! goes for what comes. Who takes nothing at all then is closed, the largest first; what waits for its Session on disk stays
//! there and is read when the Client comes back. Who reads is not concerned.

use super::Edge;
use crate::connection::{Connection, Held, Stage};
use crate::metric;
use crate::session::{Home, QueueLimits};
use crate::unread::Unread;

/// Milliseconds for which a Client takes nothing, before it is one that may be closed.
const STILL: u64 = 1_000;

/// Bytes in the output of a Client that has not taken what was there before them.
const LAG_BYTES: usize = 64 << 10;

/// Bytes that a shard copies before it tells the others, within one turn too: it may fan out very much.
const STEP_BYTES: usize = 1 << 20;

/// Bytes that the queue of a late Client may hold in any case.
const LEAST: u64 = 64 << 10;

/// So many are looked for in one visit to all connections.
const MOST_STILL: usize = 4096;

/// Milliseconds between two lines of the log.
const SAID_EVERY: u64 = 10_000;

/// What outputs of a shard hold that nobody shares.
#[derive(Debug)]
pub struct Outputs {
    unread: Unread,
    bytes: usize,
    /// What the others know of.
    told: usize,
    /// At more `bytes` than these it is time to tell them again: more waits than may, or a step is made.
    until: usize,
    /// More waits than may, on all shards.
    is_over: bool,
    /// So much more that nobody's burst is held: see [`Outputs::is_late`].
    is_far_over: bool,
    /// Of this visit to all connections: those that take nothing, with the bytes that wait for them.
    still: Vec<(usize, Home)>,
    said_at: Option<u64>,
}

impl Outputs {
    pub fn new(unread: Unread) -> Self {
        let until = unread.limit().min(STEP_BYTES);
        Self {
            unread,
            bytes: 0,
            told: 0,
            until,
            is_over: false,
            is_far_over: false,
            still: Vec::new(),
            said_at: None,
        }
    }

    /// So much was copied into the output of a connection.
    #[inline]
    pub fn enter(&mut self, connection: &mut Connection, bytes: usize) {
        connection.unread.output += bytes as u32;
        self.bytes += bytes;
        if self.bytes > self.until {
            self.tell();
        }
    }

    /// The output of a connection is given out to be written: what was given out before is.
    pub fn give_out(&mut self, connection: &mut Connection) {
        let answers = connection.output.answer_bytes();
        let unread = &mut connection.unread;
        self.bytes = self.bytes + answers - unread.given as usize;
        *unread = Held {
            output: 0,
            given: unread.output + answers as u32,
            given_whole: connection.output.len() as u32,
        };
    }

    /// A connection is gone.
    pub fn forget(&mut self, connection: &Connection) {
        let Held { output, given, .. } = connection.unread;
        self.bytes -= output as usize + given as usize;
    }

    /// Whether nothing more is to be held for this Client. Where far more waits than may, that is so too for one that has
    /// not been given a chance yet to take what one turn has for it.
    #[inline]
    pub fn is_late(&self, connection: &Connection) -> bool {
        let lags = || {
            let had_a_chance = connection.unread.given_whole > 0 || self.is_far_over;
            had_a_chance && connection.output.len() > LAG_BYTES
        };
        self.is_over && (connection.unread_since.is_some() || lags())
    }

    /// Tells the other shards, and hears how it stands. Once a turn, and after each step within it.
    #[inline(never)]
    pub fn tell(&mut self) {
        if self.bytes != self.told {
            self.unread.change(self.told, self.bytes);
            self.told = self.bytes;
        }
        let (used, limit) = (self.unread.used(), self.unread.limit());
        let left = limit.saturating_sub(used);
        self.until = self.told + if left > 0 { left.min(STEP_BYTES) } else { STEP_BYTES };
        self.is_over = used > limit;
        self.is_far_over = used > limit.saturating_add(limit / 4);
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.unread.change(self.told, 0);
    }
}

/// What the queue of a late Client may hold that has so much.
pub fn queue_of_late(limits: &QueueLimits, waiting: u64) -> QueueLimits {
    QueueLimits { bytes: limits.bytes.min(waiting.max(LEAST)), ..*limits }
}

impl Edge {
    /// Notes a connection that is visited, if more waits than may and its Client takes nothing.
    pub(super) fn note_late(&mut self, key: u32) {
        if !self.outputs.is_over || self.outputs.still.len() >= MOST_STILL {
            return;
        }
        let before = self.now.saturating_sub(STILL);
        let Some(connection) = self.connections.get(key as usize) else { return };
        if connection.stage == Stage::Open && connection.unread_since.is_some_and(|since| since <= before) {
            self.outputs.still.push((connection.unread_bytes(), connection.home));
        }
    }

    /// All connections were visited: closes those that take nothing, until a part of the room is free.
    pub(super) fn close_late(&mut self) {
        self.outputs.tell();
        let (unread, mut still) = (&self.outputs.unread, std::mem::take(&mut self.outputs.still));
        metrics::gauge!(metric::UNREAD_BYTES).set(unread.used() as f64);
        if !self.outputs.is_over {
            return;
        }
        let limit = unread.limit();
        // Each shard does its part, and looks again soon. Others may have freed some meanwhile.
        let excess = unread.used().saturating_sub(limit - limit / 8);
        let mut excess = excess.div_ceil(usize::from(self.shards));
        still.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut closed = 0;
        for (bytes, home) in still {
            if excess == 0 || bytes == 0 {
                break;
            }
            let Some(connection) = self.find(&home) else { continue };
            // There is no way to tell it.
            connection.stage = Stage::Gone;
            self.mark(home.key);
            metric::met("unread_bytes");
            excess = excess.saturating_sub(bytes);
            closed += 1;
        }
        if closed > 0 && self.outputs.said_at.is_none_or(|at| at + SAID_EVERY <= self.now) {
            self.outputs.said_at = Some(self.now);
            tracing::warn!(
                closed,
                limit,
                "more waits than limits.unread_bytes: clients that read nothing are closed"
            );
        }
    }
}

impl Connection {
    /// Bytes that wait until its Client reads, as if nobody else held them.
    fn unread_bytes(&self) -> usize {
        let queued = self.outbound.as_ref().map_or(0, |outbound| outbound.waiting_bytes() as usize);
        self.output.len() + self.unread.given_whole as usize + queued
    }
}
