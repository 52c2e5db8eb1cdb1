//! Will Messages (MQTT 5.0, 3.1.2.5): once when due, never after a normal end or a return in time.

use convoy_wire::{TopicName, Will, WillProperties};

use super::*;

fn with_will<'a>(connect: Connect<'a>, delay: u32) -> Connect<'a> {
    let will_delay_interval = (delay > 0).then_some(delay);
    let will = Will {
        topic: TopicName::new("will/a").unwrap(),
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: WillProperties { will_delay_interval, ..Default::default() },
    };
    Connect { will: Some(will), ..connect }
}

fn slot_of(client_id: &str, slots: u16) -> SlotId {
    convoy_membership::slot_of(&convoy_ids::ActorId::Session { tenant: "", client_id }, slots)
}

/// A watcher of the Will.
fn world() -> (World, Client) {
    let mut world = World::new();
    let watcher = world.subscriber(passing("watcher"), &["will/#"]);
    (world, watcher)
}

#[test]
fn a_will_is_published_once_after_an_abnormal_end() {
    // [MQTT-3.1.2-8]
    for connect in [passing("a"), lasting("a"), Connect::new(V311, "a")] {
        let (mut world, watcher) = world();
        let client = world.join(with_will(connect, 0));
        world.cut_and_settle(client);
        assert_eq!(world.payloads(watcher), ["gone"]);
        world.pass(2 * HOUR);
        assert_eq!(world.got(watcher), []);
        let client = world.join(connect);
        world.cut_and_settle(client);
        assert_eq!(world.got(watcher), []);
    }
}

#[test]
fn a_will_is_discarded_by_a_normal_disconnect() {
    // [MQTT-3.14.4-3]
    for connect in [passing("a"), lasting("a"), Connect::new(V311, "a")] {
        let (mut world, watcher) = world();
        let client = world.join(with_will(connect, 0));
        world.send_and_settle(client, goodbye());
        world.pass(2 * HOUR);
        assert_eq!(world.got(watcher), []);
    }
}

#[test]
fn a_disconnect_may_ask_for_the_will() {
    // MQTT 5.0, 3.14.2.1: Reason Code 0x04.
    let (mut world, watcher) = world();
    let client = world.join(with_will(passing("a"), 0));
    world.send_and_settle(client, Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)));
    assert_eq!(world.payloads(watcher), ["gone"]);
}

#[test]
fn a_client_that_breaks_a_rule_or_falls_silent_leaves_its_will() {
    let (mut world, watcher) = world();
    let client = world.join(with_will(passing("a"), 0));
    world.send_bytes(client, b"\xd0\x00");
    world.settle();
    assert_eq!(world.payloads(watcher), ["gone"]);
    world.join(Connect { keep_alive: 10, ..with_will(passing("a"), 0) });
    world.pass(15_001);
    assert_eq!(world.payloads(watcher), ["gone"]);
}

#[test]
fn a_will_waits_for_its_delay() {
    // [MQTT-3.1.3-9]
    let (mut world, watcher) = world();
    let client = world.join(with_will(lasting("a"), 60));
    world.cut_and_settle(client);
    world.pass(59_999);
    assert_eq!(world.got(watcher), []);
    world.pass(1);
    assert_eq!(world.payloads(watcher), ["gone"]);
    world.pass(2 * HOUR);
    assert_eq!(world.got(watcher), []);
}

#[test]
fn a_delay_begins_when_the_connection_ends_though_the_log_was_held_up() {
    let (mut world, watcher) = world();
    let client = world.join(with_will(lasting("a"), 2));
    // A sync is under way, and the next record is begun behind it.
    for packet_id in [1, 2] {
        let accepted = Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", packet_id) };
        world.send(client, Packet::Publish(accepted));
    }
    for _ in 0..50 {
        world.now.monotonic += 100;
        world.now.wall += 100;
        world.shards.iter_mut().for_each(|shard| shard.tick(world.now));
    }
    world.cut_and_settle(client);
    world.pass(1_500);
    assert_eq!(world.got(watcher), []);
    world.pass(1_000);
    assert_eq!(world.payloads(watcher), ["gone"]);
}

#[test]
fn a_client_that_is_back_within_the_delay_leaves_no_will() {
    // [MQTT-3.1.3-9]
    let (mut world, watcher) = world();
    let client = world.join(with_will(lasting("a"), 60));
    world.cut_and_settle(client);
    world.pass(30_000);
    let client = world.join(lasting("a"));
    world.cut_and_settle(client);
    world.pass(2 * HOUR);
    assert_eq!(world.got(watcher), []);
}

