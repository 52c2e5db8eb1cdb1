//! What one connection sends takes effect in the order sent, however much of it is in one write (MQTT 5.0, 4.6).

use super::*;

/// Packets in one write.
fn together(version: ProtocolVersion, packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(version, &mut bytes).expect("a test sends what can be written");
    }
    bytes
}

fn subscription<'a>(filter: &'a str, handling: RetainHandling) -> [Subscription<'a>; 1] {
    let options =
        SubscriptionOptions { retain_handling: handling, ..SubscriptionOptions::new(QoS::ExactlyOnce) };
    [Subscription { filter: TopicFilter::new(filter).unwrap(), options }]
}

fn subscribe<'a>(packet_id: u16, subscriptions: &'a [Subscription<'a>]) -> Packet<'a> {
    let properties = SubscribeProperties::default();
    Packet::Subscribe(Subscribe {
        packet_id: id(packet_id),
        properties,
        subscriptions: List::new(subscriptions),
    })
}

fn unsubscribe<'a>(packet_id: u16, filters: &'a [TopicFilter<'a>]) -> Packet<'a> {
    let properties = UnsubscribeProperties::default();
    Packet::Unsubscribe(Unsubscribe { packet_id: id(packet_id), properties, filters: List::new(filters) })
}

fn at(qos: u8, topic: &'static str, payload: &'static str) -> Packet<'static> {
    let packet_id = if qos == 0 { 0 } else { 40 + u16::from(qos) };
    Packet::Publish(Publish { qos: QoS::from_u8(qos).unwrap(), ..publish(topic, payload, packet_id) })
}

fn payloads(got: Vec<Got>) -> Vec<String> {
    got.into_iter()
        .filter_map(|got| match got {
            Got::Publish(received) => Some(received.payload),
            _ => None,
        })
        .collect()
}

#[test]
fn a_message_behind_its_own_subscribe_comes() {
    let mut lost = Vec::new();
    for connect in [passing("a"), lasting("a"), Connect::new(V311, "a")] {
        for (filter, topic) in
            [("x/y", "x/y"), ("+/y", "x/y"), ("x/#", "x/2"), ("x/#", "x/3"), ("y/#", "y/1")]
        {
            for qos in 0..=2 {
                let mut world = World::new();
                let client = world.connect(connect);
                let subscriptions = subscription(filter, RetainHandling::OnSubscribe);
                let bytes = together(connect.version, &[subscribe(7, &subscriptions), at(qos, topic, "own")]);
                world.send_bytes(client, &bytes);
                world.settle();
                if payloads(world.got(client)) != ["own"] {
                    lost.push((connect.version, filter, qos));
                }
            }
        }
    }
    assert_eq!(lost, []);
}

#[test]
fn a_message_before_a_subscribe_does_not_come_and_one_behind_an_unsubscribe_neither() {
    let mut wrong = Vec::new();
    for connect in [passing("a"), lasting("a")] {
        for (filter, topic) in [("x/y", "x/y"), ("+/y", "x/y"), ("x/#", "x/2"), ("y/#", "y/1")] {
            for qos in 0..=2 {
                let mut world = World::new();
                let client = world.connect(connect);
                let subscriptions = subscription(filter, RetainHandling::OnSubscribe);
                let filters = [TopicFilter::new(filter).unwrap()];
                let packets = [
                    at(qos, topic, "before"),
                    subscribe(7, &subscriptions),
                    at(0, topic, "between"),
                    unsubscribe(8, &filters),
                    at(0, topic, "behind"),
                ];
                world.send_bytes(client, &together(connect.version, &packets));
                world.settle();
                let got = payloads(world.got(client));
                if got != ["between"] {
                    wrong.push((filter, qos, got));
                }
            }
        }
    }
    assert_eq!(wrong, []);
}

#[test]
fn an_answer_to_a_request_in_the_same_write_comes() {
    let mut world = World::new();
    let responder = world.subscriber(passing("r"), &["request"]);
    let client = world.connect(passing("c"));
    let subscriptions = subscription("response", RetainHandling::OnSubscribe);
    world.send_bytes(client, &together(V5, &[subscribe(7, &subscriptions), at(0, "request", "?")]));
    let mut answered = false;
    for _ in 0..10 {
        if !answered && !payloads(world.got(responder)).is_empty() {
            world.send(responder, at(0, "response", "!"));
            answered = true;
        }
        world.sync();
    }
    world.settle();
    assert_eq!(payloads(world.got(client)), ["!"]);
}

#[test]
fn pubcomp_follows_pubrec_also_where_pubrel_came_with_its_publish() {
    // [MQTT-4.3.3-11] lets the identifier be used again then, for another message.
    for connect in [passing("p"), lasting("p")] {
        let mut world = World::new();
        let subscriber = world.subscriber(lasting("s"), &["x/y"]);
        let publisher = world.connect(connect);
        for payload in ["1", "2"] {
            world.send_bytes(publisher, &together(V5, &[at(2, "x/y", payload), pubrel(42), Packet::Pingreq]));
            world.settle();
            let expected =
                [Got::Pubrec(42, ReasonCode::Success), Got::Pubcomp(42, ReasonCode::Success), Got::Pingresp];
            let mut got = world.got(publisher);
            // PINGRESP may leave while the log forgets the identifier.
            got.sort_by_key(|got| matches!(got, Got::Pingresp));
            assert_eq!(got, expected);
        }
        assert_eq!(world.payloads(subscriber), ["1", "2"]);
    }
}

#[test]
fn waiting_at_a_barrier_is_not_silence_and_has_an_end() {
    let mut world = World::with(Limits { acknowledge_timeout: 30_000, ..Limits::default() });
    let client = world.connect(Connect { keep_alive: 4, ..passing("a") });
    let subscriptions = subscription("x/y", RetainHandling::OnSubscribe);
    world.send(client, subscribe(7, &subscriptions));
    assert!(!world.is_reading(client));
    for _ in 0..25 {
        // The disk does not come back from its sync.
        world.now.monotonic += 1_000;
        world.shards.iter_mut().for_each(|shard| shard.tick_connections(world.now));
    }
    world.flow();
    assert_eq!(world.got(client), []);
    world.now.monotonic += 6_000;
    world.shards.iter_mut().for_each(|shard| shard.tick_connections(world.now));
    world.flow();
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::ServerBusy), Got::Closed]);
}

