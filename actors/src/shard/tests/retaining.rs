//! Retained Messages (MQTT 5.0, 3.3.1.3) as Clients see them.

use super::*;

fn retain<'a>(topic: &'a str, payload: &'a str, packet_id: u16) -> Publish<'a> {
    Publish { retain: true, ..publish(topic, payload, packet_id) }
}

fn world() -> (World, Client) {
    let mut world = World::new();
    let publisher = world.connect(passing("p"));
    (world, publisher)
}

#[test]
fn the_last_message_is_kept_and_an_empty_one_removes_it() {
    // [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-8]
    let (mut world, publisher) = world();
    world.publish(publisher, retain("x/y", "1", 0));
    world.publish(publisher, retain("x/y", "2", 1));
    world.publish(publisher, publish("x/y", "not kept", 0));
    let subscriber = world.subscriber(passing("s"), &["x/y"]);
    assert_eq!(world.got(subscriber), [received("x/y", "2").at(1, 1).retained().got()]);
    world.publish(publisher, retain("x/y", "", 1));
    assert_eq!(world.payloads(subscriber), [""]);
    let late = world.subscriber(passing("late"), &["x/y"]);
    assert_eq!(world.got(late), []);
}

#[test]
fn puback_of_a_retained_message_leaves_only_when_it_is_synced() {
    let (mut world, publisher) = world();
    world.send(publisher, Packet::Publish(retain("x/y", "1", 1)));
    assert_eq!(world.got(publisher), []);
    world.settle();
    assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
}

#[test]
fn wildcards_find_what_is_kept_in_all_partitions() {
    for connect in [passing("s"), lasting("s")] {
        let (mut world, publisher) = world();
        let topics = ["fleet/1/doors", "fleet/2/doors", "fleet/3/lamp", "other/1", "$x/doors", "fleet"];
        for topic in topics {
            world.publish(publisher, retain(topic, topic, 1));
        }
        for (filter, matching) in [
            ("fleet/#", &["fleet", "fleet/1/doors", "fleet/2/doors", "fleet/3/lamp"][..]),
            ("fleet/+/doors", &["fleet/1/doors", "fleet/2/doors"]),
            ("#", &["fleet", "fleet/1/doors", "fleet/2/doors", "fleet/3/lamp", "other/1"]),
            ("+/1", &["other/1"]),
            ("$x/#", &["$x/doors"]),
        ] {
            let name = format!("s-{filter}");
            let client = world.subscriber(Connect { client_id: &name, ..connect }, &[filter]);
            let mut payloads = world.payloads(client);
            payloads.sort();
            assert_eq!(payloads, matching, "{filter}");
        }
    }
}

#[test]
fn retain_handling_tells_when_they_are_wanted() {
    // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
    for (retain_handling, first, second) in [
        (RetainHandling::OnSubscribe, 1, 1),
        (RetainHandling::OnNewSubscription, 1, 0),
        (RetainHandling::Never, 0, 0),
    ] {
        let (mut world, publisher) = world();
        world.publish(publisher, retain("x/y", "1", 1));
        let options = SubscriptionOptions { retain_handling, ..SubscriptionOptions::new(QoS::AtMostOnce) };
        let client = world.connect(passing("s"));
        world.subscribe(client, "x/y", options);
        assert_eq!(world.got(client).len(), first, "{retain_handling:?}");
        world.subscribe(client, "x/y", options);
        assert_eq!(world.got(client).len(), second, "{retain_handling:?}");
    }
}

#[test]
fn shared_subscriptions_get_none() {
    // MQTT 5.0, 4.8.2
    let (mut world, publisher) = world();
    world.publish(publisher, retain("x/y", "1", 1));
    let client = world.subscriber(passing("s"), &["$share/g/x/y", "$share/g/#"]);
    assert_eq!(world.got(client), []);
}

#[test]
fn they_carry_the_identifier_of_their_subscription_and_its_qos() {
    let (mut world, publisher) = world();
    world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..retain("x/y", "1", 1) });
    let client = world.connect(lasting("s"));
    world.subscribe_by(client, "x/y", SubscriptionOptions::new(QoS::AtLeastOnce), Some(9));
    let expected = [
        Got::Suback(77, vec![ReasonCode::GrantedQoS1]),
        received("x/y", "1").at(1, 1).retained().by(&[9]).got(),
    ];
    assert_eq!(world.got(client), expected);
}

