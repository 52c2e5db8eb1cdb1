//! What is large is there once, whoever is to get it: the memory of a fan-out is counted in bytes.

use super::*;

const MEGABYTE: usize = 1 << 20;

/// Subscribers of `x/y` of each kind there is, who do not read for now.
fn deaf_subscribers(world: &mut World, of_each_kind: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..of_each_kind {
        for (kind, identifier) in [("passing", None), ("lasting", None), ("named", Some(7))] {
            let name = format!("{kind}{number}");
            let connect = if kind == "lasting" { lasting(&name) } else { passing(&name) };
            let client = world.connect(connect);
            world.subscribe_by(client, "x/y", SubscriptionOptions::new(QoS::ExactlyOnce), identifier);
            world.got(client);
            world.lines[client.0].stuck = true;
            clients.push(client);
        }
    }
    clients
}

/// Memory of all outputs together.
fn held_bytes(world: &World) -> usize {
    let mut seen = Default::default();
    let connections = world.shards.iter().flat_map(|shard| &shard.outlet.edge.connections);
    connections.map(|(_, connection)| connection.output.held_bytes(&mut seen)).sum()
}

#[test]
fn a_large_message_is_there_once_for_all_who_are_connected() {
    for packet_id in [0, 1] {
        let mut world = World::new();
        let clients = deaf_subscribers(&mut world, 30);
        let publisher = world.connect(passing("p"));
        let payload = "m".repeat(1_000_000);
        world.publish(publisher, publish("x/y", &payload, packet_id));
        // What goes to queues comes out of the records of their slots, each of which holds it once.
        let copies = if packet_id == 0 { 4 } else { 4 + usize::from(world.options.slots) };
        let held = held_bytes(&world);
        assert!(held < copies * MEGABYTE, "{held} bytes for {} Clients at QoS {packet_id}", clients.len());
        for client in clients {
            world.unstick(client);
            assert_eq!(world.payloads(client), [payload.as_str()]);
        }
    }
}

/// Those who get properties, each in its own way, and those of 3.1.1, who get none; none of them reads for now.
fn deaf_by_properties(world: &mut World, of_each_kind: usize) -> Vec<Client> {
    let mut clients = deaf_subscribers(world, of_each_kind);
    for number in 0..of_each_kind {
        let (aliased, old) = (format!("aliased{number}"), format!("old{number}"));
        let properties = ConnectProperties { topic_alias_maximum: Some(8), ..Default::default() };
        for connect in [Connect { properties, ..passing(&aliased) }, Connect::new(V311, &old)] {
            let client = world.subscriber(connect, &["x/y"]);
            world.lines[client.0].stuck = true;
            clients.push(client);
        }
    }
    clients
}

#[test]
fn large_properties_are_there_once_for_all_who_are_connected() {
    let value = "v".repeat(60_000);
    for (packet_id, expiry) in [(0, None), (0, Some(60)), (1, Some(60))] {
        let mut world = World::new();
        let clients = deaf_by_properties(&mut world, 120);
        let publisher = world.connect(passing("p"));
        let users = [("k", value.as_str()); 15];
        let mut message = publish("x/y", "small", packet_id);
        message.properties.message_expiry_interval = expiry;
        message.properties.correlation_data = Some(b"7");
        message.properties.user_properties = List::new(&users);
        world.publish(publisher, message);
        let copies = if packet_id == 0 { 4 } else { 4 + usize::from(world.options.slots) };
        let held = held_bytes(&world);
        eprintln!("{held} bytes for {} Clients at QoS {packet_id}", clients.len());
        assert!(held < copies * MEGABYTE, "{held} bytes for {} Clients at QoS {packet_id}", clients.len());
        for (at, client) in clients.into_iter().enumerate().filter(|(at, _)| at % 7 == 0) {
            world.lines[client.0].raw = true;
            world.unstick(client);
            let (bytes, _) = world.bytes(client);
            let version = world.lines[client.0].version;
            let Cut::Whole { first, body, .. } = cut(&bytes, WireLimits::NONE).unwrap() else { panic!() };
            let mut got = Publish::decode(version, first, body).unwrap();
            assert_eq!((got.topic, got.payload, got.qos as u16), ("x/y", &b"small"[..], packet_id));
            // Of the kinds of Clients, the named ones come with each third.
            let identifiers: Vec<_> = got.properties.subscription_ids.iter().map(|id| id.get()).collect();
            assert_eq!(identifiers, if at < 360 && at % 3 == 2 { vec![7] } else { vec![] });
            got.properties.subscription_ids = Default::default();
            let sent = if version == V5 { message.properties } else { Default::default() };
            assert!(got.properties == sent, "the properties of Client {at} are others than were sent");
        }
    }
}

