//! What connections tell all shards of the Shared Subscriptions that their Sessions are members of.

use super::edge::Edge;
use crate::connection::{Connection, Membership};
use crate::topic::{Announcement, News};

impl Edge {
    pub(super) fn tell(&mut self, key: u32, news: News) {
        let Some(Connection { session, epoch, .. }) = self.connections.get(key as usize) else { return };
        self.announcements.push_back(Announcement { session: *session, epoch: *epoch, news });
    }

    /// The Session of this connection is a member of these Shared Subscriptions.
    pub(super) fn join_groups(&mut self, key: u32, groups: Vec<u64>) {
        if !groups.is_empty() {
            self.connections[key as usize].membership.get_or_insert_with(|| Box::new(Membership::new()));
            self.tell(key, News::Joined(groups));
        }
    }

    pub(super) fn leave_groups(&mut self, key: u32) {
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
        let underway =
            connection.outbound.as_ref().map_or(membership.underway, |outbound| outbound.underway());
        if let Some(level) = membership.news(underway, connection.receive_maximum, weighed) {
            self.tell(key, News::Level(level));
        }
    }
}
