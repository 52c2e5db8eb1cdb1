//! What connections have under way is counted where it leaves them and given back when it is taken: see
//! [`crate::connection::Credit`].

use convoy_wire::ReasonCode;

use super::Shard;
use super::mail::{Letter, Post};
use crate::call::{Answer, ReplyTo, token};
use crate::slot::Effects;

/// Bytes that may wait for the log of a whole shard, with the rows that they will be, beyond which each publisher has one
/// message at a time under way to it.
const SHORT_BYTES: usize = 16 << 20;

impl Shard {
    /// A packet of a Client has caused mail.
    pub(super) fn charge_mail(&mut self, key: u32, bytes: u64) {
        let shards = self.outlet.post.take_sent_to();
        let limit = self.options.limits.underway_bytes;
        let Some(connection) = self.outlet.edge.connections.get_mut(key as usize) else { return };
        let Some(asked) = connection.credit.mail(bytes as usize, shards, limit) else { return };
        let reply = ReplyTo { home: connection.home, token: token::OPENED };
        let asked: Vec<_> =
            self.outlet.post.others().filter(|dest| asked & Post::bit_of(*dest) != 0).collect();
        connection.credit.ask(asked.len() as u32);
        for dest in asked {
            self.outlet.post.send(dest, Letter::Hear { reply, passes_on: false });
        }
    }

    /// So much waits for the log that publishers are told to wait for it.
    pub(super) fn feel_shortage(&mut self) {
        self.is_short = self.slots.pending_weight_bytes() > SHORT_BYTES;
    }

    /// What a slot has dropped and nobody will apply is not under way any more.
    pub(super) fn give_back_lost(&mut self) {
        let Self { slots, outlet, .. } = self;
        for reply in slots.table.iter_mut().flat_map(|slot| slot.underway.take_lost()) {
            outlet.answer(reply, Answer::Refused(ReasonCode::ServerUnavailable));
        }
    }
}
