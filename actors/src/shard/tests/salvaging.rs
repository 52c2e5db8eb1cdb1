//! Rows are lost and slots are mended: whatever row it was, a node starts on what is left and keeps its promises from
//! there.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use convoy_storage::engine::{Batch, Family};

use super::*;
use crate::mend;

const FAMILIES: [Family; 3] = [Family::Session, Family::Queue, Family::Retained];
const LASTING: [&str; 4] = ["van", "bus", "car", "desk"];

type Rows = Vec<(Family, Vec<u8>, Vec<u8>)>;

fn rows(engine: &Model) -> Rows {
    let mut rows = Vec::new();
    for family in Family::ALL {
        engine
            .scan(family, &[], &[0xff; 32], &mut |key, value| {
                rows.push((family, key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    rows
}

fn engine_of<'a>(rows: impl Iterator<Item = &'a (Family, Vec<u8>, Vec<u8>)>) -> Model {
    let (engine, mut batch) = (Model::new(), Batch::new());
    rows.for_each(|(family, key, value)| batch.put(*family, key, value));
    engine.write(&batch).unwrap();
    engine.sync().unwrap();
    engine
}

/// Sessions with all that Sessions have.
fn lived() -> World {
    let mut world = World::new();
    let will = will_on("will", b"gone");
    let van = world.subscriber(lasting("van"), &["x/y", "+/y", "$share/g/x/#"]);
    let bus = world.subscriber(Connect { will: Some(will), ..lasting("bus") }, &["x/y"]);
    let car = world.subscriber(lasting("car"), &["x/#"]);
    world.subscriber(passing("passes"), &["x/y", "#"]);
    let desk = world.connect(lasting("desk"));
    for client in [van, car] {
        world.cut_and_settle(client);
    }
    for packet_id in 1..=3 {
        world.publish(desk, publish("x/y", "1", packet_id));
    }
    for packet_id in 4..=6 {
        world.publish(desk, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "2", packet_id) });
    }
    world.send_and_settle(bus, puback(2));
    world.publish(desk, Publish { retain: true, ..publish("x/r", "kept", 7) });
    world.pass(200);
    world
}

#[test]
fn whatever_row_is_lost_a_node_starts_on_what_is_left() {
    let mut world = lived();
    let all = rows(&world.engine);
    let mut messages_lost = 0;
    for lost in all.iter().filter(|(family, ..)| FAMILIES.contains(family)) {
        let (family, key, _) = lost;
        let what = format!("without {} {}", family.name(), key.escape_ascii());
        let slot = crate::inventory::slot_of(key).unwrap();
        let mut told = Vec::new();
        world.begin_again(|_| {
            let engine = engine_of(all.iter().filter(|row| *row != lost));
            told = mend(&engine, 8, &BTreeSet::from([slot])).unwrap();
            engine
        });
        let mut clients = Vec::new();
        for name in LASTING {
            let client = world.join(lasting(name));
            let got = world.got(client);
            let Got::Connack(ReasonCode::Success, present) = got[0] else { panic!("{what}: {got:?}") };
            assert!(present || !told.is_empty(), "{what}: {name} is gone, and nobody is told");
            if !present && name != "desk" {
                world.subscribe(client, "x/y", SubscriptionOptions::new(QoS::AtLeastOnce));
                world.got(client);
            }
            let waited = got.iter().filter(|got| matches!(got, Got::Publish(_))).count();
            if *family == Family::Queue && waited < 7 && name == "car" {
                // One row, one message; whoever met the damage has its key.
                assert_eq!(waited, 6, "{what}");
                messages_lost += 1;
            }
            clients.push(client);
        }
        let publisher = world.connect(passing("publisher"));
        world.publish(publisher, publish("x/y", "after", 1));
        world.publish(publisher, Publish { retain: true, ..publish("x/r", "new", 2) });
        let answers = [1, 2].map(|packet_id| Got::Puback(packet_id, ReasonCode::Success));
        assert_eq!(world.got(publisher), answers, "{what}");
        let failures: Vec<_> = world.shards.iter().flat_map(|shard| shard.observe().failures).collect();
        assert!(failures.is_empty() && world.is_ready(), "{what}: {failures:?}");
    }
    assert!(messages_lost > 0);
}

#[test]
fn what_lost_nothing_is_mended_to_itself() {
    let mut world = lived();
    let all = rows(&world.engine);
    let slots: BTreeSet<_> = (0..8).map(convoy_ids::SlotId).chain([convoy_ids::SlotId::META]).collect();
    let mut told = Vec::new();
    world.begin_again(|_| {
        let engine = engine_of(all.iter());
        told = mend(&engine, 8, &slots).unwrap();
        engine
    });
    assert_eq!(told, []);
    for name in LASTING {
        let client = world.join(lasting(name));
        assert_eq!(world.got(client)[0], Got::Connack(ReasonCode::Success, true), "{name}");
    }
    let reader = world.subscriber(passing("reader"), &["x/r"]);
    assert_eq!(world.payloads(reader), ["kept"]);
}

/// Large messages in queues and in outboxes have their numbers from one counter.
#[test]
fn no_number_of_a_message_on_its_way_is_given_again_though_the_counter_is_lost() {
    let key = [&b"\0\x03p"[..], &7_u64.to_be_bytes()].concat();
    let engine = engine_of([(Family::Session, key, b"a message".to_vec())].iter());
    mend(&engine, 8, &BTreeSet::from([convoy_ids::SlotId(3)])).unwrap();
    let mut counter = Vec::new();
    assert!(engine.get(Family::Session, b"\0\x03t", &mut counter).unwrap());
    assert_eq!(convoy_storage::record::decode::<u64>(&counter), Ok(7));
}