#[test]
fn messages_that_wait_behind_a_window_are_there_once() {
    let mut world = World::new();
    let connect = |name: &'static str| {
        let properties =
            ConnectProperties { receive_maximum: std::num::NonZeroU16::new(1), ..Default::default() };
        Connect { version: V5, properties, ..passing(name) }
    };
    let clients: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .map(|name| world.subscriber(connect(name), &["x/y"]))
        .collect();
    let publisher = world.connect(passing("p"));
    let payload = "m".repeat(1_000_000);
    world.publish(publisher, publish("x/y", "first", 1));
    clients.iter().for_each(|client| world.lines[client.0].stuck = true);
    world.publish(publisher, publish("x/y", &payload, 2));
    for client in &clients {
        let Line { shard, key, .. } = world.lines[client.0];
        world.shards[shard].receive(world.now, key.unwrap(), &hex("40 02 0001"));
    }
    world.settle();
    assert!(held_bytes(&world) < 4 * MEGABYTE, "{} bytes", held_bytes(&world));
    for client in clients {
        world.unstick(client);
        assert_eq!(world.payloads(client), ["first", payload.as_str()]);
    }
}

#[test]
fn the_next_message_is_not_taken_for_the_last_one() {
    let mut world = World::new();
    let clients = deaf_subscribers(&mut world, 3);
    let publisher = world.connect(passing("p"));
    let sent: Vec<String> =
        ["a", "b", "c", "d"].iter().enumerate().map(|(at, text)| text.repeat(1 + 5000 * (at % 2))).collect();
    for payload in &sent {
        let mut bytes = Vec::new();
        for packet_id in [0, 1] {
            let packet = Packet::Publish(publish("x/y", payload, packet_id));
            packet.encode(world.lines[publisher.0].version, &mut bytes).unwrap();
        }
        world.send_bytes(publisher, &bytes);
    }
    world.settle();
    for client in clients {
        world.unstick(client);
        let mut got = world.payloads(client);
        got.sort();
        let mut expected: Vec<_> =
            sent.iter().flat_map(|payload| [payload.clone(), payload.clone()]).collect();
        expected.sort();
        assert_eq!(got, expected);
    }
}

#[test]
fn what_a_stopped_slot_is_sent_holds_nobody_else_up() {
    let mut world = World::new();
    let publisher = world.connect(lasting("p"));
    let own = convoy_membership::slot_of(
        &convoy_ids::ActorId::Session { tenant: "", client_id: "p" },
        world.options.slots,
    );
    let topics: Vec<String> = (0..100).map(|number| format!("{number}/x")).collect();
    let slot_of = |topic: &str| world.options.partitioning.locate("", topic, world.options.slots).1;
    let topic = topics.iter().find(|topic| slot_of(topic) != own).unwrap();
    let stopped = slot_of(topic);
    for shard in &mut world.shards {
        if let Some(slot) = shard.slots.get(stopped) {
            super::super::slots::fail(slot, &"a test says so");
        }
    }
    let payload = "m".repeat(1_000_000);
    for packet_id in 1..=40 {
        let message = Publish { qos: QoS::ExactlyOnce, ..publish(topic, &payload, packet_id) };
        world.publish(publisher, message);
        world.send_and_settle(publisher, pubrel(packet_id));
    }
    assert!(world.shards.iter().all(|shard| !shard.is_congested()));
    assert!(world.is_reading(publisher));
}

#[test]
fn what_no_record_can_hold_is_refused_and_the_next_message_is_taken() {
    let mut world = World::with(Limits { packet_bytes: 100 << 20, ..Limits::default() });
    let publisher = world.connect(passing("p"));
    let payload = "m".repeat(65 << 20);
    for (packet_id, payload) in [(1, payload.as_str()), (2, "small")] {
        world.publish(publisher, Publish { retain: true, ..publish("x/y", payload, packet_id) });
    }
    let expected = [Got::Puback(1, ReasonCode::QuotaExceeded), Got::Puback(2, ReasonCode::Success)];
    assert_eq!(world.got(publisher), expected);
}

