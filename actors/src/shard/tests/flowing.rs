//! The exchanges of QoS 1 and 2 and their flow control (MQTT 5.0, 4.3, 4.4 and 4.9), packet by packet.

use super::*;

fn qos_2<'a>(payload: &'a str, packet_id: u16) -> Publish<'a> {
    Publish { qos: QoS::ExactlyOnce, ..publish("x/y", payload, packet_id) }
}

fn refused_pubrec(packet_id: u16) -> Packet<'static> {
    Packet::Pubrec(Pubrec::new(id(packet_id), ReasonCode::UnspecifiedError))
}

fn refused_puback(packet_id: u16) -> Packet<'static> {
    Packet::Puback(Puback::new(id(packet_id), ReasonCode::UnspecifiedError))
}

/// A subscriber of `x/y` that was sent one message at QoS 1 and one at QoS 2, under the identifiers 1 and 2.
fn with_two_under_way(connect: Connect<'_>) -> (World, Client) {
    let mut world = World::new();
    let subscriber = world.subscriber(connect, &["x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    world.publish(publisher, qos_2("2", 2));
    let expected = [received("x/y", "1").at(1, 1).got(), received("x/y", "2").at(2, 2).got()];
    assert_eq!(world.got(subscriber), expected);
    (world, subscriber)
}

#[test]
fn an_acknowledgement_of_another_kind_than_awaited_is_a_protocol_error() {
    // [MQTT-4.3.2-3], [MQTT-4.3.3-3], [MQTT-4.13.1-1]; of 3.1.1 [MQTT-4.8.0-1]
    for client in [passing("c"), lasting("c"), Connect::new(V311, "c")] {
        for wrong in [pubrec(1), pubcomp(1), puback(2), pubcomp(2)] {
            let (mut world, subscriber) = with_two_under_way(client);
            world.send_and_settle(subscriber, wrong);
            match client.version {
                V5 => {
                    let expected = [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed];
                    assert_eq!(world.got(subscriber), expected, "{wrong:?}");
                }
                _ => assert_eq!(world.got(subscriber), [Got::Closed], "{wrong:?}"),
            }
        }
        let (mut world, subscriber) = with_two_under_way(client);
        world.send_and_settle(subscriber, pubrec(2));
        assert_eq!(world.got(subscriber), [Got::Pubrel(2)]);
        world.send_and_settle(subscriber, puback(2));
        assert_eq!(world.got(subscriber).last(), Some(&Got::Closed));
    }
}

#[test]
fn a_pubrec_again_is_answered_by_pubrel_again() {
    // [MQTT-4.3.3-4], [MQTT-4.3.3-5], [MQTT-4.3.3-6]
    for client in [passing("c"), lasting("c"), Connect::new(V311, "c")] {
        let (mut world, subscriber) = with_two_under_way(client);
        for _ in 0..3 {
            world.send_and_settle(subscriber, pubrec(2));
            assert_eq!(world.got(subscriber), [Got::Pubrel(2)]);
        }
        world.send_and_settle(subscriber, pubcomp(2));
        world.send_and_settle(subscriber, pubcomp(2));
        assert_eq!(world.got(subscriber), []);
    }
}

#[test]
fn a_pubrec_of_nothing_is_answered_by_a_pubrel_that_says_so() {
    // MQTT 5.0, 3.6.2.1
    for (client, answer) in [
        (passing("c"), "62 03 0009 92"),
        (lasting("c"), "62 03 0009 92"),
        (Connect::new(V311, "c"), "62 02 0009"),
        (Connect { clean_start: false, ..Connect::new(V311, "c") }, "62 02 0009"),
    ] {
        let mut world = World::new();
        assert_eq!(world.exchange(client, &hex("50 02 0009")), (hex(answer), false));
        // PUBACK and PUBCOMP of nothing ask for nothing.
        assert_eq!(world.exchange(client, &hex("40 02 0009 70 02 0009")), (vec![], false));
    }
}

#[test]
fn a_message_that_the_client_refuses_is_acknowledged_and_not_sent_again() {
    // [MQTT-4.4.0-2], [MQTT-4.8.2-6]
    for client in [passing("c"), lasting("c")] {
        let (mut world, subscriber) = with_two_under_way(client);
        world.send_and_settle(subscriber, refused_puback(1));
        world.send_and_settle(subscriber, refused_pubrec(2));
        assert_eq!(world.got(subscriber), []);
        world.cut_and_settle(subscriber);
        let subscriber = world.join(lasting("c"));
        let present = client == lasting("c");
        assert_eq!(world.got(subscriber), [Got::Connack(ReasonCode::Success, present)]);
    }
}

#[test]
fn everything_but_publish_passes_a_full_window() {
    // [MQTT-3.3.4-10], [MQTT-4.9.0-2], [MQTT-4.9.0-3]
    for client in [passing("c"), lasting("c")] {
        let receive_maximum = std::num::NonZeroU16::new(1);
        let properties = ConnectProperties { receive_maximum, ..client.properties };
        let mut world = World::new();
        let subscriber = world.subscriber(Connect { properties, ..client }, &["x/y"]);
        let publisher = world.connect(passing("p"));
        for packet_id in 1..=2 {
            world.publish(publisher, publish("x/y", "1", packet_id));
        }
        assert_eq!(world.payloads(subscriber), ["1"]);
        world.send_and_settle(subscriber, Packet::Pingreq);
        world.subscribe_by(subscriber, "z", SubscriptionOptions::new(QoS::AtLeastOnce), None);
        world.unsubscribe(subscriber, &["z"]);
        world.publish(subscriber, publish("nobody", "1", 7));
        world.publish(subscriber, Publish { qos: QoS::ExactlyOnce, ..publish("nobody", "1", 8) });
        world.send_and_settle(subscriber, pubrel(8));
        let success = ReasonCode::Success;
        let expected = [
            Got::Pingresp,
            Got::Suback(77, vec![ReasonCode::GrantedQoS1]),
            Got::Unsuback(78, vec![success]),
            Got::Puback(7, success),
            Got::Pubrec(8, success),
            Got::Pubcomp(8, success),
        ];
        assert_eq!(world.got(subscriber), expected);
    }
}

#[test]
fn an_identifier_is_another_messages_after_its_acknowledgement() {
    // [MQTT-4.3.2-5], [MQTT-4.3.3-9], [MQTT-4.3.3-12]; of 3.1.1 [MQTT-4.3.2-2], [MQTT-4.3.3-2]
    for publisher in [passing("p"), lasting("p"), Connect::new(V311, "p")] {
        let mut world = World::new();
        let subscriber = world.subscriber(passing("s"), &["x/y"]);
        let publisher = world.connect(publisher);
        world.publish(publisher, publish("x/y", "1", 7));
        // DUP or not: the first one is done with.
        world.publish(publisher, Publish { dup: true, ..publish("x/y", "2", 7) });
        world.publish(publisher, qos_2("3", 7));
        world.send_and_settle(publisher, pubrel(7));
        world.publish(publisher, Publish { dup: true, ..qos_2("4", 7) });
        assert_eq!(world.payloads(subscriber), ["1", "2", "3", "4"]);
    }
}

#[test]
fn what_was_sent_once_is_sent_again_though_it_has_expired() {
    // [MQTT-4.4.0-1], [MQTT-4.3.3-7]; what was not sent is deleted [MQTT-3.3.2-5].
    let mut world = World::new();
    let receive_maximum = std::num::NonZeroU16::new(2);
    let connect = lasting("s");
    let connect =
        Connect { properties: ConnectProperties { receive_maximum, ..connect.properties }, ..connect };
    let subscriber = world.subscriber(connect, &["x/y"]);
    let publisher = world.connect(passing("p"));
    for mut message in [publish("x/y", "1", 1), qos_2("2", 2), publish("x/y", "3", 3)] {
        message.properties.message_expiry_interval = Some(5);
        world.publish(publisher, message);
    }
    assert_eq!(world.payloads(subscriber), ["1", "2"]);
    world.cut_and_settle(subscriber);
    world.pass(10_000);
    let subscriber = world.join(connect);
    let expired = |received: Received| Received { expiry: Some(1), ..received.again() }.got();
    let expected = [
        Got::Connack(ReasonCode::Success, true),
        expired(received("x/y", "1").at(1, 1)),
        expired(received("x/y", "2").at(2, 2)),
    ];
    assert_eq!(world.got(subscriber), expected);
    world.send_and_settle(subscriber, puback(1));
    world.send_and_settle(subscriber, pubrec(2));
    world.send_and_settle(subscriber, pubcomp(2));
    assert_eq!(world.got(subscriber), [Got::Pubrel(2)]);
}

#[test]
fn the_acknowledgements_of_qos_2_go_on_after_the_message_has_expired() {
    // [MQTT-4.3.3-13]
    for publisher in [passing("p"), lasting("p")] {
        let mut world = World::new();
        let subscriber = world.subscriber(lasting("s"), &["x/y"]);
        world.cut_and_settle(subscriber);
        let publisher = world.connect(publisher);
        let mut message = qos_2("1", 1);
        message.properties.message_expiry_interval = Some(5);
        world.publish(publisher, message);
        world.pass(10_000);
        world.publish(publisher, Publish { dup: true, ..message });
        world.send_and_settle(publisher, pubrel(1));
        let expected = [
            Got::Pubrec(1, ReasonCode::Success),
            Got::Pubrec(1, ReasonCode::Success),
            Got::Pubcomp(1, ReasonCode::Success),
        ];
        assert_eq!(world.got(publisher), expected);
        let subscriber = world.join(lasting("s"));
        assert_eq!(world.got(subscriber), [Got::Connack(ReasonCode::Success, true)]);
    }
}

#[test]
fn pubrels_leave_in_the_order_of_their_pubrecs() {
    // [MQTT-4.6.0-4]
    for connect in [passing("s"), lasting("s")] {
        let mut world = World::new();
        let subscriber = world.subscriber(connect, &["x/y"]);
        let publisher = world.connect(passing("p"));
        for packet_id in 1..=3 {
            world.publish(publisher, qos_2("1", packet_id));
        }
        world.got(subscriber);
        for packet_id in [3, 1, 2] {
            world.send(subscriber, pubrec(packet_id));
        }
        world.settle();
        assert_eq!(world.got(subscriber), [Got::Pubrel(3), Got::Pubrel(1), Got::Pubrel(2)]);
    }
}

#[test]
fn messages_are_not_sent_again_while_the_connection_lasts() {
    // [MQTT-4.4.0-1]
    let (mut world, subscriber) = with_two_under_way(lasting("c"));
    for _ in 0..10 {
        world.pass(60_000);
    }
    assert_eq!(world.got(subscriber), []);
}

#[test]
fn what_a_session_awaits_survives_unsubscribing() {
    // [MQTT-3.10.4-2], [MQTT-3.10.4-3]; of 3.1.1 [MQTT-3.10.4-2], [MQTT-3.10.4-3]
    for connect in [passing("c"), lasting("c"), Connect::new(V311, "c")] {
        let (mut world, subscriber) = with_two_under_way(connect);
        world.unsubscribe(subscriber, &["x/y"]);
        world.got(subscriber);
        let publisher = world.connect(passing("q"));
        world.publish(publisher, publish("x/y", "3", 3));
        assert_eq!(world.got(subscriber), []);
        world.send_and_settle(subscriber, puback(1));
        world.send_and_settle(subscriber, pubrec(2));
        world.send_and_settle(subscriber, pubcomp(2));
        assert_eq!(world.got(subscriber), [Got::Pubrel(2)]);
    }
}

#[test]
fn a_topic_alias_is_not_carried_over_to_the_next_connection() {
    // [MQTT-3.3.2-7], [MQTT-3.3.2-12]
    let mut world = World::new();
    for name in ["a", "a"] {
        let client = world.connect(lasting(name));
        for alias in 1..=16 {
            let mut message = publish("x/y", "1", 0);
            message.properties.topic_alias = convoy_wire::TopicAlias::new(alias);
            world.publish(client, message);
        }
        assert_eq!(world.got(client), []);
        world.cut_and_settle(client);
    }
    let client = world.connect(lasting("a"));
    let mut message = publish("", "1", 0);
    message.properties.topic_alias = convoy_wire::TopicAlias::new(1);
    world.publish(client, message);
    assert_eq!(world.got(client), [Got::Disconnect(ReasonCode::ProtocolError), Got::Closed]);
}

#[test]
fn every_copy_of_a_qos_2_message_is_answered_and_one_is_delivered() {
    // [MQTT-4.3.3-10]
    for publisher in [passing("p"), lasting("p"), Connect::new(V311, "p")] {
        let mut world = World::new();
        let subscriber = world.subscriber(lasting("s"), &["x/y"]);
        let publisher = world.connect(publisher);
        for dup in [false, true, true] {
            world.send(publisher, Packet::Publish(Publish { dup, ..qos_2("1", 7) }));
        }
        world.settle();
        assert_eq!(world.got(publisher), vec![Got::Pubrec(7, ReasonCode::Success); 3]);
        world.send_and_settle(publisher, pubrel(7));
        assert_eq!(world.got(publisher), [Got::Pubcomp(7, ReasonCode::Success)]);
        assert_eq!(world.payloads(subscriber), ["1"]);
    }
}

#[test]
fn receive_maximum_begins_anew_with_each_connection() {
    // MQTT 5.0, 4.9
    let mut world = World::with(Limits { receive_maximum: 2, ..Limits::default() });
    let publisher = world.connect(lasting("p"));
    for packet_id in [1, 2] {
        world.publish(publisher, qos_2("1", packet_id));
    }
    world.cut_and_settle(publisher);
    let publisher = world.connect(lasting("p"));
    for packet_id in [3, 4] {
        world.publish(publisher, qos_2("1", packet_id));
    }
    for packet_id in [1, 2] {
        world.send_and_settle(publisher, pubrel(packet_id));
    }
    let got = world.got(publisher);
    assert!(
        matches!(got[..], [Got::Pubrec(3, _), Got::Pubrec(4, _), Got::Pubcomp(1, _), Got::Pubcomp(2, _)]),
        "{got:?}"
    );
    world.publish(publisher, qos_2("1", 5));
    assert_eq!(world.got(publisher), [Got::Disconnect(ReasonCode::ReceiveMaximumExceeded), Got::Closed]);
}

#[test]
fn what_very_many_send_much_of_in_one_turn_is_taken_in_smaller_pieces() {
    const CLIENTS: usize = 300;
    const PINGS: usize = 2_000;
    let mut world = World::new();
    let clients: Vec<_> = (0..CLIENTS).map(|number| world.connect(passing(&format!("c{number}")))).collect();
    world.settle();
    let mut bytes = Vec::new();
    (0..PINGS).for_each(|_| Packet::Pingreq.encode(V5, &mut bytes).unwrap());
    let before: Vec<_> = world.shards.iter().map(|shard| shard.work).collect();
    for client in &clients {
        let Line { shard, key, .. } = world.lines[client.0];
        world.shards[shard].receive(world.now, key.unwrap(), &bytes);
    }
    for (shard, before) in world.shards.iter().zip(before) {
        // 37 ms of pings where all of them are 150 ms.
        let taken = shard.work - before;
        assert!(taken < 32_768 + 4096 + CLIENTS as u64 * 128, "{taken} packets in one turn");
    }
    world.settle();
    for client in clients {
        assert_eq!(world.got(client).iter().filter(|got| **got == Got::Pingresp).count(), PINGS);
    }
}

#[test]
fn what_one_client_sends_is_taken_in_pieces_and_others_have_their_turn_between_them() {
    let mut world = World::new();
    let subscribers: Vec<_> =
        (0..100).map(|number| world.subscriber(passing(&format!("s{number}")), &["x/y"])).collect();
    let publisher = world.connect(passing("p"));
    let mut bytes = Vec::new();
    for number in 0..200 {
        let payload = number.to_string();
        Packet::Publish(publish("x/y", &payload, 0)).encode(V5, &mut bytes).unwrap();
    }
    let Line { shard, key, .. } = world.lines[publisher.0];
    let before = world.shards[shard].work;
    world.shards[shard].receive(world.now, key.unwrap(), &bytes);
    let is_here = world.shards[shard].slots.get(place_of("x/y", &world.options)).is_some();
    let piece = world.shards[shard].work - before;
    assert!(piece < 5000, "{piece} packets and deliveries at once");
    assert_eq!(world.shards[shard].has_whole_input(key.unwrap()), is_here);
    world.settle();
    let expected: Vec<_> = (0..200).map(|number: u32| number.to_string()).collect();
    for subscriber in subscribers {
        assert_eq!(world.payloads(subscriber), expected);
    }
}

#[test]
fn a_shard_is_sent_no_more_in_a_turn_than_it_opens_in_a_while_and_each_client_has_a_share() {
    const ROOM: usize = 4096;
    let mut world = World::new();
    let subscriber = world.subscriber(passing("s"), &["x/#"]);
    let publishers = ["p", "q", "r", "t"].map(|name| world.connect(passing(name)));
    let home =
        world.shards.iter_mut().position(|shard| shard.slots.get(place_of("x/y", &world.options)).is_some());
    let home = home.expect("some shard has the slot");
    let mut bytes = Vec::new();
    for number in 0..1_000 {
        Packet::Publish(publish("x/y", &number.to_string(), 0)).encode(V5, &mut bytes).unwrap();
    }
    for of in 0..world.shards.len() as u16 {
        world.shards.iter_mut().for_each(|shard| shard.set_mail_room(of, ROOM));
    }
    let mut sent = 0;
    for publisher in publishers {
        let Line { shard, key, .. } = world.lines[publisher.0];
        if shard == home {
            continue;
        }
        sent += 1;
        world.shards[shard].receive(world.now, key.unwrap(), &bytes);
        assert!(world.shards[shard].has_whole_input(key.unwrap()), "all was taken at once");
    }
    let mut laid = 0;
    for at in 0..world.shards.len() {
        let mail: Vec<_> = world.shards[at].take_mail().collect();
        let bytes: usize = mail.iter().map(|(_, mail)| mail.len_bytes()).sum();
        // The first fills it, and each of the others has a message.
        assert!(bytes < ROOM + 4 * 256, "{bytes} bytes in a turn");
        for (to, mail) in mail {
            laid += mail.letters.len();
            world.shards[usize::from(to)].mail(world.now, mail);
        }
    }
    assert!(laid >= sent);
    world.settle();
    assert_eq!(world.payloads(subscriber).len(), sent * 1_000);
}

fn place_of(topic: &str, options: &Options) -> convoy_ids::SlotId {
    options.partitioning.locate("", topic, options.slots).1
}

/// A Client Identifier whose Session is in another slot than this.
fn name_beside(world: &World, slot: SlotId) -> &'static str {
    let of = |client_id| convoy_ids::ActorId::Session { tenant: "", client_id };
    let slot_of = |name| convoy_membership::slot_of(&of(name), world.options.slots);
    ["a", "b", "c", "d"].into_iter().find(|name| slot_of(name) != slot).expect("not all are in one slot")
}

#[test]
fn so_much_is_taken_for_a_slot_that_has_stopped_and_then_its_publishers_are_refused() {
    let mut world = World::new();
    let (_, stopped) = world.options.partitioning.locate("", "x/y", world.options.slots);
    let name = name_beside(&world, stopped);
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(lasting(name));
    for shard in &mut world.shards {
        if let Some(slot) = shard.slots.get(stopped) {
            slots::fail(slot, &"by this test");
        }
    }
    let payload = "p".repeat(1_000_000);
    let mut reasons = Vec::new();
    for packet_id in 1..=20 {
        let message = Publish { qos: QoS::ExactlyOnce, ..publish("x/y", &payload, packet_id) };
        world.publish(publisher, message);
        for got in world.got(publisher) {
            let Got::Pubrec(_, reason) = got else { panic!("{got:?}") };
            reasons.push(reason);
        }
        if reasons.last() == Some(&ReasonCode::Success) {
            world.send_and_settle(publisher, pubrel(packet_id));
            world.got(publisher);
        }
    }
    let (taken, refused) = reasons.split_at(9);
    assert!(taken.iter().all(|reason| *reason == ReasonCode::Success), "{reasons:?}");
    assert!(refused.iter().all(|reason| *reason == ReasonCode::QuotaExceeded), "{reasons:?}");
    assert_eq!(reasons.len(), 20);
    world.subscribe_by(publisher, "x/y", SubscriptionOptions::new(QoS::AtLeastOnce), None);
    assert_eq!(world.got(publisher), [Got::Suback(77, vec![ReasonCode::QuotaExceeded])]);
    // Nobody else is refused anything, and what was taken is not lost.
    for topic in ["a/b", "b/c", "c/d", "d/e"] {
        let (_, slot) = world.options.partitioning.locate("", topic, world.options.slots);
        if slot != stopped {
            world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish(topic, "1", 50) });
            assert_eq!(world.got(publisher), [Got::Pubrec(50, ReasonCode::Success)]);
            world.send_and_settle(publisher, pubrel(50));
            world.got(publisher);
        }
    }
    world.restart();
    let receive_maximum = std::num::NonZeroU16::new(100);
    let connect = lasting("s");
    let properties = ConnectProperties { receive_maximum, ..connect.properties };
    let subscriber = world.connect(Connect { properties, ..connect });
    let mut arrived = 0;
    loop {
        let got = world.got(subscriber);
        let received = |got| match got {
            Got::Publish(received) => Some(received.packet_id),
            _ => None,
        };
        let packet_ids: Vec<_> = got.into_iter().filter_map(received).collect();
        if packet_ids.is_empty() {
            break;
        }
        arrived += packet_ids.len();
        for packet_id in packet_ids {
            world.send_and_settle(subscriber, pubrec(packet_id));
            world.send_and_settle(subscriber, pubcomp(packet_id));
        }
    }
    assert_eq!(arrived, 9);
    // The way is free again.
    let publisher = world.connect(lasting(name));
    world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 60) });
    assert!(world.got(publisher).contains(&Got::Pubrec(60, ReasonCode::Success)));
}