#[test]
fn a_will_is_due_when_the_session_ends_before_its_delay() {
    // MQTT 5.0, 3.1.3.2.2
    let (mut world, watcher) = world();
    let client = world.join(with_will(passing("a"), 60));
    world.cut_and_settle(client);
    assert_eq!(world.payloads(watcher), ["gone"]);
    let client = world.join(with_will(lasting("a"), 2 * 3600));
    world.cut_and_settle(client);
    world.pass(HOUR);
    assert_eq!(world.payloads(watcher), ["gone"]);
    let client = world.join(with_will(lasting("a"), 60));
    world.cut_and_settle(client);
    world.join(Connect { clean_start: true, ..lasting("a") });
    assert_eq!(world.payloads(watcher), ["gone"]);
}

#[test]
fn a_will_without_delay_is_due_when_the_session_is_taken_over() {
    // [MQTT-3.1.4-3]
    for (delay, published) in [(0, 1), (60, 0)] {
        let (mut world, watcher) = world();
        world.join(with_will(lasting("a"), delay));
        world.join(lasting("a"));
        world.pass(2 * HOUR);
        assert_eq!(world.got(watcher).len(), published);
    }
}

#[test]
fn a_will_may_be_retained_and_reaches_sessions_that_are_away() {
    // [MQTT-3.1.2-15]
    let (mut world, watcher) = world();
    let away = world.subscriber(lasting("away"), &["will/+"]);
    world.cut_and_settle(away);
    let mut connect = with_will(passing("a"), 0);
    connect.will.as_mut().unwrap().retain = true;
    let client = world.join(connect);
    world.cut_and_settle(client);
    assert_eq!(world.payloads(watcher), ["gone"]);
    let away = world.connect(lasting("away"));
    assert_eq!(world.payloads(away), ["gone"]);
    let late = world.subscriber(passing("late"), &["will/a"]);
    assert_eq!(world.got(late), [received("will/a", "gone").at(1, 1).retained().got()]);
}

#[test]
fn the_expiry_of_a_will_counts_from_its_publication() {
    // MQTT 5.0, 3.1.3.2.4
    let (mut world, watcher) = world();
    let mut connect = with_will(lasting("a"), 60);
    connect.will.as_mut().unwrap().properties.message_expiry_interval = Some(30);
    let client = world.join(connect);
    world.cut_and_settle(client);
    world.pass(60_000);
    assert_eq!(
        world.got(watcher),
        [Received { expiry: Some(30), ..received("will/a", "gone").at(1, 1) }.got()]
    );
}

#[test]
fn a_client_without_a_will_leaves_none() {
    // Of 3.1.1 [MQTT-3.1.2-12]
    let (mut world, watcher) = world();
    for connect in [passing("a"), Connect::new(V311, "a"), Connect::new(V31, "a")] {
        let client = world.connect(connect);
        world.cut_and_settle(client);
        assert_eq!(world.got(watcher), []);
    }
}

#[test]
fn every_other_reason_than_normal_disconnection_leaves_the_will() {
    // [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3]
    let (mut world, watcher) = world();
    for reason in [ReasonCode::DisconnectWithWill, ReasonCode::UnspecifiedError, ReasonCode::QuotaExceeded] {
        let client = world.join(with_will(passing("a"), 0));
        world.send_and_settle(client, Packet::Disconnect(Disconnect::new(reason)));
        assert_eq!(world.payloads(watcher), ["gone"], "{reason:?}");
    }
}

