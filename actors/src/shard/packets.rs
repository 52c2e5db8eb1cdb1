//! From bytes of a Client to what is to be done: packets are cut, checked against the state of their connection, and
//! passed on to partitions and slots.

use convoy_wire::{
    Connect, Cut, Disconnect, Error, Forwardable, Limits as WireLimits, Packet, PacketType, Pubcomp, Publish,
    Pubrec, Pubrel, QoS, ReasonCode, Sender, Subscribe, Unsubscribe, cut,
};

use super::Shard;
use super::answers::{acknowledge, acknowledge_ask, release_unknown, token, welcome};
use super::mail::{Origin, ReplyTo};
use super::sys::reserved;
use crate::access::{Admission, ClientIdOwner, DeniedPublish, Permits, Verdict as Proven};
use crate::clock::Now;
use crate::connection::{self, Ask, AskKind, Received, Refusal, Stage, UNTOLD, Verdict};
use crate::message::Message;
use crate::metric;
use crate::options::SecondConnection;
use crate::session::{Place, SessionNumber, Subscription};
use crate::slot::{Ack, Again, Delivery, Farewell, SessionCall, Wanted, client_of};

/// No CONNACK that accepts a Client is larger.
const CONNACK_BYTES: u32 = 1 << 10;

/// Keep Alive counts packets, and bytes that drip in buy no time [MQTT-3.1.2-22]. A packet that lacks more bytes than
/// this is on its way over a slow link, and its Client is not silent.
const LONG_WAY: usize = 1000;

/// Why a connection ends.
type Outcome = Result<(), ReasonCode>;

impl Shard {
    /// Bytes came from a Client. Also to be called without any when the connection is reading again.
    pub fn receive(&mut self, now: Now, key: u32, bytes: &[u8]) {
        self.outlet.edge.now = now.monotonic;
        let Some(connection) = self.outlet.edge.connections.get_mut(key as usize) else { return };
        connection.traffic.bytes_received += bytes.len() as u64;
        let mut kept = std::mem::take(&mut connection.input);
        let input = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let (mut at, mut paused, mut is_heard) = (0, false, false);
        let limits = WireLimits {
            packet_bytes: self.options.limits.packet_bytes as usize,
            connect_bytes: self.options.limits.connect_packet_bytes as usize,
        };
        while at < input.len() {
            let connection = &self.outlet.edge.connections[key as usize];
            if !connection.is_reading(usize::from(self.options.limits.receive_maximum)) {
                paused = true;
                is_heard |= !bytes.is_empty();
                break;
            }
            if connection.stage == Stage::New && input[at] >> 4 != PacketType::Connect as u8 {
                // [MQTT-3.1.0-1]: the first packet is a CONNECT, and one byte tells that it is not.
                self.outlet.edge.connections[key as usize].drop_silently();
                self.outlet.edge.mark(key);
                at = input.len();
                break;
            }
            let outcome = match cut(&input[at..], limits) {
                Ok(Cut::Partial { needed }) => {
                    is_heard |= !bytes.is_empty()
                        && connection.stage == Stage::Open
                        && needed - (input.len() - at) > LONG_WAY;
                    break;
                }
                Ok(Cut::Whole { first, body, length }) => {
                    at += length;
                    is_heard = true;
                    self.packet(now, key, first, body)
                }
                Err(error) => Err(self.broken(key, &error)),
            };
            if let Err(reason) = outcome {
                self.outlet.edge.close(key, reason);
                at = input.len();
            }
            if !self.outlet.edge.calls.is_empty() {
                self.settle(now);
            }
        }
        let Some(connection) = self.outlet.edge.connections.get_mut(key as usize) else { return };
        connection.has_whole_input = paused;
        if is_heard {
            connection.last_seen = now.monotonic;
        }
        if matches!(connection.stage, Stage::Leaving | Stage::Closing | Stage::Gone) {
            return;
        }
        if at < input.len() {
            if kept.is_empty() {
                connection.input = bytes[at..].to_vec();
            } else {
                kept.drain(..at);
                connection.input = kept;
            }
        }
    }

