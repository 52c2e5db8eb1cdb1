//! What a shard counts about its traffic: plain numbers of one thread, read by whoever observes the shard. Nothing of it is
//! shared, so counting a message costs an addition.

use std::sync::Arc;

use convoy_wire::{PacketType, ProtocolVersion, QoS};

use crate::peer::Listener;
use crate::query::Traffic;

/// Counts since the shard began, and what is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By packet type, as its number.
    pub packets_received: [u64; 16],
    /// PUBLISH packets of Clients, by QoS.
    pub published: [u64; 3],
    /// Bytes of their payloads.
    pub published_bytes: u64,
    /// PUBLISH packets and bytes, both ways, of all connections that there were.
    pub traffic: Traffic,
    /// Messages that were dropped because their receivers are too slow.
    pub dropped: u64,
    pub acknowledged: Waits,
    /// Connections, by where they came in and how they speak. About a second old, as all that is counted by visiting
    /// connections.
    pub connections: Vec<Kind>,
    /// Of them, those that have a Session.
    pub sessions_connected: u64,
}

/// Connections that came in alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub listener: Arc<Listener>,
    pub version: ProtocolVersion,
    pub connections: u64,
}

/// How long publishers waited for their acknowledgements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// By the first of [`Waits::MILLIS`] that was not exceeded; the last is for what took longer.
    pub counts: [u64; Waits::MILLIS.len() + 1],
    pub millis: u64,
}

impl Waits {
    pub const MILLIS: [u64; 9] = [1, 2, 5, 10, 25, 100, 500, 2_500, 10_000];

    /// So many were acknowledged, the oldest of them after so long.
    pub fn add(&mut self, millis: u64, count: u64) {
        let place = Self::MILLIS.iter().position(|bound| millis <= *bound).unwrap_or(Self::MILLIS.len());
        self.counts[place] += count;
        self.millis += millis * count;
    }

    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.millis += other.millis;
    }
}

impl Traffic {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.messages_received += other.messages_received;
        self.messages_sent += other.messages_sent;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.payload_bytes_sent += other.payload_bytes_sent;
    }
}

impl Tally {
    /// A PUBLISH of a Client, with so many bytes of payload.
    #[inline]
    pub fn count_published(&mut self, qos: QoS, bytes: usize) {
        self.published[qos as usize] += 1;
        self.published_bytes += bytes as u64;
    }

    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        self.packets_received.iter_mut().zip(other.packets_received).for_each(|(all, more)| *all += more);
        self.published.iter_mut().zip(other.published).for_each(|(all, more)| *all += more);
        self.published_bytes += other.published_bytes;
        self.dropped += other.dropped;
        self.traffic.merge(&other.traffic);
        self.acknowledged.merge(&other.acknowledged);
        for kind in &other.connections {
            self.count_connections(&kind.listener, kind.version, kind.connections);
        }
        self.sessions_connected += other.sessions_connected;
    }

    pub(crate) fn count_connections(
        &mut self,
        listener: &Arc<Listener>,
        version: ProtocolVersion,
        count: u64,
    ) {
        let alike = |kind: &&mut Kind| kind.version == version && Arc::ptr_eq(&kind.listener, listener);
        match self.connections.iter_mut().find(alike) {
            Some(kind) => kind.connections += count,
            None => {
                let listener = Arc::clone(listener);
                self.connections.push(Kind { listener, version, connections: count });
            }
        }
    }

    /// Packets that came.
    pub fn packets_received(&self) -> u64 {
        self.packets_received.iter().sum()
    }

    /// Packets that were sent: messages, and one for each packet that is answered.
    pub fn packets_sent(&self) -> u64 {
        use PacketType::{Connect, Pingreq, Pubrec, Pubrel, Subscribe, Unsubscribe};
        let answered = [Connect, Subscribe, Unsubscribe, Pingreq, Pubrel, Pubrec];
        let answers: u64 = answered.iter().map(|kind| self.packets_received[*kind as usize]).sum();
        self.traffic.messages_sent + self.acknowledged.counts.iter().sum::<u64>() + answers
    }

    /// Names of packet types with how many came.
    pub fn packets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        const NAMES: [(PacketType, &str); 11] = [
            (PacketType::Connect, "connect"),
            (PacketType::Publish, "publish"),
            (PacketType::Puback, "puback"),
            (PacketType::Pubrec, "pubrec"),
            (PacketType::Pubrel, "pubrel"),
            (PacketType::Pubcomp, "pubcomp"),
            (PacketType::Subscribe, "subscribe"),
            (PacketType::Unsubscribe, "unsubscribe"),
            (PacketType::Pingreq, "pingreq"),
            (PacketType::Disconnect, "disconnect"),
            (PacketType::Auth, "auth"),
        ];
        NAMES.into_iter().map(|(kind, name)| (name, self.packets_received[kind as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_where_it_belongs() {
        let mut waits = Waits::default();
        for (millis, count) in [(0, 1), (1, 1), (2, 1), (10_000, 2), (10_001, 3)] {
            waits.add(millis, count);
        }
        assert_eq!(waits.counts, [2, 1, 0, 0, 0, 0, 0, 0, 2, 3]);
        assert_eq!(waits.millis, 3 + 20_000 + 30_003);
    }
}