#[test]
fn pipelined_subscribes_keep_within_the_limit_of_a_session() {
    let mut world = World::with(Limits { subscriptions_per_session: 10, ..Limits::default() });
    let client = world.connect(lasting("a"));
    let mut bytes = Vec::new();
    for number in 0..100_u16 {
        let filter = format!("x/{number}");
        let subscriptions = subscription(&filter, RetainHandling::Never);
        bytes.extend(together(V5, &[subscribe(number + 1, &subscriptions)]));
    }
    world.send_bytes(client, &bytes);
    world.settle();
    let granted = |got: &Got| matches!(got, Got::Suback(_, reasons) if !reasons[0].is_error());
    let got = world.got(client);
    assert_eq!(got.iter().filter(|got| granted(got)).count(), 10);
    assert_eq!(got.len(), 100);
    let subscriptions: u64 = world.shards.iter().map(|shard| shard.observe().subscriptions).sum();
    assert_eq!(subscriptions, 10);
}

#[test]
fn an_unsubscribe_that_cannot_be_done_is_not_acknowledged() {
    for connect in [passing("a"), Connect::new(V311, "a")] {
        let mut world = World::new();
        let client = world.subscriber(connect, &["x/y"]);
        for shard in &mut world.shards {
            shard.stalled = true;
        }
        let filters = [TopicFilter::new("x/y").unwrap()];
        let bytes = together(connect.version, &[unsubscribe(8, &filters)]);
        let Line { shard, key, .. } = world.lines[client.0];
        world.shards[shard].receive(world.now, key.unwrap(), &bytes);
        world.flow();
        let got = world.got(client);
        match connect.version {
            V5 => {
                assert!(matches!(&got[..], [Got::Unsuback(8, reasons)] if reasons[0].is_error()), "{got:?}")
            }
            _ => assert_eq!(got, [Got::Closed]),
        }
    }
}
