//! A CONNECT may come late. While it was on its way from another shard its connection was closed there, its Client went on to a
//! third shard and was welcomed. Taken after that, it would take the Session from a connection that is newer, and end it where
//! it asks for a clean start; and the Will that comes with it would be published behind what its Client has said since.
//!
//! Letters of one shard come in their order, and a connection that is closed before it has its Session says so
//! ([`SessionCall::Abandon`]). So a CONNECT waits for a word of the shard that it comes from, if the Client has just been
//! somewhere else: whatever was said there before that word has come then too. If another CONNECT of this Client comes
//! meanwhile, it waits for one more word, for it is not known to be newer than that one. Who is still there when both have asked
//! is connected twice at once, and either of them may be the last.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use convoy_ids::SlotId;
use rustc_hash::FxHashMap;

use super::Shard;
use super::mail::{Letter, Where};
use super::receipts::Address;
use crate::call::{Answer, ReplyTo, SessionCall, token};
use crate::clock::Now;
use crate::options::Without;
use crate::session::Home;
use crate::slot::{Effects, client_of};

/// Milliseconds for which it is known where a Client was. Nothing is on its way for longer: a channel that carries nothing breaks
/// after two seconds.
const LASTS: u64 = 10_000;

/// Clients of which it is known. Of more, who come within that time, the first are forgotten.
const CLIENTS: usize = 1 << 16;

/// CONNECTs that came, as far as the next ones may be late for them.
#[derive(Debug, Default)]
pub(super) struct LateConnects {
    /// By Client, the shard that its last CONNECT came from which was taken up, and until when that is known. Two Clients may
    /// look like one: then one of them waits for a word that it does not need.
    last: FxHashMap<u64, (Address, u64)>,
    /// The same in their order.
    until: VecDeque<(u64, u64)>,
    /// Those that wait, each by its Client and a number that is not given again: very many may come at once, where a node is lost.
    waiting: BTreeMap<(u64, u64), Waiting>,
    /// Their Clients, by the number.
    clients: FxHashMap<u64, u64>,
    numbers: u64,
}

#[derive(Debug)]
struct Waiting {
    slot: SlotId,
    home: Home,
    call: SessionCall,
    /// Another CONNECT of its Client has come since the word was asked for.
    is_overtaken: bool,
}

fn address(home: &Home) -> Address {
    (home.node, home.shard)
}

impl LateConnects {
    /// Whether a CONNECT that comes from there may be older than one that was taken up.
    fn may_be_late(&self, client: u64, home: &Home, now: u64) -> bool {
        let is_elsewhere = |(last, until): &(Address, u64)| *last != address(home) && now < *until;
        self.last.get(&client).is_some_and(is_elsewhere)
            // It came behind one of which that is not known yet.
            || self.waiting.range(of(client)).next().is_some()
    }

    /// It comes, and those that wait may be older.
    fn overtake(&mut self, client: u64, home: &Home) {
        for (_, waiting) in self.waiting.range_mut(of(client)) {
            waiting.is_overtaken |= address(&waiting.home) != address(home);
        }
    }

    /// It is taken up.
    fn note(&mut self, client: u64, home: &Home, now: u64) {
        let until = now + LASTS;
        self.last.insert(client, (address(home), until));
        self.until.push_back((until, client));
        while let Some(&(until, client)) = self.until.front()
            && (until <= now || self.until.len() > CLIENTS)
        {
            self.until.pop_front();
            // Unless it came again since.
            if self.last.get(&client).is_some_and(|(_, last)| *last == until) {
                self.last.remove(&client);
            }
        }
    }

    fn wait(&mut self, client: u64, waiting: Waiting) -> u64 {
        self.numbers += 1;
        self.waiting.insert((client, self.numbers), waiting);
        self.clients.insert(self.numbers, client);
        self.numbers
    }

    fn end(&mut self, client: u64, id: u64) -> Option<Waiting> {
        self.clients.remove(&id);
        self.waiting.remove(&(client, id))
    }

    /// The connection of this Client is gone.
    pub fn abandon(&mut self, client: u64, home: &Home) {
        let mut those = self.waiting.range(of(client)).filter(|(_, waiting)| waiting.home == *home);
        if let Some((&(_, id), _)) = those.next() {
            self.end(client, id);
        }
    }

    /// A shard is not heard any more: what came from there waits in vain, and so does its Client.
    pub fn forget(&mut self, from: Address) {
        self.take(|waiting| address(&waiting.home) == from);
    }

    fn take(&mut self, is_one: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let those = self.waiting.iter().filter(|(_, waiting)| is_one(waiting)).map(|(key, _)| *key);
        let those: Vec<_> = those.collect();
        those.into_iter().filter_map(|(client, id)| self.end(client, id)).collect()
    }
}