#[test]
fn mail_is_not_opened_while_too_much_waits_for_the_log() {
    let mut world = World::new();
    let names: Vec<_> = (0..50).map(|number| format!("p{number}")).collect();
    let publishers: Vec<_> = names.iter().map(|name| world.connect(passing(name))).collect();
    let payload = "m".repeat(1_000_000);
    // The sync does not end, so that what comes waits.
    let retained = Publish { retain: true, ..publish("x/y", &payload, 1) };
    // All of it comes in one turn: else those who come later stand in line.
    for publisher in publishers {
        let Line { shard, key, version, .. } = world.lines[publisher.0];
        let mut bytes = Vec::new();
        Packet::Publish(retained).encode(version, &mut bytes).unwrap();
        world.shards[shard].receive(world.now, key.unwrap(), &bytes);
    }
    world.flow();
    assert!(world.shards.iter().any(|shard| shard.is_congested() && !shard.takes_mail()));
    world.settle();
    assert!(world.shards.iter().all(|shard| !shard.is_congested() && shard.takes_mail()));
}

/// Bytes of the rows of all queues.
fn queue_bytes(world: &World) -> usize {
    let mut bytes = 0;
    let mut visit = |_: &[u8], value: &[u8]| {
        bytes += value.len();
        std::ops::ControlFlow::Continue(())
    };
    world.engine.scan(convoy_storage::engine::Family::Queue, &[], &[0xff; 8], &mut visit).unwrap();
    bytes
}

/// Rows that tell who holds a message together with others.
fn holding_rows(world: &World) -> usize {
    let mut rows = 0;
    let mut visit = |key: &[u8], _: &[u8]| {
        rows += usize::from(b"uv".contains(&key[2]));
        std::ops::ControlFlow::Continue(())
    };
    world.engine.scan(convoy_storage::engine::Family::Session, &[], &[0xff; 8], &mut visit).unwrap();
    rows
}

#[test]
fn a_large_message_is_on_disk_once_a_slot_until_nobody_waits_for_it() {
    let mut world = World::new();
    let names: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
    for name in &names {
        let client = world.subscriber(lasting(name), &["x/y"]);
        world.cut_and_settle(client);
    }
    let publisher = world.connect(passing("p"));
    let (first, second) = ("m".repeat(1_000_000), "n".repeat(1_000_000));
    world.publish(publisher, publish("x/y", &first, 1));
    world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", &second, 2) });
    let most = 2 * MEGABYTE * usize::from(world.options.slots) + MEGABYTE;
    assert!(queue_bytes(&world) < most, "{} bytes for {} Sessions", queue_bytes(&world), names.len());
    // It is read again after a crash, and goes with the last who has it, however that one goes.
    world.power_cut();
    for (number, name) in names.iter().enumerate() {
        if number % 3 == 0 {
            let client = world.connect(Connect { clean_start: true, ..passing(name) });
            assert_eq!(world.payloads(client), [""; 0]);
            continue;
        }
        let client = world.connect(lasting(name));
        assert!(world.payloads(client) == [first.as_str(), second.as_str()], "Session {number}");
        world.send_and_settle(client, puback(1));
        world.send_and_settle(client, pubrec(2));
        world.send_and_settle(client, pubcomp(2));
    }
    world.pass(1000);
    assert_eq!((queue_bytes(&world), holding_rows(&world)), (0, 0));
}

#[test]
fn a_large_message_that_is_pushed_out_of_every_queue_goes_from_the_disk() {
    let mut limits = Limits::default();
    limits.queue.messages = 2;
    let mut world = World::with(limits);
    for number in 0..40 {
        let client = world.subscriber(lasting(&format!("s{number}")), &["x/y"]);
        world.cut_and_settle(client);
    }
    let publisher = world.connect(passing("p"));
    let payload = "m".repeat(100_000);
    world.publish(publisher, publish("x/y", &payload, 1));
    assert!(holding_rows(&world) > 0);
    for packet_id in 2..=3 {
        world.publish(publisher, publish("x/y", "small", packet_id));
    }
    assert_eq!(holding_rows(&world), 0);
    assert!(queue_bytes(&world) < 100_000);
}

