//! What time alone does to connections. Every connection is visited about once a second, a piece of a large table in each
//! turn; what will be due before it is visited again is remembered, and done by the tick at which it is due, or in the
//! turns behind that where it is due for very many.

use std::collections::BTreeMap;

use convoy_wire::ReasonCode;

use super::Edge;
use super::listening::Listening;
use crate::clock::Now;
use crate::connection::{Connection, Stage};
use crate::metric;
use crate::options::Limits;
use crate::session::Home;

/// Milliseconds that a Client which said DISCONNECT waits for its record at most.
pub(crate) const LEAVING: u64 = 5_000;

/// Milliseconds that a Client has to take what is said to it at the end, from when that is first noticed.
const CLOSING: u64 = 2_000;

/// Milliseconds that a Client which sends nothing more may wait for its CONNACK: it has gone, or reads on.
const HALF_CLOSED: u64 = 1_000;

/// Milliseconds that a Client waits for another leader of its Session's slot: some elections.
const UNLED: u64 = 5_000;

/// Milliseconds until a connection has been visited again, at the latest.
const NEXT_VISIT: u64 = 2_000;

/// Connections that are visited in one turn.
pub(super) const VISITS: usize = 4096;

/// Milliseconds for which a connection is not read from before its end is looked for.
const LONG_DEAF: u64 = 500;

/// What time does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// No CONNECT has come.
    Connect,
    /// CONNECT was not answered.
    Answer,
    /// The Client is silent.
    KeepAlive,
    /// It waits for an acknowledgement that was refused, which cannot be said to it.
    Refused,
    /// What it sent is not acknowledged.
    Acknowledge,
    /// Nobody goes on with its Session.
    Unled,
    /// It takes nothing of what is written to it.
    Unread,
    /// Its DISCONNECT is not on record.
    Leave,
    /// It does not take what is said to it at the end.
    Close,
}

/// Connections to whom something is due, by the monotonic millisecond at which it is.
#[derive(Debug, Default)]
pub(super) struct Dues(BTreeMap<u64, Vec<Home>>);

impl Dues {
    pub fn push(&mut self, at: u64, home: Home) {
        self.0.entry(at).or_default().push(home);
    }

    fn is_due(&self, now: u64) -> bool {
        self.0.first_key_value().is_some_and(|(at, _)| *at <= now)
    }

    /// Takes out one for whom it is due, unless nothing is `left` of a piece of work.
    fn next(&mut self, now: u64, left: &mut usize) -> Option<Home> {
        let mut first = self.0.first_entry().filter(|first| *first.key() <= now && *left > 0)?;
        *left -= 1;
        let home = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        home
    }
}

/// What is done with the bytes of a Client now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// They are read.
    Reads,
    /// The same, and when none are left that is to be told: [`crate::Shard::read_out`].
    ReadsOut,
    /// They stay in its socket.
    Waits,
    /// The same, and it is to be noticed if nothing is there but the end of them.
    Watches,
    /// The Network Connection is to be closed once its output is written.
    Closes,
    /// It is to be closed whatever is still to be written.
    Gone,
}

impl Connection {
    /// What time does to it next, and at which monotonic millisecond.
    fn due(&self, limits: &Limits, listening: &Listening, now: u64) -> Option<(u64, Due)> {
        let doomed = |due| self.doomed_at.map(|at| (at, due));
        let after = |since: Option<u64>, limit: u64, due| since.map(|since| (since + limit + 1, due));
        match self.stage {
            Stage::New => doomed(Due::Connect),
            Stage::Authenticating | Stage::Connecting => doomed(Due::Answer),
            Stage::Open => {
                let may_be_silent = listening.is_deaf() || self.unled_since().is_some();
                let silent = self.keep_alive.due().filter(|_| !may_be_silent);
                let dues = [
                    silent.map(|due| (now + due.saturating_sub(listening.at(now)), Due::KeepAlive)),
                    doomed(Due::Refused),
                    after(self.waiting_since(), limits.acknowledge_timeout, Due::Acknowledge),
                    after(self.unled_since(), UNLED, Due::Unled),
                    after(self.unread_since, limits.unread_timeout, Due::Unread),
                ];
                dues.into_iter().flatten().min_by_key(|(at, _)| *at)
            }
            Stage::Leaving => doomed(Due::Leave),
            Stage::Closing => doomed(Due::Close),
            Stage::Gone => None,
        }
    }
}

impl Edge {
    /// Nothing more is read from a Client until then.
    pub fn pause(&mut self, key: u32, until: u64) {
        let connection = &mut self.connections[key as usize];
        connection.paused_until = until;
        let home = connection.home;
        self.paused.push(until, home);
    }

    /// What is open is sent again then, or sooner where a leader begins.
    pub(crate) fn retry_later(&mut self, key: u32, at: u64) {
        let connection = &mut self.connections[key as usize];
        connection.succession_mut().retry_at = Some(at);
        let home = connection.home;
        self.retries.push(at, home);
    }

    /// Tries again for those whose time has come.
    fn take_retries(&mut self, pieces: &mut usize) {
        while let Some(home) = self.retries.next(self.now, pieces) {
            let now = self.now;
            if self.find(&home).is_some_and(|connection| connection.retry_at().is_some_and(|at| at <= now)) {
                self.retrying.push_back(home);
            }
        }
    }

