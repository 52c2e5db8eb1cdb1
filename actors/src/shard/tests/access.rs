//! What Clients may do, on every way that a message enters or leaves.

use convoy_wire::{TopicName, Will, WillProperties};

use super::*;
use crate::access::{Action, DeniedPublish, Effect, Name, Policy, Rule};

fn allow(action: Action, topic: &str) -> Rule {
    Rule::new(Effect::Allow, action, topic)
}

fn world(rules: Vec<Rule>) -> World {
    let mut world = World::new();
    world.set_access(Access::new(rules, Policy::default()));
    world
}

/// Everybody may subscribe everything, and publish below `open`.
fn half_open() -> World {
    world(vec![allow(Action::Publish, "open/#"), allow(Action::Subscribe, "#")])
}

fn suback(reasons: &[ReasonCode]) -> Got {
    Got::Suback(77, reasons.to_vec())
}

#[test]
fn a_publish_that_is_not_allowed_reaches_nobody_and_is_answered() {
    let mut world = half_open();
    let watcher = world.subscriber(passing("w"), &["#"]);
    for connect in [passing("p"), lasting("p")] {
        let client = world.join(connect);
        world.got(client);
        world.publish(client, publish("closed/a", "no", 0));
        world.publish(client, publish("closed/a", "no", 1));
        world.publish(client, Publish { qos: QoS::ExactlyOnce, ..publish("closed/a", "no", 2) });
        world.publish(client, publish("open/a", "yes", 3));
        let denied = ReasonCode::NotAuthorized;
        let got = world.got(client);
        assert_eq!(
            got,
            [Got::Puback(1, denied), Got::Pubrec(2, denied), Got::Puback(3, ReasonCode::Success)]
        );
        // [MQTT-4.3.3-3]: the identifier is free again.
        world.publish(client, Publish { qos: QoS::ExactlyOnce, ..publish("open/a", "again", 2) });
        assert_eq!(world.got(client), [Got::Pubrec(2, ReasonCode::Success)]);
        let payloads: Vec<_> =
            world.got(watcher).into_iter().filter(|got| matches!(got, Got::Publish(_))).collect();
        assert_eq!(payloads.len(), 2);
        world.cut_and_settle(client);
    }
}

#[test]
fn a_client_of_3_is_acknowledged_or_closed() {
    let mut world = half_open();
    let watcher = world.subscriber(passing("w"), &["#"]);
    let client = world.connect(Connect { clean_start: false, ..Connect::new(V311, "p") });
    world.publish(client, publish("closed/a", "no", 1));
    world.publish(client, Publish { qos: QoS::ExactlyOnce, ..publish("closed/a", "no", 2) });
    world.send_and_settle(client, pubrel(2));
    let ok = ReasonCode::Success;
    assert_eq!(world.got(client), [Got::Puback(1, ok), Got::Pubrec(2, ok), Got::Pubcomp(2, ok)]);
    assert_eq!(world.got(watcher), []);
    let rules = vec![allow(Action::Publish, "open/#")];
    world
        .set_access(Access::new(rules, Policy { denied_publish: DeniedPublish::Close, ..Policy::default() }));
    world.publish(client, publish("closed/a", "no", 3));
    assert_eq!(world.got(client), [Got::Closed]);
}

#[test]
fn an_alias_hides_no_topic() {
    let mut world = half_open();
    let watcher = world.subscriber(passing("w"), &["#"]);
    let client = world.connect(passing("p"));
    for topic in ["closed/a", ""] {
        let mut aliased = publish(topic, "no", 0);
        aliased.properties.topic_alias = convoy_wire::TopicAlias::new(1);
        world.publish(client, aliased);
    }
    assert_eq!((world.got(client), world.got(watcher)), (vec![], vec![]));
}

