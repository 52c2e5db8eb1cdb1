//! CONNECT with a large Will.

use convoy_wire::{Connect, Packet, QoS, TopicName, Will};

/// Bytes of its payload.
pub(super) const WILL_BYTES: usize = 60_000;

/// The CONNECT with a Will of QoS 1 for this topic, and with what else is asked of it.
pub(super) fn connect_with_will(
    connect: Connect<'_>,
    topic: &str,
    ask: impl FnOnce(&mut Will<'_>),
) -> Vec<u8> {
    let mut will = Will {
        topic: TopicName::new(topic).expect("it is a Topic Name"),
        payload: &[b'x'; WILL_BYTES],
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Default::default(),
    };
    ask(&mut will);
    let mut bytes = Vec::new();
    let version = connect.version;
    let connect = Connect { will: Some(will), ..connect };
    Packet::Connect(connect).encode(version, &mut bytes).expect("a valid CONNECT");
    bytes
}