/// The keys of all that wait of a Client.
fn of(client: u64) -> RangeInclusive<(u64, u64)> {
    (client, 0)..=(client, u64::MAX)
}

impl Shard {
    /// The CONNECT, if it is taken up now.
    pub(super) fn connects_now(&mut self, now: Now, slot: SlotId, call: SessionCall) -> Option<SessionCall> {
        let SessionCall::Connect { name, reply, .. } = &call else { return Some(call) };
        let (client, home) = (client_of(name), reply.home);
        let known = &mut self.late_connects;
        known.overtake(client, &home);
        let Where::There(_) = self.outlet.post.where_home(&home) else {
            // One of this shard is not on its way.
            known.note(client, &home, now.monotonic);
            return Some(call);
        };
        if !known.may_be_late(client, &home, now.monotonic) || self.options.without == Without::Late {
            known.note(client, &home, now.monotonic);
            return Some(call);
        }
        let id = known.wait(client, Waiting { slot, home, call, is_overtaken: false });
        self.ask_what_was_said(id, &home);
        None
    }

    fn ask_what_was_said(&mut self, id: u64, home: &Home) {
        if let Where::There(dest) = self.outlet.post.where_home(home) {
            let reply = ReplyTo { home: self.outlet.edge.operators_home(), token: token::LATE | id };
            self.outlet.post.send(dest, Letter::Hear { reply, passes_on: false });
        }
    }

    /// All has come that the shard which a CONNECT comes from had said when it was asked.
    pub(super) fn hear_what_was_said(&mut self, now: Now, id: u64) {
        let known = &mut self.late_connects;
        let Some(&client) = known.clients.get(&id) else { return };
        let Some(waiting) = known.waiting.get_mut(&(client, id)) else { return };
        if std::mem::take(&mut waiting.is_overtaken) {
            let home = waiting.home;
            return self.ask_what_was_said(id, &home);
        }
        let Some(Waiting { slot, home, call, .. }) = known.end(client, id) else { return };
        known.overtake(client, &home);
        known.note(client, &home, now.monotonic);
        self.take_call(now, slot, call);
    }

    /// A slot is led here no longer.
    pub(super) fn give_up_late_connects(&mut self, slot: SlotId) {
        let given_up = self.late_connects.take(|waiting| waiting.slot == slot);
        for reply in given_up.into_iter().filter_map(|waiting| waiting.call.reply()) {
            self.outlet.answer(reply, Answer::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(node: u64, serial: u64) -> Home {
        Home { node, shard: 0, key: 0, serial }
    }

    fn waits(home: Home) -> Waiting {
        let call = SessionCall::Abandon { name: Vec::new(), home };
        Waiting { slot: SlotId(1), home, call, is_overtaken: false }
    }

    #[test]
    fn a_connect_may_be_late_for_one_from_elsewhere_that_has_just_come() {
        let mut known = LateConnects::default();
        assert!(!known.may_be_late(7, &home(1, 1), 0));
        known.note(7, &home(1, 1), 0);
        let late = |known: &LateConnects, node, now| known.may_be_late(7, &home(node, 2), now);
        assert!(!late(&known, 1, 1) && late(&known, 2, 1) && !late(&known, 2, LASTS));
        // It came again, and that counts.
        known.note(7, &home(1, 2), 100);
        known.note(8, &home(1, 3), LASTS);
        assert!(late(&known, 2, LASTS) && !late(&known, 2, LASTS + 100));
        // Behind one that waits it is not known either.
        known.note(7, &home(2, 4), LASTS);
        known.wait(7, waits(home(2, 3)));
        assert!(late(&known, 2, LASTS + 1));
        known.abandon(7, &home(2, 3));
        assert!(!late(&known, 2, LASTS + 1));
    }

    #[test]
    fn who_waits_is_overtaken_by_those_who_come_from_elsewhere() {
        let mut known = LateConnects::default();
        let id = known.wait(7, waits(home(1, 1)));
        known.overtake(7, &home(1, 2));
        known.overtake(8, &home(2, 2));
        assert!(!known.waiting[&(7, id)].is_overtaken);
        known.overtake(7, &home(2, 2));
        assert!(known.waiting[&(7, id)].is_overtaken);
        known.forget((1, 0));
        assert!(known.waiting.is_empty() && known.clients.is_empty());
    }

    #[test]
    fn so_many_clients_are_known() {
        let mut known = LateConnects::default();
        for client in 0..2 * CLIENTS as u64 {
            known.note(client, &home(1, client), 0);
        }
        assert_eq!((known.last.len(), known.until.len()), (CLIENTS, CLIENTS));
        assert!(!known.may_be_late(0, &home(2, 0), 1) && known.may_be_late(CLIENTS as u64, &home(2, 0), 1));
    }
}
