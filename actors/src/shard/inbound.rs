//! PUBLISH: what is checked before a message is passed on, and on which way it goes.

use convoy_ids::SlotId;
use convoy_wire::{Forwardable, PacketId, Publish, Pubrec, QoS, ReasonCode};

use super::Shard;
use super::mail::{Origin, Where};
use super::packets::Outcome;
use crate::access::DeniedPublish;
use crate::author::Author;
use crate::call::{Answer, ReplyTo, token};
use crate::clock::Now;
use crate::connection::{Admit, Barrier, Inbound, Received, UNTOLD, Verdict};
use crate::edge::{RETRY, acknowledge};
use crate::message::Message;
use crate::metric;
use crate::reserved::reserved;
use crate::session::{Home, Place};

impl Shard {
    pub(super) fn on_publish(&mut self, now: Now, key: u32, publish: &Publish<'_>) -> Outcome {
        let alias_maximum = self.options.limits.topic_alias_maximum;
        let connection = &mut self.outlet.edge.connections[key as usize];
        if !publish.properties.subscription_ids.is_empty() {
            // [MQTT-3.3.4-6]
            return Err(ReasonCode::ProtocolError);
        }
        let mut aliased = String::new();
        let topic = topic_of(publish, &mut connection.inbound, alias_maximum, &mut aliased)?;
        if !self.passes(now, key, publish, topic)? {
            return Ok(());
        }

        let mut properties = Vec::new();
        if !publish.properties.is_empty() {
            properties = std::mem::take(&mut self.properties);
            properties.clear();
            let put = publish.properties.put_forwardable(&mut properties);
            put.map_err(|_| ReasonCode::MalformedPacket)?;
        }
        let connection = &mut self.outlet.edge.connections[key as usize];
        let interval = Forwardable::from_put(&properties).message_expiry_interval();
        let qos = publish.qos;
        let is_kept = publish.retain && !publish.payload.is_empty();
        let author = if is_kept { Author::of(&connection.who()).to_bytes() } else { Vec::new() };
        let message = Message {
            topic,
            properties: &properties,
            payload: publish.payload,
            qos,
            retain: publish.retain,
            published_at: now.wall,
            expires_at: interval.map(|seconds| now.wall + u64::from(seconds) * 1000),
            publisher: connection.session,
            user: connection.user,
            author: &author,
        };
        self.published.add(1);
        connection.traffic.messages_received += 1;
        self.outlet.edge.tally.count_published(qos, publish.payload.len());
        let (partition, slot) = self.locator.locate(topic);
        let place = Place { slot: slot.0, partition: partition.0 };
        let origin = Origin { client: connection.client, epoch: connection.epoch, again: None };
        let bytes = topic.len() + message.properties.len() + message.payload.len();
        let verdict = connection.rate.as_mut().map_or(Verdict::Go, |rate| rate.take(bytes, now.monotonic));

        match publish.packet_id {
            _ if verdict == Verdict::Refused => {
                metric::met("publish_messages_per_second");
                if let Some(packet_id) = publish.packet_id {
                    self.refuse(now, key, packet_id, qos, ReasonCode::QuotaExceeded);
                }
            }
            None => {
                let reply = ReplyTo { home: connection.home, token: token::KEPT | bytes as u64 };
                self.publish_unacknowledged(now, reply, place, &message, origin, bytes);
            }
            Some(packet_id) if qos == QoS::ExactlyOnce && connection.lasting => {
                self.publish_by_log(key, packet_id, place, &message, bytes);
            }
            Some(packet_id) => {
                let token = connection.inbound.begin(packet_id, qos, UNTOLD, bytes, now.monotonic);
                let reply = ReplyTo { home: connection.home, token };
                if self.has_others && qos == QoS::AtLeastOnce && !publish.retain {
                    self.publish_kept(now, reply, place, &message, origin);
                } else {
                    self.publish_waiting(now, reply, place, &message, origin);
                }
            }
        }
        if properties.capacity() > 0 {
            self.properties = properties;
        }
        if let Verdict::GoThenWait(until) = verdict {
            metric::met("publish_messages_per_second");
            self.outlet.edge.pause(key, until);
        }
        Ok(())
    }

