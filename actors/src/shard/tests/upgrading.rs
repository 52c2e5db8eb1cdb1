//! A folder of an earlier release, which kept root routes in the meta group, is opened: whoever had subscribed still gets
//! what it had subscribed.

use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_membership::PartitionKey;
use convoy_storage::engine::{Batch, Family};

use super::*;
use crate::bring_over;
use crate::tenant::TENANT;

/// The folder as an earlier release would have it.
fn as_before(engine: &Model) -> Model {
    let everywhere = PartitionKey::root(TENANT).0.to_be_bytes();
    let (before, mut batch) = (Model::new(), Batch::new());
    for family in Family::ALL {
        engine
            .scan(family, &[], &[0xff; 32], &mut |key, value| {
                let is_root =
                    family == Family::Session && key[2] == b'r' && key[3..].starts_with(&everywhere);
                match (is_root, &key[..2]) {
                    (true, [0, 0]) => {
                        batch.put(family, &[&SlotId::META.0.to_be_bytes()[..], &key[2..]].concat(), value);
                    }
                    (true, _) => {}
                    (false, _) => batch.put(family, key, value),
                }
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    before.write(&batch).unwrap();
    before.sync().unwrap();
    before
}

#[test]
fn root_routes_of_an_earlier_release_are_those_of_all_slots() {
    let mut world = World::new();
    let filters = ["+/y", "$share/g/#"];
    let subscribers = filters.map(|filter| world.subscriber(lasting(filter), &[filter]));
    subscribers.iter().for_each(|subscriber| world.cut_and_settle(*subscriber));
    world.begin_again(|engine| {
        let before = as_before(engine);
        bring_over(&before, 8).unwrap();
        before
    });
    let publisher = world.connect(passing("p"));
    // Topics of several slots.
    let topics = ["a/y", "b/y", "c/y", "d/y"];
    for (topic, packet_id) in topics.into_iter().zip(1..) {
        world.publish(publisher, publish(topic, topic, packet_id));
    }
    for filter in filters {
        let subscriber = world.join(lasting(filter));
        let Got::Connack(ReasonCode::Success, true) = world.lines[subscriber.0].got.remove(0) else {
            panic!("{filter}: its Session is gone");
        };
        let mut payloads: Vec<_> =
            world.acknowledged(subscriber).into_iter().map(|message| message.payload).collect();
        payloads.sort();
        assert_eq!(payloads, topics, "{filter}");
        world.unsubscribe(subscriber, &[filter]);
    }
    assert!(!world.has_routes());
}
