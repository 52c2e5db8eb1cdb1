//! Shared Subscriptions (MQTT 5.0, 4.8.2).

use super::*;

fn who(world: &mut World, members: &[Client]) -> Vec<usize> {
    let mut who = Vec::new();
    for (at, member) in members.iter().enumerate() {
        who.extend(world.payloads(*member).iter().map(|_| at));
    }
    who
}

#[test]
fn members_get_messages_in_turn() {
    for connect in [passing("s"), lasting("s")] {
        for filter in ["$share/g/x/y", "$share/g/#"] {
            let mut world = World::new();
            let members: Vec<_> = ["a", "b", "c"]
                .map(|name| world.subscriber(Connect { client_id: name, ..connect }, &[filter]))
                .into();
            let publisher = world.connect(passing("p"));
            let mut turns = Vec::new();
            for packet_id in 1..=6 {
                world.publish(publisher, publish("x/y", "1", packet_id));
                turns.extend(who(&mut world, &members));
            }
            let (first, second) = turns.split_at(3);
            assert_eq!(first, second);
            turns.truncate(3);
            turns.sort_unstable();
            assert_eq!(turns, [0, 1, 2]);
        }
    }
}

#[test]
fn a_message_that_goes_by_the_log_is_given_to_one_member() {
    // Members of both kinds: what is found for those that live with their connection and for those that last is found
    // at different times and has to be the same.
    for filter in ["$share/g/x/y", "$share/g/+/y"] {
        let mut world = World::new();
        let members = [
            world.subscriber(passing("a"), &[filter]),
            world.subscriber(lasting("b"), &[filter]),
            world.subscriber(passing("c"), &[filter]),
            world.subscriber(lasting("d"), &[filter]),
        ];
        let publisher = world.connect(lasting("p"));
        let mut counts = [0; 4];
        for packet_id in 1..=60 {
            let qos = QoS::ExactlyOnce;
            world.publish(publisher, Publish { qos, ..publish("x/y", "1", packet_id) });
            let who = who(&mut world, &members);
            let [at] = who[..] else { panic!("message {packet_id} went to {who:?}") };
            counts[at] += 1;
            for (at, member) in members.iter().enumerate().filter(|(at, _)| who.contains(at)) {
                let packet_id = counts[at];
                world.send_and_settle(*member, pubrec(packet_id));
                world.send_and_settle(*member, pubcomp(packet_id));
                world.got(*member);
            }
            world.got(publisher);
            world.send_and_settle(publisher, pubrel(packet_id));
            world.got(publisher);
        }
        assert!(counts.iter().all(|count| *count > 4), "{counts:?}");
    }
}

