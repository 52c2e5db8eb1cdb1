//! Replicas that came by a copy, or by what a disk has kept, and then lead.

use super::super::fleet::{REST, WELCOME_BACK};
use super::*;
use crate::options::CatchUp;

/// Logs are cut at once, so that who was away gets a copy.
const SHORT: CatchUp = CatchUp { kept_log_bytes: 1 << 10, segment_entries: 4, piece_bytes: 1 << 10 };

fn exactly_once<'a>(topic: &'a str, payload: &'a str, packet_id: u16, dup: bool) -> Packet<'a> {
    Packet::Publish(Publish { dup, qos: QoS::ExactlyOnce, ..publish(topic, payload, packet_id) })
}

/// A QoS 2 message is on record, and its PUBREL is not answered, when its publisher's slot goes to a replica that came by a copy:
/// how often its subscriber gets it when the publisher goes on.
fn comes_so_often(without: Without) -> usize {
    let mut fleet = Fleet::with(SHORT, without);
    fleet.cut.insert(1);
    fleet.pass(REST);
    // The second in the order of both slots is the one that is away.
    let [reader, writer] = ["reader", "writer"].map(|name| client_of(0, name));
    let topic = topic_of(0, "a");
    let (subscriber, _) = fleet.join(2, lasting(&reader));
    fleet.subscribe_at(2, subscriber, &topic, QoS::ExactlyOnce);
    let (publisher, _) = fleet.join(2, lasting(&writer));
    let got = fleet.send(2, publisher, exactly_once(&topic, "half", 5, false));
    assert_eq!(got, [Got::Pubrec(5, ReasonCode::Success)]);
    for number in 0..120 {
        let topic = format!("s{}/{}", number % 23, number % 5);
        let publish = Publish { retain: true, ..publish(&topic, "stands", 100 + number) };
        fleet.send(2, publisher, Packet::Publish(publish));
    }
    fleet.send(2, publisher, goodbye());
    let mut count = fleet.nodes[2].payloads(subscriber).iter().filter(|payload| *payload == "half").count();
    fleet.send(2, subscriber, pubrec(1));
    fleet.send(2, subscriber, pubcomp(1));
    fleet.send(2, subscriber, goodbye());
    fleet.cut.clear();
    fleet.pass(20_000);
    assert!(fleet.nodes[1].shards[0].observe().snapshots_received > 2);
    fleet.cut.insert(0);
    fleet.pass(REST);
    let (subscriber, got) = fleet.join(2, lasting(&reader));
    assert_eq!(got[0], WELCOME_BACK);
    let (publisher, got) = fleet.join(1, lasting(&writer));
    assert_eq!(got[0], WELCOME_BACK);
    // The PUBREC never came, as far as the publisher knows.
    fleet.send(1, publisher, exactly_once(&topic, "half", 5, true));
    fleet.send(1, publisher, pubrel(5));
    fleet.pass(1_000);
    count += fleet.nodes[2].payloads(subscriber).iter().filter(|payload| *payload == "half").count();
    count
}

#[test]
fn a_message_that_was_half_on_its_way_comes_once_when_a_replica_that_came_by_a_copy_leads() {
    assert_eq!(comes_so_often(Without::Nothing), 1);
    assert_eq!(comes_so_often(Without::HalfWay), 2, "the rule is not needed");
}

/// What nodes say to each other arrives until nothing more is said, while the disk of the second one ends so many syncs.
fn settle_with_syncs(fleet: &mut Fleet, mut syncs: usize) {
    loop {
        let (mut letters, mut parcels) = (Vec::new(), Vec::new());
        for (at, world) in fleet.nodes.iter_mut().enumerate() {
            match at {
                1 => {
                    world.flow();
                    while syncs > 0 && world.sync() {
                        syncs -= 1;
                    }
                }
                _ => world.settle(),
            }
            letters.extend(world.shards[0].take_to_replicas().into_iter().map(|letter| (at, letter)));
            parcels.extend(world.shards[0].take_to_shards(world.now));
        }
        if letters.is_empty() && parcels.is_empty() {
            return;
        }
        for (from, letter) in letters {
            let world = &mut fleet.nodes[letter.to.get() as usize - 1];
            world.shards[0].step(world.now, node(from), letter.slot, &letter.bytes);
        }
        for parcel in parcels {
            fleet.hear(parcel.to.get() as usize - 1, parcel.bytes);
        }
    }
}

#[test]
fn a_crash_between_what_is_applied_and_the_row_of_its_group_repeats_nothing_and_forgets_nothing() {
    let mut unsynced = 0;
    for (syncs, keep) in (0..12).flat_map(|syncs| (0..4).map(move |keep| (syncs, keep))) {
        let case = format!("{syncs} syncs, and {keep} batches of the rest");
        let mut fleet = Fleet::new(Without::Nothing);
        let topic = topic_of(0, "a");
        let [reader, writer] = ["reader", "writer"].map(|name| client_of(0, name));
        let subscriber = fleet.connect(2, lasting(&reader));
        fleet.subscribe_at(2, subscriber, &topic, QoS::ExactlyOnce);
        let publisher = fleet.connect(2, lasting(&writer));
        for id in 1..=3 {
            fleet.nodes[2].send(publisher, exactly_once(&topic, &id.to_string(), id, false));
            fleet.nodes[2].send(publisher, pubrel(id));
        }
        settle_with_syncs(&mut fleet, syncs);
        let answered = fleet.got(2, publisher);
        assert_eq!(answered.len(), 6, "two others have it: {answered:?}");
        unsynced += fleet.nodes[1].engine.unsynced();
        // The next in the order dies, and leads when it is back.
        fleet.nodes[1].start_again(|engine| engine.crash(keep));
        fleet.pass(2_000);
        fleet.cut.insert(0);
        fleet.pass(REST);
        let (subscriber, mut got) = fleet.join(2, lasting(&reader));
        assert_eq!(got.remove(0), WELCOME_BACK, "{case}");
        got.extend(fleet.got(2, subscriber));
        let payloads: Vec<_> = got
            .into_iter()
            .map(|got| match got {
                Got::Publish(received) => received.payload,
                got => panic!("{case}: {got:?}"),
            })
            .collect();
        let first: Vec<_> = (1..=3).map(|id| id.to_string()).collect();
        assert_eq!(payloads, first, "{case}");
    }
    assert!(unsynced > 20, "{unsynced} batches could be lost");
}
