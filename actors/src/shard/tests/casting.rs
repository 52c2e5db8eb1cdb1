//! One message for very many is passed on in pieces: nobody waits for all of it, and its topic keeps its order
//! (MQTT 5.0, 4.6).

use super::*;

const PIECE: usize = 8;

fn world() -> World {
    let mut world = World::new();
    world.shards.iter_mut().for_each(|shard| shard.outlet.casts.piece = PIECE);
    world
}

fn many(world: &mut World) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..20 {
        for (kind, filter) in [("passing", "x/y"), ("lasting", "x/#"), ("root", "+/y")] {
            let name = format!("{kind}{number}");
            let connect = if kind == "lasting" { lasting(&name) } else { passing(&name) };
            clients.push(world.subscriber(connect, &[filter]));
        }
    }
    clients
}

#[test]
fn a_turn_passes_on_a_piece_and_others_are_served_before_the_rest() {
    let mut world = world();
    many(&mut world);
    let publishers = ["p", "q", "r"].map(|name| world.connect(passing(name)));
    let (_, slot) = world.options.partitioning.locate("", "x/y", world.options.slots);
    let holds_both = |shard: &mut Shard| shard.slots.get(slot).is_some();
    let home = world.shards.iter_mut().position(holds_both).unwrap();
    // There is one in every shard.
    let publisher = publishers.into_iter().find(|client| world.lines[client.0].shard == home).unwrap();
    let key = world.lines[publisher.0].key.unwrap();
    let mut bytes = Vec::new();
    for (topic, payload) in [("x/y", "1"), ("x/y", "2"), ("a/b", "3")] {
        Packet::Publish(publish(topic, payload, 0)).encode(V5, &mut bytes).unwrap();
    }
    let shard = &mut world.shards[home];
    shard.receive(world.now, key, &bytes);
    assert!(shard.has_whole_input(key) && shard.has_more(), "the publisher is not read from meanwhile");
    let before = shard.outlet.edge.dirty.len();
    shard.turn(world.now);
    let mail: usize = shard.take_mail().map(|(_, mail)| mail.letters.len()).sum();
    let passed_on = shard.outlet.edge.dirty.len() - before + mail;
    assert!((1..=PIECE).contains(&passed_on), "{passed_on} at once");
    let (casts, held) = world.shards[home].outlet.casts.told();
    assert_eq!((casts, held), (1, world.shards[home].outlet.casts.len_bytes()));
    // The message, and for each of its receivers where it goes.
    assert!(held > "x/y1".len() + PIECE * size_of::<crate::topic::Found>(), "{held}");
    world.settle();
    assert!(world.shards.iter().all(|shard| shard.outlet.casts.told() == (0, 0)));
}

#[test]
fn a_topic_keeps_its_order_however_its_messages_are_passed_on() {
    for retain in [false, true] {
        let mut world = world();
        let clients = many(&mut world);
        let publisher = world.connect(lasting("p"));
        let mut bytes = Vec::new();
        let payloads: Vec<_> = (1..=12).map(|number: u16| number.to_string()).collect();
        for (payload, packet_id) in payloads.iter().zip(1..) {
            let packet_id = if packet_id % 3 == 0 { 0 } else { packet_id };
            let message =
                Publish { retain: retain && packet_id % 2 == 1, ..publish("x/y", payload, packet_id) };
            Packet::Publish(message).encode(V5, &mut bytes).unwrap();
        }
        world.send_bytes(publisher, &bytes);
        world.settle();
        let acknowledged = world.got(publisher).len();
        assert_eq!(acknowledged, 8);
        for client in clients {
            assert_eq!(world.payloads(client), payloads, "retained: {retain}");
        }
        assert!(world.shards.iter().all(|shard| shard.outlet.casts.is_empty()));
        assert!(world.shards.iter().all(|shard| shard.outlet.casts.len_bytes() == 0));
    }
}

#[test]
fn what_waits_for_receivers_of_others_is_matched_when_there_is_room() {
    let mut world = world();
    let clients = many(&mut world);
    let publishers = ["p", "q", "r", "s"].map(|name| world.connect(passing(name)));
    world.shards.iter_mut().for_each(|shard| shard.outlet.casts.found_bytes_limit = 1);
    for (publisher, topic) in publishers.iter().zip(["x/y", "y/y", "z/y", "x/y"]) {
        world.send(*publisher, Packet::Publish(publish(topic, topic, 1)));
    }
    world.settle();
    for publisher in publishers {
        assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
    }
    for (at, client) in clients.into_iter().enumerate() {
        let mut got = world.payloads(client);
        got.sort();
        let expected = if at % 3 == 2 { vec!["x/y", "x/y", "y/y", "z/y"] } else { vec!["x/y", "x/y"] };
        assert_eq!(got, expected);
    }
}

#[test]
fn what_is_for_many_queues_waits_while_the_log_has_enough_and_loses_no_place() {
    let mut world = World::with(Limits { underway_bytes: 1 << 30, ..Limits::default() });
    world.shards.iter_mut().for_each(|shard| shard.outlet.casts.piece = PIECE);
    let away: Vec<_> = (0..20).map(|number| format!("away{number}")).collect();
    for name in &away {
        let client = world.subscriber(lasting(name), &["x/#"]);
        world.cut_and_settle(client);
    }
    let publishers = ["p", "q", "r", "s"].map(|name| world.connect(passing(name)));
    let payloads: Vec<_> = (0..60).map(|number: u16| format!("{number:03} {}", "x".repeat(60_000))).collect();
    // The log syncs all the while, so all that is taken waits.
    let mut most = 0;
    for (publisher, topic) in publishers.iter().zip(["x/a", "x/b", "x/c", "x/d"]) {
        let mut bytes = Vec::new();
        for (payload, packet_id) in payloads.iter().zip(1..) {
            Packet::Publish(publish(topic, payload, packet_id)).encode(V5, &mut bytes).unwrap();
        }
        world.send_bytes(*publisher, &bytes);
        world.flow();
        most = world.shards.iter().map(|shard| shard.slots.pending_bytes()).fold(most, usize::max);
    }
    assert!(most < 20 << 20, "{most} bytes wait for the log of a shard");
    world.settle();
    for publisher in publishers {
        let expected: Vec<_> = (1..=60).map(|id| Got::Puback(id, ReasonCode::Success)).collect();
        assert_eq!(world.got(publisher), expected);
    }
    assert!(world.shards.iter().all(|shard| shard.outlet.casts.is_empty()));
    let client = world.connect(Connect { clean_start: false, ..lasting(&away[0]) });
    let got = world.acknowledged(client);
    for topic in ["x/a", "x/b", "x/c", "x/d"] {
        let of_topic = got.iter().filter(|received| received.topic == topic);
        assert!(of_topic.map(|received| &received.payload).eq(&payloads), "{topic}");
    }
}