#[test]
fn what_has_expired_is_not_sent() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let (mut world, publisher) = world();
    for (topic, expiry) in [("x/short", 5), ("x/long", 60)] {
        let mut message = retain(topic, "1", 1);
        message.properties.message_expiry_interval = Some(expiry);
        world.publish(publisher, message);
    }
    world.pass(20_000);
    let client = world.subscriber(passing("s"), &["x/#"]);
    let left = Received { expiry: Some(40), ..received("x/long", "1").at(1, 1).retained() };
    assert_eq!(world.got(client), [left.got()]);
}

#[test]
fn more_than_a_session_may_keep_come_all_the_same() {
    // As fast as the Client acknowledges: they must not push each other out.
    for connect in [lasting("s"), passing("s")] {
        let mut world = World::with(Limits {
            queue: crate::session::QueueLimits { messages: 300, bytes: 64 << 20, age: HOUR },
            ..Limits::default()
        });
        let publisher = world.connect(passing("p"));
        let topics: Vec<_> = (0..1000).map(|at| format!("x/y/{at:04}")).collect();
        for topic in &topics {
            world.send(publisher, Packet::Publish(retain(topic, topic, 0)));
        }
        world.settle();
        let client = world.subscriber(connect, &["x/y/#"]);
        let mut payloads = Vec::new();
        loop {
            let got = world.got(client);
            if got.is_empty() {
                break;
            }
            for got in got {
                let Got::Publish(received) = got else { panic!("{got:?}") };
                payloads.push(received.payload);
                if received.qos == 1 {
                    world.send(client, puback(received.packet_id));
                }
            }
            world.settle();
        }
        assert_eq!(payloads.len(), 1000);
    }
}

#[test]
fn what_has_expired_goes_from_the_disk_and_what_replaced_it_stays() {
    let mut world = World::new();
    let publisher = world.connect(passing("p"));
    for topic in 0..200 {
        let topic = format!("x/{topic}");
        let mut message = Publish { retain: true, ..publish(&topic, "1", 1) };
        message.properties.message_expiry_interval = Some(if topic == "x/7" { 3600 } else { 1 });
        world.publish(publisher, message);
    }
    world.publish(publisher, Publish { retain: true, ..publish("x/8", "2", 1) });
    let kept = |world: &World| {
        let kept =
            world.shards.iter().flat_map(|shard| shard.slots.iter()).map(|slot| slot.retained().messages);
        let mut rows = 0;
        let family = convoy_storage::engine::Family::Retained;
        let mut count = |_: &[u8], _: &[u8]| {
            rows += 1;
            std::ops::ControlFlow::Continue(())
        };
        world.engine.scan(family, &[], &[0xff; 8], &mut count).unwrap();
        (kept.sum::<u64>(), rows)
    };
    assert_eq!(kept(&world), (200, 200));
    for _ in 0..8 {
        world.pass(1000);
    }
    assert_eq!(kept(&world), (2, 2));
    let subscriber = world.subscriber(passing("s"), &["x/#"]);
    let mut payloads = world.payloads(subscriber);
    payloads.sort();
    assert_eq!(payloads, ["1", "2"]);
}

#[test]
fn no_local_keeps_away_what_the_client_has_retained_itself() {
    // [MQTT-3.8.3-3]
    for connect in [passing("s"), lasting("s")] {
        let (mut world, publisher) = world();
        let client = world.connect(connect);
        world.publish(client, retain("x/own", "1", 1));
        world.publish(client, Publish { qos: QoS::ExactlyOnce, ..retain("x/own too", "1", 2) });
        world.publish(publisher, retain("x/other", "1", 1));
        world.got(client);
        let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::new(QoS::AtMostOnce) };
        world.subscribe(client, "x/#", options);
        assert_eq!(world.got(client), [received("x/other", "1").retained().got()]);
        world.subscribe(client, "+/own", options);
        assert_eq!(world.got(client), []);
    }
}

