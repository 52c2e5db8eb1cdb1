//! SUBSCRIBE and UNSUBSCRIBE, and what their options make of messages.

use super::*;

const PLAIN: SubscriptionOptions = SubscriptionOptions::new(QoS::AtLeastOnce);

fn subscribe<'a>(subscriptions: &'a [Subscription<'a>]) -> Packet<'a> {
    let properties = SubscribeProperties::default();
    Packet::Subscribe(Subscribe { packet_id: id(77), properties, subscriptions: List::new(subscriptions) })
}

#[test]
fn suback_leaves_only_when_every_partition_routes() {
    let mut world = World::new();
    let client = world.connect(lasting("a"));
    let subscriptions = ["x/y", "x/#", "+/y"]
        .map(|filter| Subscription { filter: TopicFilter::new(filter).unwrap(), options: PLAIN });
    world.send(client, subscribe(&subscriptions));
    assert_eq!(world.got(client), []);
    // The record of the Session comes first, those of the partitions after it.
    world.sync();
    assert_eq!(world.got(client), []);
    world.settle();
    assert_eq!(world.got(client), [Got::Suback(77, vec![ReasonCode::GrantedQoS1; 3])]);
}

#[test]
fn every_topic_filter_has_its_own_reason_code() {
    // [MQTT-3.8.4-6]
    let mut world = World::with(Limits { topic_levels: 3, ..Limits::default() });
    let client = world.connect(passing("a"));
    let subscriptions = [("a/b", QoS::AtMostOnce), ("a/b/c/d", QoS::AtLeastOnce), ("a/#", QoS::ExactlyOnce)]
        .map(|(filter, qos)| Subscription {
            filter: TopicFilter::new(filter).unwrap(),
            options: SubscriptionOptions::new(qos),
        });
    world.send_and_settle(client, subscribe(&subscriptions));
    let reasons = vec![ReasonCode::Success, ReasonCode::TopicFilterInvalid, ReasonCode::GrantedQoS2];
    assert_eq!(world.got(client), [Got::Suback(77, reasons)]);
}

#[test]
fn a_filter_with_a_wildcard_has_few_levels_and_others_as_many_as_topics() {
    // Matching one message is bounded by it, whoever subscribed what.
    let mut world = World::with(Limits { wildcard_levels: 3, ..Limits::default() });
    let client = world.connect(passing("a"));
    // Where `+` stand together there may be twice as many, and with two such places one more.
    let filters = [
        "+/b/c/d/e/f",
        "+/b/c/d/e/f/g",
        "a/+/+/d/e/f/#",
        "a/b/c/d/e/f/g/#",
        "$share/g/+/b/+/d",
        "$share/g/+/b/+/d/e",
        "+/b/+/d/+",
    ];
    let subscriptions = filters.map(|filter| Subscription {
        filter: TopicFilter::new(filter).unwrap(),
        options: SubscriptionOptions::new(QoS::AtMostOnce),
    });
    world.send_and_settle(client, subscribe(&subscriptions));
    let (granted, refused) = (ReasonCode::Success, ReasonCode::TopicFilterInvalid);
    let reasons = vec![granted, refused, granted, granted, granted, refused, refused];
    assert_eq!(world.got(client), [Got::Suback(77, reasons)]);
}

#[test]
fn filters_of_every_shape_match_wherever_their_partitions_are() {
    for connect in [passing("s"), lasting("s")] {
        let mut world = World::new();
        let filters = ["#", "+/#", "fleet/#", "fleet/+", "fleet/+/doors", "+/7/doors", "fleet/7/doors", "/#"];
        let subscribers: Vec<_> = filters
            .iter()
            .map(|filter| {
                let name = format!("{}-{filter}", connect.client_id);
                world.subscriber(Connect { client_id: &name, ..connect }, &[filter])
            })
            .collect();
        let publisher = world.connect(passing("p"));
        for (topic, matching) in [
            ("fleet/7/doors", &[0, 1, 2, 4, 5, 6][..]),
            ("fleet", &[0, 1, 2]),
            ("fleet/8", &[0, 1, 2, 3]),
            ("/a", &[0, 1, 7]),
            ("$SYS/7/doors", &[]),
        ] {
            world.publish(publisher, publish(topic, topic, 1));
            for (at, subscriber) in subscribers.iter().enumerate() {
                let expected = matching.contains(&at).then_some(topic);
                assert_eq!(world.payloads(*subscriber), Vec::from_iter(expected), "{} {topic}", filters[at]);
            }
        }
    }
}

#[test]
fn dollar_topics_are_had_by_their_name() {
    // [MQTT-4.7.2-1]
    let mut world = World::new();
    let subscriber = world.subscriber(passing("s"), &["$x/#"]);
    let hidden = world.subscriber(passing("t"), &["#", "+/a"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("$x/a", "1", 1));
    assert_eq!(world.payloads(subscriber), ["1"]);
    assert_eq!(world.got(hidden), []);
}

#[test]
fn overlapping_subscriptions_are_one_delivery_with_all_identifiers() {
    // [MQTT-3.3.4-2], [MQTT-3.3.4-4]
    for connect in [passing("s"), lasting("s")] {
        let mut world = World::new();
        let subscriber = world.connect(connect);
        for (filter, qos, identifier) in
            [("x/y", QoS::AtMostOnce, 10), ("x/+", QoS::ExactlyOnce, 20), ("+/y", QoS::AtLeastOnce, 30)]
        {
            world.subscribe_by(subscriber, filter, SubscriptionOptions::new(qos), Some(identifier));
        }
        world.got(subscriber);
        for publisher in [passing("p"), lasting("q")] {
            let publisher = world.connect(publisher);
            world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 1) });
            let got = world.got(subscriber);
            let [Got::Publish(got)] = &got[..] else { panic!("{got:?}") };
            let mut identifiers = got.identifiers.clone();
            identifiers.sort_unstable();
            assert_eq!((got.qos, &identifiers[..]), (2, &[10, 20, 30][..]));
        }
    }
}

