//! The power is cut at every sync of a story, once each: what was acknowledged before holds afterwards.

use super::*;

/// Cuts the power after each number of syncs that `story` has; `story` returns what it was told until then, `check` is
/// given that when the shards are back.
fn at_every_sync<T>(story: impl Fn(&mut Cut) -> T, check: impl Fn(&mut World, T)) {
    for syncs in 0.. {
        let mut cut = Cut { world: World::new(), left: syncs };
        let told = story(&mut cut);
        let is_over = cut.left > 0;
        cut.world.power_cut();
        check(&mut cut.world, told);
        if is_over {
            assert!(syncs > 3, "a story of {syncs} syncs");
            return;
        }
    }
}

/// A world in which so many syncs are left.
struct Cut {
    world: World,
    left: usize,
}

impl Cut {
    /// Lets everything happen that the syncs which are left allow.
    fn settle(&mut self) {
        while self.left > 0 && self.world.sync() {
            self.left -= 1;
        }
    }

    fn send(&mut self, client: Client, packet: Packet<'_>) {
        if self.world.lines[client.0].key.is_some() {
            self.world.send(client, packet);
            self.settle();
        }
    }

    /// Connects, if there is time; nothing was acknowledged otherwise.
    fn join(&mut self, connect: Connect<'_>) -> Client {
        let client = self.world.ask(connect);
        self.settle();
        client
    }
}

fn subscribe_to<'a>(subscriptions: &'a [Subscription<'a>]) -> Packet<'a> {
    let properties = SubscribeProperties::default();
    Packet::Subscribe(Subscribe { packet_id: id(1), properties, subscriptions: List::new(subscriptions) })
}

fn every_filter() -> [Subscription<'static>; 3] {
    ["x/y", "x/#", "+/y"].map(|filter| Subscription {
        filter: TopicFilter::new(filter).unwrap(),
        options: SubscriptionOptions::new(QoS::ExactlyOnce),
    })
}

#[test]
fn an_acknowledged_message_reaches_an_acknowledged_subscription() {
    at_every_sync(
        |cut| {
            let subscriber = cut.join(lasting("s"));
            cut.send(subscriber, subscribe_to(&every_filter()));
            let publisher = cut.join(lasting("p"));
            for packet_id in 1..=3 {
                cut.send(publisher, Packet::Publish(publish("x/y", &packet_id.to_string(), packet_id)));
            }
            let subscribed = cut.world.got(subscriber).iter().any(|got| matches!(got, Got::Suback(..)));
            let acknowledged =
                cut.world.got(publisher).iter().filter(|got| matches!(got, Got::Puback(..))).count();
            (subscribed, acknowledged)
        },
        |world, (subscribed, acknowledged)| {
            let subscriber = world.connect(lasting("s"));
            let payloads = world.payloads(subscriber);
            assert!(payloads.len() >= acknowledged && payloads.is_sorted(), "{acknowledged}: {payloads:?}");
            let publisher = world.connect(passing("q"));
            world.publish(publisher, publish("x/y", "behind", 1));
            let behind = world.payloads(subscriber);
            assert!(behind == ["behind"] || (!subscribed && behind.is_empty()), "{subscribed}: {behind:?}");
        },
    );
}

#[test]
fn a_qos_2_message_comes_exactly_once_however_often_it_is_sent_again() {
    at_every_sync(
        |cut| {
            let subscriber = cut.join(lasting("s"));
            cut.send(subscriber, subscribe_to(&every_filter()));
            if cut.left == 0 {
                return None;
            }
            let publisher = cut.join(lasting("p"));
            let message = Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 1) };
            cut.send(publisher, Packet::Publish(message));
            let received = cut.world.got(publisher).contains(&Got::Pubrec(1, ReasonCode::Success));
            if received {
                cut.send(publisher, pubrel(1));
            }
            let completed = cut.world.got(publisher).contains(&Got::Pubcomp(1, ReasonCode::Success));
            // What the subscriber knows of the delivery: nothing, the message, that it is released, that it is over.
            let mut known = Vec::new();
            for _ in 0..2 {
                for got in cut.world.got(subscriber) {
                    match got {
                        Got::Publish(received) => {
                            cut.send(subscriber, pubrec(received.packet_id));
                            known.push(received.packet_id);
                        }
                        Got::Pubrel(packet_id) => {
                            known.retain(|known| *known != packet_id);
                            known.push(0);
                            cut.send(subscriber, pubcomp(packet_id));
                        }
                        _ => {}
                    }
                }
            }
            Some((received, completed, known))
        },
        |world, told| {
            let Some((received, completed, mut known)) = told else { return };
            let publisher = world.connect(lasting("p"));
            if !received {
                let message = Publish { qos: QoS::ExactlyOnce, dup: true, ..publish("x/y", "1", 1) };
                world.publish(publisher, message);
            }
            if !completed {
                world.send_and_settle(publisher, pubrel(1));
            }
            let subscriber = world.connect(lasting("s"));
            let mut deliveries = known.len();
            for _ in 0..3 {
                for got in world.got(subscriber) {
                    match got {
                        Got::Publish(received) => {
                            if !known.contains(&received.packet_id) {
                                deliveries += 1;
                                known.push(received.packet_id);
                            }
                            world.send_and_settle(subscriber, pubrec(received.packet_id));
                        }
                        Got::Pubrel(packet_id) => {
                            known.retain(|known| *known != packet_id);
                            world.send_and_settle(subscriber, pubcomp(packet_id));
                        }
                        got => panic!("{got:?}"),
                    }
                }
            }
            assert_eq!(deliveries, 1, "received {received}, completed {completed}, known {known:?}");
        },
    );
}