#[test]
fn retain_is_1_for_a_new_subscription_and_0_for_an_old_one_before_5_0() {
    // Of 3.1.1 [MQTT-3.3.1-5] to [MQTT-3.3.1-12]
    for version in [V31, V311] {
        let mut world = World::new();
        let publisher = world.connect(Connect::new(version, "p"));
        let old = world.subscriber(Connect::new(version, "old"), &["x/y"]);
        for (payload, packet_id) in [("1", 0), ("2", 1)] {
            world.publish(publisher, retain("x/y", payload, packet_id));
            let expected = received("x/y", payload).at(packet_id as u8, packet_id);
            assert_eq!(world.got(old), [expected.clone().got()]);
            let name = format!("new {payload}");
            let new = world.subscriber(Connect::new(version, &name), &["x/y"]);
            assert_eq!(world.got(new), [expected.at(packet_id as u8, packet_id).retained().got()]);
            // It is sent for the same Subscription again.
            world.subscribe(new, "x/y", SubscriptionOptions::new(QoS::AtMostOnce));
            assert_eq!(world.payloads(new), [payload]);
        }
        // What is not retained changes nothing, and what is empty is passed on and removes.
        world.publish(publisher, publish("x/y", "3", 0));
        world.publish(publisher, retain("x/y", "", 0));
        assert_eq!(world.got(old), [received("x/y", "3").got(), received("x/y", "").got()]);
        let late = world.subscriber(Connect::new(version, "late"), &["x/y"]);
        assert_eq!(world.got(late), []);
    }
}

/// Acknowledges until nothing more comes: how many messages came.
fn drain(world: &mut World, client: Client) -> usize {
    let mut count = 0;
    loop {
        let got = world.got(client);
        let ids: Vec<_> = got
            .iter()
            .filter_map(|got| match got {
                Got::Publish(received) => Some(received.packet_id),
                _ => None,
            })
            .collect();
        if ids.is_empty() {
            return count;
        }
        count += ids.len();
        for packet_id in ids.into_iter().filter(|id| *id > 0) {
            world.send(client, puback(packet_id));
        }
        world.settle();
    }
}

#[test]
fn an_unsubscribe_stops_the_retained_messages_of_its_filter() {
    // [MQTT-3.10.4-2]
    for connect in [passing("s"), lasting("s")] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let (mut world, publisher) = world();
            for number in 0..1500 {
                let topic = format!("x/y/{number:04}");
                let payload = "p".repeat(4000);
                world.send(publisher, Packet::Publish(retain(&topic, &payload, 0)));
            }
            world.send(publisher, Packet::Publish(retain("z/y", "1", 0)));
            world.settle();
            let mut connect = connect;
            connect.properties.receive_maximum = std::num::NonZeroU16::new(4);
            let client = world.connect(connect);
            world.lines[client.0].stuck = true;
            let both = ["x/#", "z/#"].map(|filter| Subscription {
                filter: TopicFilter::new(filter).unwrap(),
                options: SubscriptionOptions::new(qos),
            });
            let subscribe = Subscribe {
                packet_id: id(7),
                properties: SubscribeProperties::default(),
                subscriptions: List::new(&both),
            };
            world.send_and_settle(client, Packet::Subscribe(subscribe));
            world.unsubscribe(client, &["x/#"]);
            world.unstick(client);
            let got = world.got(client);
            let at = got.iter().position(|got| matches!(got, Got::Unsuback(..))).unwrap();
            let before = at - 1;
            world.lines[client.0].got = got[at..].to_vec();
            let behind = drain(&mut world, client);
            // What had begun to be sent is completed; and the other filter's message comes.
            assert!(
                before < 1500 && behind <= 24,
                "QoS {qos:?}: {behind} behind UNSUBACK, {before} before it"
            );
            assert!(behind > 0 || before > 0, "nothing came");
        }
    }
}

#[test]
fn subscribing_again_and_again_to_everything_is_kept_once() {
    let (mut world, publisher) = world();
    for number in 0..300 {
        let topic = format!("x/{number}");
        world.send(publisher, Packet::Publish(retain(&topic, &"p".repeat(4000), 0)));
    }
    world.settle();
    for connect in [passing("s"), lasting("s")] {
        let client = world.connect(connect);
        world.lines[client.0].stuck = true;
        for _ in 0..100 {
            world.subscribe_by(client, "#", SubscriptionOptions::new(QoS::AtMostOnce), None);
            world.subscribe_by(client, "x/#", SubscriptionOptions::new(QoS::AtMostOnce), None);
        }
        let Line { shard, key, .. } = world.lines[client.0];
        let connection = &world.shards[shard].outlet.edge.connections[key.unwrap() as usize];
        assert_eq!(connection.readings.as_ref().map(|readings| readings.len()), Some(2));
    }
}