#[test]
fn a_will_is_published_as_it_was_given() {
    // [MQTT-3.1.2-14], [MQTT-3.1.2-15], [MQTT-3.1.3-10]; of 3.1.1 [MQTT-3.1.2-16], [MQTT-3.1.2-17]
    for (qos, retain) in [(QoS::AtMostOnce, false), (QoS::AtLeastOnce, true), (QoS::ExactlyOnce, false)] {
        let mut world = World::new();
        let watcher = world.connect(passing("watcher"));
        let options =
            SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::new(QoS::ExactlyOnce) };
        world.subscribe(watcher, "will/#", options);
        world.bytes(watcher);
        let users = [("z", "1"), ("a", "2"), ("z", "3")];
        let mut connect = with_will(passing("a"), 0);
        let will = connect.will.as_mut().unwrap();
        (will.qos, will.retain) = (qos, retain);
        will.properties.content_type = Some("text");
        will.properties.response_topic = Some(TopicName::new("answer").unwrap());
        will.properties.correlation_data = Some(b"\0\xff");
        will.properties.payload_format = Some(convoy_wire::PayloadFormat::Utf8);
        will.properties.user_properties = List::new(&users);
        let client = world.join(connect);
        world.cut_and_settle(client);
        let (bytes, _) = world.bytes(watcher);
        let Cut::Whole { first, body, .. } = cut(&bytes, WireLimits::NONE).unwrap() else {
            panic!("{bytes:?}")
        };
        let got = Publish::decode(V5, first, body).unwrap();
        assert_eq!((got.qos, got.retain, got.topic, got.payload), (qos, retain, "will/a", &b"gone"[..]));
        assert_eq!(got.properties, connect.will.unwrap().properties.to_publish());
        let late = world.subscriber(passing("late"), &["will/a"]);
        assert_eq!(world.got(late).len(), usize::from(retain));
    }
}

#[test]
fn a_will_is_its_clients_own_for_no_local() {
    // [MQTT-3.8.3-3]
    let mut world = World::new();
    let client = world.connect(with_will(lasting("a"), 0));
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::new(QoS::AtLeastOnce) };
    world.subscribe(client, "will/#", options);
    world.cut_and_settle(client);
    let client = world.join(lasting("a"));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, true)]);
}

/// A Client with a Will comes again while it is there, and says that it is. What its watcher saw.
fn back_again(connect: Connect<'_>, qos: u8, waits: bool, watcher: Connect<'_>) -> Vec<String> {
    let mut world = World::new();
    let watcher = world.subscriber(watcher, &["will/#"]);
    world.join(with_will(connect, 0));
    let client = world.accept(connect.version);
    let packet_id = if qos == 0 { 0 } else { 9 };
    let online = Publish { qos: QoS::from_u8(qos).unwrap(), ..publish("will/a", "online", packet_id) };
    let mut bytes = Vec::new();
    Packet::Connect(connect).encode(connect.version, &mut bytes).unwrap();
    if waits {
        world.send_bytes(client, &bytes);
        while world.got(client).is_empty() {
            world.sync();
        }
        bytes.clear();
    }
    Packet::Publish(online).encode(connect.version, &mut bytes).unwrap();
    world.send_bytes(client, &bytes);
    world.settle();
    world.payloads(watcher)
}

#[test]
fn the_will_of_a_connection_that_is_taken_over_comes_before_what_the_new_one_says() {
    // MQTT 5.0, 3.1.4 and 4.6
    let (mut tries, mut wrong) = (0, 0);
    let clean = Connect { clean_start: true, ..lasting("a") };
    for connect in [passing("a"), lasting("a"), clean, Connect::new(V311, "a"), Connect::new(V31, "a")] {
        for watcher in [passing("watcher"), lasting("watcher")] {
            for qos in 0..=2 {
                for waits in [false, true] {
                    tries += 1;
                    wrong += usize::from(back_again(connect, qos, waits, watcher) != ["gone", "online"]);
                }
            }
        }
    }
    assert_eq!(wrong, 0, "of {tries}");
}

#[test]
fn the_will_of_a_connection_that_broke_comes_before_what_the_next_one_says() {
    let mut world = World::new();
    let watcher = world.subscriber(passing("watcher"), &["will/#"]);
    let old = world.join(with_will(lasting("a"), 0));
    world.cut(old);
    let client = world.ask(lasting("a"));
    while world.got(client).is_empty() {
        world.sync();
    }
    world.send_and_settle(client, Packet::Publish(publish("will/a", "online", 0)));
    assert_eq!(world.payloads(watcher), ["gone", "online"]);
}

