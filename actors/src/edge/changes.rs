//! What changes for those who are connected: rules, bans, users, revoked certificates, and that the node goes. There may be
//! very many of them, so each is judged by itself: when its Client next says something, which is taken under what holds
//! now, and at the latest when a walk over all connections comes by, of which every turn does a piece.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use convoy_ids::SlotId;
use convoy_wire::ReasonCode;

use super::Edge;
use crate::access::{Access, Bans, Permits, Proof};
use crate::clock::Millis;
use crate::connection::{Connection, Stage};
use crate::metric;
use crate::peer::CertificateId;

/// Connections that a turn judges, each with up to [`RULES`] rules; and members of Shared Subscriptions likewise.
const PIECE: usize = 4096;

/// Rules that are as much work as what else is done for a connection.
const RULES: usize = 16;

/// Changes on their way to connections. With one more the oldest of them is carried to everybody at once: nobody makes
/// so many in the second or so that a walk takes.
const LIMIT: usize = 64;

/// A change that connections are judged by, in their order.
#[derive(Clone)]
pub(crate) enum Change {
    /// Other rules hold.
    Rules(Arc<Access>),
    /// These bans are new, at this time.
    Bans(Arc<Bans>, Millis),
    /// These users are gone or have another password.
    Users(Arc<BTreeSet<String>>),
    /// These certificates are revoked at a listener.
    Certificates(String, Arc<BTreeSet<CertificateId>>),
    /// There is room again for Retained Messages that wait to be read.
    Room,
    /// These slots are led elsewhere, or by nobody any more.
    Moved(Arc<BTreeSet<SlotId>>),
    /// These slots are led again, and go on with the connections that there are.
    Led(Arc<BTreeSet<SlotId>>),
    /// This node hears less than a majority: who waits for a leader is better served by another node.
    Alone,
    /// Sessions that end with their connection may have missed a message.
    Missed,
    /// Another shard is not heard any more: what waits for its answer waits in vain.
    Cut,
    /// The node goes; Clients are sent there, if that is known.
    Leaving(Option<Box<str>>),
}

/// What connections are still to be judged by.
pub(crate) struct Changes {
    /// The last of them is number `last`.
    list: VecDeque<Change>,
    last: u32,
    /// Where the walk goes on that is under way, and the last change that it carries to everybody.
    walk: Option<(usize, u32)>,
    pub piece: usize,
}

impl Default for Changes {
    fn default() -> Self {
        Self { list: VecDeque::new(), last: 0, walk: None, piece: PIECE }
    }
}

impl Changes {
    /// The number of the last change: whoever connects now has been judged by it.
    pub fn last(&self) -> u32 {
        self.last
    }

    pub fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// The changes after this one.
    fn since(&self, judged: u32) -> impl Iterator<Item = &Change> {
        self.list.iter().skip(self.list.len().saturating_sub(self.last.wrapping_sub(judged) as usize))
    }

    /// What judging one connection costs, as a share of a piece.
    fn cost(&self) -> usize {
        self.list.iter().map(Change::cost).sum::<usize>().max(1)
    }
}

impl Change {
    fn cost(&self) -> usize {
        match self {
            Self::Rules(access) => cost_of(access.size()),
            Self::Bans(added, _) => cost_of(added.size()),
            _ => 1,
        }
    }
}

/// What so many rules or bans make of judging one Client.
pub(crate) fn cost_of(rules: usize) -> usize {
    1 + rules / RULES
}

impl Edge {
    /// From here on every connection is judged by this too, before its Client says anything more.
    pub(crate) fn change(&mut self, change: Change) {
        while self.changes.list.len() >= LIMIT {
            self.walk(usize::MAX);
        }
        self.changes.list.push_back(change);
        self.changes.last = self.changes.last.wrapping_add(1);
        self.changes.walk.get_or_insert((0, self.changes.last));
    }

    /// Whether every connection has been judged by this change, the last of which is `last`.
    pub(crate) fn have_all(&self, change: u32) -> bool {
        let left = self.changes.last.wrapping_sub(change) as usize;
        self.changes.list.len() <= left
    }