#[test]
fn a_retained_message_is_neither_set_nor_deleted_without_leave() {
    let mut world = half_open();
    world.set_access(Access::default());
    let client = world.connect(passing("p"));
    world.publish(client, Publish { retain: true, ..publish("closed/a", "kept", 1) });
    world.set_access(Access::new(
        vec![allow(Action::Publish, "open/#"), allow(Action::Subscribe, "#")],
        Policy::default(),
    ));
    world.publish(client, Publish { retain: true, ..publish("closed/a", "", 2) });
    world.publish(client, Publish { retain: true, ..publish("closed/b", "no", 3) });
    let watcher = world.subscriber(passing("w"), &["#"]);
    assert_eq!(world.payloads(watcher), ["kept"]);
}

#[test]
fn a_subscription_that_is_not_allowed_is_refused_by_itself() {
    let mut world = world(vec![allow(Action::Subscribe, "open/#")]);
    for (version, denied) in [(V5, ReasonCode::NotAuthorized), (V311, ReasonCode::UnspecifiedError)] {
        let client = world.connect(Connect::new(version, "c"));
        let options = SubscriptionOptions::new(QoS::AtLeastOnce);
        let asked = ["open/a", "closed/a", "#", "$share/g/open/+", "$share/g/closed/a", "$share/open/#"];
        let subscriptions =
            asked.map(|filter| Subscription { filter: TopicFilter::new(filter).unwrap(), options });
        let (properties, subscriptions) = (SubscribeProperties::default(), List::new(&subscriptions));
        let subscribe = Subscribe { packet_id: id(77), properties, subscriptions };
        world.send_and_settle(client, Packet::Subscribe(subscribe));
        let granted = ReasonCode::GrantedQoS1;
        // A Shared Subscription is judged by the filter within, not by its Share Name: the last one is of `#`.
        assert_eq!(
            world.got(client),
            [suback(&[granted, denied, denied, granted, denied, denied])],
            "{version:?}"
        );
    }
}

#[test]
fn what_a_packet_names_twice_is_allowed_or_refused_each_by_itself() {
    let mut only_at_most_once = allow(Action::Subscribe, "a");
    only_at_most_once.qos = 0b001;
    let mut world = world(vec![only_at_most_once, allow(Action::Publish, "#")]);
    for qos in [[0, 2], [2, 0], [0, 0]] {
        let client = world.connect(passing("c"));
        let options = |qos| SubscriptionOptions::new(QoS::from_u8(qos).unwrap());
        let filter = TopicFilter::new("a").unwrap();
        let subscriptions = qos.map(|qos| Subscription { filter, options: options(qos) });
        let (properties, subscriptions) = (SubscribeProperties::default(), List::new(&subscriptions));
        let subscribe = Subscribe { packet_id: id(77), properties, subscriptions };
        world.send_and_settle(client, Packet::Subscribe(subscribe));
        let answer = |qos| if qos == 0 { ReasonCode::Success } else { ReasonCode::NotAuthorized };
        assert_eq!(world.got(client), [suback(&qos.map(answer))], "{qos:?}");
        world.publish(client, publish("a", "m", 5));
        let received = world.got(client).into_iter().find_map(|got| match got {
            Got::Publish(received) => Some(received.qos),
            _ => None,
        });
        assert_eq!(received, Some(0), "{qos:?}");
        world.cut(client);
    }
}

#[test]
fn who_is_banned_is_cut_off_and_not_let_in_and_nobody_else_is() {
    use crate::access::Ban;
    let mut world = World::new();
    let (banned, other) = (world.connect(lasting("car-7")), world.connect(passing("car-8")));
    let ban = |until| Ban {
        client_id: Some(Name::parse("car-7")),
        user: None,
        address: None,
        until,
        reason: "stolen".into(),
    };
    let until = world.now.wall + 60_000;
    assert_eq!(world.set_bans(vec![ban(Some(until))]), 1);
    assert_eq!(world.got(banned), [Got::Disconnect(ReasonCode::AdministrativeAction), Got::Closed]);
    assert_eq!(world.got(other), []);
    for (version, reason) in [(V5, ReasonCode::Banned), (V311, ReasonCode::NotAuthorized)] {
        let client = world.join(Connect::new(version, "car-7"));
        assert_eq!(world.got(client), [Got::Connack(reason, false), Got::Closed], "{version:?}");
        let client = world.join(Connect::new(version, "car-9"));
        assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)], "{version:?}");
    }
    // Its Session waits for the end of the ban.
    world.now.wall = until;
    let client = world.join(lasting("car-7"));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, true)]);
    assert_eq!(world.set_bans(Vec::new()), 0);
}

