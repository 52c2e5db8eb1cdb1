//! What time brings about comes in time on a slot that is never idle.

use convoy_wire::{TopicName, Will};

use super::*;

/// A slot of each Session has something to write whenever it is looked at.
fn busy() -> (World, Client) {
    let mut world = World::new();
    let names: Vec<_> = (0..32).map(|number| format!("busy{number}")).collect();
    for name in &names {
        let subscriber = world.subscriber(lasting(name), &["x/y"]);
        world.cut_and_settle(subscriber);
    }
    let publisher = world.connect(lasting("p"));
    (world, publisher)
}

/// So many milliseconds pass, in each tenth of a second of which records are under way and others wait for them.
fn pass_busily(world: &mut World, publisher: Client, millis: u64) {
    for tick in 1..=millis / 100 {
        world.now.monotonic += 100;
        world.now.wall += 100;
        for packet_id in [1, 2] {
            world.send(publisher, Packet::Publish(publish("x/y", "1", packet_id)));
        }
        if tick % 10 == 0 {
            world.shards.iter_mut().for_each(|shard| shard.tick_connections(world.now));
        }
        world.shards.iter_mut().for_each(|shard| shard.tick(world.now));
        world.settle();
        world.got(publisher);
    }
}

fn observed(world: &World, of: impl Fn(&Observation) -> u64) -> u64 {
    world.shards.iter().map(|shard| of(&shard.observe())).sum()
}

#[test]
fn a_will_is_due_on_a_busy_slot() {
    let (mut world, publisher) = busy();
    let watcher = world.subscriber(passing("watcher"), &["will/#"]);
    let mut will = Will {
        topic: TopicName::new("will/a").unwrap(),
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Default::default(),
    };
    will.properties.will_delay_interval = Some(1);
    let client = world.join(Connect { will: Some(will), ..lasting("a") });
    world.cut_and_settle(client);
    pass_busily(&mut world, publisher, 1_200);
    assert_eq!(world.payloads(watcher), ["gone"]);
}

#[test]
fn sessions_expire_on_a_busy_slot() {
    let (mut world, publisher) = busy();
    let properties = ConnectProperties { session_expiry_interval: Some(2), ..Default::default() };
    let names: Vec<_> = (0..300).map(|number| format!("s{number}")).collect();
    for name in &names {
        let client = world.join(Connect { properties, ..passing(name) });
        world.cut_and_settle(client);
    }
    pass_busily(&mut world, publisher, 3_000);
    assert_eq!(observed(&world, |observation| observation.sessions_expired), 300);
}

#[test]
fn retained_messages_expire_on_a_busy_slot() {
    let (mut world, publisher) = busy();
    for at in 0..20 {
        let topic = format!("r/{at}");
        let mut message = Publish { retain: true, ..publish(&topic, "1", 9) };
        message.properties.message_expiry_interval = Some(1);
        world.publish(publisher, message);
    }
    assert_eq!(observed(&world, |observation| observation.retained_messages), 20);
    pass_busily(&mut world, publisher, 4_000);
    assert_eq!(observed(&world, |observation| observation.retained_messages), 0);
}

#[test]
fn outboxes_are_trimmed_on_a_busy_slot() {
    let (mut world, publisher) = busy();
    for _ in 0..200 {
        world.publish(publisher, Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 9) });
        world.send_and_settle(publisher, pubrel(9));
    }
    pass_busily(&mut world, publisher, 500);
    // What is not worth a record is kept, for each pair of slots: the publisher's and the topic's, and from there to
    // each of eight.
    let kept = world.outbox_rows();
    assert!(kept < 9 * 128, "{kept}");
}