#[test]
fn a_connect_does_not_wait_for_ever_for_a_will_that_nobody_takes() {
    let (mut world, _watcher) = world();
    let (_, slot) = world.options.partitioning.locate("", "will/a", world.options.slots);
    for shard in &mut world.shards {
        if let Some(slot) = shard.slots.get(slot) {
            slot.failure = Some("stopped".into());
        }
    }
    // A Client whose Session is in another slot.
    let mut others = ["b", "c", "d", "e"].into_iter();
    let other = others.find(|name| slot_of(name, world.options.slots) != slot).unwrap();
    let client = world.join(with_will(lasting(other), 0));
    assert_eq!(world.got(client).len(), 1);
    let again = lasting(other);
    let client = world.ask(again);
    world.settle();
    assert_eq!(world.got(client), []);
    world.pass(1_900);
    assert_eq!(world.got(client), []);
    world.pass(200);
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, true)]);
}

/// With a Will of 60 kB for a topic.
fn with_large_will<'a>(connect: Connect<'a>, topic: &'a str, delay: Option<u32>) -> Connect<'a> {
    let will = Will {
        topic: TopicName::new(topic).unwrap(),
        payload: &[b'w'; 60_000],
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: WillProperties { will_delay_interval: delay, ..Default::default() },
    };
    Connect { will: Some(will), ..connect }
}

fn tick(world: &mut World) {
    world.now.monotonic += 100;
    world.now.wall += 100;
    world.shards.iter_mut().for_each(|shard| shard.tick(world.now));
}

/// So many ticks pass: the most bytes that were in outboxes of a shard, and how many messages came.
fn outboxes_and_messages(world: &mut World, watcher: Client, ticks: usize) -> (u64, usize) {
    let (mut most, mut came) = (0, 0);
    for _ in 0..ticks {
        tick(world);
        loop {
            let bytes = |shard: &Shard| shard.slots.iter().map(|slot| slot.outbox_bytes()).sum::<u64>();
            most = world.shards.iter().map(bytes).fold(most, u64::max);
            world.flow();
            if !world.sync() {
                break;
            }
        }
        came += world.acknowledged(watcher).len();
    }
    (most, came)
}

#[test]
fn large_wills_that_are_due_at_once_are_published_a_few_at_a_time() {
    // 400, due in the same tick.
    let mut world = World::new();
    let names: Vec<_> = (0..400).map(|at| (format!("w{at}"), format!("will/{at}"))).collect();
    let watcher = world.subscriber(passing("watcher"), &["will/#"]);
    for (client_id, topic) in &names {
        let client = world.join(with_large_will(lasting(client_id), topic, Some(60)));
        world.cut_and_settle(client);
    }
    let (most, came) = outboxes_and_messages(&mut world, watcher, 1_500);
    assert_eq!(came, 400);
    assert!(most < 5 << 20, "{most} bytes of Wills of a shard were on their way at once");
}

#[test]
fn wills_that_are_due_while_the_disk_does_not_answer_are_no_more_than_few() {
    let mut world = World::new();
    let watcher = world.subscriber(passing("watcher"), &["will/#"]);
    let names: Vec<_> = (0..100).map(|at| (format!("w{at}"), format!("will/{at}"))).collect();
    for (client_id, topic) in &names {
        let client = world.join(with_large_will(lasting(client_id), topic, Some(60)));
        world.cut_and_settle(client);
    }
    world.now.monotonic += 60_000;
    world.now.wall += 60_000;
    (0..10).for_each(|_| tick(&mut world));
    world.settle();
    let came = world.acknowledged(watcher).len();
    assert!((1..=8 * world.shards.len()).contains(&came), "{came} Wills were proposed");
}

#[test]
fn large_wills_of_connections_that_break_off_together_are_published_a_few_at_a_time() {
    // 400; one of these Clients is back at once.
    let mut world = World::new();
    let names: Vec<_> = (0..400).map(|at| (format!("w{at}"), format!("will/{at}"))).collect();
    let watcher = world.subscriber(passing("watcher"), &["will/#"]);
    let join = |world: &mut World, at: usize| {
        let (client_id, topic) = &names[at];
        let connect = [lasting(client_id), passing(client_id)][at % 2];
        world.ask(with_large_will(connect, topic, None))
    };
    let clients: Vec<_> = (0..names.len()).map(|at| join(&mut world, at)).collect();
    world.settle();
    clients.into_iter().for_each(|client| world.cut(client));
    let back = join(&mut world, names.len() - 1);
    let (most, came) = outboxes_and_messages(&mut world, watcher, 50);
    assert_eq!(came, 400);
    assert!(most < 5 << 20, "{most} bytes of Wills of a shard were on their way at once");
    assert!(matches!(world.got(back)[..], [Got::Connack(ReasonCode::Success, _)]));
}
