//! A Client of any MQTT version as a machine without I/O: bytes and time go in, bytes and events come out.
//!
//! It is asked for one event at a time, so that whoever prints a message can stop before the next one is
//! acknowledged: what `convoy sub -C 1` does not print stays with the server.

use super::{
    Error,
    property::{On, Properties},
};
use convoy_wire::{
    Connack, Connect, Cut, Disconnect, Limits, Packet, PacketId, PacketType, ProtocolVersion, Puback,
    Pubcomp, Publish, Pubrec, Pubrel, QoS, ReasonCode, Sender, Subscribe, Subscription, SubscriptionOptions,
    TopicFilter, TopicName, Unsubscribe, Will, cut, decode_from,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// What a CONNECT says, and what we allow ourselves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub version: ProtocolVersion,
    pub client_id: String,
    pub clean_start: bool,
    /// In seconds; 0 is off.
    pub keep_alive: u16,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<Message>,
    pub session_expiry: Option<u32>,
    pub properties: Properties,
    /// QoS 1 and 2 messages under way at once; the server's Receive Maximum may be lower.
    pub inflight_max: u16,
    /// Keep a line about each packet for [`Client::take_trace`].
    pub debug: bool,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
}

/// A message that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub packet_id: Option<u16>,
    pub message_expiry_interval: Option<u32>,
    pub payload_format_indicator: Option<u8>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Vec<u8>>,
    pub topic_alias: Option<u16>,
    pub subscription_ids: Vec<u32>,
    pub user_properties: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connected {
        session_present: bool,
    },
    Message(Received),
    /// A QoS 1 or 2 message of ours is with the server, or refused.
    Published {
        reason: ReasonCode,
        text: String,
    },
    /// A Reason Code for each Topic Filter.
    Subscribed(Vec<ReasonCode>),
    Unsubscribed,
}

/// How far a message of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// QoS 1, until PUBACK.
    Published,
    /// QoS 2, until PUBREC.
    Received,
    /// QoS 2, until PUBCOMP.
    Released,
    /// SUBSCRIBE or UNSUBSCRIBE, until its acknowledgement.
    Asked,
}

pub struct Client {
    options: ClientOptions,
    connected: bool,
    receiving: bool,
    inbound: Vec<u8>,
    /// Bytes of `inbound` that were read.
    consumed: usize,
    output: Vec<u8>,
    outbound: BTreeMap<PacketId, Step>,
    next_id: PacketId,
    /// QoS 2 messages that were handed out and not yet released by the server.
    unreleased: BTreeSet<PacketId>,
    /// Topic Aliases of the server.
    aliases: BTreeMap<u16, String>,
    inflight_max: usize,
    packet_max: Option<u32>,
    keep_alive: Duration,
    ping_at: Option<Instant>,
    /// When an answer must have come, and to what.
    answer_by: Option<(Instant, &'static str)>,
    trace: Vec<String>,
}

/// How long CONNACK and PINGRESP may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

const FIRST_ID: PacketId = PacketId::new(1).expect("1 is not zero");

impl Client {
    pub fn new(options: ClientOptions) -> Self {
        Self {
            connected: false,
            receiving: true,
            inbound: Vec::new(),
            consumed: 0,
            output: Vec::new(),
            outbound: BTreeMap::new(),
            next_id: FIRST_ID,
            unreleased: BTreeSet::new(),
            aliases: BTreeMap::new(),
            inflight_max: usize::from(options.inflight_max),
            packet_max: None,
            keep_alive: Duration::from_secs(options.keep_alive.into()),
            ping_at: None,
            answer_by: None,
            trace: Vec::new(),
            options,
        }
    }