#[test]
fn no_local_keeps_own_messages_away() {
    // [MQTT-3.8.3-3]
    for connect in [passing("s"), lasting("s")] {
        let mut world = World::new();
        let client = world.connect(connect);
        for filter in ["x/y", "+/y"] {
            world.subscribe(client, filter, SubscriptionOptions { no_local: true, ..PLAIN });
        }
        let other = world.connect(passing("p"));
        world.publish(client, publish("x/y", "own", 1));
        world.publish(client, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "own", 2) });
        world.publish(other, publish("x/y", "other's", 1));
        let got = world.got(client);
        assert_eq!(
            got,
            [
                Got::Puback(1, ReasonCode::Success),
                Got::Pubrec(2, ReasonCode::Success),
                received("x/y", "other's").at(1, 1).got()
            ]
        );
    }
}

#[test]
fn retain_is_forwarded_as_published_where_that_was_asked_for() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    let mut world = World::new();
    let plain = world.subscriber(passing("s"), &["x/y"]);
    let as_published = world.connect(passing("t"));
    world.subscribe(as_published, "x/y", SubscriptionOptions { retain_as_published: true, ..PLAIN });
    let publisher = world.connect(passing("p"));
    world.publish(publisher, Publish { retain: true, ..publish("x/y", "1", 0) });
    world.publish(publisher, publish("x/y", "2", 0));
    assert_eq!(world.got(plain), [received("x/y", "1").got(), received("x/y", "2").got()]);
    assert_eq!(world.got(as_published), [received("x/y", "1").retained().got(), received("x/y", "2").got()]);
}

#[test]
fn a_subscription_made_again_is_replaced() {
    // [MQTT-3.8.4-3]
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y", "#"]);
    world.subscribe(subscriber, "x/y", SubscriptionOptions::new(QoS::AtMostOnce));
    world.subscribe(subscriber, "#", SubscriptionOptions::new(QoS::AtMostOnce));
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.got(subscriber), [received("x/y", "1").got()]);
}

#[test]
fn unsubscribing_ends_a_subscription_and_says_whether_there_was_one() {
    // [MQTT-3.10.4-1], MQTT 5.0, 3.11.3
    for connect in [passing("s"), lasting("s")] {
        let mut world = World::new();
        let subscriber = world.subscriber(connect, &["x/y", "x/#", "#"]);
        world.unsubscribe(subscriber, &["x/y", "x/+", "#", "x/#"]);
        let success = ReasonCode::Success;
        let reasons = vec![success, ReasonCode::NoSubscriptionExisted, success, success];
        assert_eq!(world.got(subscriber), [Got::Unsuback(78, reasons)]);
        assert!(!world.has_routes());
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        assert_eq!(world.got(subscriber), []);
    }
}

