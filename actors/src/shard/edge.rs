//! The connections of a shard: what reaches them from slots, and what of it goes out. Packets of Clients come in by
//! `packets`.

use std::collections::VecDeque;

use convoy_wire::{
    Connack, PacketId, ProtocolVersion, Pubcomp, Pubrel, QoS, ReasonCode, RetainHandling, Suback, Unsuback,
};
use metrics::{Counter, Gauge};
use slab::Slab;

use super::mail::{Answer, ReplyTo};
use super::operators::Operators;
use crate::clock::Now;
use crate::connection::{
    Ask, AskKind, Connection, Encoded, Greeting, Membership, Outbound, Peer, Receiver, Stage, UNTOLD,
};
use crate::message::Message;
use crate::metric;
use crate::options::{Limits, Options};
use crate::retained;
use crate::session::{Grant, Home};
use crate::slot::{Delivery, SHARED, SessionCall};
use crate::topic::{Announcement, News, group_of};

/// What a token asks about; in its upper byte, zero for a PUBLISH. Below it is what tells one from another.
pub mod token {
    pub const KIND: u64 = 0xFF << 56;
    pub const CONNECT: u64 = 1 << 56;
    pub const ASK: u64 = 2 << 56;
    pub const LEAVE: u64 = 4 << 56;
    /// The rest is the Packet Identifier.
    pub const RELEASE: u64 = 3 << 56;
    /// Asks nothing: PUBREL for an identifier that the slot knows nothing of. The rest is the identifier.
    pub const UNKNOWN: u64 = 5 << 56;
    /// Asks nothing: the slot has found a broken rule.
    pub const BREAK: u64 = 6 << 56;
}

/// Milliseconds that a Client of 3.x, to whom a refusal cannot be said, stays connected after one.
const REFUSED_GRACE: u64 = 5_000;

/// Milliseconds that a Client which said DISCONNECT waits for its record at most.
const LEAVING: u64 = 5_000;

/// Milliseconds that a Client has to take what is said to it at the end, from when that is first noticed.
const CLOSING: u64 = 2_000;

/// Retained Messages that were put into the queue of a Session, above which the next ones wait for acknowledgements:
/// they must not push each other out.
const RETAINED_UNACKNOWLEDGED: u32 = 16;

pub struct Edge {
    pub connections: Slab<Connection>,
    pub limits: Limits,
    /// Slots of the fleet.
    slots: u16,
    /// Connections with output, or to be closed.
    pub dirty: Vec<u32>,
    /// What connections ask of their Sessions' slots.
    pub calls: VecDeque<SessionCall>,
    /// What connections have to say of Shared Subscriptions.
    pub announcements: VecDeque<Announcement>,
    /// Whether they tell how much they have under way.
    weighs_inflight: bool,
    /// Connections that are not read for a while because they published too fast.
    pub paused: Vec<Home>,
    /// Connections for which Retained Messages may be read on.
    pub hungry: Vec<Home>,
    encoded: Encoded,
    /// Upper bits of the serials of this start of the node.
    start: u64,
    serials: u64,
    node: u64,
    shard: u16,
    /// Monotonic milliseconds of the current event.
    pub now: u64,
    /// What operators wait for.
    pub operators: Operators,
    open: Gauge,
    delivered: Counter,
    dropped: Counter,
    queue_dropped: Counter,
}

/// Serials of one start of a node: 2^40 connections are enough for it.
const SERIAL_BITS: u32 = 40;

impl Edge {
    /// `start` counts the starts of the node.
    pub fn new(node: u64, shard: u16, start: u32, options: &Options) -> Self {
        Self {
            connections: Slab::new(),
            limits: options.limits.clone(),
            slots: options.slots,
            dirty: Vec::new(),
            calls: VecDeque::new(),
            announcements: VecDeque::new(),
            weighs_inflight: options.shared.weighs_inflight(),
            paused: Vec::new(),
            hungry: Vec::new(),
            encoded: Encoded::default(),
            start: u64::from(start) << SERIAL_BITS,
            serials: 0,
            node,
            shard,
            now: 0,
            operators: Operators::default(),
            open: metrics::gauge!(metric::CONNECTIONS),
            delivered: metrics::counter!(metric::DELIVERED),
            dropped: metrics::counter!(metric::OUTPUT_DROPPED),
            queue_dropped: metrics::counter!(metric::QUEUE_DROPPED),
        }
    }

