//! Clients that do not read: what all of them make the node hold is bounded, and who reads misses nothing.

use super::*;
use crate::unread::Unread;

const READERS: usize = 12;
const LIMIT: usize = 2 << 20;

impl World {
    /// Clients of which none reads what it is sent, each subscribed to everything and to a topic of its own.
    fn deaf(&mut self, qos: QoS) -> Vec<Client> {
        let names: Vec<_> = (0..READERS).map(|number| format!("deaf-{number}")).collect();
        let mut deaf = Vec::new();
        for name in &names {
            let client = self.connect(passing(name));
            let own = format!("own/{name}");
            for filter in ["all/x", own.as_str()] {
                let options = SubscriptionOptions::new(qos);
                let subscriptions = [Subscription { filter: TopicFilter::new(filter).unwrap(), options }];
                self.send_and_settle(
                    client,
                    Packet::Subscribe(Subscribe {
                        packet_id: id(1),
                        properties: SubscribeProperties::default(),
                        subscriptions: List::new(&subscriptions),
                    }),
                );
            }
            self.got(client);
            self.lines[client.0].stuck = true;
            deaf.push(client);
        }
        deaf
    }

    /// Bytes in memory that Clients have not read, what many have counted once.
    fn unread_bytes(&self) -> usize {
        let mut seen = std::collections::BTreeSet::new();
        let connections = self.shards.iter().flat_map(|shard| shard.outlet.edge.connections.iter());
        let held = connections.map(|(_, connection)| {
            let kept = connection.outbound.as_ref().map_or(0, |outbound| outbound.kept_bytes() as usize);
            connection.output.held_bytes(&mut seen) + kept
        });
        held.sum()
    }
}

fn limited(bytes: usize) -> World {
    let mut limits = Limits { unread: Unread::new(bytes), ..Limits::default() };
    limits.queue.messages = 100_000;
    World::with(limits)
}

/// 1 MiB to everybody, and as much to each of those who do not read: the most that was held. Somebody who reads misses
/// nothing.
fn pour_to_deaf(world: &mut World, reader: Client, qos: QoS, bytes: usize) -> usize {
    let publisher = world.connect(passing("p"));
    let payload = "m".repeat(bytes);
    let packet_id = u16::from(qos != QoS::AtMostOnce);
    let (mut highest, mut read) = (0, 0);
    for _ in 0..(1 << 20) / bytes {
        world.send_and_settle(publisher, Packet::Publish(publish("all/x", &payload, packet_id)));
        for number in 0..READERS {
            let topic = format!("own/deaf-{number}");
            world.send_and_settle(publisher, Packet::Publish(publish(&topic, &payload, packet_id)));
        }
        highest = highest.max(world.unread_bytes());
        for got in world.got(reader) {
            let Got::Publish(got) = got else { panic!("{got:?}") };
            read += 1;
            if got.packet_id > 0 {
                world.send_and_settle(reader, puback(got.packet_id));
            }
        }
    }
    assert_eq!(read, (1 << 20) / bytes, "{qos:?}, {bytes} bytes");
    highest
}

#[test]
fn what_all_hold_who_do_not_read_is_bounded_and_who_reads_misses_nothing() {
    // Small messages are copied for each, large ones are there once: each has its own.
    for (qos, bytes) in [
        (QoS::AtMostOnce, 1000),
        (QoS::AtMostOnce, 60_000),
        (QoS::AtLeastOnce, 1000),
        (QoS::AtLeastOnce, 60_000),
    ] {
        // A buffer grows by doubling; and each may keep a little and one message.
        let most = 2 * LIMIT + READERS * (bytes + (64 << 10));
        for limit in [LIMIT, usize::MAX] {
            let what = format!("{qos:?}, {bytes} bytes, limit {limit}");
            let mut world = limited(limit);
            let deaf = world.deaf(qos);
            let reader = world.subscriber(passing("reader"), &["all/x"]);
            let highest = pour_to_deaf(&mut world, reader, qos, bytes);
            eprintln!("{what}: {highest} bytes were held");
            assert_eq!(highest <= most, limit == LIMIT, "{what}: {highest}");
            // Those who take nothing go, until there is room again.
            for _ in 0..20 {
                world.pass(100);
            }
            let used = world.options.limits.unread.used();
            assert!(used <= limit, "{what}: {used}");
            let closed = deaf.iter().filter(|client| world.lines[client.0].key.is_none()).count();
            assert!(closed < READERS, "{what}: {closed} were closed");
            assert!(world.lines[reader.0].key.is_some());
            drop(world.shards);
            assert_eq!(world.options.limits.unread.used(), 0, "{what}");
        }
    }
}

#[test]
fn a_message_that_many_have_not_read_counts_once() {
    let mut world = limited(LIMIT);
    let deaf = world.deaf(QoS::AtMostOnce);
    let publisher = world.connect(passing("p"));
    let payload = "m".repeat(900_000);
    world.publish(publisher, publish("all/x", &payload, 0));
    for _ in 0..20 {
        world.pass(100);
    }
    for client in deaf {
        world.unstick(client);
        assert_eq!(world.payloads(client), [payload.as_str()]);
    }
}