    /// Publishes a message of QoS 2, of so many bytes, by the log of its publisher's Session.
    #[inline(always)] // It has one caller.
    fn publish_by_log(
        &mut self,
        key: u32,
        packet_id: PacketId,
        place: Place,
        message: &Message<'_>,
        bytes: usize,
    ) {
        let mut encoded = Vec::new();
        message.encode_into(&mut encoded);
        let edge = &mut self.outlet.edge;
        if self.backed_up.contains(&SlotId(place.slot)) {
            let admit = Admit { packet_id, bytes, place, message: Some(encoded) };
            edge.connections[key as usize].barrier = Some(Barrier::Admit(Box::new(admit)));
            edge.step(key);
        } else {
            edge.accept_inbound(key, packet_id, bytes, place, encoded, false);
        }
    }

    /// Publishes a message of QoS 0, of so many bytes.
    #[inline(always)] // It has one caller.
    fn publish_unacknowledged(
        &mut self,
        now: Now,
        reply: ReplyTo,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
        bytes: usize,
    ) {
        let key = reply.home.key;
        self.outlet.casts.forget_newest();
        if let Ok(None) = self.publish(now, place, message, origin, Some(reply)) {
            let is_told = message.retain || self.outlet.post.where_is(SlotId(place.slot)) == Where::Here;
            let connection = &mut self.outlet.edge.connections[key as usize];
            connection.inbound.went_away = true;
            if is_told {
                connection.credit.enter_log(bytes);
            }
        }
        if self.outlet.casts.has_newest() {
            self.hold_for_casts(key);
        }
    }

    /// Publishes a message that its Client waits for, and keeps it until it is acknowledged, so that it can be sent again.
    #[inline(never)]
    fn publish_kept(
        &mut self,
        now: Now,
        reply: ReplyTo,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
    ) {
        self.outlet.edge.begin_of(message);
        let whole = self.outlet.edge.whole(message);
        let connection = &mut self.outlet.edge.connections[reply.home.key as usize];
        connection.inbound.keep(place, whole.clone());
        let message = Message::decode(&whole).expect("it was encoded here");
        self.publish_waiting(now, reply, place, &message, origin);
    }

    /// Publishes a message that its Client waits for. Whether it is on its way.
    #[inline(always)] // On the hot path it has one caller, which has all of this at hand.
    pub(super) fn publish_waiting(
        &mut self,
        now: Now,
        reply: ReplyTo,
        place: Place,
        message: &Message<'_>,
        origin: Origin,
    ) -> bool {
        let ReplyTo { home: Home { key, .. }, token } = reply;
        self.outlet.casts.forget_newest();
        let published = self.publish(now, place, message, origin, Some(reply));
        if self.outlet.casts.has_newest() {
            self.hold_for_casts(key);
        }
        let connection = &mut self.outlet.edge.connections[key as usize];
        match published {
            // The partition's shard will tell.
            Ok(None) => {}
            Ok(Some(begun)) => connection.inbound.parts_begun(token, begun),
            // It is sent again, with all that is behind it.
            Err(ReasonCode::ServerBusy) if self.has_others => {
                self.outlet.edge.begin_retry(key, RETRY);
                return false;
            }
            Err(reason) => {
                connection.inbound.refuse(token, reason, self.has_others);
                let reply = ReplyTo { home: connection.home, token };
                self.outlet.turned_away.note(&reply, &Answer::Refused(reason), now.monotonic);
            }
        }
        let connection = &mut self.outlet.edge.connections[key as usize];
        acknowledge(connection, &mut self.outlet.edge.tally.acknowledged, now.monotonic);
        self.outlet.edge.mark(key);
        true
    }

    /// Who publishes for very many is not read from until that is passed on.
    #[cold]
    fn hold_for_casts(&mut self, key: u32) {
        let connection = &mut self.outlet.edge.connections[key as usize];
        if self.outlet.casts.is_held_for(connection.home) {
            connection.is_casting = true;
        }
    }

