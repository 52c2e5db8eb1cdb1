//! Who publishes faster than slots take it waits alone: so many bytes of one connection are under way, and others are read
//! from meanwhile.

use super::*;

const PAYLOAD: usize = 60_000;

/// What may be under way and one packet.
fn bound(world: &World) -> usize {
    world.options.limits.underway_bytes + PAYLOAD + 1_000
}

impl World {
    /// Bytes that wait for the log.
    fn pending_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots.pending_bytes()).sum()
    }

    /// Sends a message as long as the Client is read from, and lets everything happen that needs no sync: how many.
    fn pour(&mut self, client: Client, message: impl Fn(u16) -> Publish<'static>) -> u16 {
        let mut sent = 0;
        while self.is_reading(client) && sent < 900 {
            sent += 1;
            self.send(client, Packet::Publish(message(sent)));
        }
        sent
    }
}

type Make = fn(u16) -> Publish<'static>;
type Change = Box<dyn Fn(Publish<'static>) -> Publish<'static>>;

/// Where messages wait for a record of their slot.
fn by_the_log() -> Vec<(&'static str, Make)> {
    static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "m".repeat(PAYLOAD));
    vec![
        ("QoS 1", |number| publish("x/y", &TEXT, number)),
        ("QoS 2", |number| Publish { qos: QoS::ExactlyOnce, ..publish("x/y", &TEXT, number) }),
        ("retained QoS 0", |_| Publish { retain: true, ..publish("x/y", &TEXT, 0) }),
        ("retained QoS 1", |number| Publish { retain: true, ..publish("x/y", &TEXT, number) }),
    ]
}

#[test]
fn a_slow_sync_holds_those_who_wait_for_it_and_nobody_else() {
    for (what, message) in by_the_log() {
        let mut world = World::new();
        let away = world.subscriber(lasting("away"), &["x/y"]);
        world.cut_and_settle(away);
        let publishers: Vec<_> = ["p", "q", "r"].map(|name| world.connect(lasting(name))).into();
        let watcher = world.subscriber(passing("watcher"), &["quick"]);
        let other = world.connect(passing("other"));
        // The sync does not end.
        for publisher in &publishers {
            let sent = world.pour(*publisher, message);
            assert!(sent > 2 && !world.is_reading(*publisher), "{what}: {sent} messages");
        }
        let pending = world.pending_bytes();
        assert!(pending <= 3 * bound(&world), "{what}: {pending}");
        world.send(other, Packet::Publish(publish("quick", "1", 0)));
        assert_eq!(world.payloads(watcher), ["1"], "{what}");
        world.settle();
        for publisher in publishers {
            assert!(world.is_reading(publisher), "{what}");
        }
    }
}

#[test]
fn what_comes_behind_a_retained_message_in_line_is_counted_too() {
    let mut world = World::new();
    let publisher = world.connect(passing("p"));
    let text: &'static str = "m".repeat(PAYLOAD).leak();
    world.send(publisher, Packet::Publish(Publish { retain: true, ..publish("x/y", "1", 0) }));
    world.pour(publisher, |_| publish("x/y", text, 0));
    let most = crate::slot::SLOT_BYTES + bound(&world);
    let pending = world.pending_bytes();
    assert!(pending <= most, "{pending}");
    world.settle();
    assert!(world.is_reading(publisher));
}

#[test]
fn a_full_slot_takes_one_message_at_a_time_from_each_of_its_publishers() {
    let mut world = World::new();
    let away = world.subscriber(lasting("away"), &["x/y"]);
    world.cut_and_settle(away);
    let text: &'static str = "m".repeat(PAYLOAD).leak();
    let names: Vec<_> = (0..16).map(|number| format!("p{number}")).collect();
    let publishers: Vec<_> = names.iter().map(|name| world.connect(passing(name))).collect();
    let mut sent: Vec<_> = Vec::new();
    for publisher in &publishers {
        sent.push(world.pour(*publisher, |number| publish("x/y", text, number)));
    }
    assert!(sent[0] > 10 && sent[15] == 1, "{sent:?}");
    world.settle();
    for (publisher, sent) in publishers.iter().zip(sent) {
        assert!(world.is_reading(*publisher));
        assert_eq!(world.got(*publisher).len(), usize::from(sent));
    }
}