#[test]
fn a_round_takes_a_share_of_what_is_large_and_what_is_small_does_not_wait_behind_it() {
    let limits = Limits { underway_bytes: 64 << 20, ..Limits::default() };
    let mut world = super::super::World::<1>::with(limits);
    let slot_of = |client_id| {
        convoy_membership::slot_of(
            &convoy_ids::ActorId::Session { tenant: "", client_id },
            world.options.slots,
        )
    };
    let small_slot = slot_of("small");
    let names: Vec<_> = (0..40).map(|number| format!("s{number}")).collect();
    let names: Vec<_> = names.iter().filter(|name| slot_of(name) != small_slot).collect();
    for name in &names {
        let subscriber = world.subscriber(lasting(name), &["x/y"]);
        world.cut_and_settle(subscriber);
    }
    let small = world.subscriber(lasting("small"), &["a/b"]);
    let publisher = world.connect(passing("p"));
    let payload = "m".repeat(1_000_000);
    for packet_id in 1..=3 {
        world.send(publisher, Packet::Publish(publish("x/y", &payload, packet_id)));
    }
    world.send(publisher, Packet::Publish(publish("a/b", "small", 4)));
    let shard = &mut world.shards[0];
    let before = shard.slots.pending_bytes();
    for (_, round) in std::mem::take(&mut world.rounds) {
        shard.synced(world.now, round);
    }
    while shard.slots.pending_bytes() == before {
        shard.turn(world.now);
    }
    let taken = before - shard.slots.pending_bytes();
    assert!(before > 12 * MEGABYTE && taken < 6 * MEGABYTE, "{taken} of {before} bytes in one round");
    assert!(shard.slots.get(small_slot).unwrap().pending.is_empty());
    world.settle();
    assert_eq!(world.got(publisher), [1, 2, 3, 4].map(|id| Got::Puback(id, ReasonCode::Success)));
    assert_eq!(world.payloads(small), ["small"]);
    for name in names {
        let subscriber = world.join(lasting(name));
        // CONNACK, and as many of the messages as may be under way.
        assert_eq!(world.got(subscriber).len(), 3);
    }
}

/// Bytes on disk of what is on its way from slot to slot, and how many messages are there once for several.
fn on_the_way(world: &World) -> (usize, usize) {
    let (mut bytes, mut bodies) = (0, 0);
    let mut visit = |key: &[u8], value: &[u8]| {
        if matches!(key[2], b'b' | b'p') {
            bytes += value.len();
            bodies += usize::from(key[2] == b'p');
        }
        std::ops::ControlFlow::Continue(())
    };
    world.engine.scan(convoy_storage::engine::Family::Session, &[], &[0xff; 8], &mut visit).unwrap();
    (bytes, bodies)
}

/// Two messages for Sessions of all slots, which come by the log; so many syncs end before the node is started again.
/// Returned are the most bytes that were on their way.
fn to_all_slots(syncs: usize, restart: fn(&mut World)) -> usize {
    let mut world = World::new();
    let names: Vec<_> = (0..24).map(|number| format!("lasting{number}")).collect();
    for name in &names {
        let client = world.subscriber(lasting(name), &["x/y"]);
        world.cut_and_settle(client);
    }
    let publisher = world.connect(lasting("p"));
    let payloads = ["m", "n"].map(|letter| letter.repeat(600_000));
    for (payload, packet_id) in payloads.iter().zip(1..) {
        let publish = Publish { qos: QoS::ExactlyOnce, ..publish("x/y", payload, packet_id) };
        world.send(publisher, Packet::Publish(publish));
    }
    let mut most = 0;
    for _ in 0..syncs {
        world.sync();
        most = most.max(on_the_way(&world).0);
    }
    let acknowledged = world.got(publisher).len();
    restart(&mut world);
    world.settle();
    most = most.max(on_the_way(&world).0);
    let mut arrived = 0;
    for name in &names {
        let client = world.join(lasting(name));
        let got: Vec<_> = world.acknowledged(client).into_iter().map(|message| message.payload).collect();
        assert!(got.len() >= acknowledged, "{name} got {} after {syncs} syncs", got.len());
        assert!(got == payloads[..got.len()], "{name} after {syncs} syncs: another message than was sent");
        world.cut_and_settle(client);
        arrived = got.len();
    }
    world.pass(60_000);
    // One of them is not worth a record that deletes it.
    assert!(on_the_way(&world).1 <= 2 - arrived, "they go with the last operation that needs them");
    most
}

#[test]
fn a_large_message_to_sessions_of_all_slots_is_there_once_on_its_way() {
    let most = to_all_slots(12, |_| {});
    // Once from its publisher to its partition, and once from there.
    assert!(most < 3 * MEGABYTE, "{most} bytes");
}

#[test]
fn a_message_on_its_way_to_all_slots_arrives_once_whenever_the_node_starts_again() {
    for syncs in 0..8 {
        to_all_slots(syncs, World::restart);
        to_all_slots(syncs, World::power_cut);
    }
}
