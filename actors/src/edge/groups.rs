//! What connections tell all shards of the Shared Subscriptions that their Sessions are members of.

use bytes::Bytes;
use convoy_wire::QoS;

use super::Edge;
use crate::author::Author;
use crate::connection::{Membership, Waiting};
use crate::message::Message;
use crate::metric;
use crate::session::{Delivery, SessionNumber};
use crate::topic::{Announcement, News};

/// A message of a Shared Subscription that came for a connection which is not there any more.
pub struct Returned {
    pub session: SessionNumber,
    pub delivery: Delivery,
    pub message: Bytes,
}

impl Edge {
    /// A member has gone, and its route not yet: what was meant for it is for another one.
    pub fn return_shared(&mut self, session: SessionNumber, delivery: &Delivery, message: &Message<'_>) {
        if delivery.group().is_some() && delivery.qos > QoS::AtMostOnce {
            let message = self.encoded.whole(message);
            self.returned.push_back(Returned { session, delivery: *delivery, message });
        }
    }

    /// A message that a member has left cannot go to another one: all have gone, or it cannot be put on record.
    pub(crate) fn drop_shared(&mut self) {
        metrics::counter!(metric::SHARED_DROPPED).increment(1);
        self.tally.dropped += 1;
    }

    pub(super) fn tell(&mut self, key: u32, news: News) {
        let Some(connection) = self.connections.get(key as usize) else { return };
        let (session, epoch) = (connection.session, connection.epoch);
        self.announcements.push_back(Announcement { session, epoch, news });
    }

    /// The Session of this connection is a member of these Shared Subscriptions.
    pub(super) fn join_groups(&mut self, key: u32, groups: Vec<u64>) {
        if !groups.is_empty() {
            let connection = &mut self.connections[key as usize];
            connection.membership.get_or_insert_with(|| Box::new(Membership::new()));
            let who = Box::new(Author::of(&connection.who()));
            self.tell(key, News::Joined { groups, who });
        }
    }

    pub(crate) fn leave_groups(&mut self, key: u32) {
        let connection = self.connections.get_mut(key as usize);
        if connection.is_some_and(|connection| connection.membership.take().is_some()) {
            self.tell(key, News::Left);
        }
    }

    /// What a member of Shared Subscriptions has under way is more or less than it was.
    pub fn weigh(&mut self, key: u32) {
        let weighed = self.weighs_inflight;
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        let Some(membership) = &mut connection.membership else { return };
        let (underway, waiting) = match &connection.outbound {
            None => (membership.underway, Waiting::Little),
            Some(outbound) => {
                let (is_busy, waiting) = (outbound.is_busy(), outbound.fill(&self.limits.queue));
                // As mostly.
                if !weighed && waiting == Waiting::Little && membership.is_told(is_busy) {
                    return;
                }
                (if is_busy { connection.receive_maximum } else { outbound.underway() }, waiting)
            }
        };
        if let Some(level) = membership.news(underway, waiting, connection.receive_maximum, weighed) {
            self.tell(key, News::Level(level));
        }
    }
}
