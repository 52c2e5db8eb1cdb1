//! What one connection sends takes effect in the order sent, however much of it is in one write (MQTT 5.0, 4.6).

use std::collections::BTreeSet;

use super::*;
use crate::Features;

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
fn very_many_topic_filters_are_asked_for_in_pieces_and_answered_in_one() {
    for connect in [passing("a"), lasting("a")] {
        let mut world = World::with(Limits { subscriptions_per_session: 700, ..Limits::default() });
        let client = world.connect(connect);
        let names: Vec<String> = (0..1000).map(|number| format!("x/{number}")).collect();
        let filters: Vec<_> = names.iter().map(|name| TopicFilter::new(name).unwrap()).collect();
        let subscriptions = to_all(&names, QoS::ExactlyOnce);
        // What is behind it waits for all of it.
        world.send_bytes(client, &together(V5, &[subscribe(7, &subscriptions), at(0, "x/699", "own")]));
        let held = |world: &World| -> usize {
            world
                .shards
                .iter()
                .flat_map(|shard| shard.outlet.edge.connections.iter())
                .map(|(_, of)| of.unfinished.bytes)
                .sum()
        };
        assert!(held(&world) > 0, "what waits is not counted");
        world.settle();
        assert_eq!(held(&world), 0);
        let got = world.got(client);
        let [Got::Suback(7, reasons), Got::Publish(own)] = &got[..] else { panic!("{got:?}") };
        assert_eq!(own.payload, "own");
        assert_eq!(reasons.len(), 1000);
        assert_eq!(reasons[..700], [ReasonCode::GrantedQoS2; 700]);
        assert_eq!(reasons[700..], [ReasonCode::QuotaExceeded; 300]);
        assert_eq!(world.shards.iter().map(|shard| shard.asks).sum::<u64>(), 4);

        world.send_bytes(client, &together(V5, &[unsubscribe(8, &filters), at(0, "x/699", "own")]));
        world.settle();
        let got = world.got(client);
        let [Got::Unsuback(8, reasons)] = &got[..] else { panic!("{got:?}") };
        assert_eq!(reasons[..700], [ReasonCode::Success; 700]);
        assert_eq!(reasons[700..], [ReasonCode::NoSubscriptionExisted; 300]);
    }
}

#[test]
fn of_very_long_subscribes_a_turn_takes_one_and_leaves_nobody_out() {
    let mut world = World::new();
    let clients: Vec<_> = (0..8).map(|number| world.connect(passing(&format!("a{number}")))).collect();
    let names: Vec<String> = (0..40_000).map(|number| format!("x/{number}")).collect();
    let bytes = together(V5, &[subscribe(7, &to_all(&names, QoS::AtMostOnce))]);
    for client in &clients {
        let Line { shard, key, .. } = world.lines[client.0];
        world.shards[shard].receive(world.now, key.unwrap(), &bytes);
    }
    let waits = |world: &World| {
        let has = |client: &&Client| {
            let Line { shard, key, .. } = world.lines[client.0];
            world.shards[shard].has_whole_input(key.unwrap())
        };
        clients.iter().filter(has).count()
    };
    assert_eq!(waits(&world), clients.len() - world.shards.len());
    world.settle();
    for client in &clients {
        assert!(matches!(&world.got(*client)[..], [Got::Suback(7, _)]));
    }
    assert_eq!(waits(&world), 0);
}

#[test]
fn a_subscribe_that_goes_on_piece_by_piece_is_waited_for() {
    let mut world = World::with(Limits { acknowledge_timeout: 30_000, ..Limits::default() });
    let client = world.connect(passing("a"));
    let names: Vec<String> = (0..1000).map(|number| format!("x/{number}")).collect();
    world.send_bytes(client, &together(V5, &[subscribe(7, &to_all(&names, QoS::AtMostOnce))]));
    let mut waited = 0;
    // The disk is slow.
    while world.sync() {
        world.now.monotonic += 5_000;
        waited += 5_000;
        world.shards.iter_mut().for_each(|shard| shard.tick_connections(world.now));
    }
    assert!(waited > 30_000, "{waited}");
    assert!(matches!(&world.got(client)[..], [Got::Suback(7, _)]));
}