    /// Whether a connection is of this start of this node, so that it may still be there.
    pub fn is_of_this_start(&self, home: &Home) -> bool {
        home.node == self.node && home.serial >> SERIAL_BITS == self.start >> SERIAL_BITS
    }

    pub fn node(&self) -> u64 {
        self.node
    }

    pub fn open(&mut self, peer: Peer) -> u32 {
        self.serials += 1;
        let entry = self.connections.vacant_entry();
        let key = entry.key() as u32;
        let home = Home { node: self.node, shard: self.shard, key, serial: self.start | self.serials };
        entry.insert(Connection::new(home, peer, self.now));
        self.open.increment(1.0);
        key
    }

    /// The Network Connection is closed: what was known of it, if it was open.
    pub fn remove(&mut self, key: u32) -> Option<Connection> {
        self.leave_groups(key);
        let connection = self.connections.try_remove(key as usize)?;
        self.open.decrement(1.0);
        Some(connection)
    }

    fn find(&mut self, home: &Home) -> Option<&mut Connection> {
        self.connections.get_mut(home.key as usize).filter(|found| found.home.serial == home.serial)
    }

    pub fn mark(&mut self, key: u32) {
        if let Some(connection) = self.connections.get_mut(key as usize)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// Closes a connection with a Reason Code.
    pub fn close(&mut self, key: u32, reason: ReasonCode) {
        if let Some(connection) = self.connections.get_mut(key as usize) {
            connection.close(reason);
            self.mark(key);
        }
    }

    /// The Session went to another connection [MQTT-3.1.4-3].
    pub fn taken_over(&mut self, home: &Home) {
        let Some(connection) = self.find(home) else { return };
        connection.owns_session = false;
        connection.close(ReasonCode::SessionTakenOver);
        self.leave_groups(home.key);
        self.mark(home.key);
    }

    fn tell(&mut self, key: u32, news: News) {
        let Some(Connection { session, epoch, .. }) = self.connections.get(key as usize) else { return };
        self.announcements.push_back(Announcement { session: *session, epoch: *epoch, news });
    }

    /// The Session of this connection is a member of these Shared Subscriptions.
    fn join_groups(&mut self, key: u32, groups: Vec<u64>) {
        if !groups.is_empty() {
            self.connections[key as usize].membership.get_or_insert_with(|| Box::new(Membership::new()));
            self.tell(key, News::Joined(groups));
        }
    }

    fn leave_groups(&mut self, key: u32) {
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

    /// An operator closes the connection. If the Session has ended there is nothing to take leave of.
    pub fn evict(&mut self, home: &Home, session_ended: bool) {
        let Some(connection) = self.find(home) else { return };
        connection.owns_session &= !session_ended;
        connection.close(ReasonCode::AdministrativeAction);
        if session_ended {
            self.leave_groups(home.key);
        }
        self.mark(home.key);
    }

    /// Another message is going to be delivered.
    pub fn begin_message(&mut self) {
        self.encoded.begin();
    }

    /// A message for the Session of this connection, which ends with it: sent, or kept until there is room.
    pub fn deliver(&mut self, home: &Home, delivery: &Delivery, message: &Message<'_>, now: Now) {
        let Self { connections, encoded, limits, .. } = self;
        let Some(connection) = connections.get_mut(home.key as usize) else { return };
        if connection.home.serial != home.serial || connection.stage != Stage::Open {
            return;
        }
        let backlog = connection.output.len();
        if delivery.qos == QoS::AtMostOnce {
            if backlog > limits.output_bytes {
                self.dropped.increment(1);
                return;
            }
            write(connection, encoded, message, delivery, None, false, now);
        } else {
            let Some(outbound) = &mut connection.outbound else { return };
            if !outbound.has_room() || backlog > limits.output_bytes {
                let mut bytes = Vec::with_capacity(message.encoded_len());
                message.encode_into(&mut bytes);
                let dropped = outbound.queue(*delivery, &bytes, &limits.queue);
                if dropped > 0 {
                    self.queue_dropped.increment(dropped);
                }
                return;
            }
            send_numbered(connection, encoded, message, delivery, now);
            if connection.membership.is_some() {
                self.weigh(home.key);
            }
        }
        let connection = &mut self.connections[home.key as usize];
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(home.key);
        }
        self.delivered.increment(1);
    }

    /// A message out of the Session's queue under the identifier it has there, or one of QoS 0.
    pub fn send(
        &mut self,
        home: &Home,
        packet_id: Option<PacketId>,
        dup: bool,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        let limit = self.limits.output_bytes;
        self.encoded.begin();
        let Self { connections, encoded, .. } = self;
        let Some(connection) = connections.get_mut(home.key as usize) else { return };
        if connection.home.serial != home.serial || connection.stage != Stage::Open {
            return;
        }
        if packet_id.is_none() && connection.output.len() > limit {
            self.dropped.increment(1);
            return;
        }
        if write(connection, encoded, message, delivery, packet_id, dup, now) == 0
            && let Some(packet_id) = packet_id
        {
            // Larger than the Client takes, or expired meanwhile: it counts as delivered [MQTT-3.1.2-25].
            let ack = match delivery.qos {
                QoS::ExactlyOnce => crate::slot::Ack::Pubrec { refused: true },
                _ => crate::slot::Ack::Puback,
            };
            let (session, epoch) = (connection.session, connection.epoch);
            self.calls.push_back(SessionCall::Ack { session, epoch, ack, packet_id });
            return;
        }
        if packet_id.is_some()
            && let Some(membership) = &mut connection.membership
        {
            membership.underway += 1;
            self.weigh(home.key);
        }
        self.delivered.increment(1);
        self.mark(home.key);
    }

    pub fn release(&mut self, home: &Home, packet_id: PacketId) {
        let Some(connection) = self.find(home).filter(|found| found.stage == Stage::Open) else { return };
        let version = connection.version;
        let pubrel = Pubrel::new(packet_id, ReasonCode::Success);
        pubrel.encode(version, connection.output.tail()).expect("a PUBREL without properties can be written");
        self.mark(home.key);
    }

    /// Sends what waited for room in the window or in the output.
    pub fn refill(&mut self, key: u32, now: Now) {
        let Self { connections, encoded, limits, .. } = self;
        let Some(connection) = connections.get_mut(key as usize) else { return };
        if connection.stage != Stage::Open {
            return;
        }
        let mut sent = 0;
        while connection.output.len() <= limits.output_bytes
            && let Some((delivery, bytes)) = connection.outbound.as_mut().and_then(|outbound| outbound.next())
        {
            let message = Message::decode(&bytes).expect("it was encoded by this connection");
            encoded.begin();
            match delivery.qos {
                QoS::AtMostOnce => write(connection, encoded, &message, &delivery, None, false, now),
                _ => send_numbered(connection, encoded, &message, &delivery, now),
            };
            sent += 1;
        }
        let satisfied = connection.outbound.as_ref().is_none_or(|outbound| !outbound.waits());
        if satisfied
            && !connection.retained.is_empty()
            && connection.retained_unacknowledged <= RETAINED_UNACKNOWLEDGED
            && connection.output.len() <= limits.output_bytes / 2
        {
            self.hungry.push(connection.home);
        }
        if sent > 0 {
            self.delivered.increment(sent);
            self.mark(key);
        }
        self.weigh(key);
    }

    /// The outcome of what a connection asked.
    pub fn answer(&mut self, to: ReplyTo, answer: Answer) {
        let now = self.now;
        let Some(connection) = self.find(&to.home) else {
            match answer {
                Answer::Granted(grant) => self.give_back(&grant),
                answer => self.operators.hear(&to.home, to.token, &answer),
            }
            return;
        };
        match to.token & token::KIND {
            token::CONNECT => return self.on_connected(to.home.key, answer),
            token::ASK => return self.on_asked(to, answer),
            token::LEAVE => connection.drop_silently(),
            _ if connection.stage != Stage::Open => return,
            token::UNKNOWN => {
                let packet_id = PacketId::new(to.token as u16).expect("the token was made of an identifier");
                release_unknown(connection, packet_id);
            }
            token::BREAK => {
                let Answer::Refused(reason) = answer else { return };
                connection.close(reason);
            }
            token::RELEASE => {
                let packet_id = PacketId::new(to.token as u16).expect("the token was made of an identifier");
                let reason = match answer {
                    Answer::Refused(reason) => reason,
                    _ => ReasonCode::Success,
                };
                if reason == ReasonCode::Success {
                    let version = connection.version;
                    let pubcomp = Pubcomp::new(packet_id, ReasonCode::Success);
                    pubcomp
                        .encode(version, connection.output.tail())
                        .expect("a PUBCOMP without properties can be written");
                } else {
                    connection.close(reason);
                }
            }
            _ => {
                match answer {
                    Answer::Begun { parts } => connection.inbound.parts_begun(to.token, parts),
                    Answer::Done => connection.inbound.part_done(to.token),
                    Answer::Refused(reason) => {
                        metrics::counter!(metric::REFUSED).increment(1);
                        connection.inbound.refuse(to.token, reason);
                    }
                    Answer::Subscribed { .. } | Answer::Granted(_) => {}
                }
                acknowledge(connection, now);
            }
        }
        self.mark(to.home.key);
    }

    /// A Session was granted to a connection that is gone.
    fn give_back(&mut self, grant: &Grant) {
        self.calls.push_back(SessionCall::Disconnect {
            session: grant.session,
            epoch: grant.epoch,
            farewell: crate::slot::Farewell::WithWill,
            expiry_seconds: None,
            reply: None,
        });
    }

    fn on_connected(&mut self, key: u32, answer: Answer) {
        let limits = &self.limits;
        let connection = &mut self.connections[key as usize];
        let grant = match answer {
            Answer::Granted(grant) => grant,
            Answer::Refused(reason) => {
                connection.close(reason);
                return self.mark(key);
            }
            Answer::Begun { .. } | Answer::Done | Answer::Subscribed { .. } => return,
        };
        if connection.stage != Stage::Connecting {
            return self.give_back(&grant);
        }
        let greeting = connection.greeting.take().unwrap_or_default();
        welcome(&greeting, limits, grant.present, connection.version, connection.output.tail());
        connection.stage = Stage::Open;
        connection.session = grant.session;
        connection.epoch = grant.epoch;
        connection.owns_session = true;
        connection.lasting = grant.has_queue;
        connection.inbound.resume(&grant.unreleased);
        if connection.lasting {
            self.calls.push_back(SessionCall::Ready {
                session: grant.session,
                epoch: grant.epoch,
                home: connection.home,
                receive_maximum: connection.receive_maximum,
            });
        } else {
            connection.outbound = Some(Box::new(Outbound::new(connection.receive_maximum)));
        }
        self.join_groups(key, grant.groups);
        self.mark(key);
    }

    fn on_asked(&mut self, to: ReplyTo, answer: Answer) {
        let connection = &mut self.connections[to.home.key as usize];
        // Nothing follows a DISCONNECT, of either side [MQTT-3.14.4-1].
        if connection.stage != Stage::Open {
            return;
        }
        let Some(at) = connection.asks.iter().position(|ask| ask.token == to.token) else { return };
        let ask = &mut connection.asks[at];
        match answer {
            Answer::Begun { parts } => ask.parts += parts as i32 - UNTOLD,
            Answer::Done => ask.parts -= 1,
            Answer::Subscribed { more, existed } => {
                ask.parts += more as i32 - UNTOLD;
                for ((place, existed), wanted) in ask.asked.iter().zip(&existed).zip(0..) {
                    match ask.kind {
                        AskKind::Unsubscribe if !existed => {
                            ask.reasons[*place] = ReasonCode::NoSubscriptionExisted;
                        }
                        AskKind::Unsubscribe => {}
                        AskKind::Subscribe => {
                            let (_, handling) = &mut ask.wanted[wanted];
                            if *existed && *handling == RetainHandling::OnNewSubscription {
                                *handling = RetainHandling::Never;
                            }
                        }
                    }
                }
            }
            Answer::Refused(reason) => {
                for &place in &ask.asked {
                    ask.reasons[place] = reason;
                }
                ask.wanted.clear();
                ask.parts = 0;
            }
            Answer::Granted(_) => {}
        }
        if ask.parts > 0 {
            return;
        }
        let ask = connection.asks.swap_remove(at);
        acknowledge_ask(connection, &ask);
        let (home, session) = (connection.home, connection.session);
        for (wanted, handling) in &ask.wanted {
            if *handling != RetainHandling::Never {
                retained::requests(wanted, home, session, self.slots, &mut connection.retained);
            }
        }
        if !connection.retained.is_empty() {
            self.hungry.push(connection.home);
        }
        let shared = ask.wanted.iter().filter(|(wanted, _)| wanted.filter.starts_with(SHARED));
        let groups = shared.map(|(wanted, _)| group_of(&wanted.filter)).collect();
        self.join_groups(to.home.key, groups);
        self.mark(to.home.key);
    }

    /// Retained Messages for a new Subscription, and where the rest of them is to be read.
    pub fn on_retained(&mut self, chunk: retained::Chunk, now: Now) {
        let retained::Chunk { home, messages, next } = chunk;
        let Some(connection) = self.find(&home).filter(|found| found.stage == Stage::Open) else { return };
        if let Some(next) = next {
            connection.retained.push_front(next);
        }
        let (lasting, session, epoch) = (connection.lasting, connection.session, connection.epoch);
        for (delivery, message) in messages {
            if lasting && delivery.qos > QoS::AtMostOnce {
                self.connections[home.key as usize].retained_unacknowledged += 1;
                self.calls.push_back(SessionCall::Keep { session, epoch, delivery, message });
                continue;
            }
            let Ok(message) = Message::decode(&message) else { continue };
            self.encoded.begin();
            self.deliver(&home, &delivery, &message, now);
        }
        self.refill(home.key, now);
    }

    /// Nothing more is read from a Client until then.
    pub fn pause(&mut self, key: u32, until: u64) {
        let connection = &mut self.connections[key as usize];
        connection.paused_until = until;
        self.paused.push(connection.home);
    }

    /// Reads on from those who have waited long enough.
    pub fn unpause(&mut self, now: u64) {
        for home in std::mem::take(&mut self.paused) {
            let Some(connection) = self.find(&home) else { continue };
            if connection.paused_until > now {
                self.paused.push(home);
                continue;
            }
            connection.paused_until = 0;
            self.mark(home.key);
        }
    }

    /// What time alone does to connections: looked at about once a second.
    pub fn tick(&mut self, now: Now) {
        self.now = now.monotonic;
        let limits = &self.limits;
        let mut ended = Vec::new();
        for (key, connection) in &mut self.connections {
            if connection.stage == Stage::Closing {
                // One tick to be told, and then no more.
                if connection.doomed_at.is_some_and(|at| at <= now.monotonic) {
                    connection.stage = Stage::Gone;
                    ended.push(key as u32);
                }
                connection.doomed_at = Some(connection.doomed_at.unwrap_or(now.monotonic + CLOSING));
                continue;
            }
            let silent = now.monotonic.saturating_sub(connection.last_seen);
            let reason = match connection.stage {
                Stage::New if silent > limits.connect_timeout => None,
                Stage::Leaving if silent > LEAVING => None,
                Stage::Open if connection.keep_alive > 0 && silent > connection.keep_alive => {
                    Some(ReasonCode::KeepAliveTimeout)
                }
                Stage::Open if connection.doomed_at.is_some_and(|at| at <= now.monotonic) => {
                    Some(ReasonCode::QuotaExceeded)
                }
                Stage::Open
                    if connection
                        .inbound
                        .waiting_since()
                        .is_some_and(|since| now.monotonic > since + limits.acknowledge_timeout) =>
                {
                    Some(ReasonCode::ServerBusy)
                }
                _ => continue,
            };
            match reason {
                Some(reason) => connection.close(reason),
                None => connection.drop_silently(),
            }
            ended.push(key as u32);
        }
        for key in ended {
            self.mark(key);
        }
    }

    /// Ends every connection because the Server goes [MQTT-4.13.1-1]; 5.0 Clients hear where to go instead, if that is
    /// known.
    pub fn send_away(&mut self, elsewhere: Option<&str>) {
        let keys: Vec<u32> = self.connections.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            if let Some(server) = elsewhere
                && let Some(connection) = self.connections.get_mut(key as usize)
                && connection.send_elsewhere(server)
            {
                self.mark(key);
                continue;
            }
            match self.connections.get_mut(key as usize) {
                // Nothing is said to who has said nothing [MQTT-3.14.0-1].
                Some(connection) if connection.stage == Stage::New => {
                    connection.drop_silently();
                    self.mark(key);
                }
                _ => self.close(key, ReasonCode::ServerShuttingDown),
            }
        }
    }
}