#[test]
fn a_member_that_may_not_receive_takes_nothing_from_its_group() {
    // Three of four may subscribe `a/#` and not receive `a/secret`.
    let rules = || {
        let mut deny = Rule::new(Effect::Deny, Action::Subscribe, "a/secret");
        deny.client_id = Some(Name::parse("no-*"));
        vec![deny, allow(Action::All, "#")]
    };
    let may = |publishes: fn(&str) -> Connect<'_>, publisher: Connect<'_>| {
        let mut world = world(rules());
        let names = ["no-1", "no-2", "yes", "no-3"];
        let members = names.map(|name| world.subscriber(publishes(name), &["$share/g/a/#"]));
        let publisher = world.connect(publisher);
        let counts = |world: &mut World, topic: &str| {
            let mut counts = [0; 4];
            for packet_id in 1..=40 {
                world.publish(publisher, publish(topic, "x", packet_id));
                assert_eq!(world.got(publisher), [Got::Puback(packet_id, ReasonCode::Success)]);
                for (member, count) in members.iter().zip(&mut counts) {
                    for got in world.got(*member) {
                        let Got::Publish(received) = got else { panic!("{got:?}") };
                        let packet_id = received.packet_id;
                        world.send_and_settle(*member, puback(packet_id));
                        *count += 1;
                    }
                }
            }
            counts
        };
        assert_eq!(counts(&mut world, "a/secret"), [0, 0, 40, 0]);
        assert_eq!(counts(&mut world, "a/open"), [10; 4]);
        // The right is withdrawn from the fourth too, and given to the first.
        let mut deny = Rule::new(Effect::Deny, Action::Subscribe, "a/secret");
        deny.client_id = Some(Name::parse("yes"));
        let mut others = Rule::new(Effect::Deny, Action::Subscribe, "a/secret");
        others.client_id = Some(Name::parse("no-*"));
        let mut first = allow(Action::Subscribe, "a/secret");
        first.client_id = Some(Name::parse("no-1"));
        let rules = vec![first, deny, others, allow(Action::All, "#")];
        world.set_access(Access::new(rules, Policy::default()));
        assert_eq!(counts(&mut world, "a/secret"), [40, 0, 0, 0]);
    };
    may(passing, passing("p"));
    may(lasting, passing("p"));
    may(passing, lasting("p"));
}

#[test]
fn what_a_narrower_rule_denies_is_not_delivered_live_or_retained() {
    let deny = Rule::new(Effect::Deny, Action::Subscribe, "a/secret");
    let mut world = world(vec![deny, allow(Action::All, "#")]);
    let publisher = world.connect(passing("p"));
    for topic in ["a/secret", "a/open"] {
        world.publish(publisher, Publish { retain: true, ..publish(topic, topic, 1) });
    }
    for connect in [passing("w"), lasting("l")] {
        let watcher = world.subscriber(connect, &["a/#"]);
        assert_eq!(world.payloads(watcher), ["a/open"]);
        for packet_id in [0, 2] {
            world.publish(publisher, publish("a/secret", "no", packet_id));
            world.publish(publisher, publish("a/open", "yes", packet_id));
        }
        assert_eq!(world.payloads(watcher), ["yes", "yes"]);
    }
}

