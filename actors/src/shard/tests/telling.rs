//! What the node tells under `$SYS`, and who may not.

use super::*;
use crate::shard::SysTopics;

impl World {
    fn tell(&mut self, topics: &[(&str, &str)]) {
        let topics = topics.iter().map(|(topic, value)| (topic.to_string(), value.to_string()));
        let topics: Arc<SysTopics> = Arc::new(topics.collect());
        self.shards.iter_mut().for_each(|shard| shard.tell(self.now, &topics));
        self.settle();
    }

    fn told(&mut self, client: Client) -> Vec<(String, String, bool, u8)> {
        let got = self.got(client).into_iter().map(|got| match got {
            Got::Publish(publish) => (publish.topic, publish.payload, publish.retain, publish.qos),
            other => panic!("{other:?}"),
        });
        let mut told: Vec<_> = got.collect();
        told.sort();
        told
    }
}

fn value(topic: &str, value: &str, retain: bool) -> (String, String, bool, u8) {
    (topic.into(), value.into(), retain, 0)
}

#[test]
fn a_new_subscription_gets_the_values_and_then_those_that_change() {
    for connect in [passing("s"), lasting("s")] {
        let mut world = World::new();
        world.tell(&[
            ("$SYS/broker/uptime", "1"),
            ("$SYS/broker/version", "v"),
            ("$SYS/convoy/n1/slots", "8"),
        ]);
        let all = world.subscriber(Connect { client_id: "all", ..connect }, &["$SYS/#"]);
        let one = world.subscriber(Connect { client_id: "one", ..connect }, &["$SYS/broker/uptime"]);
        let uptime = |told: &str, retain| value("$SYS/broker/uptime", told, retain);
        let version = value("$SYS/broker/version", "v", true);
        let slots = value("$SYS/convoy/n1/slots", "8", true);
        assert_eq!(world.told(all), [uptime("1", true), version, slots]);
        assert_eq!(world.told(one), [uptime("1", true)]);

        world.tell(&[
            ("$SYS/broker/uptime", "2"),
            ("$SYS/broker/version", "v"),
            ("$SYS/convoy/n1/slots", "8"),
        ]);
        assert_eq!(world.told(all), [uptime("2", false)]);
        assert_eq!(world.told(one), [uptime("2", false)]);
    }
}

#[test]
fn what_the_node_tells_costs_no_record() {
    let mut world = World::new();
    world.subscriber(lasting("s"), &["$SYS/#"]);
    let before = world.engine.writes();
    world.tell(&[("$SYS/broker/uptime", "1")]);
    assert_eq!(world.engine.writes(), before);
}

#[test]
fn wildcards_at_the_first_level_do_not_see_it() {
    // [MQTT-4.7.2-1]
    let mut world = World::new();
    world.tell(&[("$SYS/broker/uptime", "1")]);
    let client = world.subscriber(passing("s"), &["#", "+/broker/uptime", "+/#"]);
    world.tell(&[("$SYS/broker/uptime", "2")]);
    assert_eq!(world.told(client), []);
}