#[test]
fn many_who_publish_to_a_full_slot_stop_nobody_else() {
    const LARGE: usize = 100_000;
    let mut world = World::new();
    let away = world.subscriber(lasting("away"), &["x/y"]);
    world.cut_and_settle(away);
    let watcher = world.subscriber(passing("watcher"), &["quick"]);
    let other = world.connect(passing("other"));
    let text: &'static str = "m".repeat(LARGE).leak();
    let names: Vec<_> = (0..600).map(|number| format!("p{number}")).collect();
    let publishers: Vec<_> = names.iter().map(|name| world.connect(passing(name))).collect();
    // The sync does not end; each of them is within its credit.
    let mut sent: Vec<u16> = Vec::new();
    for publisher in &publishers {
        sent.push(world.pour(*publisher, |number| publish("x/y", text, number)));
    }
    let pending = world.pending_bytes();
    let shards = world.shards.len();
    let most = crate::slot::SLOT_BYTES + shards * 2 * (4 << 20) + 2 * bound(&world);
    assert!(pending <= most, "{pending} bytes");
    assert!(world.shards.iter().all(|shard| !shard.is_congested() && shard.takes_mail()));
    world.send(other, Packet::Publish(publish("quick", "1", 0)));
    assert_eq!(world.payloads(watcher), ["1"]);
    // Nobody is forgotten.
    world.settle();
    for (publisher, sent) in publishers.iter().zip(sent) {
        assert!(world.is_reading(*publisher));
        assert_eq!(world.got(*publisher).len(), usize::from(sent));
    }
}

#[test]
fn whose_message_another_slot_has_taken_is_not_held_back_by_a_full_one() {
    let mut world = World::new();
    let away = world.subscriber(lasting("away"), &["x/y"]);
    world.cut_and_settle(away);
    let full = convoy_membership::slot_of(
        &convoy_ids::ActorId::Session { tenant: "", client_id: "away" },
        world.options.slots,
    );
    let topics: Vec<String> = (0..100).map(|number| format!("{number}/x")).collect();
    let slot_of = |topic: &str| world.options.partitioning.locate("", topic, world.options.slots).1;
    let topic: &'static str = topics.iter().find(|topic| slot_of(topic) != full).unwrap().clone().leak();
    let kept = |number| Publish { retain: true, ..publish(topic, "1", number) };
    let elsewhere = world.connect(passing("elsewhere"));
    let text: &'static str = "m".repeat(PAYLOAD).leak();
    let names: Vec<_> = (0..600).map(|number| format!("p{number}")).collect();
    let publishers: Vec<_> = names.iter().map(|name| world.connect(passing(name))).collect();
    let (first, others) = publishers.split_at(60);
    for publisher in first {
        world.pour(*publisher, |number| publish("x/y", text, number));
    }
    assert!(world.shards.iter().any(|shard| shard.outlet.edge.shortage.is_on()));
    world.send(elsewhere, Packet::Publish(kept(1)));
    while world.lines[elsewhere.0].got.is_empty() {
        assert!(world.sync());
    }
    for publisher in others {
        world.pour(*publisher, |number| publish("x/y", text, number));
    }
    assert!(others.iter().any(|publisher| !world.is_reading(*publisher)));
    for number in 2..10 {
        assert!(world.is_reading(elsewhere));
        world.send(elsewhere, Packet::Publish(kept(number)));
    }
    assert!(world.is_reading(elsewhere));
    world.settle();
    assert_eq!(world.got(elsewhere).len(), 9);
}