    /// Reads on from those who have waited long enough.
    fn unpause(&mut self, pieces: &mut usize) {
        while let Some(home) = self.paused.next(self.now, pieces) {
            let now = self.now;
            let Some(connection) = self.find(&home) else { continue };
            // It may have been told to wait longer meanwhile.
            if connection.paused_until <= now {
                connection.paused_until = 0;
                self.mark(home.key);
            }
        }
    }

    /// Whether a Client is read from now. Who asks sees to the connection: who marks it from here on is heard, also while
    /// something is being written to it.
    pub fn heed(&mut self, now: impl FnOnce() -> Now, key: u32) -> Heed {
        let Some(connection) = self.connections.get_mut(key as usize) else { return Heed::Gone };
        connection.is_dirty = false;
        let reads = connection.is_reading(&self.limits);
        let heed = if connection.inbound.reads_out() { Heed::ReadsOut } else { Heed::Reads };
        if reads && !connection.keep_alive.is_deaf() {
            // Nothing has changed, as mostly: the clock is not asked.
            return heed;
        }
        let at = self.listening.at(now().monotonic);
        connection.keep_alive.reads(reads, at);
        let is_long_deaf = connection.keep_alive.deaf_for(at).is_some_and(|millis| millis >= LONG_DEAF);
        match connection.stage {
            _ if reads => heed,
            Stage::Authenticating | Stage::Connecting => Heed::Watches,
            Stage::Open if is_long_deaf => Heed::Watches,
            Stage::Closing => Heed::Closes,
            Stage::Gone => Heed::Gone,
            _ => Heed::Waits,
        }
    }

    /// The Client has ended its side of a Network Connection whose bytes are not read. Whether that is its end: who waits
    /// for CONNACK may have closed one direction only, and is given a little time.
    pub fn ends(&mut self, now: Now, key: u32) -> bool {
        let Some(connection) = self.connections.get_mut(key as usize) else { return true };
        let is_asking = matches!(connection.stage, Stage::Authenticating | Stage::Connecting);
        if is_asking {
            let soon = now.monotonic + HALF_CLOSED;
            connection.doomed_at = Some(connection.doomed_at.map_or(soon, |at| at.min(soon)));
        }
        !is_asking
    }

    /// Begins to visit all connections, unless that is under way: to be called about once a second.
    pub fn visit_all(&mut self, now: Now) {
        self.visit_from.get_or_insert(0);
        self.visit(now);
    }

    /// Whether connections are left to be visited now.
    pub(super) fn is_visiting(&self) -> bool {
        let is_due = |dues: &Dues| dues.is_due(self.now);
        self.visit_from.is_some() || is_due(&self.soon) || is_due(&self.paused) || is_due(&self.retries)
    }

    /// Does a piece of what is due now, and visits on; the rest is for the next turns, between which others have theirs.
    pub fn visit(&mut self, now: Now) {
        self.now = now.monotonic;
        let mut left = self.visits;
        self.unpause(&mut left);
        self.take_retries(&mut left);
        while let Some(home) = self.soon.next(self.now, &mut left) {
            if self.find(&home).is_some() {
                self.look(home.key);
            }
        }
        let Some(from) = self.visit_from else { return };
        let all = self.connections.capacity();
        let to = all.min(from + left);
        for key in from..to {
            self.look(key as u32);
            self.count_credit(key as u32);
            self.note_late(key as u32);
            self.count_stock(key as u32);
        }
        self.visit_from = (to < all).then_some(to);
        if self.visit_from.is_none() {
            self.tell_credits();
            self.close_late();
            self.tell_stock();
        }
    }

    /// Looks at one connection: what is due is done, what soon will be is remembered.
    fn look(&mut self, key: u32) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        if connection.stage == Stage::Closing {
            connection.doomed_at.get_or_insert(now + CLOSING);
        }
        match connection.due(&self.limits, &self.listening, now) {
            Some((at, due)) if at <= now => self.end(key, due),
            Some((at, _)) if at < now + NEXT_VISIT => {
                let home = connection.home;
                self.soon.push(at, home);
            }
            _ => {}
        }
        let at = self.listening.at(now);
        let deaf_for = self.connections[key as usize].keep_alive.deaf_for(at);
        if deaf_for.is_some_and(|millis| millis >= LONG_DEAF) {
            // Its task sees whether the Client is still there.
            self.mark(key);
        }
    }

    fn end(&mut self, key: u32, due: Due) {
        let connection = &mut self.connections[key as usize];
        match due {
            Due::Connect | Due::Leave => connection.drop_silently(),
            Due::Answer => {
                metric::met("connect_timeout");
                return self.close(key, ReasonCode::ServerBusy);
            }
            Due::KeepAlive => connection.close(ReasonCode::KeepAliveTimeout),
            Due::Refused => connection.close(ReasonCode::QuotaExceeded),
            Due::Acknowledge => {
                metric::met("acknowledge_timeout");
                connection.close(ReasonCode::ServerBusy);
            }
            Due::Unled => {
                metric::failed_over("unled");
                connection.close(ReasonCode::ServerBusy);
            }
            Due::Unread => {
                // There is no way to tell it.
                metric::met("unread_timeout");
                connection.stage = Stage::Gone;
            }
            Due::Close => connection.stage = Stage::Gone,
        }
        self.mark(key);
    }
}