#[test]
fn clients_cannot_publish_there() {
    let mut world = World::new();
    let reader = world.subscriber(passing("reader"), &["$SYS/#", "$SYSTEM"]);
    let publisher = world.connect(passing("5"));
    for (topic, reason) in [
        ("$SYS/broker/uptime", ReasonCode::NotAuthorized),
        ("$SYS", ReasonCode::NotAuthorized),
        ("$share/g/a", ReasonCode::TopicNameInvalid),
    ] {
        world.publish(publisher, publish(topic, "mine", 0));
        assert_eq!(world.got(publisher), []);
        world.publish(publisher, publish(topic, "mine", 1));
        assert_eq!(world.got(publisher), [Got::Puback(1, reason)]);
        world
            .publish(publisher, Publish { qos: QoS::ExactlyOnce, retain: true, ..publish(topic, "mine", 2) });
        assert_eq!(world.got(publisher), [Got::Pubrec(2, reason)]);
    }
    // 3.x cannot be told: the message is acknowledged and goes nowhere.
    for connect in
        [Connect::new(V311, "passing"), Connect { clean_start: false, ..Connect::new(V311, "lasting") }]
    {
        let old = world.connect(connect);
        world.publish(old, publish("$SYS/broker/uptime", "mine", 1));
        assert_eq!(world.got(old), [Got::Puback(1, ReasonCode::Success)]);
        let exactly_once =
            Publish { qos: QoS::ExactlyOnce, retain: true, ..publish("$SYS/broker/uptime", "mine", 2) };
        world.publish(old, exactly_once);
        assert_eq!(world.got(old), [Got::Pubrec(2, ReasonCode::Success)]);
        world.send_and_settle(old, pubrel(2));
        assert_eq!(world.got(old), [Got::Pubcomp(2, ReasonCode::Success)]);
    }
    let late = world.subscriber(passing("late"), &["$SYS/#"]);
    assert_eq!((world.told(reader), world.told(late)), (vec![], vec![]));
    // What only looks like it is anybody's.
    world.publish(publisher, publish("$SYSTEM", "anybody's", 0));
    assert_eq!(world.told(reader), [value("$SYSTEM", "anybody's", false)]);
}

#[test]
fn a_will_there_is_refused() {
    let mut world = World::new();
    let will = convoy_wire::Will {
        topic: convoy_wire::TopicName::new("$SYS/broker/uptime").unwrap(),
        payload: b"mine",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Default::default(),
    };
    let client = world.join(Connect { will: Some(will), ..passing("5") });
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::TopicNameInvalid, false), Got::Closed]);
}

#[test]
fn sessions_and_subscriptions_are_counted_also_after_a_restart() {
    let mut world = World::new();
    let counts = |world: &World| {
        let all: Vec<_> = world.shards.iter().map(Shard::observe).collect();
        let sum = |of: fn(&Observation) -> u64| all.iter().map(of).sum::<u64>();
        [sum(|all| all.sessions), sum(|all| all.subscriptions), sum(|all| all.shared_subscriptions)]
    };
    let client = world.subscriber(lasting("lasts"), &["a/#", "+/b", "$share/g/c", "a/#"]);
    world.subscriber(passing("passes"), &["a"]);
    assert_eq!(counts(&world), [2, 4, 1]);
    world.unsubscribe(client, &["+/b", "nothing"]);
    assert_eq!(counts(&world), [2, 3, 1]);
    world.restart();
    assert_eq!(counts(&world), [1, 2, 1]);
    world.pass(2 * HOUR);
    assert_eq!(counts(&world), [0, 0, 0]);
    assert_eq!(world.shards.iter().map(|shard| shard.observe().sessions_expired).sum::<u64>(), 1);
}

#[test]
fn what_goes_over_connections_is_counted_also_when_they_are_gone() {
    let mut world = World::new();
    let client = world.subscriber(passing("s"), &["a"]);
    world.publish(client, publish("a", "four", 1));
    world.publish(client, publish("a", "four", 0));
    for _ in 0..2 {
        world.pass(1000);
        let mut tally = crate::tally::Tally::default();
        world.shards.iter().for_each(|shard| tally.merge(&shard.observe().tally));
        assert_eq!((tally.published, tally.published_bytes), ([1, 1, 0], 8));
        assert_eq!((tally.traffic.messages_received, tally.traffic.messages_sent), (2, 2));
        assert_eq!(tally.acknowledged.counts.iter().sum::<u64>(), 1);
        let packets: Vec<_> = tally.packets().filter(|(_, count)| *count > 0).map(|(name, _)| name).collect();
        assert_eq!(packets[..3], ["connect", "publish", "subscribe"]);
        let is_there = world.lines[client.0].key.is_some();
        assert_eq!(tally.sessions_connected, u64::from(is_there));
        let here = tally.connections.first().map(|kind| (kind.version, kind.connections));
        assert_eq!(here, is_there.then_some((V5, 1)));
        if is_there {
            world.send_and_settle(client, goodbye());
        }
    }
}