    /// Whether a message is new and allowed. What is not is answered here, or ends the connection.
    fn passes(&mut self, now: Now, key: u32, publish: &Publish<'_>, topic: &str) -> Result<bool, ReasonCode> {
        let limits = &self.options.limits;
        let connection = &mut self.outlet.edge.connections[key as usize];
        if !limits.allow_topic(topic) {
            let is_long = topic.len() > usize::from(limits.topic_bytes);
            metric::met(if is_long { "topic_bytes" } else { "topic_levels" });
            return Err(ReasonCode::TopicNameInvalid);
        }
        let qos = publish.qos;
        limits.features.check_publish(qos, publish.retain)?;
        if let Some(packet_id) = publish.packet_id {
            let received = connection.inbound.received(packet_id);
            match (qos, received) {
                // Sent again: the first one is on its way, or done and to be acknowledged again [MQTT-4.3.3-10].
                (QoS::ExactlyOnce, Some(Received::Accepting)) => {
                    connection.inbound.came_again(packet_id, now.monotonic);
                    return Ok(false);
                }
                // A Retained Message is acknowledged when its partition has it, which nobody here knows of an earlier connection.
                (QoS::ExactlyOnce, Some(Received::Resumed)) if publish.retain => {}
                (QoS::ExactlyOnce, Some(Received::Accepted | Received::Resumed)) => {
                    let version = connection.version;
                    let pubrec = Pubrec::new(packet_id, ReasonCode::Success);
                    let written = pubrec.encode(version, connection.output.tail());
                    written.expect("a PUBREC without properties can be written");
                    self.outlet.edge.mark(key);
                    return Ok(false);
                }
                _ => {}
            }
            // [MQTT-3.3.4-9]: 5.0 Clients know how many they may have under way.
            if connection.version.has_properties()
                && connection.inbound.unfinished() >= usize::from(limits.receive_maximum)
            {
                metric::met("receive_maximum");
                return Err(ReasonCode::ReceiveMaximumExceeded);
            }
        }
        if let Some(permits) = &connection.permits
            && !permits.may_publish(topic, qos as u8, publish.retain)
        {
            metric::denied("publish");
            let closes = self.access.policy.denied_publish == DeniedPublish::Close;
            if closes && publish.packet_id.is_some() && !connection.version.has_properties() {
                return Err(ReasonCode::NotAuthorized);
            }
            self.withhold(now, key, publish.packet_id, qos, ReasonCode::NotAuthorized);
            return Ok(false);
        }
        if let Some(reason) = reserved(topic) {
            self.withhold(now, key, publish.packet_id, qos, reason);
            return Ok(false);
        }
        if !limits.features.accepts_payload(publish) {
            let reason = ReasonCode::PayloadFormatInvalid;
            let packet_id = publish.packet_id.ok_or(reason)?;
            self.refuse(now, key, packet_id, qos, reason);
            return Ok(false);
        }
        Ok(true)
    }

    /// Refuses one message; the connection goes on.
    fn refuse(&mut self, now: Now, key: u32, packet_id: PacketId, qos: QoS, reason: ReasonCode) {
        let connection = &mut self.outlet.edge.connections[key as usize];
        let token = connection.inbound.begin(packet_id, qos, 0, 0, now.monotonic);
        connection.inbound.refuse(token, reason, false);
        acknowledge(connection, &mut self.outlet.edge.tally.acknowledged, now.monotonic);
        self.outlet.edge.mark(key);
    }
}

/// The topic of a message: that of its Topic Alias, which is put into `aliased`, if it names no other.
fn topic_of<'a>(
    publish: &Publish<'a>,
    inbound: &mut Inbound,
    alias_maximum: u16,
    aliased: &'a mut String,
) -> Result<&'a str, ReasonCode> {
    let Some(alias) = publish.properties.topic_alias else { return Ok(publish.topic) };
    match inbound.alias(alias, publish.topic, alias_maximum)? {
        None => Ok(publish.topic),
        Some(topic) => {
            aliased.push_str(topic);
            Ok(aliased)
        }
    }
}