/// Writes the PUBREL that answers a PUBREC of nothing (MQTT 5.0, 3.6.2.1).
pub fn release_unknown(connection: &mut Connection, packet_id: PacketId) {
    let pubrel = Pubrel::new(packet_id, ReasonCode::PacketIdentifierNotFound);
    let written = pubrel.encode(connection.version, connection.output.tail());
    written.expect("a PUBREL without properties can be written");
}

/// Writes the acknowledgements of a publisher that are due.
pub fn acknowledge(connection: &mut Connection, now: u64) {
    if connection.inbound.acknowledge(connection.version, connection.output.tail()) {
        connection.doomed_at.get_or_insert(now + REFUSED_GRACE);
    }
}

/// Writes the CONNACK that accepts a Client.
pub fn welcome(
    greeting: &Greeting,
    limits: &Limits,
    session_present: bool,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let mut connack = Connack::refused(ReasonCode::Success);
    connack.session_present = session_present;
    if version.has_properties() {
        let properties = &mut connack.properties;
        properties.session_expiry_interval = greeting.session_expiry;
        properties.assigned_client_identifier = greeting.assigned_client_id.as_deref();
        properties.server_keep_alive = greeting.server_keep_alive;
        properties.receive_maximum = std::num::NonZeroU16::new(limits.receive_maximum);
        properties.maximum_packet_size = std::num::NonZeroU32::new(limits.packet_bytes);
        properties.topic_alias_maximum = Some(limits.topic_alias_maximum);
        properties.response_information = greeting.response_information.as_deref();
        limits.features.announce(properties);
    }
    connack.encode(version, out).expect("a CONNACK that accepts can be written in every version");
}