#[test]
fn a_permission_that_was_taken_away_ends_with_the_next_message() {
    // CVE-2021-34434
    for connect in [passing("w"), lasting("w")] {
        let mut world = World::new();
        let publisher = world.connect(passing("p"));
        let watcher = world.subscriber(connect, &["a/b", "c"]);
        world.set_access(Access::new(
            vec![allow(Action::Publish, "#"), allow(Action::Subscribe, "c")],
            Policy::default(),
        ));
        for packet_id in [0, 1] {
            world.publish(publisher, publish("a/b", "no", packet_id));
            world.publish(publisher, publish("c", "yes", packet_id));
        }
        assert_eq!(world.payloads(watcher), ["yes", "yes"]);
    }
}

#[test]
fn nor_does_it_survive_in_the_queue_or_the_subscriptions_of_a_session_on_disk() {
    // CVE-2021-34434
    let mut world = World::new();
    let watcher = world.subscriber(lasting("w"), &["a/b", "c"]);
    world.cut_and_settle(watcher);
    let publisher = world.connect(passing("p"));
    for packet_id in 1..4 {
        world.publish(publisher, publish("a/b", "no", packet_id));
    }
    world.publish(publisher, publish("c", "yes", 4));
    world.access = Arc::new(Access::new(
        vec![allow(Action::Publish, "#"), allow(Action::Subscribe, "c")],
        Policy::default(),
    ));
    world.restart();
    let mut once = lasting("w");
    // What is not delivered takes no room in the window.
    once.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let watcher = world.join(once);
    let got = world.got(watcher);
    assert_eq!(got[0], Got::Connack(ReasonCode::Success, true));
    assert!(matches!(&got[1..], [Got::Publish(received)] if received.payload == "yes"), "{got:?}");
    let Got::Publish(received) = &got[1] else { unreachable!() };
    world.send_and_settle(watcher, puback(received.packet_id));
    let publisher = world.connect(passing("p"));
    world.publish(publisher, publish("a/b", "no", 1));
    assert_eq!(world.got(watcher), []);
}

fn with_will<'a>(connect: Connect<'a>, topic: &'a str, delay: u32) -> Connect<'a> {
    let will_delay_interval = (delay > 0).then_some(delay);
    let will = Will {
        topic: TopicName::new(topic).unwrap(),
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: WillProperties { will_delay_interval, ..Default::default() },
    };
    Connect { will: Some(will), ..connect }
}

#[test]
fn a_will_that_may_not_be_published_is_refused_with_its_connect() {
    let mut world = half_open();
    let denied = [Got::Connack(ReasonCode::NotAuthorized, false), Got::Closed];
    for connect in [passing("a"), Connect::new(V311, "a")] {
        let client = world.join(with_will(connect, "closed/a", 0));
        assert_eq!(world.got(client), denied);
    }
    let client = world.join(with_will(passing("a"), "open/a", 0));
    assert_eq!(world.got(client), [Got::Connack(ReasonCode::Success, false)]);
}

#[test]
fn a_will_is_judged_again_when_it_is_due() {
    for delay in [0, 60] {
        for revoked in [true, false] {
            let mut world = half_open();
            let watcher = world.subscriber(passing("w"), &["#"]);
            let client = world.join(with_will(lasting("a"), "open/a", delay));
            if delay > 0 {
                world.cut_and_settle(client);
            }
            if revoked {
                let mut others = allow(Action::Publish, "open/#");
                others.client_id = Some(Name::parse("b*"));
                world.set_access(Access::new(vec![others, allow(Action::Subscribe, "#")], Policy::default()));
            }
            if delay == 0 {
                world.cut_and_settle(client);
            }
            world.pass(61_000);
            let expected: &[&str] = if revoked { &[] } else { &["gone"] };
            assert_eq!(world.payloads(watcher), expected, "{delay} {revoked}");
            let late = world.subscriber(passing("late"), &["#"]);
            assert_eq!(world.payloads(late), expected, "{delay} {revoked}");
        }
    }
}