    /// Begins on a new connection. What was under way on the old one stays unknown; what the server may still
    /// release is remembered until it says that it has forgotten the session.
    pub fn open(&mut self, now: Instant) -> Result<(), Error> {
        self.connected = false;
        self.inbound.clear();
        self.consumed = 0;
        self.output.clear();
        self.outbound.clear();
        self.aliases.clear();
        self.inflight_max = usize::from(self.options.inflight_max);
        self.packet_max = None;
        self.keep_alive = Duration::from_secs(self.options.keep_alive.into());
        self.answer_by = Some((now + ANSWER_TIME, "CONNECT"));

        let options = &self.options;
        let pairs = options.properties.pairs(On::Connect);
        let mut properties = options.properties.connect(&pairs);
        properties.session_expiry_interval = options.session_expiry;
        let will_pairs = options.properties.pairs(On::Will);
        let will = match &options.will {
            Some(will) => Some(Will {
                topic: TopicName::new(&will.topic).map_err(Error::Protocol)?,
                payload: &will.payload,
                qos: will.qos,
                retain: will.retain,
                properties: options.properties.will(&will_pairs),
            }),
            None => None,
        };
        let connect = Connect {
            version: options.version,
            clean_start: options.clean_start,
            keep_alive: options.keep_alive,
            client_id: &options.client_id,
            username: options.username.as_deref(),
            password: options.password.as_deref(),
            will,
            properties,
        };
        let line = format!(
            "sending CONNECT ({}, '{}', clean {}, keep alive {})",
            connect.version, connect.client_id, connect.clean_start, connect.keep_alive
        );
        connect.encode(&mut self.output).map_err(Error::Encode)?;
        self.sent(now, || line);
        Ok(())
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// From now on messages are neither handed out nor acknowledged: the server keeps what it must keep.
    pub fn stop_receiving(&mut self) {
        self.receiving = false;
    }

    /// Nothing of ours is under way, and no QoS 2 message waits for its release.
    pub fn is_settled(&self) -> bool {
        self.outbound.is_empty() && self.unreleased.is_empty()
    }

    /// Messages and questions of ours that are not answered.
    pub fn unacknowledged(&self) -> usize {
        self.outbound.len()
    }

    /// Whether the server's and our own limit leave room for one more message.
    pub fn can_publish(&self) -> bool {
        self.connected && self.outbound.len() < self.inflight_max
    }

    /// Sends a message. Above QoS 0 an [`Event::Published`] follows, unless the connection ends before.
    pub fn publish(&mut self, now: Instant, message: &Message) -> Result<(), Error> {
        let packet_id = match message.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(self.assign(Step::Published)),
            QoS::ExactlyOnce => Some(self.assign(Step::Received)),
        };
        let pairs = self.options.properties.pairs(On::Publish);
        let publish = Publish {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            topic: &message.topic,
            packet_id,
            properties: self.options.properties.publish(&pairs),
            payload: &message.payload,
        };
        let before = self.output.len();
        publish.encode(self.options.version, &mut self.output).map_err(Error::Encode)?;
        let bytes = self.output.len() - before;
        if let Some(limit) = self.packet_max.filter(|limit| bytes > *limit as usize) {
            self.output.truncate(before);
            return Err(Error::TooLarge { bytes, limit });
        }
        self.sent(now, || {
            format!(
                "sending PUBLISH (q{}, r{}, m{}, '{}', {} bytes)",
                message.qos.as_u8(),
                u8::from(message.retain),
                packet_id.map_or(0, PacketId::get),
                message.topic,
                message.payload.len()
            )
        });
        Ok(())
    }

    pub fn subscribe(
        &mut self,
        now: Instant,
        filters: &[String],
        options: SubscriptionOptions,
    ) -> Result<(), Error> {
        let packet_id = self.assign(Step::Asked);
        let subscriptions = filters
            .iter()
            .map(|filter| Ok(Subscription { filter: TopicFilter::new(filter)?, options }))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::Protocol)?;
        let pairs = self.options.properties.pairs(On::Subscribe);
        let properties = self.options.properties.subscribe(&pairs);
        let subscribe = Subscribe { packet_id, properties, subscriptions: subscriptions.as_slice().into() };
        subscribe.encode(self.options.version, &mut self.output).map_err(Error::Encode)?;
        self.sent(now, || format!("sending SUBSCRIBE (m{}, {})", packet_id.get(), filters.join(", ")));
        Ok(())
    }