/// Writes SUBACK or UNSUBACK. A Client that has asked for more than its Maximum Packet Size lets it be told is told
/// nothing but that, and is closed [MQTT-3.1.2-24].
pub fn acknowledge_ask(connection: &mut Connection, ask: &Ask) {
    let (version, limit) = (connection.version, connection.packet_bytes_limit as usize);
    let output = connection.output.tail();
    let start = output.len();
    let (packet_id, properties) = (ask.packet_id, Default::default());
    let reasons = ask.reasons.as_slice().into();
    let written = match ask.kind {
        AskKind::Subscribe => Suback { packet_id, properties, reasons }.encode(version, output),
        AskKind::Unsubscribe => Unsuback { packet_id, properties, reasons }.encode(version, output),
    };
    written.expect("it has no more Reason Codes than the packet it answers had Topic Filters");
    if output.len() - start > limit {
        output.truncate(start);
        connection.close(ReasonCode::PacketTooLarge);
    }
}

fn write(
    connection: &mut Connection,
    encoded: &mut Encoded,
    message: &Message<'_>,
    delivery: &Delivery,
    packet_id: Option<PacketId>,
    dup: bool,
    now: Now,
) -> usize {
    let mut receiver = Receiver {
        version: connection.version,
        packet_bytes_limit: connection.packet_bytes_limit,
        aliases: connection.aliases.as_deref_mut(),
        output: &mut connection.output,
    };
    let written = encoded.write(message, delivery, packet_id, dup, &mut receiver, now.wall);
    connection.traffic.messages_sent += u64::from(written > 0);
    written
}

/// Sends a message of QoS 1 or 2 of a Session that ends with its connection.
fn send_numbered(
    connection: &mut Connection,
    encoded: &mut Encoded,
    message: &Message<'_>,
    delivery: &Delivery,
    now: Now,
) -> usize {
    let Some(outbound) = &mut connection.outbound else { return 0 };
    let packet_id = outbound.send(delivery, message);
    let written = write(connection, encoded, message, delivery, Some(packet_id), false, now);
    if written == 0
        && let Some(outbound) = &mut connection.outbound
    {
        outbound.unsend(packet_id, delivery.qos);
    }
    written
}