#[test]
fn rules_about_connect_hold_for_those_who_are_connected_too() {
    let mut cars = allow(Action::Connect, "");
    cars.client_id = Some(Name::parse("car-*"));
    let mut world = World::new();
    let (car, bus) = (world.connect(passing("car-1")), world.connect(passing("bus-1")));
    world.set_access(Access::new(vec![cars], Policy::default()));
    assert_eq!(world.got(car), []);
    assert_eq!(world.got(bus), [Got::Disconnect(ReasonCode::NotAuthorized), Got::Closed]);
    let bus = world.join(passing("bus-1"));
    assert_eq!(world.got(bus), [Got::Connack(ReasonCode::NotAuthorized, false), Got::Closed]);
}

/// Everybody may subscribe everything, and these Clients publish everything.
fn publishers(names: &[&str], policy: Policy) -> Access {
    let of = |name: &&str| Rule { client_id: Some(Name::parse(name)), ..allow(Action::Publish, "#") };
    let rules = names.iter().map(of).chain([allow(Action::Subscribe, "#")]);
    Access::new(rules.collect(), policy)
}

const CHECKS: fn() -> Policy = || Policy { checks_retain_source: true, ..Policy::default() };

/// What a Client finds retained that has just come.
fn found(world: &mut World, connect: Connect<'_>) -> Vec<String> {
    let client = world.connect(Connect { clean_start: true, ..connect });
    world.subscribe(client, "#", SubscriptionOptions::new(QoS::ExactlyOnce));
    let mut found: Vec<_> = world.acknowledged(client).into_iter().map(|message| message.payload).collect();
    found.sort();
    world.send_and_settle(client, goodbye());
    world.got(client);
    found
}

#[test]
fn what_is_retained_is_served_as_long_as_its_publisher_may_publish_it() {
    let mut world = World::new();
    world.set_access(publishers(&["good", "bad"], CHECKS()));
    let will = Will { retain: true, ..will_on("will/1", b"will of bad") };
    for (name, qos) in [("good", QoS::AtLeastOnce), ("bad", QoS::AtMostOnce), ("bad", QoS::ExactlyOnce)] {
        let connect = if qos == QoS::ExactlyOnce { lasting(name) } else { passing(name) };
        let client = world.connect(Connect { will: Some(will).filter(|_| name == "bad"), ..connect });
        let (topic, packet_id) = (format!("{name}/{}", qos as u8), u16::from(qos != QoS::AtMostOnce));
        let text = format!("{name} {}", qos as u8);
        world.publish(client, Publish { retain: true, qos, ..publish(&topic, &text, packet_id) });
        world.cut_and_settle(client);
    }
    let all = ["bad 0", "bad 2", "good 1", "will of bad"];
    for connect in [passing("s"), lasting("s"), Connect::new(V311, "s")] {
        world.set_access(publishers(&["good", "bad"], CHECKS()));
        assert_eq!(found(&mut world, connect), all);
        world.set_access(publishers(&["good"], CHECKS()));
        assert_eq!(found(&mut world, connect), ["good 1"]);
        // Unless it was said that nobody asks.
        world.set_access(publishers(&["good"], Policy::default()));
        assert_eq!(found(&mut world, connect), all);
    }
    // It is all there still, also after a restart.
    world.set_access(publishers(&["good"], CHECKS()));
    world.restart();
    assert_eq!(found(&mut world, passing("s")), ["good 1"]);
    world.set_access(publishers(&["good", "bad"], CHECKS()));
    assert_eq!(found(&mut world, passing("s")), all);
}

#[test]
fn what_is_retained_of_nobody_is_served() {
    let mut world = World::new();
    world.set_access(publishers(&["good"], CHECKS()));
    let publication = crate::query::Publication {
        topic: "a/b".into(),
        payload: b"of an operator".into(),
        qos: 1,
        retain: true,
        ..Default::default()
    };
    world.query(crate::query::Query::Publish(Box::new(publication)));
    assert_eq!(found(&mut world, passing("s")), ["of an operator"]);
}