    /// Bytes that break a rule: said to the Client by their Reason Code, and to the operator in words.
    fn broken(&self, key: u32, error: &Error) -> ReasonCode {
        let connection = &self.outlet.edge.connections[key as usize];
        tracing::debug!(serial = connection.home.serial, %error, "connection closed");
        if error.reason == ReasonCode::PacketTooLarge {
            metric::met("packet_bytes");
        }
        error.reason
    }

    fn packet(&mut self, now: Now, key: u32, first: u8, body: &[u8]) -> Outcome {
        self.outlet.edge.tally.packets_received[usize::from(first >> 4)] += 1;
        let connection = &self.outlet.edge.connections[key as usize];
        let version = connection.version;
        if connection.stage == Stage::New {
            return self.on_first(now, key, first, body);
        }
        if first >> 4 == PacketType::Publish as u8 {
            // The hot path goes past the decision between fifteen kinds of packet.
            return match Publish::decode(version, first, body) {
                Ok(publish) => self.on_publish(now, key, &publish),
                Err(error) => Err(self.broken(key, &error)),
            };
        }
        if first >> 4 == PacketType::Connect as u8 {
            // [MQTT-3.1.0-2]: a second one, whatever is in it.
            return Err(ReasonCode::ProtocolError);
        }
        let packet = match convoy_wire::decode_from(Sender::Client, version, first, body) {
            Ok(packet) => packet,
            Err(error) => return Err(self.broken(key, &error)),
        };
        match packet {
            Packet::Publish(publish) => self.on_publish(now, key, &publish),
            Packet::Puback(ack) => self.on_ack(now, key, Ack::Puback, ack.packet_id),
            Packet::Pubrec(Pubrec { packet_id, reason, .. }) => {
                self.on_ack(now, key, Ack::Pubrec { refused: reason.is_error() }, packet_id)
            }
            Packet::Pubcomp(ack) => self.on_ack(now, key, Ack::Pubcomp, ack.packet_id),
            Packet::Pubrel(pubrel) => self.on_pubrel(key, &pubrel),
            Packet::Subscribe(subscribe) => self.on_subscribe(key, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(key, &unsubscribe),
            Packet::Pingreq => {
                let connection = &mut self.outlet.edge.connections[key as usize];
                let written = Packet::Pingresp.encode(version, connection.output.tail());
                written.expect("a PINGRESP can be written");
                self.outlet.edge.mark(key);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.on_disconnect(key, &disconnect),
            // [MQTT-4.12.0-6]: no authentication method was agreed.
            Packet::Auth(_) => Err(ReasonCode::ProtocolError),
            // What only a Server sends.
            _ => Err(ReasonCode::ProtocolError),
        }
    }

    /// The CONNECT with which a connection begins.
    fn on_first(&mut self, now: Now, key: u32, first: u8, body: &[u8]) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        if let Some(version) = Connect::peek_version(body) {
            connection.version = version;
        }
        let connect = match convoy_wire::decode(connection.version, first, body) {
            Ok(Packet::Connect(connect)) => connect,
            Ok(_) => return Err(ReasonCode::ProtocolError),
            Err(error) => {
                // 3.x has no return code for bytes that are no CONNECT: the connection is closed without a word.
                let said = error.reason == ReasonCode::UnsupportedProtocolVersion
                    || error.reason == ReasonCode::ClientIdentifierNotValid
                    || connection.version.has_properties();
                if !said {
                    connection.drop_silently();
                    self.outlet.edge.mark(key);
                    return Ok(());
                }
                return Err(self.broken(key, &error));
            }
        };
        if connect.properties.authentication_method.is_some() {
            // No exchange of AUTH packets is known here (MQTT 5.0, 4.12).
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        match self.access.admit(&connect, &connection.peer) {
            Admission::Asks => {
                connection.unproven = Some(body.into());
                self.ask_for_proof(key, &connect);
                Ok(())
            }
            Admission::Decided(Proven::Refused(reason)) => {
                metric::denied("connect");
                Err(reason)
            }
            Admission::Decided(Proven::Granted(principal)) => {
                connection.principal = principal;
                self.open_session(now, key, &connect)
            }
        }
    }

    /// The Client is who it says: its Session is asked for.
    pub(super) fn open_session(&mut self, now: Now, key: u32, connect: &Connect<'_>) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        let (seed, home) = (self.options.seed, connection.home);
        // Nobody can guess it, and no other connection of this start has this place and serial.
        let assigned = || format!("convoy-{seed:016x}-{:x}-{:x}", home.shard, home.serial);
        let accepted = connection::accept(connection, connect, &self.options, assigned, now.wall);
        let accepted = accepted.map_err(|Refusal(reason)| reason)?;
        let who = connection.who();
        if !self.access.may_connect(&who) {
            metric::denied("connect");
            return Err(ReasonCode::NotAuthorized);
        }
        let permits = Permits::of(&self.access, &who);
        if let (Some(permits), Some(will)) = (&permits, &connect.will)
            && !permits.may_publish(will.topic.as_str(), will.qos as u8, will.retain)
        {
            metric::denied("will");
            return Err(ReasonCode::NotAuthorized);
        }
        connection.permits = permits;
        if connection.packet_bytes_limit < CONNACK_BYTES {
            // A Client that does not take our CONNACK is told nothing at all [MQTT-3.1.2-24].
            let mut connack = Vec::new();
            let greeting = connection.greeting.as_deref().cloned().unwrap_or_default();
            welcome(&greeting, &self.options.limits, true, connection.version, &mut connack);
            if connack.len() > connection.packet_bytes_limit as usize {
                connection.drop_silently();
                self.outlet.edge.mark(key);
                return Ok(());
            }
        }
        connection.stage = Stage::Connecting;
        connection.connected_at = now.wall;
        connection.clean_start = connect.clean_start;
        connection.client = client_of(&accepted.name);
        let reply = ReplyTo { home: connection.home, token: token::CONNECT };
        self.outlet.edge.calls.push_back(SessionCall::Connect {
            name: accepted.name,
            clean_start: accepted.clean_start,
            owner: connection.principal.owner().to_owned(),
            binds: self.access.policy.client_id_owner == ClientIdOwner::Bind,
            expiry_seconds: accepted.expiry_seconds,
            limits: self.options.limits.queue,
            will: accepted.will,
            yields: self.options.limits.second_connection == SecondConnection::IsRefused,
            reply,
        });
        Ok(())
    }

    fn on_publish(&mut self, now: Now, key: u32, publish: &Publish<'_>) -> Outcome {
        let limits = &self.options.limits;
        let connection = &mut self.outlet.edge.connections[key as usize];
        if !publish.properties.subscription_ids.is_empty() {
            // [MQTT-3.3.4-6]
            return Err(ReasonCode::ProtocolError);
        }
        let mut aliased = String::new();
        let topic = match publish.properties.topic_alias {
            None => publish.topic,
            Some(alias) => {
                let known = connection.inbound.alias(alias, publish.topic, limits.topic_alias_maximum)?;
                match known {
                    None => publish.topic,
                    Some(topic) => {
                        aliased.push_str(topic);
                        &aliased
                    }
                }
            }
        };
        if !limits.allow_topic(topic) {
            metric::met("topic_bytes");
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
                    return Ok(());
                }
                (QoS::ExactlyOnce, Some(Received::Accepted | Received::Resumed)) => {
                    let version = connection.version;
                    let pubrec = Pubrec::new(packet_id, ReasonCode::Success);
                    let written = pubrec.encode(version, connection.output.tail());
                    written.expect("a PUBREC without properties can be written");
                    self.outlet.edge.mark(key);
                    return Ok(());
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
            let Some(packet_id) = publish.packet_id else { return Ok(()) };
            match (connection.version.has_properties(), self.access.policy.denied_publish) {
                (false, DeniedPublish::Close) => return Err(ReasonCode::NotAuthorized),
                (false, DeniedPublish::Acknowledge) => {
                    connection.inbound.begin(packet_id, qos, 0, now.monotonic);
                }
                (true, _) => {
                    let token = connection.inbound.begin(packet_id, qos, 0, now.monotonic);
                    connection.inbound.refuse(token, ReasonCode::NotAuthorized);
                }
            }
            acknowledge(connection, now.monotonic);
            self.outlet.edge.mark(key);
            return Ok(());
        }
        if let Some(reason) = reserved(topic) {
            self.withhold(now, key, publish.packet_id, qos, reason);
            return Ok(());
        }
        if !limits.features.accepts_payload(publish) {
            let reason = ReasonCode::PayloadFormatInvalid;
            let packet_id = publish.packet_id.ok_or(reason)?;
            let token = connection.inbound.begin(packet_id, qos, UNTOLD, now.monotonic);
            connection.inbound.refuse(token, reason);
            acknowledge(connection, now.monotonic);
            self.outlet.edge.mark(key);
            return Ok(());
        }

        self.properties.clear();
        if !publish.properties.is_empty() {
            publish
                .properties
                .put_forwardable(&mut self.properties)
                .map_err(|_| ReasonCode::MalformedPacket)?;
        }
        let properties = std::mem::take(&mut self.properties);
        let interval = Forwardable::from_put(&properties).message_expiry_interval();
        let message = Message {
            topic,
            properties: &properties,
            payload: publish.payload,
            qos,
            retain: publish.retain,
            published_at: now.wall,
            expires_at: interval.map(|seconds| now.wall + u64::from(seconds) * 1000),
            publisher: connection.session,
        };
        self.published.increment(1);
        connection.traffic.messages_received += 1;
        let tally = &mut self.outlet.edge.tally;
        tally.published[qos as usize] += 1;
        tally.published_bytes += publish.payload.len() as u64;
        let (partition, slot) =
            self.options.partitioning.locate(connection::TENANT, topic, self.options.slots);
        let place = Place { slot: slot.0, partition: partition.0 };
        let origin = Origin { client: connection.client, again: None };
        let bytes = topic.len() + message.properties.len() + message.payload.len();
        let verdict = connection.rate.as_mut().map_or(Verdict::Go, |rate| rate.take(bytes, now.monotonic));

        match publish.packet_id {
            _ if verdict == Verdict::Refused => {
                metric::met("publish_messages_per_second");
                if let Some(packet_id) = publish.packet_id {
                    let token = connection.inbound.begin(packet_id, qos, 0, now.monotonic);
                    connection.inbound.refuse(token, ReasonCode::QuotaExceeded);
                    acknowledge(connection, now.monotonic);
                    self.outlet.edge.mark(key);
                }
            }
            None => {
                let _ = self.publish(now, place, &message, origin, None);
            }
            Some(packet_id) if qos == QoS::ExactlyOnce && connection.lasting => {
                let token = connection.inbound.begin(packet_id, qos, 1, now.monotonic);
                let reply = ReplyTo { home: connection.home, token };
                let (session, epoch) = (connection.session, connection.epoch);
                let mut bytes = Vec::new();
                message.encode_into(&mut bytes);
                let call = SessionCall::Accept { session, epoch, packet_id, place, message: bytes, reply };
                self.outlet.edge.calls.push_back(call);
            }
            Some(packet_id) => {
                let token = connection.inbound.begin(packet_id, qos, UNTOLD, now.monotonic);
                let reply = ReplyTo { home: connection.home, token };
                let published = self.publish(now, place, &message, origin, Some(reply));
                let connection = &mut self.outlet.edge.connections[key as usize];
                match published {
                    // The partition's shard will tell.
                    Ok(None) => {}
                    Ok(Some(begun)) => connection.inbound.parts_begun(token, begun),
                    Err(reason) => connection.inbound.refuse(token, reason),
                }
                acknowledge(connection, now.monotonic);
                self.outlet.edge.mark(key);
            }
        }
        self.properties = properties;
        if let Verdict::GoThenWait(until) = verdict {
            metric::met("publish_messages_per_second");
            self.outlet.edge.pause(key, until);
        }
        Ok(())
    }

    fn on_ack(&mut self, now: Now, key: u32, ack: Ack, packet_id: convoy_wire::PacketId) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        if !matches!(ack, Ack::Pubrec { refused: false }) && connection.retained_unacknowledged > 0 {
            connection.retained_unacknowledged -= 1;
            self.outlet.edge.refill(key, now);
        }
        let connection = &mut self.outlet.edge.connections[key as usize];
        let Some(outbound) = &mut connection.outbound else {
            let is_last = !matches!(ack, Ack::Pubrec { refused: false });
            if is_last && let Some(membership) = &mut connection.membership {
                membership.underway = membership.underway.saturating_sub(1);
            }
            let (session, epoch) = (connection.session, connection.epoch);
            self.session_ack(now, session, epoch, ack, packet_id);
            self.outlet.edge.weigh(key);
            return Ok(());
        };
        match outbound.on_ack(ack, packet_id) {
            connection::Reaction::Nothing => {}
            connection::Reaction::Wrong => return Err(ReasonCode::ProtocolError),
            connection::Reaction::Unknown => {
                release_unknown(connection, packet_id);
                self.outlet.edge.mark(key);
            }
            connection::Reaction::Room => {
                if connection.membership.is_some() {
                    self.outlet.edge.weigh(key);
                }
                let connection = &mut self.outlet.edge.connections[key as usize];
                let Some(outbound) = &mut connection.outbound else { return Ok(()) };
                if outbound.waits() || !connection.retained.is_empty() {
                    self.outlet.edge.refill(key, now);
                }
            }
            connection::Reaction::Release => {
                let version = connection.version;
                let pubrel = Pubrel::new(packet_id, ReasonCode::Success);
                let written = pubrel.encode(version, connection.output.tail());
                written.expect("a PUBREL without properties can be written");
                self.outlet.edge.mark(key);
            }
        }
        Ok(())
    }

    fn on_pubrel(&mut self, key: u32, pubrel: &Pubrel<'_>) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        let packet_id = pubrel.packet_id;
        let known = connection.inbound.release(packet_id);
        if known && connection.lasting {
            // PUBCOMP waits until the log has forgotten the identifier: else its next use is taken for this one.
            let token = token::RELEASE | u64::from(packet_id.get());
            let reply = ReplyTo { home: connection.home, token };
            let (session, epoch) = (connection.session, connection.epoch);
            self.outlet.edge.calls.push_back(SessionCall::Release { session, epoch, packet_id, reply });
            return Ok(());
        }
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        let version = connection.version;
        let written = Pubcomp::new(packet_id, reason).encode(version, connection.output.tail());
        written.expect("a PUBCOMP without properties can be written");
        self.outlet.edge.mark(key);
        Ok(())
    }

    fn on_subscribe(&mut self, key: u32, subscribe: &Subscribe<'_>) -> Outcome {
        let (limits, layout) = (&self.options.limits, self.layout());
        let connection = &self.outlet.edge.connections[key as usize];
        let (version, permits) = (connection.version, connection.permits.as_deref());
        let identifier = subscribe.properties.subscription_id.map_or(0, |identifier| identifier.get());
        let (mut reasons, mut wanted, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for subscription in &subscribe.subscriptions {
            let filter = subscription.filter;
            let options = subscription.options;
            // Over the limits: refused by itself, the others stand.
            if filter.as_str().len() > usize::from(limits.topic_bytes)
                || filter.check_levels(usize::from(limits.topic_levels)).is_err()
            {
                metric::met("topic_bytes");
                reasons.push(ReasonCode::TopicFilterInvalid);
                continue;
            }
            let granted = limits.features.check_subscription(version, &subscription, identifier > 0)?;
            if granted.is_error() {
                reasons.push(granted);
                continue;
            }
            // Of a Shared Subscription it is the filter within that opens topics.
            let plain = filter.shared().map_or(filter.as_str(), |shared| shared.filter.as_str());
            if permits.is_some_and(|permits| !permits.may_subscribe(plain, options.qos as u8)) {
                metric::denied("subscribe");
                reasons.push(ReasonCode::NotAuthorized);
                continue;
            }
            asked.push(reasons.len());
            reasons.push(granted);
            wanted.push((
                Wanted {
                    filter: filter.as_str().to_owned(),
                    subscription: Subscription {
                        qos: options.qos.min(limits.features.maximum_qos) as u8,
                        no_local: options.no_local,
                        retain_as_published: options.retain_as_published,
                        identifier,
                    },
                    places: layout.places_of_filter(plain),
                },
                // [MQTT-4.8.2]: a Shared Subscription gets no Retained Messages.
                if filter.is_shared() { convoy_wire::RetainHandling::Never } else { options.retain_handling },
            ));
        }
        self.ask(key, AskKind::Subscribe, subscribe.packet_id, reasons, wanted, asked, Vec::new());
        Ok(())
    }

    fn on_unsubscribe(&mut self, key: u32, unsubscribe: &Unsubscribe<'_>) -> Outcome {
        let filters: Vec<String> =
            unsubscribe.filters.iter().map(|filter| filter.as_str().to_owned()).collect();
        let reasons = vec![ReasonCode::Success; filters.len()];
        let asked = (0..filters.len()).collect();
        self.ask(key, AskKind::Unsubscribe, unsubscribe.packet_id, reasons, Vec::new(), asked, filters);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what SUBSCRIBE and UNSUBSCRIBE have in common")]
    fn ask(
        &mut self,
        key: u32,
        kind: AskKind,
        packet_id: convoy_wire::PacketId,
        reasons: Vec<ReasonCode>,
        wanted: Vec<(Wanted, convoy_wire::RetainHandling)>,
        asked: Vec<usize>,
        filters: Vec<String>,
    ) {
        let connection = &mut self.outlet.edge.connections[key as usize];
        let token = token::ASK | self.asks & !token::KIND;
        self.asks += 1;
        let ask = Ask { token, packet_id, kind, parts: UNTOLD, reasons, wanted, asked };
        if ask.asked.is_empty() {
            acknowledge_ask(connection, &ask);
            self.outlet.edge.mark(key);
            return;
        }
        let reply = ReplyTo { home: connection.home, token };
        let (session, epoch) = (connection.session, connection.epoch);
        let wanted = ask.wanted.iter().map(|(wanted, _)| wanted.clone()).collect();
        connection.asks.push(ask);
        self.outlet.edge.calls.push_back(match kind {
            AskKind::Subscribe => SessionCall::Subscribe { session, epoch, wanted, reply },
            AskKind::Unsubscribe => SessionCall::Unsubscribe { session, epoch, filters, reply },
        });
    }

    fn on_disconnect(&mut self, key: u32, disconnect: &Disconnect<'_>) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        if let Some(seconds) = disconnect.properties.session_expiry_interval {
            // MQTT 5.0, 3.14.2.2.2
            if connection.expiry_seconds == 0 && seconds > 0 {
                return Err(ReasonCode::ProtocolError);
            }
            let maximum = self.options.limits.session_expiry_maximum;
            connection.farewell_expiry = Some(seconds.min(maximum));
        }
        if disconnect.reason == ReasonCode::NORMAL_DISCONNECTION {
            connection.farewell = Farewell::Normal;
        }
        let farewell = SessionCall::Disconnect {
            session: connection.session,
            epoch: connection.epoch,
            farewell: connection.farewell,
            expiry_seconds: connection.farewell_expiry,
            reply: Some(ReplyTo { home: connection.home, token: token::LEAVE }),
        };
        connection.owns_session = false;
        connection.stage = Stage::Leaving;
        self.outlet.edge.leave_groups(key);
        self.outlet.edge.calls.push_back(farewell);
        Ok(())
    }

    /// The Network Connection is closed: leave is taken of the Session, if it is still this connection's.
    pub fn closed(&mut self, now: Now, key: u32) {
        self.outlet.edge.now = now.monotonic;
        let Some(connection) = self.outlet.edge.remove(key) else { return };
        if connection.owns_session {
            self.outlet.edge.calls.push_back(SessionCall::Disconnect {
                session: connection.session,
                epoch: connection.epoch,
                farewell: connection.farewell,
                expiry_seconds: connection.farewell_expiry,
                reply: None,
            });
        }
        if let Some(outbound) = connection.outbound {
            for (delivery, message) in outbound.leave() {
                self.dispatch_again(now, connection.session, connection.client, &delivery, &message);
            }
        }
        self.settle(now);
    }

    /// What a member of a Shared Subscription has left goes to another one.
    pub(super) fn dispatch_again(
        &mut self,
        now: Now,
        session: SessionNumber,
        client: u64,
        delivery: &Delivery,
        message: &[u8],
    ) {
        let message = Message::decode(message).expect("it was encoded in this process");
        let again = delivery.group().map(|group| Again { group, not: session });
        let (partition, slot) =
            self.options.partitioning.locate(connection::TENANT, message.topic, self.options.slots);
        let place = Place { slot: slot.0, partition: partition.0 };
        metrics::counter!(metric::REDISPATCHED).increment(1);
        // Nobody is told: to its publisher the message was safe when the member got it.
        let _ = self.publish(now, place, &message, Origin { client, again }, None);
    }
}
