//! Messages on their way to Clients: written, kept until there is room, or dropped.

use bytes::Bytes;
use convoy_wire::{PacketId, Pubrel, QoS, ReasonCode};

use super::Edge;
use super::late::{Outputs, queue_of_late};
use crate::call::SessionCall;
use crate::clock::Now;
use crate::connection::{Connection, Encoded, Receiver, Stage};
use crate::message::Message;
use crate::metric;
use crate::session::{self, Delivery, Home, Seq, SessionNumber};

impl Edge {
    /// Another message is going to be delivered.
    #[inline]
    pub fn begin_message(&mut self) {
        self.encoded.begin();
    }

    /// The same for one that lies in these bytes, which are shared as far as it goes.
    #[inline]
    pub fn begin_with(&mut self, whole: &Bytes) {
        self.encoded.begin_with(whole);
    }

    /// The same for one that perhaps lies in bytes that are shared already.
    #[inline]
    pub fn begin_of(&mut self, message: &Message<'_>) {
        self.encoded.begin_of(message);
    }

    /// The message that was begun, to be kept: the same bytes for all who ask.
    pub fn whole(&mut self, message: &Message<'_>) -> Bytes {
        self.encoded.whole(message)
    }

    /// A message for the Session of this connection, which ends with it: sent, or kept until there is room.
    #[inline]
    pub fn deliver(
        &mut self,
        home: &Home,
        session: SessionNumber,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        if message.retain {
            self.note_newer(home, message.topic);
        }
        self.hand_over(home, session, delivery, message, now);
    }