    /// Judges connections, as many as fit this piece of work. A walk that has come round is followed by another one for
    /// what has changed meanwhile.
    pub(crate) fn walk(&mut self, piece: usize) {
        let Some((from, carries)) = self.changes.walk else { return };
        let all = self.connections.capacity();
        let to = all.min(from.saturating_add((piece / self.changes.cost()).max(1)));
        for key in from..to {
            self.judge(key as u32);
        }
        self.changes.walk = Some((to, carries));
        if to >= all {
            let newer = self.changes.last.wrapping_sub(carries) as usize;
            let carried = self.changes.list.len() - newer;
            self.changes.list.drain(..carried);
            self.changes.walk = (newer > 0).then_some((0, self.changes.last));
        }
    }

    /// Judges a connection, while there is something to be judged by, before something comes for it.
    #[inline]
    pub(super) fn judge_if_due(&mut self, key: u32) {
        if self.changes.is_walking() {
            self.judge(key);
        }
    }

    /// Judges a connection by what has changed since it was judged last.
    pub(crate) fn judge(&mut self, key: u32) {
        let last = self.changes.last;
        let Some(connection) = self.connections.get_mut(key as usize).filter(|of| of.judged != last) else {
            return;
        };
        let judged = std::mem::replace(&mut connection.judged, last);
        let changes: Vec<Change> = self.changes.since(judged).cloned().collect();
        for change in &changes {
            self.judge_by(key, change);
        }
    }

    fn judge_by(&mut self, key: u32, change: &Change) {
        let connection = &mut self.connections[key as usize];
        let is_in = matches!(connection.stage, Stage::Connecting | Stage::Open);
        match change {
            Change::Rules(access) if is_in => {
                let who = connection.who();
                let may_stay = access.may_connect(&who);
                connection.permits = Permits::of(access, &who);
                if !may_stay {
                    metric::denied("connect");
                    self.close(key, ReasonCode::NotAuthorized);
                }
            }
            Change::Bans(added, at) if is_in && added.hit(&connection.who(), *at) => {
                metric::denied("ban");
                let is_told = connection.stage == Stage::Connecting;
                let reason = if is_told { ReasonCode::Banned } else { ReasonCode::AdministrativeAction };
                self.close(key, reason);
            }
            Change::Users(users) if connection.is_of_any(users) => {
                metrics::counter!(metric::REVOKED).increment(1);
                self.close(key, ReasonCode::NotAuthorized);
            }
            Change::Certificates(listener, ids) => {
                let goes = !matches!(connection.stage, Stage::Closing | Stage::Gone);
                if goes && connection.peer.has_certificate_of(listener, ids) {
                    self.end_revoked(key);
                }
            }
            Change::Room if connection.readings.is_some() => self.hungry.push(connection.home),
            Change::Moved(_) | Change::Cut if connection.stage == Stage::Connecting => {
                // It may be connected yet, and then its Will is due: nothing is said that would deny it.
                connection.drop_silently();
                self.mark(key);
            }
            Change::Moved(slots) if is_in => self.note_moved(key, slots),
            Change::Alone if connection.unled_since().is_some() => self.fail_over(key, "minority"),
            Change::Led(slots) => {
                if slots.contains(&connection.session.slot()) {
                    self.ask_to_adopt(key);
                }
                self.retry_soon(key);
            }
            Change::Missed if is_in && !connection.lasting && connection.subscribes => {
                self.fail_over(key, "missed");
            }
            Change::Cut if is_in => self.note_cut(key),
            Change::Leaving(elsewhere) => self.send_away(key, elsewhere.as_deref()),
            Change::Rules(_)
            | Change::Bans(..)
            | Change::Users(_)
            | Change::Room
            | Change::Moved(_)
            | Change::Alone
            | Change::Missed
            | Change::Cut => {}
        }
    }

    /// Ends a connection because the Server goes [MQTT-4.13.1-1]; a 5.0 Client hears where to go instead, if that is known.
    fn send_away(&mut self, key: u32, elsewhere: Option<&str>) {
        let connection = &mut self.connections[key as usize];
        if elsewhere.is_some_and(|server| connection.send_elsewhere(server)) {
            return self.mark(key);
        }
        match connection.stage {
            // Nothing is said to who has said nothing [MQTT-3.14.0-1].
            Stage::New => {
                connection.drop_silently();
                self.mark(key);
            }
            _ => self.close(key, ReasonCode::ServerShuttingDown),
        }
    }
}

impl Connection {
    fn is_of_any(&self, users: &BTreeSet<String>) -> bool {
        self.principal.proof == Proof::Password
            && self.principal.user.as_deref().is_some_and(|user| users.contains(user))
    }
}