#[test]
fn share_names_are_told_apart_and_go_one_by_one() {
    let mut world = World::new();
    let both = world.subscriber(passing("a"), &["$share/g/x/y", "$share/h/x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.payloads(both).len(), 2);
    world.unsubscribe(both, &["$share/h/x/y"]);
    world.got(both);
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.payloads(both).len(), 1);
    world.cut_and_settle(both);
    assert!(!world.has_routes());
}

/// A filter of one partition, and one of the root routes.
const FILTERS: [&str; 2] = ["$share/g/x/y", "$share/g/#"];

/// A publisher whose QoS 1 goes straight to the partition, and one whose QoS 2 goes by the log.
fn publish_both_ways(world: &mut World, publisher: Client, by_log: bool, payload: &str) {
    match by_log {
        false => world.publish(publisher, publish("x/y", payload, 1)),
        true => {
            world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", payload, 1) });
            world.send_and_settle(publisher, pubrel(1));
        }
    }
    world.got(publisher);
}

fn at_most_one_under_way(connect: Connect<'_>) -> Connect<'_> {
    let receive_maximum = std::num::NonZeroU16::new(1);
    Connect { properties: ConnectProperties { receive_maximum, ..connect.properties }, ..connect }
}

#[test]
fn members_with_a_connection_go_first() {
    for (filter, by_log) in FILTERS.into_iter().flat_map(|filter| [(filter, false), (filter, true)]) {
        let mut world = World::new();
        let away = world.subscriber(lasting("a"), &[filter]);
        let here = world.subscriber(lasting("b"), &[filter]);
        let passing_by = world.subscriber(passing("c"), &[filter]);
        let publisher = world.connect(lasting("p"));
        world.cut_and_settle(away);
        for _ in 0..6 {
            publish_both_ways(&mut world, publisher, by_log, "1");
        }
        let (here, passing_by) = (world.got(here).len(), world.got(passing_by).len());
        assert!(here + passing_by == 6 && here.min(passing_by) > 0, "{here} {passing_by}");
        let back = world.connect(lasting("a"));
        assert_eq!(world.got(back), []);
    }
}

#[test]
fn members_with_send_quota_go_first() {
    for connect in [passing("a"), lasting("a")] {
        let mut world = World::new();
        let narrow = world.subscriber(at_most_one_under_way(connect), &["$share/g/x/y"]);
        let wide = world.subscriber(Connect { client_id: "b", ..connect }, &["$share/g/x/y"]);
        let publisher = world.connect(passing("p"));
        for _ in 0..6 {
            world.publish(publisher, publish("x/y", "1", 1));
        }
        assert_eq!(world.payloads(narrow).len(), 1);
        assert_eq!(world.payloads(wide).len(), 5);
        world.send_and_settle(narrow, puback(1));
        world.publish(publisher, publish("x/y", "1", 1));
        world.publish(publisher, publish("x/y", "1", 1));
        assert_eq!((world.payloads(narrow).len(), world.payloads(wide).len()), (1, 1));
    }
}

#[test]
fn what_a_member_leaves_unacknowledged_goes_to_another() {
    for filter in FILTERS {
        for (leaver, other) in
            [(passing("a"), passing("b")), (lasting("a"), lasting("b")), (passing("a"), lasting("b"))]
        {
            let mut world = World::new();
            let leaver = world.subscriber(at_most_one_under_way(leaver), &[filter]);
            let publisher = world.connect(passing("p"));
            for payload in ["1", "2", "3"] {
                world.publish(publisher, publish("x/y", payload, 1));
            }
            assert_eq!(world.payloads(leaver), ["1"]);
            let other = world.subscriber(other, &[filter]);
            world.cut_and_settle(leaver);
            assert_eq!(world.payloads(other), ["1", "2", "3"]);
            // They are its own now: what it does not acknowledge is sent again to it.
            world.cut_and_settle(other);
        }
    }
}

#[test]
fn what_went_to_another_does_not_come_back() {
    let mut world = World::new();
    let leaver = world.subscriber(lasting("a"), &["$share/g/x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.payloads(leaver), ["1"]);
    let other = world.subscriber(lasting("b"), &["$share/g/x/y"]);
    world.cut_and_settle(leaver);
    assert_eq!(world.payloads(other), ["1"]);
    world.send_and_settle(other, puback(1));
    world.pass(200);
    let back = world.connect(lasting("a"));
    assert_eq!(world.got(back), []);
    world.restart();
    for name in ["a", "b"] {
        let back = world.connect(lasting(name));
        assert_eq!(world.got(back), []);
    }
}

#[test]
fn where_nobody_else_is_there_a_member_finds_its_messages_again() {
    let mut world = World::new();
    let leaver = world.subscriber(lasting("a"), &["$share/g/x/y"]);
    let other = world.subscriber(lasting("b"), &["$share/g/x/y"]);
    let publisher = world.connect(passing("p"));
    world.cut_and_settle(other);
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.payloads(leaver), ["1"]);
    world.cut_and_settle(leaver);
    let back = world.connect(lasting("a"));
    assert_eq!(world.got(back), [received("x/y", "1").at(1, 1).again().got()]);
}

#[test]
fn a_qos_2_message_that_was_sent_waits_for_its_member() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
    let mut world = World::new();
    let leaver = world.subscriber(at_most_one_under_way(lasting("a")), &["$share/g/x/y"]);
    let publisher = world.connect(lasting("p"));
    publish_both_ways(&mut world, publisher, true, "1");
    publish_both_ways(&mut world, publisher, true, "2");
    assert_eq!(world.payloads(leaver), ["1"]);
    let other = world.subscriber(lasting("b"), &["$share/g/x/y"]);
    world.cut_and_settle(leaver);
    assert_eq!(world.payloads(other), ["2"]);
    let back = world.connect(lasting("a"));
    assert_eq!(world.got(back), [received("x/y", "1").at(2, 1).again().got()]);
    // It ends with its Session, and nobody else gets it.
    world.cut_and_settle(back);
    world.connect(Connect { clean_start: true, ..lasting("a") });
    assert_eq!(world.got(other), []);
}

#[test]
fn what_a_session_leaves_that_ends_goes_to_another() {
    for by_expiry in [true, false] {
        let mut world = World::new();
        let ends = world.subscriber(lasting("a"), &["$share/g/x/y"]);
        let publisher = world.connect(passing("p"));
        world.publish(publisher, publish("x/y", "1", 1));
        world.got(ends);
        world.cut_and_settle(ends);
        world.publish(publisher, publish("x/y", "2", 1));
        let other = world.subscriber(
            Connect {
                properties: ConnectProperties { session_expiry_interval: Some(9000), ..Default::default() },
                ..lasting("b")
            },
            &["$share/g/x/y"],
        );
        // Nobody is there when it ends: it waits for whoever comes.
        world.cut_and_settle(other);
        match by_expiry {
            true => world.pass(HOUR + 1000),
            false => {
                world.connect(Connect { clean_start: true, ..passing("a") });
            }
        }
        let other = world.connect(lasting("b"));
        assert_eq!(world.payloads(other), ["1", "2"], "{by_expiry}");
    }
}

#[test]
fn a_message_that_a_member_refuses_is_not_given_to_another() {
    // [MQTT-4.8.2-6]
    let mut world = World::new();
    let first = world.subscriber(passing("a"), &["$share/g/x/y"]);
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("x/y", "1", 1));
    assert_eq!(world.payloads(first), ["1"]);
    let other = world.subscriber(passing("b"), &["$share/g/x/y"]);
    world.send_and_settle(first, Packet::Puback(Puback::new(id(1), ReasonCode::UnspecifiedError)));
    world.cut_and_settle(first);
    assert_eq!(world.got(other), []);
}

#[test]
fn a_member_gets_no_more_than_its_granted_qos() {
    // [MQTT-4.8.2-3]
    for connect in [passing("s"), lasting("s")] {
        for (qos, packet_id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 1)] {
            let mut world = World::new();
            let member = world.connect(connect);
            world.subscribe(member, "$share/g/x/y", SubscriptionOptions::new(qos));
            let publisher = world.connect(passing("p"));
            world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 1) });
            assert_eq!(world.got(member), [received("x/y", "1").at(qos as u8, packet_id).got()]);
        }
    }
}