#[test]
fn what_may_not_be_subscribed_ends_the_connection_before_anything_is() {
    let features = Features { wildcard_subscription_available: false, ..Features::default() };
    let mut world = World::with(Limits { features, ..Limits::default() });
    let client = world.connect(passing("a"));
    let names: Vec<String> = (0..400).map(|number| format!("x/{number}")).chain(["x/#".into()]).collect();
    world.send_bytes(client, &together(V5, &[subscribe(7, &to_all(&names, QoS::AtMostOnce))]));
    assert_eq!(
        world.got(client),
        [Got::Disconnect(ReasonCode::WildcardSubscriptionsNotSupported), Got::Closed]
    );
    assert_eq!(world.shards.iter().map(|shard| shard.asks).sum::<u64>(), 0);
}

fn to_all<'a>(names: &'a [String], qos: QoS) -> Vec<Subscription<'a>> {
    let options = SubscriptionOptions::new(qos);
    let filters = names.iter().map(|name| TopicFilter::new(name).unwrap());
    filters.map(|filter| Subscription { filter, options }).collect()
}

#[test]
fn what_a_packet_names_again_is_asked_for_once_and_the_last_options_hold() {
    let mut world = World::with(Limits { subscriptions_per_session: 10, ..Limits::default() });
    let publisher = world.connect(passing("p"));
    world.publish(publisher, Publish { retain: true, ..publish("x/3", "kept", 1) });
    world.got(publisher);
    let client = world.connect(passing("a"));
    // Eleven, again and again: ten are granted, and the eleventh never is.
    let names: Vec<String> = (0..11).map(|number| format!("x/{number}")).collect();
    let mut all: Vec<_> = (0..100).flat_map(|_| to_all(&names, QoS::AtMostOnce)).collect();
    all.extend(to_all(&names, QoS::ExactlyOnce));
    world.send_bytes(client, &together(V5, &[subscribe(7, &all), at(2, "x/3", "own")]));
    world.settle();
    let got = world.got(client);
    let Got::Suback(7, reasons) = &got[0] else { panic!("{got:?}") };
    let expected = (0..101).flat_map(|round| {
        let granted = if round < 100 { ReasonCode::Success } else { ReasonCode::GrantedQoS2 };
        (0..11).map(move |number| if number < 10 { granted } else { ReasonCode::QuotaExceeded })
    });
    assert_eq!(*reasons, expected.collect::<Vec<_>>());
    let received = got.into_iter().filter_map(|got| match got {
        Got::Publish(received) => Some((received.payload, received.qos)),
        _ => None,
    });
    // Of what is kept and what comes either may be first.
    let received: BTreeSet<_> = received.collect();
    assert_eq!(received, BTreeSet::from([("kept".to_owned(), 1), ("own".to_owned(), 2)]));
    assert!(world.shards.iter().map(|shard| shard.asks).sum::<u64>() <= 6);

    let filters: Vec<_> = names.iter().chain(&names).map(|name| TopicFilter::new(name).unwrap()).collect();
    world.send_bytes(client, &together(V5, &[unsubscribe(8, &filters)]));
    world.settle();
    let got = world.got(client);
    let [.., Got::Unsuback(8, reasons)] = &got[..] else { panic!("{got:?}") };
    assert_eq!(reasons[..10], [ReasonCode::Success; 10]);
    assert_eq!(reasons[10..], [ReasonCode::NoSubscriptionExisted; 12]);
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

/// Payloads that a Client gets while it acknowledges everything.
fn all_payloads(world: &mut World, client: Client) -> Vec<String> {
    world.acknowledged(client).into_iter().map(|received| received.payload).collect()
}

/// A publisher sends messages of a topic with these QoS and RETAIN flags, with so many syncs after each; what a subscriber
/// gets of them.
fn in_turn(
    subscriber: Connect<'_>,
    publisher: Connect<'_>,
    filter: &str,
    messages: &[(u8, bool)],
    gap: usize,
) -> Vec<String> {
    let mut world = World::new();
    let subscriber = world.subscriber(subscriber, &[filter]);
    let publisher = world.connect(publisher);
    for (number, &(qos, retain)) in messages.iter().enumerate() {
        let payload = number.to_string();
        let packet_id = if qos == 0 { 0 } else { number as u16 + 1 };
        let message =
            Publish { retain, qos: QoS::from_u8(qos).unwrap(), ..publish("r/t", &payload, packet_id) };
        world.send(publisher, Packet::Publish(message));
        for _ in 0..gap {
            world.sync();
        }
    }
    world.settle();
    all_payloads(&mut world, subscriber)
}

#[test]
fn messages_of_a_topic_come_in_their_order_whatever_their_qos() {
    // Stricter than [MQTT-4.6.0-6], which is about messages of one QoS. What a lasting Session publishes at QoS 2 goes by its
    // own log first, so no other QoS of its is told here.
    let (mut tries, mut wrong) = (0, Vec::new());
    let kinds = [(0, false), (1, false), (2, false), (0, true), (1, true)];
    for first in kinds {
        for second in kinds {
            for third in kinds {
                for subscriber in [passing("s"), lasting("s")] {
                    for filter in ["r/t", "+/t"] {
                        for gap in 0..3 {
                            let messages = [first, second, third];
                            let got = in_turn(subscriber, passing("p"), filter, &messages, gap);
                            tries += 1;
                            if got != ["0", "1", "2"] {
                                wrong.push((
                                    subscriber.properties.session_expiry_interval,
                                    messages,
                                    gap,
                                    got,
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tries}: {:?}", wrong.len(), &wrong[..wrong.len().min(8)]);
}

#[test]
fn a_message_of_qos_0_stays_behind_what_the_window_has_no_room_for() {
    let mut wrong = Vec::new();
    for mut subscriber in [passing("s"), lasting("s")] {
        subscriber.properties.receive_maximum = std::num::NonZero::new(1);
        for filter in ["x/y", "+/y"] {
            let mut world = World::new();
            let reader = world.subscriber(subscriber, &[filter]);
            let publisher = world.connect(passing("p"));
            for (payload, qos) in [("1", 1), ("2", 1), ("3", 0), ("4", 1), ("5", 0), ("6", 0)] {
                let packet_id = qos * payload.parse::<u16>().unwrap();
                world.publish(publisher, publish("x/y", payload, packet_id));
            }
            let first = world.payloads(reader);
            world.publish(publisher, publish("z/y", "of another topic", 0));
            world.send_and_settle(reader, puback(1));
            let mut second = world.payloads(reader);
            if filter == "+/y" && second.remove(0) != "of another topic" {
                wrong.push((filter, first.clone(), second.clone(), vec![]));
            }
            world.send_and_settle(reader, puback(2));
            let rest = all_payloads(&mut world, reader);
            if (&first[..], &second[..], &rest[..])
                != (&["1".into()], &["2".into(), "3".into()], &["4".into(), "5".into(), "6".into()])
            {
                wrong.push((filter, first, second, rest));
            }
        }
    }
    assert_eq!(wrong, []);
}

#[test]
fn what_waits_of_qos_0_behind_a_window_is_bounded_and_takes_nothing_from_others() {
    for mut subscriber in [passing("s"), lasting("s")] {
        subscriber.properties.receive_maximum = std::num::NonZero::new(1);
        let mut world = World::new();
        let reader = world.subscriber(subscriber, &["x/y"]);
        let publisher = world.connect(passing("p"));
        for packet_id in 1..=20 {
            world.publish(publisher, publish("x/y", "numbered", packet_id));
        }
        let large = "0".repeat(1000);
        for _ in 0..1000 {
            world.send(publisher, Packet::Publish(publish("x/y", &large, 0)));
        }
        world.settle();
        let got = all_payloads(&mut world, reader);
        let numbered = got.iter().filter(|payload| *payload == "numbered").count();
        let waited = got.len() - numbered;
        assert_eq!(numbered, 20);
        assert!((50..100).contains(&waited), "{waited}");
        let dropped: u64 = world.shards.iter().map(|shard| shard.observe().messages_dropped).sum();
        assert_eq!(dropped, 1000 - waited as u64);
    }
}