#[test]
fn what_a_slot_has_lost_that_stopped_is_given_back() {
    let mut world = World::new();
    let publisher = world.connect(passing("p"));
    let text: &'static str = "m".repeat(PAYLOAD).leak();
    world.pour(publisher, |_| Publish { retain: true, ..publish("x/y", text, 0) });
    assert!(!world.is_reading(publisher));
    let stopped = world.options.partitioning.locate("", "x/y", world.options.slots).1;
    for shard in &mut world.shards {
        if let Some(slot) = shard.slots.get(stopped) {
            super::super::slots::fail(slot, &"a test says so");
        }
    }
    world.pass(100);
    assert!(world.is_reading(publisher));
}

#[test]
fn releases_wait_in_a_bounded_number() {
    let limits = Limits { receive_maximum: 20, ..Limits::default() };
    let mut world = World::with(limits);
    let publisher = world.connect(Connect { clean_start: false, ..Connect::new(V311, "p") });
    for packet_id in 1..=100 {
        world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", packet_id) });
    }
    let mut sent = 0;
    while world.is_reading(publisher) && sent < 100 {
        sent += 1;
        world.send(publisher, pubrel(sent));
    }
    assert_eq!(sent, 20);
    world.settle();
    assert!(world.is_reading(publisher));
}

#[test]
fn mail_that_is_not_opened_holds_those_who_sent_it() {
    let mut world = World::new();
    if world.shards.len() == 1 {
        return;
    }
    let text: &'static str = "m".repeat(PAYLOAD).leak();
    let topics: Vec<_> = (0..20).map(|number| format!("{number}/x")).collect();
    let publisher = world.connect(passing("p"));
    let Line { shard, key, version, .. } = world.lines[publisher.0];
    let key = key.expect("it is connected");
    let mut bytes = Vec::new();
    for topic in &topics {
        Packet::Publish(publish(topic, text, 0)).encode(version, &mut bytes).expect("it can be written");
    }
    // Its mail stays where it is.
    let (mut taken, before) = (0, world.shards[shard].outlet.post.sent());
    while world.shards[shard].is_reading(key) && taken < 32 << 20 {
        let input: &[u8] = if world.shards[shard].has_whole_input(key) { &[] } else { &bytes };
        world.shards[shard].receive(world.now, key, input);
        taken += input.len();
    }
    let mailed = (world.shards[shard].outlet.post.sent() - before) as usize;
    assert!(mailed > 100_000 && mailed <= bound(&world), "{mailed}");
    world.flow();
    assert!(
        world.is_reading(publisher)
            && world.shards[shard].outlet.edge.connections[key as usize].input.is_empty()
    );
}

/// A Client Identifier whose Session's slot is another one than those of `p`, `there` and a Topic Name.
fn apart(world: &World) -> (&'static str, &'static str, SlotId) {
    let slot_of = |client_id: &str| {
        let id = convoy_ids::ActorId::Session { tenant: "", client_id };
        convoy_membership::slot_of(&id, world.options.slots)
    };
    let topic = "x/y/z";
    let partition = world.options.partitioning.locate("", topic, world.options.slots).1;
    let others = [slot_of("p"), slot_of("there"), partition];
    let away = (0..100).map(|number| format!("away{number}")).find(|away| !others.contains(&slot_of(away)));
    let away: &'static str = away.expect("there are eight slots").leak();
    (away, topic, slot_of(away))
}

fn stop(world: &mut World, stopped: SlotId) {
    for shard in &mut world.shards {
        if let Some(slot) = shard.slots.get(stopped) {
            super::super::slots::fail(slot, &"a test says so");
        }
    }
}

/// Bytes of outboxes on disk.
fn outbox_bytes(world: &World) -> usize {
    let mut bytes = 0;
    let mut visit = |key: &[u8], row: &[u8]| {
        bytes += if key[2] == b'b' { row.len() } else { 0 };
        std::ops::ControlFlow::Continue(())
    };
    world.engine.scan(convoy_storage::engine::Family::Session, &[], &[0xff; 8], &mut visit).unwrap();
    bytes
}