    /// The same for a message that is not newer than what is held for the connection.
    pub(super) fn hand_over(
        &mut self,
        home: &Home,
        session: SessionNumber,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        self.judge_if_due(home.key);
        let Self { connections, encoded, limits, outputs, .. } = self;
        let open = |connection: &&mut Box<Connection>| {
            connection.home.serial == home.serial && connection.stage == Stage::Open
        };
        let Some(connection) = connections.get_mut(home.key as usize).filter(open) else {
            return self.return_shared(session, delivery, message);
        };
        if !connection.may_receive(message.topic) {
            return;
        }
        let backlog = connection.output.len();
        if delivery.qos == QoS::AtMostOnce {
            if backlog > limits.output_bytes || outputs.is_late(connection) {
                return self.note_dropped();
            }
            if let Some((behind, after)) =
                connection.outbound.as_mut().and_then(|outbound| outbound.ahead_of(message.topic))
            {
                if !behind.push(after, message.topic, *delivery, encoded.whole(message)) {
                    self.note_dropped();
                }
                return;
            }
            write(connection, encoded, outputs, message, delivery, None, false, now);
        } else {
            let is_late = outputs.is_late(connection);
            let Some(outbound) = &mut connection.outbound else { return };
            if !outbound.has_room() || backlog > limits.output_bytes || is_late {
                let whole = encoded.whole(message);
                let (topic, expires_at) = (message.topic, message.expires_at);
                let may_wait = match is_late {
                    true => queue_of_late(&limits.queue, outbound.waiting_bytes()),
                    false => limits.queue,
                };
                let dropped = outbound.queue(topic, *delivery, whole, expires_at, &may_wait, now.wall);
                if dropped > 0 {
                    self.queue_dropped.add(dropped);
                    self.tally.dropped += dropped;
                }
                if connection.membership.is_some() {
                    self.weigh(home.key);
                }
                return;
            }
            if send_numbered(connection, encoded, outputs, message, delivery, now) > 0
                && let Some(outbound) = &mut connection.outbound
            {
                outbound.keep(delivery, || encoded.whole(message));
            }
            if connection.membership.is_some() {
                self.weigh(home.key);
            }
        }
        let connection = &mut self.connections[home.key as usize];
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(home.key);
        }
        self.delivered.add(1);
    }

    /// A message out of the Session's queue, with its number there, or one of QoS 0; it has been begun.
    pub fn send(
        &mut self,
        home: &Home,
        seq: Option<Seq>,
        dup: bool,
        delivery: &Delivery,
        message: &Message<'_>,
        now: Now,
    ) {
        let limit = self.limits.output_bytes;
        self.judge_if_due(home.key);
        let Self { connections, encoded, outputs, .. } = self;
        let Some(connection) = connections.get_mut(home.key as usize) else { return };
        if connection.home.serial != home.serial || connection.stage != Stage::Open {
            return;
        }
        if let (Some(seq), Some(sent)) = (seq, connection.sent())
            && !sent.may_send(seq)
        {
            // No leader that knows how far the connection has come sends this.
            metrics::counter!(metric::FRAMES_REFUSED).increment(1);
            return;
        }
        let packet_id = seq.map(session::packet_id);
        if packet_id.is_none() && (connection.output.len() > limit || outputs.is_late(connection)) {
            return self.note_dropped();
        }
        if message.retain
            && let Some(readings) = &mut connection.readings
        {
            readings.supersede(message.topic);
        }
        let may_receive = connection.may_receive(message.topic);
        if !may_receive && packet_id.is_none() {
            return;
        }
        let is_sent =
            may_receive && write(connection, encoded, outputs, message, delivery, packet_id, dup, now) > 0;
        if let (Some(seq), Some(sent)) = (seq, connection.sent_mut()) {
            sent.send(seq, is_sent.then_some(delivery.qos));
        }
        if !is_sent && let Some(packet_id) = packet_id {
            // Larger than the Client takes, expired meanwhile, or not for it any more: it counts as delivered
            // [MQTT-3.1.2-25].
            let ack = match delivery.qos {
                QoS::ExactlyOnce => crate::call::Ack::Pubrec { refused: true },
                _ => crate::call::Ack::Puback,
            };
            let (session, epoch) = (connection.session, connection.epoch);
            self.unsendable.push_back(SessionCall::Ack { session, epoch, ack, packet_id });
            return;
        }
        if packet_id.is_some()
            && let Some(membership) = &mut connection.membership
        {
            membership.underway += 1;
            self.weigh(home.key);
        }
        self.delivered.add(1);
        self.mark(home.key);
    }

    pub fn release(&mut self, home: &Home, packet_id: PacketId) {
        let Some(connection) = self.find(home).filter(|found| found.stage == Stage::Open) else { return };
        let version = connection.version;
        let pubrel = Pubrel::new(packet_id, ReasonCode::Success);
        pubrel.encode(version, connection.output.tail()).expect("a PUBREL without properties can be written");
        if let Some(sent) = connection.sent_mut() {
            sent.release(packet_id);
        }
        self.mark(home.key);
    }

    /// Sends what waited for room in the window or in the output.
    pub fn refill(&mut self, key: u32, now: Now) {
        let Self { connections, encoded, limits, outputs, .. } = self;
        let Some(connection) = connections.get_mut(key as usize) else { return };
        if connection.stage != Stage::Open {
            return;
        }
        let mut sent = 0;
        while connection.output.len() <= limits.output_bytes
            && let Some((delivery, bytes)) = connection.outbound.as_mut().and_then(|outbound| outbound.next())
        {
            let message = Message::decode(&bytes).expect("it was encoded by this connection");
            if !connection.may_receive(message.topic) || message.remaining(now.wall).is_none() {
                continue;
            }
            encoded.begin_with(&bytes);
            sent += 1;
            if delivery.qos == QoS::AtMostOnce {
                write(connection, encoded, outputs, &message, &delivery, None, false, now);
            } else if send_numbered(connection, encoded, outputs, &message, &delivery, now) > 0
                && let Some(outbound) = &mut connection.outbound
            {
                outbound.keep(&delivery, || bytes);
            }
        }
        let satisfied = connection.outbound.as_ref().is_none_or(|outbound| !outbound.waits());
        let reads = satisfied && connection.readings.is_some();
        if sent > 0 {
            self.delivered.add(sent);
            self.mark(key);
        }
        if reads {
            self.read_on(key, now);
        }
        self.weigh(key);
    }

    /// A message that is retained is on its way to a Client: what is held of an older one of its topic is not sent behind
    /// it.
    #[cold]
    fn note_newer(&mut self, home: &Home, topic: &str) {
        if let Some(readings) = self.find(home).and_then(|connection| connection.readings.as_mut()) {
            readings.supersede(topic);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "as for the one packet that it writes, and where that counts")]
fn write(
    connection: &mut Connection,
    encoded: &mut Encoded,
    outputs: &mut Outputs,
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
    if written.bytes > 0 {
        connection.output.note_message(written.bytes);
        outputs.enter(connection, written.copied);
        connection.traffic.messages_sent += 1;
        connection.traffic.payload_bytes_sent += message.payload.len() as u64;
    }
    written.bytes
}

/// Sends a message of QoS 1 or 2 of a Session that ends with its connection.
fn send_numbered(
    connection: &mut Connection,
    encoded: &mut Encoded,
    outputs: &mut Outputs,
    message: &Message<'_>,
    delivery: &Delivery,
    now: Now,
) -> usize {
    let Some(outbound) = &mut connection.outbound else { return 0 };
    let packet_id = outbound.send(delivery, message.encoded_len());
    let written = write(connection, encoded, outputs, message, delivery, Some(packet_id), false, now);
    if written == 0
        && let Some(outbound) = &mut connection.outbound
    {
        outbound.unsend(packet_id, delivery.qos);
    }
    written
}
