//! What the node tells of itself under `$SYS`. These are values like Retained Messages, and no record stands behind them:
//! they are handed in now and then, kept in memory, sent to who has subscribed where they changed, and to a new
//! Subscription as they are. Clients cannot publish there (MQTT 5.0, 4.7.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use convoy_ids::SlotId;
use convoy_wire::{PacketId, QoS, ReasonCode, TopicFilter, TopicName};

use super::Shard;
use super::mail::{Origin, Where};
use crate::call::Begun;
use crate::clock::Now;
use crate::connection::UNTOLD;
use crate::edge::acknowledge;
use crate::message::Message;
use crate::reserved::is_sys;
use crate::retained::{Chunk, Request};
use crate::session::{Delivery, Epoch, SessionNumber};

/// Topics under `$SYS` with their values.
pub type SysTopics = BTreeMap<String, String>;

impl Shard {
    /// The node tells how it is. Values that have changed go to who has subscribed to them.
    pub fn tell(&mut self, now: Now, topics: &Arc<SysTopics>) {
        let before = std::mem::replace(&mut self.sys, Arc::clone(topics));
        let layout = self.layout();
        for (topic, value) in topics.iter().filter(|(topic, value)| before.get(*topic) != Some(value)) {
            let place = layout.place_of_topic(topic);
            if self.outlet.post.where_is(SlotId(place.slot)) != Where::Here {
                continue;
            }
            let origin = Origin { client: 0, epoch: Epoch(0), again: None };
            // A slot that is not led yet has nobody to be told: who subscribes later gets the value then.
            let _ = self.publish(now, place, &message(topic, value, now), origin, None);
        }
        self.settle(now);
    }

    /// What a new Subscription gets of these values; `None` if its Topic Filter is not of them.
    pub(super) fn sys_chunk(&self, now: Now, request: &Request) -> Option<Chunk> {
        let (filter, subscription) = (request.filter(), request.subscription());
        if !is_sys(filter) {
            return None;
        }
        let filter = TopicFilter::new(filter).ok()?;
        let layout = self.layout();
        let matching = self.sys.iter().filter(|(topic, _)| {
            // Each partition that the filter touches answers for its own topics.
            TopicName::new(topic).is_ok_and(|topic| filter.matches(topic))
                && request.partition() == Some(layout.place_of_topic(topic).partition)
        });
        let messages = matching.map(|(topic, value)| {
            let mut bytes = Vec::new();
            message(topic, value, now).encode_into(&mut bytes);
            (Delivery::new(QoS::AtMostOnce, true, subscription.identifier), bytes)
        });
        Some(request.answered(messages.collect()))
    }

    /// Takes a message that a Client may not publish, as its version lets that be said: 5.0 is told, and 3.x gets the
    /// acknowledgement of a message that goes nowhere [MQTT-3.3.5-2 of 3.1.1].
    pub(super) fn withhold(
        &mut self,
        now: Now,
        key: u32,
        packet_id: Option<PacketId>,
        qos: QoS,
        reason: ReasonCode,
    ) {
        let Some(packet_id) = packet_id else { return };
        let connection = &mut self.outlet.edge.connections[key as usize];
        let token = connection.inbound.begin(packet_id, qos, UNTOLD, 0, now.monotonic);
        match connection.version.has_properties() {
            true => connection.inbound.refuse(token, reason, false),
            false => connection.inbound.parts_begun(token, Begun { parts: 0, matched: true }),
        }
        acknowledge(connection, &mut self.outlet.edge.tally.acknowledged, now.monotonic);
        self.outlet.edge.mark(key);
    }
}

fn message<'a>(topic: &'a str, value: &'a str, now: Now) -> Message<'a> {
    Message {
        topic,
        properties: &[],
        payload: value.as_bytes(),
        qos: QoS::AtMostOnce,
        retain: false,
        published_at: now.wall,
        expires_at: None,
        publisher: SessionNumber(0),
        user: crate::budget::User::NOBODY,
        author: &[],
    }
}