#[test]
fn a_session_has_no_more_subscriptions_than_it_may() {
    let mut world = World::with(Limits { subscriptions_per_session: 2, ..Limits::default() });
    let client = world.subscriber(passing("a"), &["a", "b"]);
    world.subscribe_by(client, "c", PLAIN, None);
    assert_eq!(world.got(client), [Got::Suback(77, vec![ReasonCode::QuotaExceeded])]);
    world.unsubscribe(client, &["a"]);
    world.got(client);
    world.subscribe_by(client, "c", PLAIN, None);
    assert_eq!(world.got(client), [Got::Suback(77, vec![ReasonCode::GrantedQoS1])]);
}

#[test]
fn a_subscription_can_be_made_again_at_the_limit() {
    let mut world = World::with(Limits { subscriptions_per_session: 2, ..Limits::default() });
    let client = world.subscriber(passing("a"), &["a", "b"]);
    world.subscribe_by(client, "b", PLAIN, None);
    assert_eq!(world.got(client), [Got::Suback(77, vec![ReasonCode::GrantedQoS1])]);
}

#[test]
fn a_lasting_session_that_is_resumed_without_expiry_keeps_what_it_has() {
    // MQTT 5.0, 3.1.2.11.2: the interval is of the connection that says it.
    let mut world = World::new();
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    let subscriber = world.join(Connect { clean_start: false, ..passing("s") });
    let expected = [Got::Connack(ReasonCode::Success, true), received("x/y", "1").at(1, 1).got()];
    assert_eq!(world.got(subscriber), expected);
    world.subscribe(subscriber, "x/z", PLAIN);
    world.publish(publisher, publish("x/z", "2", 2));
    world.publish(publisher, publish("x/y", "3", 3));
    assert_eq!(world.payloads(subscriber), ["2", "3"]);
    world.cut_and_settle(subscriber);
    assert!(!world.has_routes());
    let subscriber = world.join(lasting("s"));
    assert_eq!(world.got(subscriber), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn nothing_is_lost_while_a_subscription_is_replaced() {
    // [MQTT-3.8.4-3], [MQTT-3.8.4-4]; of 3.1.1 [MQTT-3.8.4-3]
    for connect in [passing("s"), lasting("s"), Connect::new(V311, "s")] {
        let mut world = World::new();
        let publisher = world.connect(passing("p"));
        world.publish(publisher, Publish { retain: true, ..publish("x/y", "kept", 1) });
        let subscriber = world.subscriber(connect, &["x/y"]);
        assert_eq!(world.payloads(subscriber), ["kept"]);
        let subscriptions = [Subscription { filter: TopicFilter::new("x/y").unwrap(), options: PLAIN }];
        world.send(subscriber, subscribe(&subscriptions));
        for number in 2..=10 {
            world.publish(publisher, publish("x/y", &number.to_string(), number));
        }
        world.settle();
        let mut payloads = Vec::new();
        for got in world.got(subscriber) {
            match got {
                Got::Publish(received) => payloads.push(received.payload),
                Got::Suback(77, reasons) => assert_eq!(reasons, [ReasonCode::GrantedQoS1]),
                got => panic!("{got:?}"),
            }
        }
        let (kept, published): (Vec<_>, Vec<_>) = payloads.into_iter().partition(|payload| payload == "kept");
        assert_eq!(kept.len(), 1);
        assert_eq!(published, (2..=10).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn filters_of_one_packet_are_taken_one_after_the_other() {
    // [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.10.4-6], [MQTT-3.11.3-1]
    for connect in [passing("s"), lasting("s")] {
        let mut world = World::new();
        let client = world.connect(connect);
        let subscriptions = [QoS::ExactlyOnce, QoS::AtMostOnce].map(|qos| Subscription {
            filter: TopicFilter::new("x/y").unwrap(),
            options: SubscriptionOptions::new(qos),
        });
        world.send_and_settle(client, subscribe(&subscriptions));
        assert_eq!(world.got(client), [Got::Suback(77, vec![ReasonCode::GrantedQoS2, ReasonCode::Success])]);
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        assert_eq!(world.got(client), [received("x/y", "1").got()]);
        world.unsubscribe(client, &["x/y", "x/y"]);
        let reasons = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        assert_eq!(world.got(client), [Got::Unsuback(78, reasons)]);
    }
}

#[test]
fn filters_are_compared_to_the_letter() {
    // [MQTT-3.10.4-1], [MQTT-4.7.3-4]; of 3.1.1 [MQTT-3.10.4-1], [MQTT-3.10.4-5]
    let mut world = World::new();
    let client = world.subscriber(passing("s"), &["x/+", "X/y", "x/y/"]);
    world.unsubscribe(client, &["x/y", "x/Y", "x/#", "$share/g/x/+"]);
    assert_eq!(world.got(client), [Got::Unsuback(78, vec![ReasonCode::NoSubscriptionExisted; 4])]);
    let publisher = world.connect(passing("p"));
    for topic in ["x/y", "X/y", "x/y/", "x//y"] {
        world.publish(publisher, publish(topic, topic, 1));
    }
    assert_eq!(world.payloads(client), ["x/y", "X/y", "x/y/"]);
}

#[test]
fn at_the_limit_each_topic_filter_has_its_own_answer() {
    // [MQTT-3.8.4-5]
    for connect in [passing("a"), lasting("a")] {
        let mut world = World::with(Limits { subscriptions_per_session: 10, ..Limits::default() });
        let client = world.connect(connect);
        let filters: Vec<_> = (0..18).map(|number| format!("x/{number}")).collect();
        let of = |range: std::ops::Range<usize>| -> Vec<Subscription<'_>> {
            let filters = filters[range].iter().map(|filter| TopicFilter::new(filter).unwrap());
            filters.map(|filter| Subscription { filter, options: PLAIN }).collect()
        };
        world.send_and_settle(client, subscribe(&of(0..5)));
        world.got(client);
        // Two that are there already take no place.
        world.send_and_settle(client, subscribe(&of(3..15)));
        let (granted, refused) = (ReasonCode::GrantedQoS1, ReasonCode::QuotaExceeded);
        let reasons = [vec![granted; 7], vec![refused; 5]].concat();
        assert_eq!(world.got(client), [Got::Suback(77, reasons)]);
        let subscriptions: u64 = world.shards.iter().map(|shard| shard.observe().subscriptions).sum();
        assert_eq!(subscriptions, 10);
        // What was granted is there, and what was refused is not.
        let publisher = world.connect(passing("p"));
        for filter in &filters[..15] {
            world.publish(publisher, publish(filter, "1", 0));
        }
        assert_eq!(world.got(client).len(), 10);
        world.send_and_settle(client, subscribe(&of(15..18)));
        assert_eq!(world.got(client), [Got::Suback(77, vec![refused; 3])]);
    }
}

#[test]
fn topic_filters_of_a_session_have_so_many_bytes_together() {
    // [MQTT-3.8.4-5]: as with their number, each has its own answer.
    for connect in [passing("a"), lasting("a")] {
        let mut world = World::with(Limits { filter_bytes_per_session: 30, ..Limits::default() });
        let ask = |world: &mut World, client, filters: &[&str]| {
            let filters = filters.iter().map(|filter| TopicFilter::new(filter).unwrap());
            let all: Vec<_> = filters.map(|filter| Subscription { filter, options: PLAIN }).collect();
            world.send_and_settle(client, subscribe(&all));
            match world.got(client).pop() {
                Some(Got::Suback(77, reasons)) => reasons,
                other => panic!("{other:?}"),
            }
        };
        let (granted, refused) = (ReasonCode::GrantedQoS1, ReasonCode::QuotaExceeded);
        let client = world.connect(connect);
        assert_eq!(ask(&mut world, client, &["x/11111111", "x/22222222"]), [granted; 2]);
        // What is there takes nothing, and what is shorter fits behind what is too long.
        let more = ["x/11111111", "x/333333333", "x/33333333", "y"];
        assert_eq!(ask(&mut world, client, &more), [granted, refused, granted, refused]);
        world.unsubscribe(client, &["x/22222222", "nothing"]);
        world.got(client);
        assert_eq!(ask(&mut world, client, &["x/444444444"]), [refused]);
        assert_eq!(ask(&mut world, client, &["x/44444444"]), [granted]);
        if connect == lasting("a") {
            world.restart();
            let client = world.connect(connect);
            assert_eq!(ask(&mut world, client, &["y", "x/11111111"]), [refused, granted]);
        }
    }
}
