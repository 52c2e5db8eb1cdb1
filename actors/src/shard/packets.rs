//! From bytes of a Client to what is to be done: packets are cut, checked against the state of their connection, and
//! passed on to partitions and slots.

use convoy_wire::{
    Cut, Disconnect, Error, Limits as WireLimits, Packet, PacketId, PacketType, Publish, Pubrec, Pubrel,
    ReasonCode, Sender, cut, sole_ack,
};

use super::Shard;
use crate::activity::Activity;
use crate::call::{Ack, Farewell, SessionCall};
use crate::clock::Now;
use crate::connection::{self, Barrier, Received, Stage};
use crate::edge::{LEAVING, release_unknown};
use crate::metric;
use crate::session::name_of;
use crate::tenant::TENANT;

/// Keep Alive counts packets, and bytes that drip in buy no time [MQTT-3.1.2-22]. A packet that lacks more bytes than
/// this is on its way over a slow link, and its Client is not silent.
const LONG_WAY: usize = 1000;

/// Packets and deliveries of one Client before others have their turn: a millisecond or two. What it has sent beyond
/// that waits, and is taken up like what came while nothing was read.
const WORK_A_PIECE: u64 = 4096;

/// The same of all Clients in one turn. Then each may say this much, so that very many who say much are no longer than very
/// many who say little.
const WORK_A_TURN: u64 = 32_768;
const LEAST_A_PIECE: u64 = 128;

/// What long packets that name Topic Filters may take of a turn, beyond the first of them: each Topic Filter is looked at when
/// its packet comes. Bytes that are as much as a packet or a delivery.
const DEAR_A_TURN: u64 = 8192;
const BYTES_A_UNIT: usize = 32;

/// What a packet takes that names many Topic Filters, by its first byte; zero for all others.
fn dear_work(first: u8, length: usize) -> u64 {
    const NAMES: [u8; 2] = [PacketType::Subscribe as u8, PacketType::Unsubscribe as u8];
    if length > LONG_WAY && NAMES.contains(&(first >> 4)) { (length / BYTES_A_UNIT) as u64 } else { 0 }
}

/// Whether a packet is a message that may have to wait for a record, by its first byte.
fn may_wait(first: u8) -> bool {
    const QOS_OR_RETAIN: u8 = 0b0111;
    first >> 4 == PacketType::Publish as u8 && first & QOS_OR_RETAIN != 0
}

/// What is next of the bytes of a Client.
enum Next<'a> {
    Packet {
        first: u8,
        body: &'a [u8],
        length: usize,
    },
    /// A packet has begun; `is_long`: it is on its way over a slow link.
    Partial {
        is_long: bool,
    },
    /// A packet that is not taken now.
    Later,
    /// Nothing of it is taken.
    Nothing,
    Broken(ReasonCode),
}

/// Why a connection ends.
pub(super) type Outcome = Result<(), ReasonCode>;

impl Shard {
    /// Whether a packet waits for the next turn, because this one has taken another like it.
    fn is_too_dear(&self, first: u8, length: usize) -> bool {
        let work = dear_work(first, length);
        work > 0 && self.dear_work > 0 && self.dear_work + work > DEAR_A_TURN
    }

    /// How much work the Client may cause that is heard now.
    fn piece_of_client(&self) -> u64 {
        let left = (self.turn_began_at + WORK_A_TURN).saturating_sub(self.work);
        left.clamp(LEAST_A_PIECE, WORK_A_PIECE)
    }

    /// Bytes came from a Client. Also to be called without any when the connection is reading again.
    pub fn receive(&mut self, now: Now, key: u32, bytes: &[u8]) {
        self.outlet.edge.now = now.monotonic;
        self.outlet.edge.pulse.tell(Activity::Packets, key);
        self.look_at_links(now);
        self.outlet.edge.judge(key);
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
        // What records have caused goes before what it says.
        let piece = if self.is_settled() { self.piece_of_client() } else { 0 };
        let mut until = self.work + piece;
        // What others have sent is not this Client's.
        self.outlet.post.take_sent_to();
        self.outlet.post.take_is_enough();
        while at < input.len() {
            let sent = self.outlet.post.sent();
            let outcome = match self.next_packet(key, &input[at..], limits, until) {
                Next::Packet { first, body, length } => {
                    at += length;
                    let dear = dear_work(first, length);
                    self.dear_work += dear;
                    self.work += dear;
                    is_heard = true;
                    self.packet(now, key, first, body)
                }
                Next::Partial { is_long } => {
                    is_heard |= !bytes.is_empty() && is_long;
                    break;
                }
                Next::Later => {
                    paused = true;
                    is_heard |= !bytes.is_empty();
                    break;
                }
                Next::Nothing => {
                    at = input.len();
                    break;
                }
                Next::Broken(reason) => Err(reason),
            };
            if let Err(reason) = outcome {
                self.outlet.edge.close(key, reason);
                at = input.len();
            }
            if !self.outlet.edge.calls.is_empty() {
                self.settle(now);
            }
            if self.outlet.post.sent() > sent {
                self.charge_mail(key, self.outlet.post.sent() - sent);
                if self.outlet.post.take_is_enough() {
                    // What this Client sends is dear over there, and others send something there too.
                    until = self.work;
                }
            }
        }
        let Some(connection) = self.outlet.edge.connections.get_mut(key as usize) else { return };
        connection.has_whole_input = paused;
        if is_heard {
            connection.last_seen = now.monotonic;
            connection.keep_alive.heard(self.outlet.edge.listening.at(now.monotonic));
        }
        let is_heard_on = !matches!(connection.stage, Stage::Leaving | Stage::Closing | Stage::Gone);
        if is_heard_on && at < input.len() {
            connection.input = rest_of(bytes, kept, at);
        }
        if connection.weigh_unfinished() != connection.unfinished {
            self.outlet.edge.weigh_unfinished(key);
        }
    }