#[test]
fn what_is_on_its_way_to_a_session_that_ends_goes_to_another() {
    for filter in FILTERS {
        let mut world = World::new();
        for name in ["a", "b"] {
            let member = world.subscriber(lasting(name), &[filter]);
            world.cut_and_settle(member);
        }
        let publisher = world.connect(passing("p"));
        // The end of the one is written and not yet applied while messages are given to both.
        world.ask(Connect { clean_start: true, ..lasting("a") });
        for (packet_id, payload) in (1..).zip(["1", "2", "3", "4"]) {
            world.send(publisher, Packet::Publish(publish("x/y", payload, packet_id)));
        }
        world.settle();
        assert_eq!(world.got(publisher).len(), 4);
        let other = world.connect(lasting("b"));
        let mut payloads = world.payloads(other);
        payloads.sort();
        assert_eq!(payloads, ["1", "2", "3", "4"], "{filter}");
    }
}

#[test]
fn a_message_whose_members_have_all_gone_is_offered_to_each_once_and_counted() {
    for filter in FILTERS {
        let mut world = World::new();
        let members = ["a", "b", "c"].map(|name| world.subscriber(passing(name), &[filter]));
        let publisher = world.connect(passing("p"));
        for _ in 0..6 {
            world.publish(publisher, publish("x/y", "1", 1));
        }
        // They go together: the records that take their routes away are still to come.
        for member in members {
            world.cut(member);
        }
        // Who has gone is nobody's subscriber any more.
        world.publish(publisher, publish("x/y", "2", 2));
        assert_eq!(world.got(publisher).len(), 7);
        let dropped: u64 = world.shards.iter().map(|shard| shard.observe().messages_dropped).sum();
        assert_eq!(dropped, 6, "{filter}");
        assert!(!world.has_routes());
    }
}

