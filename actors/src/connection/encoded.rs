//! One encoding for all receivers of a message who get it alike: per protocol version, QoS and RETAIN flag. What
//! differs, the Packet Identifier, is patched into each copy.

use bytes::Bytes;
use convoy_wire::{Delivery as Packet, Forwardable, PacketId, Placed, ProtocolVersion, QoS, SubscriptionId};

use super::output::{Output, SHARED_FROM};
use crate::clock::Millis;
use crate::message::Message;
use crate::slot::Delivery;

/// How a packet is written, apart from its Packet Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    properties: bool,
    qos: QoS,
    retain: bool,
}

#[derive(Debug)]
struct Entry {
    form: Form,
    from: usize,
    to: usize,
    placed: Placed,
    /// The bytes behind the Packet Identifier, of a large packet.
    shared: Option<Bytes>,
}

/// Encodings of the message that is being passed on; kept and used again for the next one.
#[derive(Debug, Default)]
pub struct Encoded {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Encoded {
    /// Begins another message.
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Appends the PUBLISH to `output`, and returns its length. Zero, and nothing appended, if it is larger than the
    /// Client takes [MQTT-3.1.2-24] or has expired [MQTT-3.3.2-5].
    #[expect(clippy::too_many_arguments, reason = "each is a property of this one delivery")]
    pub fn write(
        &mut self,
        message: &Message<'_>,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        dup: bool,
        version: ProtocolVersion,
        packet_bytes_limit: u32,
        now: Millis,
        output: &mut Output,
    ) -> usize {
        let form = Form { properties: version.has_properties(), qos: delivery.qos, retain: delivery.retain };
        if form.properties && !delivery.identifiers().is_empty() {
            return write_alone(message, delivery, packet_id, dup, version, packet_bytes_limit, now, output);
        }
        let entry = match self.entries.iter().position(|entry| entry.form == form) {
            Some(at) => &mut self.entries[at],
            None => {
                let Some(left) = message.remaining(now) else { return 0 };
                let from = self.bytes.len();
                let Ok(placed) = packet(message, form, &[], left).append(version, &mut self.bytes) else {
                    return 0;
                };
                self.entries.push(Entry { form, from, to: self.bytes.len(), placed, shared: None });
                self.entries.last_mut().expect("one was pushed")
            }
        };
        let len = entry.to - entry.from;
        if len > packet_bytes_limit as usize {
            return 0;
        }
        let mut placed = entry.placed;
        let shift = |at: usize, by: usize| at - entry.from + by;
        let start = output.tail().len();
        if len < SHARED_FROM {
            output.tail().extend_from_slice(&self.bytes[entry.from..entry.to]);
        } else {
            let head = entry.placed.packet_id_at.map_or(entry.from, |at| at + 2);
            output.tail().extend_from_slice(&self.bytes[entry.from..head]);
            entry.shared.get_or_insert_with(|| Bytes::copy_from_slice(&self.bytes[head..entry.to]));
        }
        placed.packet_id_at = placed.packet_id_at.map(|at| shift(at, start));
        placed.start = start;
        if let Some(packet_id) = packet_id {
            placed.set_packet_id(output.tail(), packet_id);
            if dup {
                placed.set_dup(output.tail());
            }
        }
        if let Some(shared) = entry.shared.as_ref().filter(|_| len >= SHARED_FROM) {
            output.share(shared.clone());
        }
        len
    }
}

/// A delivery that no other receiver shares: it carries Subscription Identifiers.
#[expect(clippy::too_many_arguments, reason = "each is a property of this one delivery")]
fn write_alone(
    message: &Message<'_>,
    delivery: &Delivery,
    packet_id: Option<PacketId>,
    dup: bool,
    version: ProtocolVersion,
    packet_bytes_limit: u32,
    now: Millis,
    output: &mut Output,
) -> usize {
    let Some(left) = message.remaining(now) else { return 0 };
    let mut identifiers = [SubscriptionId::new(1).expect("1 is one"); Delivery::IDENTIFIERS];
    let mut used = 0;
    for identifier in delivery.identifiers().iter().filter_map(|&identifier| SubscriptionId::new(identifier))
    {
        identifiers[used] = identifier;
        used += 1;
    }
    let form = Form { properties: true, qos: delivery.qos, retain: delivery.retain };
    let start = output.tail().len();
    let mut packet = packet(message, form, &identifiers[..used], left);
    packet.packet_id = packet_id;
    packet.dup = dup;
    match packet.append(version, output.tail()) {
        Ok(_) if output.tail().len() - start <= packet_bytes_limit as usize => output.tail().len() - start,
        _ => {
            output.tail().truncate(start);
            0
        }
    }
}

fn packet<'a>(
    message: &Message<'a>,
    form: Form,
    subscription_ids: &'a [SubscriptionId],
    message_expiry_left: Option<u32>,
) -> Packet<'a> {
    Packet {
        qos: form.qos,
        retain: form.retain,
        topic: message.topic,
        properties: Forwardable::from_put(message.properties),
        message_expiry_left,
        subscription_ids,
        payload: message.payload,
        ..Packet::default()
    }
}