#[test]
fn what_waits_in_a_partition_for_a_stopped_slot_is_bounded_and_others_are_served() {
    let retained = |qos| move |message| Publish { qos, retain: true, ..message };
    let plain = |message| Publish { qos: QoS::ExactlyOnce, ..message };
    let kinds: [(&str, Change); 3] = [
        ("QoS 2", Box::new(plain)),
        ("retained QoS 2", Box::new(retained(QoS::ExactlyOnce))),
        ("retained QoS 1", Box::new(retained(QoS::AtLeastOnce))),
    ];
    for (what, kind) in kinds {
        let mut world = World::new();
        let (away, topic, stopped) = apart(&world);
        let other = "x/y/other";
        let away = world.subscriber(lasting(away), &[topic]);
        world.cut_and_settle(away);
        let there = world.subscriber(lasting("there"), &[other]);
        let publisher = world.connect(lasting("p"));
        stop(&mut world, stopped);
        let payload: &'static str = "m".repeat(900_000).leak();
        let mut said = Vec::new();
        for packet_id in 1..=40 {
            world.publish(publisher, kind(publish(topic, payload, packet_id)));
            world.send_and_settle(publisher, pubrel(packet_id));
            said.extend(world.got(publisher).into_iter().filter_map(|got| match got {
                Got::Puback(_, reason) | Got::Pubrec(_, reason) => Some(reason),
                _ => None,
            }));
        }
        world.pass(200);
        let kept = outbox_bytes(&world);
        assert!((4 << 20..12 << 20).contains(&kept), "{what}: {kept}");
        assert_eq!((said.len(), said[39]), (40, ReasonCode::QuotaExceeded), "{what}: {said:?}");
        // Its neighbours in the same partition are none the worse.
        world.publish(publisher, kind(publish(other, "1", 50)));
        let got = world.got(publisher);
        assert!(
            matches!(got[..], [Got::Puback(50, ReasonCode::Success) | Got::Pubrec(50, ReasonCode::Success)]),
            "{what}: {got:?}"
        );
        assert_eq!(world.payloads(there), ["1"], "{what}");
        assert!(world.is_reading(publisher), "{what}");
        // After the next start it goes where it was to go, and there is room again.
        world.restart();
        world.pass(200);
        let publisher = world.connect(lasting("p"));
        world.publish(publisher, kind(publish(topic, "2", 60)));
        let got = world.got(publisher);
        assert!(
            matches!(got[..], [Got::Puback(60, ReasonCode::Success) | Got::Pubrec(60, ReasonCode::Success)]),
            "{what}: {got:?}"
        );
    }
}

#[test]
fn who_asks_a_partition_first_is_taken_in_the_order_sent() {
    let mut world = World::new();
    let (away, topic, stopped) = apart(&world);
    let other = "x/y/other";
    let away = world.subscriber(lasting(away), &[topic]);
    world.cut_and_settle(away);
    let there = world.subscriber(passing("there"), &[other]);
    let publisher = world.connect(lasting("p"));
    stop(&mut world, stopped);
    let payload: &'static str = "m".repeat(900_000).leak();
    let mut bytes = Vec::new();
    for packet_id in 1..=60 {
        let message = match packet_id % 2 {
            0 => publish(other, ["a", "b", "c"][packet_id as usize / 2 % 3], packet_id),
            _ => publish(topic, payload, packet_id),
        };
        let packet = Packet::Publish(Publish { qos: QoS::ExactlyOnce, ..message });
        packet.encode(V5, &mut bytes).expect("it can be written");
    }
    world.send_bytes(publisher, &bytes);
    world.settle();
    let mut answered = world.got(publisher).into_iter();
    for packet_id in 1..=60 {
        assert!(matches!(answered.next(), Some(Got::Pubrec(of, _)) if of == packet_id));
    }
    let expected: Vec<_> = (1..=30).map(|number| ["a", "b", "c"][number % 3]).collect();
    let mut got = Vec::new();
    loop {
        let came = world.got(there);
        if came.is_empty() {
            break;
        }
        for came in came {
            if let Got::Publish(message) = came {
                world.send(there, pubrec(message.packet_id));
                got.push(message.payload);
            }
        }
        world.settle();
    }
    assert_eq!(got, expected);
}
