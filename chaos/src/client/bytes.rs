//! Packets as bytes, whole or made to be wrong.

use convoy_wire::{Connect, Packet, PacketId, ProtocolVersion, Publish, QoS};

pub fn connect(version: ProtocolVersion, client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::Connect(Connect::new(version, client_id)).encode(version, &mut bytes).expect("a valid CONNECT");
    bytes
}

pub fn publish(version: ProtocolVersion, qos: QoS, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet = Publish { qos, topic, packet_id: PacketId::new(packet_id), payload, ..Publish::default() };
    Packet::Publish(packet).encode(version, &mut bytes).expect("a valid PUBLISH");
    bytes
}

/// First byte, Remaining Length as it should be, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A body of text with its length before it, as MQTT writes strings, and what follows.
pub fn text(text: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(rest);
    bytes
}

/// SUBSCRIBE of 3.1.1.
pub fn subscribe(packet_id: u16, filters: &[&str], qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    filters.iter().for_each(|filter| body.extend(text(filter.as_bytes(), &[qos])));
    packet(0x82, &body)
}

/// UNSUBSCRIBE of 3.1.1.
pub fn unsubscribe(packet_id: u16, filter: &str) -> Vec<u8> {
    packet(0xa2, &[&packet_id.to_be_bytes()[..], &text(filter.as_bytes(), &[])].concat())
}

/// The same PUBLISH with RETAIN.
pub fn retained(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 1;
    publish
}