    pub fn unsubscribe(&mut self, now: Instant, filters: &[String]) -> Result<(), Error> {
        let packet_id = self.assign(Step::Asked);
        let names = filters
            .iter()
            .map(|filter| TopicFilter::new(filter))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::Protocol)?;
        let pairs = self.options.properties.pairs(On::Unsubscribe);
        let properties = self.options.properties.unsubscribe(&pairs);
        let unsubscribe = Unsubscribe { packet_id, properties, filters: names.as_slice().into() };
        unsubscribe.encode(self.options.version, &mut self.output).map_err(Error::Encode)?;
        self.sent(now, || format!("sending UNSUBSCRIBE (m{}, {})", packet_id.get(), filters.join(", ")));
        Ok(())
    }

    pub fn disconnect(&mut self, now: Instant) -> Result<(), Error> {
        let pairs = self.options.properties.pairs(On::Disconnect);
        let properties = self.options.properties.disconnect(&pairs);
        let disconnect = Disconnect { reason: ReasonCode::Success, properties };
        disconnect.encode(self.options.version, &mut self.output).map_err(Error::Encode)?;
        self.connected = false;
        self.sent(now, || "sending DISCONNECT".to_owned());
        Ok(())
    }

    /// Bytes from the server, for [`Client::poll`].
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.inbound.drain(..self.consumed);
            self.consumed = 0;
        }
        self.inbound.extend_from_slice(bytes);
    }

    /// Bytes for the server.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The first `count` bytes of `output` are with the server.
    pub fn written(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// Lines about packets, if `debug` asked for them.
    pub fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let answer_by = self.answer_by.map(|(at, _)| at);
        [answer_by, self.ping_at].into_iter().flatten().min()
    }

    pub fn on_deadline(&mut self, now: Instant) -> Result<(), Error> {
        if let Some((_, what)) = self.answer_by.filter(|(at, _)| *at <= now) {
            return Err(Error::Silent { what });
        }
        if self.ping_at.is_some_and(|at| at <= now) {
            Packet::Pingreq.encode(self.options.version, &mut self.output).map_err(Error::Encode)?;
            self.sent(now, || "sending PINGREQ".to_owned());
            self.answer_by.get_or_insert((now + ANSWER_TIME, "PINGREQ"));
        }
        Ok(())
    }

    /// Reads packets until one of them is an event, or none is left.
    pub fn poll(&mut self, now: Instant) -> Result<Option<Event>, Error> {
        // Taken out while its packets are read: they borrow from it, and answering changes us.
        let inbound = std::mem::take(&mut self.inbound);
        let event = self.poll_bytes(now, &inbound);
        self.inbound = inbound;
        event
    }

    fn poll_bytes(&mut self, now: Instant, inbound: &[u8]) -> Result<Option<Event>, Error> {
        loop {
            // An alert of TLS: no packet of MQTT begins so.
            if inbound[self.consumed..].starts_with(&[0x15, 0x03]) {
                return Err(Error::SpeaksTls);
            }
            let cut = cut(&inbound[self.consumed..], Limits::NONE).map_err(Error::Protocol)?;
            let Cut::Whole { first, body, length } = cut else {
                return Ok(None);
            };
            let packet =
                decode_from(Sender::Server, self.options.version, first, body).map_err(Error::Protocol)?;
            self.consumed += length;
            self.note(|| format!("received {}", format!("{:?}", packet.packet_type()).to_uppercase()));
            if let Some(event) = self.on_packet(now, &packet)? {
                return Ok(Some(event));
            }
        }
    }

    fn on_packet(&mut self, now: Instant, packet: &Packet<'_>) -> Result<Option<Event>, Error> {
        let connected = self.connected;
        match packet {
            Packet::Connack(connack) if !connected => return self.on_connack(now, connack).map(Some),
            Packet::Publish(publish) if connected => return self.on_publish(now, publish),
            Packet::Puback(ack) if connected => {
                return Ok(self.finish(
                    ack.packet_id,
                    Step::Published,
                    ack.reason,
                    ack.properties.reason_string,
                ));
            }
            Packet::Pubrec(ack) if connected => return self.on_pubrec(now, ack),
            Packet::Pubcomp(ack) if connected => {
                return Ok(self.finish(
                    ack.packet_id,
                    Step::Released,
                    ack.reason,
                    ack.properties.reason_string,
                ));
            }
            Packet::Pubrel(release) if connected => self.on_pubrel(now, release)?,
            Packet::Suback(suback) if connected => {
                if self.outbound.remove(&suback.packet_id) == Some(Step::Asked) {
                    return Ok(Some(Event::Subscribed(suback.reasons.iter().collect())));
                }
            }
            Packet::Unsuback(unsuback) if connected => {
                if self.outbound.remove(&unsuback.packet_id) == Some(Step::Asked) {
                    return Ok(Some(Event::Unsubscribed));
                }
            }
            Packet::Pingresp if connected => self.answer_by = None,
            Packet::Disconnect(disconnect) => {
                let text = disconnect.properties.reason_string.unwrap_or_default().to_owned();
                return Err(Error::Disconnected { reason: disconnect.reason, text });
            }
            other => return Err(Error::Unexpected(other.packet_type())),
        }
        Ok(None)
    }

    fn on_connack(&mut self, now: Instant, connack: &Connack<'_>) -> Result<Event, Error> {
        let properties = &connack.properties;
        if connack.reason != ReasonCode::Success {
            let text = properties.reason_string.unwrap_or_default().to_owned();
            return Err(Error::Refused { reason: connack.reason, text });
        }
        if !connack.session_present {
            self.unreleased.clear();
        }
        if let Some(maximum) = properties.receive_maximum {
            self.inflight_max = self.inflight_max.min(usize::from(maximum.get()));
        }
        self.packet_max = properties.maximum_packet_size.map(|size| size.get());
        if let Some(seconds) = properties.server_keep_alive {
            self.keep_alive = Duration::from_secs(seconds.into());
        }
        self.connected = true;
        self.answer_by = None;
        self.ping_at = self.next_ping(now);
        Ok(Event::Connected { session_present: connack.session_present })
    }

    fn on_publish(&mut self, now: Instant, publish: &Publish<'_>) -> Result<Option<Event>, Error> {
        if !self.receiving {
            return Ok(None);
        }
        let received = Received::new(publish, self.resolve(publish)?);
        let version = self.options.version;
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                Puback::new(id, ReasonCode::Success)
                    .encode(version, &mut self.output)
                    .map_err(Error::Encode)?;
                self.sent(now, || format!("sending PUBACK (m{})", id.get()));
            }
            (QoS::ExactlyOnce, Some(id)) => {
                Pubrec::new(id, ReasonCode::Success)
                    .encode(version, &mut self.output)
                    .map_err(Error::Encode)?;
                self.sent(now, || format!("sending PUBREC (m{})", id.get()));
                // Until it is released, the same identifier is the same message [MQTT-4.3.3-10].
                if !self.unreleased.insert(id) {
                    return Ok(None);
                }
            }
            _ => {}
        }
        Ok(Some(Event::Message(received)))
    }

    /// The Topic Name, which a Topic Alias may stand for [3.3.2.3.4].
    fn resolve(&mut self, publish: &Publish<'_>) -> Result<String, Error> {
        let alias = publish.properties.topic_alias.map(|alias| alias.get());
        match (publish.topic_name(), alias) {
            (Some(name), alias) => {
                if let Some(alias) = alias {
                    self.aliases.insert(alias, name.as_str().to_owned());
                }
                Ok(name.as_str().to_owned())
            }
            (None, alias) => alias
                .and_then(|alias| self.aliases.get(&alias).cloned())
                .ok_or(Error::Unexpected(PacketType::Publish)),
        }
    }

    fn on_pubrec(&mut self, now: Instant, ack: &Pubrec<'_>) -> Result<Option<Event>, Error> {
        if ack.reason.is_error() {
            return Ok(self.finish(ack.packet_id, Step::Received, ack.reason, ack.properties.reason_string));
        }
        let known = match self.outbound.get_mut(&ack.packet_id) {
            Some(step @ (Step::Received | Step::Released)) => {
                *step = Step::Released;
                true
            }
            _ => false,
        };
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        let pubrel = Pubrel::new(ack.packet_id, reason);
        pubrel.encode(self.options.version, &mut self.output).map_err(Error::Encode)?;
        self.sent(now, || format!("sending PUBREL (m{})", ack.packet_id.get()));
        Ok(None)
    }

    fn on_pubrel(&mut self, now: Instant, release: &Pubrel<'_>) -> Result<(), Error> {
        let reason = match self.unreleased.remove(&release.packet_id) {
            true => ReasonCode::Success,
            false => ReasonCode::PacketIdentifierNotFound,
        };
        let pubcomp = Pubcomp::new(release.packet_id, reason);
        pubcomp.encode(self.options.version, &mut self.output).map_err(Error::Encode)?;
        self.sent(now, || format!("sending PUBCOMP (m{})", release.packet_id.get()));
        Ok(())
    }

    /// The end of a message of ours, if it is at `step`; an acknowledgement that fits nothing is passed over.
    fn finish(&mut self, id: PacketId, step: Step, reason: ReasonCode, text: Option<&str>) -> Option<Event> {
        if self.outbound.get(&id) != Some(&step) {
            return None;
        }
        self.outbound.remove(&id);
        Some(Event::Published { reason, text: text.unwrap_or_default().to_owned() })
    }

    /// The next Packet Identifier that is free. There is one: far fewer than 65,535 are under way.
    fn assign(&mut self, step: Step) -> PacketId {
        while self.outbound.contains_key(&self.next_id) {
            self.next_id = self.next_id.next();
        }
        let id = self.next_id;
        self.next_id = id.next();
        self.outbound.insert(id, step);
        id
    }

    /// Something was sent: the next PINGREQ moves away [3.1.2.10].
    fn sent(&mut self, now: Instant, line: impl FnOnce() -> String) {
        self.ping_at = self.next_ping(now);
        self.note(line);
    }

    fn next_ping(&self, now: Instant) -> Option<Instant> {
        (self.connected && !self.keep_alive.is_zero()).then(|| now + self.keep_alive)
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.debug {
            self.trace.push(line());
        }
    }
}

impl Received {
    fn new(publish: &Publish<'_>, topic: String) -> Self {
        let properties = &publish.properties;
        Self {
            topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id.map(PacketId::get),
            message_expiry_interval: properties.message_expiry_interval,
            payload_format_indicator: properties.payload_format.map(|format| format as u8),
            content_type: properties.content_type.map(str::to_owned),
            response_topic: properties.response_topic.map(|topic| topic.as_str().to_owned()),
            correlation_data: properties.correlation_data.map(<[u8]>::to_vec),
            topic_alias: properties.topic_alias.map(|alias| alias.get()),
            subscription_ids: properties.subscription_ids.iter().map(|id| id.get()).collect(),
            user_properties: properties
                .user_properties
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