    /// The packet that a Client's bytes begin with, if it is to be taken now.
    fn next_packet<'a>(&mut self, key: u32, input: &'a [u8], limits: WireLimits, until: u64) -> Next<'a> {
        if self.work >= until {
            self.outlet.edge.mark(key);
            return Next::Later;
        }
        self.work += 1;
        let connection = &self.outlet.edge.connections[key as usize];
        if !connection.is_reading(&self.options.limits) {
            if connection.has_unread_answers(&self.options.limits) {
                metric::met("answer_bytes");
            } else if connection.has_used_credit(&self.options.limits) {
                metric::met("underway_bytes");
            }
            return Next::Later;
        }
        if connection.stage == Stage::New && input[0] >> 4 != PacketType::Connect as u8 {
            // [MQTT-3.1.0-1]: the first packet is a CONNECT, and one byte tells that it is not.
            self.outlet.edge.connections[key as usize].drop_silently();
            self.outlet.edge.mark(key);
            return Next::Nothing;
        }
        match cut(input, limits) {
            Ok(Cut::Partial { needed }) => {
                let is_long = connection.stage == Stage::Open && needed - input.len() > LONG_WAY;
                Next::Partial { is_long }
            }
            Ok(Cut::Whole { first, length, .. })
                if self.outlet.edge.shortage.is_on()
                    && may_wait(first)
                    && !self.outlet.edge.admits(key, length) =>
            {
                Next::Later
            }
            Ok(Cut::Whole { first, length, .. }) if self.is_too_dear(first, length) => {
                // Others have their turn first.
                self.outlet.edge.mark(key);
                Next::Later
            }
            Ok(Cut::Whole { first, body, length }) => Next::Packet { first, body, length },
            Err(error) => Next::Broken(self.broken(key, &error)),
        }
    }

    /// Bytes that break a rule: said to the Client by their Reason Code, and to the operator in words.
    pub(super) fn broken(&self, key: u32, error: &Error) -> ReasonCode {
        let connection = &self.outlet.edge.connections[key as usize];
        tracing::debug!(serial = connection.home.serial, %error, "connection closed");
        if error.reason == ReasonCode::PacketTooLarge {
            // [MQTT-3.1.0-1]: the first packet is a CONNECT.
            let is_first = connection.stage == Stage::New;
            metric::met(if is_first { "connect_packet_bytes" } else { "packet_bytes" });
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
        match sole_ack(first, body) {
            Some((PacketType::Puback, id)) => return self.on_ack(now, key, Ack::Puback, id),
            Some((PacketType::Pubrec, id)) => {
                return self.on_ack(now, key, Ack::Pubrec { refused: false }, id);
            }
            Some((PacketType::Pubcomp, id)) => return self.on_ack(now, key, Ack::Pubcomp, id),
            Some((_, id)) => return self.on_pubrel(key, id),
            None => {}
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
            Packet::Pubrel(pubrel) => self.on_pubrel(key, pubrel.packet_id),
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

    fn on_ack(&mut self, now: Now, key: u32, ack: Ack, packet_id: PacketId) -> Outcome {
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
            if let Some(sent) = connection.sent_mut() {
                sent.on_ack(ack, packet_id);
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
                // What is sent in its place is weighed with it.
                if outbound.waits() || connection.readings.is_some() {
                    self.outlet.edge.refill(key, now);
                } else if connection.membership.is_some() {
                    self.outlet.edge.weigh(key);
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

    fn on_pubrel(&mut self, key: u32, packet_id: PacketId) -> Outcome {
        let connection = &mut self.outlet.edge.connections[key as usize];
        if connection.inbound.received(packet_id) == Some(Received::Accepting) {
            connection.barrier = Some(Barrier::Release(packet_id));
            return Ok(());
        }
        self.outlet.edge.release_inbound(key, packet_id);
        Ok(())
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
        let farewell = connection.takes_leave();
        connection.owns_session = false;
        connection.stage = Stage::Leaving;
        connection.doomed_at = Some(self.outlet.edge.now + LEAVING + 1);
        self.outlet.edge.leave_groups(key);
        self.outlet.edge.calls.push_back(farewell);
        Ok(())
    }

    /// The Network Connection is closed: leave is taken of the Session, if it is still this connection's.
    pub fn closed(&mut self, now: Now, key: u32) {
        self.outlet.edge.now = now.monotonic;
        self.outlet.edge.pulse.tell(Activity::Close, key);
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
        if connection.asks_for_session && self.has_others {
            let (name, home) = (name_of(TENANT, &connection.client_id), connection.home);
            self.outlet.edge.calls.push_back(SessionCall::Abandon { name, home });
        }
        if let Some(outbound) = connection.outbound {
            for (delivery, message) in outbound.leave() {
                self.dispatch_again(now, connection.session, connection.client, &delivery, &message);
            }
        }
        self.settle(now);
    }
}

/// What is kept of these bytes behind `at`. `kept`: all of them, if some had been kept before.
fn rest_of(bytes: &[u8], mut kept: Vec<u8>, at: usize) -> Vec<u8> {
    if kept.is_empty() {
        return bytes[at..].to_vec();
    }
    kept.drain(..at);
    kept
}
