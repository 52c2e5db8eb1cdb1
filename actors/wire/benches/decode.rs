//! What a packet costs: nanoseconds to decode and encode a QoS 1 PUBLISH of 5.0 with 64 bytes of payload, and acks.
//!
//! Each figure is the best of many rounds, for a busy machine only ever adds. Ratios compare with copying the same
//! bytes into a buffer that is already there, and with `mqtt-protocol-core` where it does the same work.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use convoy_wire::{
    Cut, Delivery, Forwardable, Limits, Packet, PacketId, ProtocolVersion::V5, Puback, Publish,
    PublishProperties, QoS, ReasonCode, TopicFilter, TopicName, cut, decode, topic,
};
use mqtt_protocol_core::mqtt::packet::v5_0;

const TOPIC: &str = "fleet/vehicle-000042/telemetry";
const ROUNDS: u32 = 60;
const CALLS: u32 = 20_000;

fn main() {
    let payload = [0x5a; 64];
    let user_properties = [("trace", "6f1c9a"), ("region", "eu-central")];
    let plain = Publish {
        qos: QoS::AtLeastOnce,
        topic: TOPIC,
        packet_id: PacketId::new(4_711),
        payload: &payload,
        ..Publish::default()
    };
    let properties = PublishProperties {
        message_expiry_interval: Some(60),
        content_type: Some("application/cbor"),
        user_properties: user_properties.as_slice().into(),
        ..PublishProperties::default()
    };
    let rich = Publish { properties, ..plain };
    let puback = Puback::new(PacketId::MAX, ReasonCode::Success);

    let plain_bytes = encoded(Packet::Publish(plain));
    let rich_bytes = encoded(Packet::Publish(rich));
    let puback_bytes = encoded(Packet::Puback(puback));
    let mut out = Vec::with_capacity(4_096);

    let copy = measure(|| {
        out.clear();
        out.extend_from_slice(black_box(&plain_bytes));
        black_box(&out);
    });
    println!("{:<52} {copy:>7.1} ns   1.0", "copy the bytes of the publish");
    let report = |what: &str, ns: f64| println!("{what:<52} {ns:>7.1} ns {:>5.1}", ns / copy);

    let ours = measure(|| read(black_box(&plain_bytes)));
    report("publish: cut and decode", ours);
    report("publish, 4 properties: cut and decode", measure(|| read(black_box(&rich_bytes))));
    report("puback: cut and decode", measure(|| read(black_box(&puback_bytes))));
    report("publish: well-formed UTF-8 of its topic alone", {
        let topic = TOPIC.as_bytes();
        measure(|| {
            let _ = black_box(std::str::from_utf8(black_box(topic)));
        })
    });

    report(
        "publish: encode",
        measure(|| {
            out.clear();
            black_box(&plain).encode(V5, &mut out).expect("it fits");
            black_box(&out);
        }),
    );
    let delivery = Delivery {
        qos: QoS::AtLeastOnce,
        topic: TOPIC,
        payload: &payload,
        packet_id: PacketId::new(4_711),
        ..Delivery::default()
    };
    report(
        "delivery: append",
        measure(|| {
            out.clear();
            black_box(black_box(&delivery).append(V5, &mut out).expect("it fits"));
            black_box(&out);
        }),
    );
    let mut forwardable = Vec::new();
    properties.put_forwardable(&mut forwardable).expect("it fits");
    let delivery = Delivery {
        properties: Forwardable::from_put(&forwardable),
        message_expiry_left: Some(59),
        ..delivery
    };
    report(
        "delivery, 4 properties: append",
        measure(|| {
            out.clear();
            black_box(black_box(&delivery).append(V5, &mut out).expect("it fits"));
            black_box(&out);
        }),
    );
    report(
        "puback: encode",
        measure(|| {
            out.clear();
            black_box(&puback).encode(V5, &mut out).expect("it fits");
            black_box(&out);
        }),
    );
    let filter = TopicFilter::new("fleet/+/telemetry").expect("it is valid");
    let name = TopicName::new(TOPIC).expect("it is valid");
    report(
        "topic: match a filter with one wildcard",
        measure(|| {
            black_box(topic::matches(black_box(filter), black_box(name)));
        }),
    );

    let body: std::sync::Arc<[u8]> = plain_bytes[2..].into();
    let theirs = measure(|| {
        black_box(
            &v5_0::Publish::parse(plain_bytes[0] & 0x0f, black_box(body.clone())).expect("it is valid"),
        );
    });
    report("publish: decode by mqtt-protocol-core", theirs);
    println!("mqtt-protocol-core / convoy-wire, decoding a publish: {:.1}", theirs / ours);
}

fn encoded(packet: Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(V5, &mut out).expect("it fits");
    out
}

fn read(buffer: &[u8]) {
    let Ok(Cut::Whole { first, body, .. }) = cut(buffer, Limits::all(1 << 20)) else {
        panic!("the packet is whole");
    };
    // Looked at where it is, as a match on it does: moving it would copy 272 bytes.
    assert!(black_box(&decode(V5, first, body)).is_ok());
}

/// Nanoseconds a call, in the best round.
fn measure(mut call: impl FnMut()) -> f64 {
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..ROUNDS).map(|_| round(&mut call)).fold(f64::INFINITY, f64::min)
}