#[test]
fn a_retained_message_that_was_acknowledged_is_the_one_that_is_kept() {
    at_every_sync(
        |cut| {
            let publisher = cut.join(passing("p"));
            for (packet_id, payload) in [(1, "1"), (2, "2"), (3, ""), (4, "4")] {
                let message = Publish { retain: true, ..publish("x/y", payload, packet_id) };
                cut.send(publisher, Packet::Publish(message));
            }
            cut.world.got(publisher).iter().filter(|got| matches!(got, Got::Puback(..))).count()
        },
        |world, acknowledged| {
            let subscriber = world.subscriber(passing("s"), &["x/+"]);
            let kept = world.payloads(subscriber);
            // The last one that was acknowledged, or one sent after it.
            let may_be: &[&[&str]] = &[&[], &["1"], &["2"], &[], &["4"]];
            assert!(may_be[acknowledged..].iter().any(|may_be| kept == *may_be), "{acknowledged}: {kept:?}");
        },
    );
}

#[test]
fn nothing_of_a_session_that_ended_is_left() {
    at_every_sync(
        |cut| {
            let client = cut.join(lasting("s"));
            cut.send(client, subscribe_to(&every_filter()));
            let publisher = cut.join(passing("p"));
            cut.send(publisher, Packet::Publish(Publish { qos: QoS::ExactlyOnce, ..publish("x/y", "1", 1) }));
            cut.join(Connect { clean_start: true, ..passing("s") });
        },
        |world, ()| {
            let client = world.connect(Connect { clean_start: true, ..passing("s") });
            world.cut_and_settle(client);
            assert!(!world.has_routes());
            let publisher = world.connect(passing("p"));
            world.send_and_settle(publisher, goodbye());
            let left = rows_of_sessions(world);
            assert_eq!(left, [""; 0]);
        },
    );
}

/// What is of a Session on disk: counters and outboxes belong to slots.
fn rows_of_sessions(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    for family in [convoy_storage::engine::Family::Session, convoy_storage::engine::Family::Queue] {
        let mut visit = |key: &[u8], _: &[u8]| {
            if family == convoy_storage::engine::Family::Queue || !b"gbfemt".contains(&key[2]) {
                left.push(key.escape_ascii().to_string());
            }
            std::ops::ControlFlow::Continue(())
        };
        world.engine.scan(family, &[], &[0xff; 8], &mut visit).unwrap();
    }
    left
}

#[test]
fn a_session_that_ends_in_pieces_has_ended_whenever_the_power_fails() {
    let filters: Vec<_> = (0..700).map(|number| format!("x/+/{number}")).collect();
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    let pieces = std::cell::Cell::new(0);
    at_every_sync(
        |cut| {
            let client = cut.world.connect(lasting("s"));
            cut.world.subscribe_all(client, &filters);
            let next = cut.join(Connect { clean_start: true, ..passing("s") });
            cut.world.got(next).first().cloned()
        },
        |world, told| {
            pieces.set(pieces.get() + 1);
            world.pass(200);
            let client = world.join(lasting("s"));
            let present = world.got(client)[0] == Got::Connack(ReasonCode::Success, true);
            assert!(!(present && told.is_some()), "what was told to have begun anew did");
            world.join(Connect { clean_start: true, ..passing("s") });
            world.pass(200);
            let client = world.join(Connect { clean_start: true, ..passing("s") });
            world.cut_and_settle(client);
            world.pass(200);
            assert!(!world.has_routes());
            assert_eq!(rows_of_sessions(world), [""; 0]);
        },
    );
    assert!(pieces.get() > 5, "{pieces:?}");
}