#[test]
fn a_message_whose_members_have_gone_waits_for_one_that_lasts() {
    for filter in FILTERS {
        let mut world = World::new();
        let waits = world.subscriber(lasting("w"), &[filter]);
        let members = ["a", "b"].map(|name| world.subscriber(passing(name), &[filter]));
        world.cut_and_settle(waits);
        let publisher = world.connect(passing("p"));
        for _ in 0..6 {
            world.publish(publisher, publish("x/y", "1", 1));
        }
        for member in members {
            world.cut(member);
        }
        world.settle();
        let back = world.connect(lasting("w"));
        assert_eq!(world.payloads(back).len(), 6, "{filter}");
    }
}

#[test]
fn a_member_that_acknowledges_nothing_keeps_little_and_others_get_the_rest() {
    let queue = crate::session::QueueLimits { messages: 20, bytes: 1 << 20, age: HOUR };
    for filter in FILTERS {
        let mut world = World::with(Limits { queue, ..Limits::default() });
        let stuck = world.subscriber(at_most_one_under_way(passing("a")), &[filter]);
        let reads = world.subscriber(passing("b"), &[filter]);
        let publisher = world.connect(passing("p"));
        let payload = "p".repeat(100_000);
        let mut got = 0;
        for _ in 0..100 {
            world.publish(publisher, publish("x/y", &payload, 1));
            for message in world.got(reads) {
                let Got::Publish(received) = message else { panic!("{message:?}") };
                got += 1;
                world.send_and_settle(reads, puback(received.packet_id));
            }
        }
        let dropped: u64 = world.shards.iter().map(|shard| shard.observe().messages_dropped).sum();
        assert_eq!(dropped, 0);
        assert!(got >= 90, "{got}");
        assert!(world.kept_bytes(stuck) < 700_000, "{}", world.kept_bytes(stuck));
        world.cut_and_settle(stuck);
        assert_eq!(got + world.got(reads).len(), 100);
    }
}

#[test]
fn a_group_whose_members_acknowledge_nothing_keeps_no_more_than_may_wait() {
    let queue = crate::session::QueueLimits { messages: 1000, bytes: 1 << 20, age: HOUR };
    let mut world = World::with(Limits { queue, ..Limits::default() });
    let members = ["a", "b"].map(|name| world.subscriber(passing(name), &["$share/g/x/y"]));
    let publisher = world.connect(passing("p"));
    let payload = "p".repeat(100_000);
    for _ in 0..200 {
        world.publish(publisher, publish("x/y", &payload, 1));
    }
    let got = members.map(|member| world.got(member).len() as u64);
    assert_eq!(got, [11, 11]);
    let dropped: u64 = world.shards.iter().map(|shard| shard.observe().messages_dropped).sum();
    assert_eq!(dropped, 200 - 2 * (11 + 10));
    assert!(members.iter().all(|member| world.kept_bytes(*member) < 2_300_000));
}
