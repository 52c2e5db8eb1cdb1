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
