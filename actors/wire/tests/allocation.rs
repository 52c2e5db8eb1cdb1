//! Decoding allocates nothing, so a stranger's bytes cost their length and no more.

#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use convoy_wire::ProtocolVersion::V5;
use convoy_wire::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; counting touches a thread-local integer that needs
// neither construction nor destruction.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn encoded(packet: Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(V5, &mut out).unwrap();
    out
}

fn read(bytes: &[u8]) -> Packet<'_> {
    match cut(bytes, Limits::all(1 << 20)).unwrap() {
        Cut::Whole { first, body, .. } => decode(V5, first, body).unwrap(),
        Cut::Partial { .. } => panic!("the packet is whole"),
    }
}

fn id() -> PacketId {
    PacketId::new(7).unwrap()
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(Box::new(7)))) > 0);
}

#[test]
fn a_publish_with_every_property_is_read_without_an_allocation() {
    let pairs = [("a", "1"), ("b", "2")];
    let ids = [SubscriptionId::new(3).unwrap()];
    let bytes = encoded(Packet::Publish(Publish {
        qos: QoS::AtLeastOnce,
        topic: "lamp/on",
        packet_id: Some(id()),
        properties: PublishProperties {
            message_expiry_interval: Some(9),
            payload_format: Some(PayloadFormat::Utf8),
            content_type: Some("text/plain"),
            response_topic: Some(TopicName::new("answers").unwrap()),
            correlation_data: Some(b"42"),
            topic_alias: TopicAlias::new(1),
            user_properties: pairs.as_slice().into(),
            subscription_ids: ids.as_slice().into(),
        },
        payload: b"on",
        ..Publish::default()
    }));
    let count = allocations(|| {
        let Packet::Publish(publish) = read(&bytes) else { panic!("it is a PUBLISH") };
        assert!(publish.properties.user_properties.iter().eq(pairs));
        assert!(publish.properties.subscription_ids.iter().eq(ids));
    });
    assert_eq!(count, 0);
}

#[test]
fn acknowledgements_are_read_without_an_allocation() {
    let pairs = [("a", "1")];
    let properties =
        AckProperties { reason_string: Some("because"), user_properties: pairs.as_slice().into() };
    let packets = [
        Packet::Puback(Puback::new(id(), ReasonCode::Success)),
        Packet::Puback(Puback { properties, ..Puback::new(id(), ReasonCode::QuotaExceeded) }),
        Packet::Pubrec(Pubrec { properties, ..Pubrec::new(id(), ReasonCode::QuotaExceeded) }),
        Packet::Pubrel(Pubrel { properties, ..Pubrel::new(id(), ReasonCode::PacketIdentifierNotFound) }),
        Packet::Pubcomp(Pubcomp { properties, ..Pubcomp::new(id(), ReasonCode::PacketIdentifierNotFound) }),
    ];
    for packet in packets {
        let bytes = encoded(packet);
        assert_eq!(allocations(|| assert_eq!(read(&bytes), packet)), 0, "{packet:?}");
    }
}

#[test]
fn no_packet_of_a_stranger_is_read_with_an_allocation() {
    let will = Will {
        topic: TopicName::new("gone").unwrap(),
        payload: b"bye",
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: WillProperties { will_delay_interval: Some(5), ..WillProperties::default() },
    };
    let subscriptions = [Subscription {
        filter: TopicFilter::new("lamp/#").unwrap(),
        options: SubscriptionOptions::new(QoS::AtLeastOnce),
    }];
    let packets = [
        Packet::Connect(Connect {
            will: Some(will),
            username: Some("user"),
            password: Some(b"secret"),
            ..Connect::new(V5, "client")
        }),
        Packet::Subscribe(Subscribe {
            packet_id: id(),
            properties: SubscribeProperties::default(),
            subscriptions: subscriptions.as_slice().into(),
        }),
        Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)),
    ];
    for packet in packets {
        let bytes = encoded(packet);
        assert_eq!(allocations(|| assert_eq!(read(&bytes), packet)), 0, "{packet:?}");
    }
}

#[test]
fn a_length_that_was_only_declared_costs_nothing() {
    let count = allocations(|| {
        assert_eq!(
            cut(&[0x30, 0xff, 0xff, 0xff, 0x7f], Limits::NONE),
            Ok(Cut::Partial { needed: 268_435_460 })
        );
    });
    assert_eq!(count, 0);
}

#[test]
fn a_delivery_into_a_buffer_with_room_allocates_nothing() {
    let mut out = Vec::with_capacity(256);
    let delivery =
        Delivery { qos: QoS::AtLeastOnce, topic: "lamp/on", payload: b"on", ..Delivery::default() };
    let count = allocations(|| {
        let placed = delivery.append(V5, &mut out).unwrap();
        placed.set_packet_id(&mut out, id());
    });
    assert_eq!(count, 0);
}
