//! A Retained Message and a Subscription that meet: whoever subscribes gets the message as it comes or as it is kept, and
//! never neither [MQTT-4.5.0-1].

use super::*;

fn retain<'a>(topic: &'a str, payload: &'a str, qos: u8) -> Packet<'a> {
    let packet_id = if qos == 0 { 0 } else { 40 + u16::from(qos) };
    let qos = QoS::from_u8(qos).unwrap();
    Packet::Publish(Publish { retain: true, qos, ..publish(topic, payload, packet_id) })
}

fn subscribe<'a>(subscriptions: &'a [Subscription<'a>]) -> Packet<'a> {
    let properties = SubscribeProperties::default();
    Packet::Subscribe(Subscribe { packet_id: id(7), properties, subscriptions: List::new(subscriptions) })
}

/// Payloads of what came, each with whether it came as retained; all of it is acknowledged.
fn messages(world: &mut World, client: Client) -> Vec<(String, bool)> {
    world.acknowledged(client).into_iter().map(|received| (received.payload, received.retain)).collect()
}

/// What a subscriber gets of a retained message where so many syncs lie between the two: PUBLISH first if negative.
fn race(
    gap: i32,
    filter: &str,
    subscriber: Connect<'_>,
    publisher: Connect<'_>,
    qos: u8,
) -> Vec<(String, bool)> {
    let mut world = World::new();
    let publisher = world.connect(publisher);
    world.send_and_settle(publisher, retain("r/t", "old", 1));
    let subscriber = world.connect(subscriber);
    let options = SubscriptionOptions::new(QoS::ExactlyOnce);
    let subscriptions = [Subscription { filter: TopicFilter::new(filter).unwrap(), options }];
    if gap < 0 {
        world.send(publisher, retain("r/t", "new", qos));
    } else {
        world.send(subscriber, subscribe(&subscriptions));
    }
    for _ in 0..gap.abs() {
        world.sync();
    }
    if gap < 0 {
        world.send(subscriber, subscribe(&subscriptions));
    } else {
        world.send(publisher, retain("r/t", "new", qos));
    }
    world.settle();
    messages(&mut world, subscriber)
}

#[test]
fn a_retained_message_that_races_a_subscribe_comes_once() {
    let (mut tries, mut neither, mut twice, mut backwards) = (0, 0, 0, 0);
    for filter in ["r/t", "r/+", "r/#", "+/t", "#"] {
        for subscriber in [passing("passing"), lasting("lasting")] {
            for publisher in [passing("p"), lasting("p")] {
                for qos in 0..=2 {
                    for gap in -5..=5 {
                        let got = race(gap, filter, subscriber, publisher, qos);
                        let new = got.iter().filter(|(payload, _)| payload == "new").count();
                        tries += 1;
                        neither += usize::from(new == 0);
                        twice += usize::from(new > 1);
                        backwards += usize::from(new > 0 && got.last().unwrap().0 != "new");
                    }
                }
            }
        }
    }
    assert_eq!((neither, twice, backwards), (0, 0, 0), "neither, twice, backwards of {tries}");
}

#[test]
fn what_is_kept_is_what_came_last() {
    for (first, second) in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)] {
        let mut world = World::new();
        let watcher = world.subscriber(passing("w"), &["r/t"]);
        let a = world.connect(lasting("a"));
        let b = world.connect(passing("b"));
        world.send(a, retain("r/t", "a", first));
        world.send(b, retain("r/t", "b", second));
        world.settle();
        let live = messages(&mut world, watcher);
        assert_eq!(live.len(), 2);
        let late = world.subscriber(passing("late"), &["r/t"]);
        let kept = messages(&mut world, late);
        assert_eq!(kept, [(live[1].0.clone(), true)], "QoS {first} and {second}");
    }
}

#[test]
fn a_message_stays_behind_the_retained_one_before_it() {
    // Of one publisher, topic and QoS (MQTT 5.0, 4.6).
    let mut wrong = Vec::new();
    for subscriber in [passing("s"), lasting("s")] {
        for publisher in [passing("p"), lasting("p")] {
            for qos in 0..=2 {
                let mut world = World::new();
                let subscriber = world.subscriber(subscriber, &["r/#"]);
                let publisher = world.connect(publisher);
                let mut expected = Vec::new();
                for number in 0..8_u16 {
                    let payload = number.to_string();
                    let packet_id = if qos == 0 { 0 } else { number + 1 };
                    let message = Publish {
                        retain: number % 3 == 0,
                        qos: QoS::from_u8(qos).unwrap(),
                        ..publish("r/t", &payload, packet_id)
                    };
                    world.send(publisher, Packet::Publish(message));
                    if number == 4 {
                        world.sync();
                    }
                    expected.push(payload);
                }
                world.settle();
                let got: Vec<_> =
                    messages(&mut world, subscriber).into_iter().map(|(payload, _)| payload).collect();
                if got != expected {
                    wrong.push((qos, got));
                }
            }
        }
    }
    assert_eq!(wrong, []);
}
