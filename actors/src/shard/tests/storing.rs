//! What users and the node may store: refused beyond, whoever comes back is served, and the sums are what the rows say.

use super::*;
use crate::access::{ClientIdOwner, Policy};
use crate::author::Author;
use crate::budget::{Allowance, Sums, Usage, User};

/// The node may store so much, and each user.
fn world(node: Usage, user: Usage) -> World {
    let mut world = World::with(Limits { stored: Allowance { node, user }, ..Limits::default() });
    world.listener =
        Arc::new(Listener { allow_anonymous: Some(true), ..Listener::new("test", Transport::Tcp) });
    world.set_access(Access::new(
        vec![],
        Policy { authenticates: true, client_id_owner: ClientIdOwner::Any, ..Policy::default() },
    ));
    world
}

fn sessions(sessions: u64) -> Usage {
    Usage { sessions, ..Usage::UNLIMITED }
}

fn begun(present: bool) -> [Got; 1] {
    [Got::Connack(ReasonCode::Success, present)]
}

const REFUSED: [Got; 2] = [Got::Connack(ReasonCode::QuotaExceeded, false), Got::Closed];

/// Every shard is told what the others hold.
fn tell(world: &mut World) {
    world.pass(100);
}

fn connack(world: &mut World, user: &str, connect: Connect<'_>) -> Vec<Got> {
    let client = world.join_as(user, connect);
    let got = world.got(client);
    if got.len() == 1 {
        world.send_and_settle(client, goodbye());
    }
    tell(world);
    got
}

/// What shards count, and what they would count if they were opened now.
fn sums(world: &World) -> (Vec<Sums>, Vec<Sums>) {
    let opened =
        open(world.node, &world.engine, world.start + 1, &world.options, &world.access, world.shards.len());
    let of = |shards: &[Shard]| shards.iter().map(|shard| shard.budget.own().clone()).collect();
    (of(&world.shards), of(&opened))
}

#[test]
fn a_user_has_so_many_sessions_and_the_node_has() {
    let mut world = world(sessions(5), sessions(3));
    for name in ["a1", "a2", "a3"] {
        assert_eq!(connack(&mut world, "ann", lasting(name)), begun(false));
    }
    assert_eq!(connack(&mut world, "ann", lasting("a4")), REFUSED);
    let old = Connect { clean_start: false, ..Connect::new(V311, "a5") };
    // 3.1.1 knows no quota: Server unavailable.
    assert_eq!(
        connack(&mut world, "ann", old),
        [Got::Connack(ReasonCode::ServerUnavailable, false), Got::Closed]
    );
    assert_eq!(connack(&mut world, "ann", passing("a6")), begun(false));
    for name in ["b1", "b2"] {
        assert_eq!(connack(&mut world, "bob", lasting(name)), begun(false));
    }
    assert_eq!(connack(&mut world, "bob", lasting("b3")), REFUSED);
    // Whoever has a Session comes back to it, or begins it anew.
    assert_eq!(connack(&mut world, "ann", lasting("a1")), begun(true));
    assert_eq!(connack(&mut world, "ann", Connect { clean_start: true, ..lasting("a1") }), begun(false));
    world.restart();
    tell(&mut world);
    assert_eq!(connack(&mut world, "bob", lasting("b3")), REFUSED);
    assert_eq!(connack(&mut world, "ann", lasting("a2")), begun(true));
    // One that ends makes room.
    assert_eq!(connack(&mut world, "ann", Connect { clean_start: true, ..passing("a1") }), begun(false));
    assert_eq!(connack(&mut world, "bob", lasting("b3")), begun(false));
}

#[test]
fn connects_that_wait_for_the_log_count() {
    let mut world = world(Usage::UNLIMITED, sessions(4));
    let names: Vec<_> = (0..200).map(|number| format!("c{number}")).collect();
    let clients: Vec<_> = names.iter().map(|name| world.ask(lasting(name))).collect();
    world.settle();
    let granted = clients.iter().filter(|client| world.got(**client) == begun(false)).count();
    // No shard knows yet what the others have granted.
    assert!((4..=4 * world.shards.len()).contains(&granted), "{granted}");
    assert!(world.shards.iter().all(|shard| shard.slots.iter().all(|slot| slot.connecting.is_empty())));
}

#[test]
fn a_will_that_there_is_no_room_for_is_refused_and_one_that_is_not_larger_is_taken() {
    let room = Usage { stored_bytes: 120, ..Usage::UNLIMITED };
    let mut world = world(Usage::UNLIMITED, room);
    let first = world.join_as("ann", Connect { will: will(&[b'x'; 60]), ..lasting("a") });
    assert_eq!(world.got(first), begun(false));
    tell(&mut world);
    let second = world.join_as("ann", Connect { will: will(&[b'x'; 60]), ..lasting("b") });
    assert_eq!(world.got(second), REFUSED);
    let again = world.join_as("ann", Connect { will: will(&[b'y'; 60]), ..lasting("a") });
    assert_eq!(world.got(again), begun(true));
    let other = world.join_as("bob", Connect { will: will(&[b'x'; 60]), ..lasting("b") });
    assert_eq!(world.got(other), begun(false));
}

/// A Will of so many bytes with its topic and what is known of it.
fn will(payload: &[u8]) -> Option<convoy_wire::Will<'_>> {
    Some(will_on("will", payload))
}

#[test]
fn the_wills_of_a_user_and_of_the_node_have_a_bound_of_their_own() {
    const WILL: usize = 60_000;
    let room = |wills: u64| Usage { will_bytes: wills * (WILL as u64 + 100), ..Usage::UNLIMITED };
    let mut world = world(room(5), room(3));
    let payload = vec![b'w'; WILL];
    let mut ask = |user: &str, connect: Connect<'_>, part| {
        let payload = &payload[..WILL / part];
        let client = world.join_as(user, Connect { will: will(payload), ..connect });
        tell(&mut world);
        (world.got(client), client)
    };
    // It is memory, so those that end with their connection count too.
    for (user, name) in [("ann", "a1"), ("ann", "a2"), ("ann", "a3"), ("bob", "b1"), ("bob", "b2")] {
        let connect = if name == "a2" { passing(name) } else { lasting(name) };
        assert_eq!(ask(user, connect, 1).0, begun(false), "{name}");
    }
    assert_eq!(ask("ann", lasting("a4"), 1).0, REFUSED);
    assert_eq!(ask("cy", passing("c1"), 1).0, REFUSED);
    let old = Connect { clean_start: false, ..Connect::new(V311, "c2") };
    let unavailable = [Got::Connack(ReasonCode::ServerUnavailable, false), Got::Closed];
    assert_eq!(ask("cy", old, 1).0, unavailable);
    // One that is not larger than the one before it is taken, and gives back what it does not need.
    assert_eq!(ask("ann", lasting("a1"), 1).0, begun(true));
    assert_eq!(ask("ann", lasting("a1"), 2).0, begun(true));
    assert_eq!(ask("ann", lasting("a3"), 2).0, begun(true));
    let (got, last) = ask("ann", lasting("a4"), 1);
    assert_eq!(got, begun(false));
    // Who says good-bye has none any more.
    world.send_and_settle(last, goodbye());
    tell(&mut world);
    let next = world.join_as("cy", Connect { will: will(&payload), ..passing("c1") });
    assert_eq!(world.got(next), begun(false));
    let (kept, counted) = sums(&world);
    assert_eq!(kept, counted);
    let total = kept.iter().fold(Usage::default(), |all, sums| all.and(&sums.total()));
    assert!(total.will_bytes > 5 * WILL as u64 && total.will_bytes == total.stored_bytes, "{total:?}");
}

#[test]
fn the_sums_are_what_a_recount_finds_whatever_was_done() {
    let mut world = world(Usage::UNLIMITED, Usage::UNLIMITED);
    let mut chance = crate::chance::Chance::of(
        &Secret::from_number(11),
        &Identity { node: NodeId::new(1).unwrap(), start: 1, shard: 0, shards: 1 },
    );
    let mut below = |limit: u64| chance.number() % limit;
    let names: Vec<_> = (0..12).map(|number| format!("c{number}")).collect();
    let publisher = |world: &mut World| world.connect(passing("publisher"));
    let mut by = publisher(&mut world);
    let mut clients: Vec<Option<Client>> = vec![None; names.len()];
    for step in 0..600 {
        let at = below(names.len() as u64) as usize;
        // Those who were taken over or refused are gone.
        for client in &mut clients {
            *client = client.filter(|client| world.lines[client.0].key.is_some());
        }
        match (below(9), clients[at]) {
            (0..=2, _) => {
                let expiry = [0, 2, 3600][below(3) as usize];
                let properties =
                    ConnectProperties { session_expiry_interval: Some(expiry), ..Default::default() };
                let payload = vec![b'w'; below(100) as usize];
                let will = convoy_wire::Will {
                    topic: convoy_wire::TopicName::new("x/will").unwrap(),
                    payload: &payload,
                    qos: QoS::AtLeastOnce,
                    retain: below(2) == 0,
                    properties: Default::default(),
                };
                let will = Some(will).filter(|_| below(3) == 0);
                let clean_start = below(4) == 0;
                let connect = Connect { clean_start, properties, will, ..passing(&names[at]) };
                let client = match below(4) {
                    0 => world.join(connect),
                    user => world.join_as(["ann", "bob", "cy"][user as usize - 1], connect),
                };
                clients[at] = Some(client);
                let filter = ["x/#", "x/y", "$share/g/x/y"][below(3) as usize];
                world.subscribe_all(client, &[filter]);
            }
            (3, Some(client)) => world.cut_and_settle(client),
            (4, Some(client)) => world.send_and_settle(client, goodbye()),
            (5, _) => world.pass([10, 500, 4000][below(3) as usize]),
            (6, _) if step % 5 == 0 => {
                world.restart();
                clients.fill(None);
                by = publisher(&mut world);
            }
            (6, Some(client)) => {
                for got in world.got(client) {
                    if let Got::Publish(received) = got
                        && received.packet_id > 0
                        && below(2) == 0
                    {
                        world.send_and_settle(client, puback(received.packet_id));
                    }
                }
            }
            _ => {
                // It may have been silent for too long.
                if world.lines[by.0].key.is_none() {
                    by = publisher(&mut world);
                }
                let payload = "p".repeat(below(3000) as usize);
                let topic = ["x/y", "x/1", "x/2"][below(3) as usize];
                world.publish(by, Publish { retain: below(3) == 0, ..publish(topic, &payload, 1) });
            }
        }
        if step % 20 == 0 {
            world.settle();
            let (kept, counted) = sums(&world);
            assert_eq!(kept, counted, "step {step}");
        }
    }
    world.pass(100);
    let total = sums(&world).1.iter().fold(Usage::default(), |all, sums| all.and(&sums.total()));
    assert!(total.sessions > 0 && total.stored_bytes > 0, "{total:?}");
    assert!(world.shards.iter().all(|shard| shard.budget.used(User::NOBODY).node == total));
}

fn retained(messages: u64, bytes: u64) -> Usage {
    Usage { retained_messages: messages, retained_bytes: bytes, ..Usage::UNLIMITED }
}

/// Retains a message and tells how it was answered; an empty payload deletes.
fn retain(world: &mut World, publisher: Client, qos: QoS, topic: &str, payload: &str) -> ReasonCode {
    publish_and_tell(world, publisher, Publish { qos, retain: true, ..publish(topic, payload, 1) })
}

fn publish_and_tell(world: &mut World, publisher: Client, publish: Publish<'_>) -> ReasonCode {
    let qos = publish.qos;
    world.publish(publisher, publish);
    let reason = match world.got(publisher)[..] {
        [Got::Puback(1, reason) | Got::Pubrec(1, reason)] => reason,
        ref other => panic!("{other:?}"),
    };
    if qos == QoS::ExactlyOnce && !reason.is_error() {
        world.send_and_settle(publisher, pubrel(1));
        world.got(publisher);
    }
    tell(world);
    reason
}

fn kept(world: &World) -> u64 {
    world.shards.iter().map(|shard| shard.observe().retained_messages).sum()
}

const DONE: ReasonCode = ReasonCode::Success;
const FULL: ReasonCode = ReasonCode::QuotaExceeded;

#[test]
fn a_user_has_so_many_retained_messages_and_the_node_has() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for lasts in [true, false] {
            let mut world = world(retained(5, 1 << 20), retained(3, 1 << 20));
            let come = |world: &mut World, user: &str| {
                let client = world.join_as(user, if lasts { lasting(user) } else { passing(user) });
                world.got(client);
                client
            };
            let (ann, bob) = (come(&mut world, "ann"), come(&mut world, "bob"));
            for topic in ["a/1", "b/2", "c/3"] {
                assert_eq!(retain(&mut world, ann, qos, topic, "1"), DONE);
            }
            assert_eq!(retain(&mut world, ann, qos, "d/4", "1"), FULL);
            assert_eq!(retain(&mut world, bob, qos, "e/5", "1"), DONE);
            assert_eq!(retain(&mut world, bob, qos, "f/6", "1"), DONE);
            assert_eq!(retain(&mut world, bob, qos, "g/7", "1"), FULL);
            // A refused identifier may be used again, and another value takes nothing.
            assert_eq!(retain(&mut world, ann, qos, "a/1", "2"), DONE);
            // QoS 0 cannot be told.
            world.publish(bob, Publish { retain: true, ..publish("g/7", "1", 0) });
            assert_eq!(kept(&world), 5);
            world.restart();
            tell(&mut world);
            let (ann, bob) = (come(&mut world, "ann"), come(&mut world, "bob"));
            assert_eq!(retain(&mut world, ann, qos, "d/4", "1"), FULL);
            assert_eq!(retain(&mut world, bob, qos, "g/7", "1"), FULL);
            assert_eq!(retain(&mut world, ann, qos, "b/2", ""), DONE);
            assert_eq!(retain(&mut world, bob, qos, "g/7", "1"), DONE);
            assert_eq!(kept(&world), 5);
        }
    }
}

#[test]
fn what_is_not_larger_replaces_where_there_is_no_room_and_takes_over_the_account() {
    let come = |world: &mut World, user: &str| {
        let client = world.join_as(user, passing(user));
        world.got(client);
        client
    };
    // Both have names of three letters.
    let author = {
        let mut world = world(Usage::UNLIMITED, Usage::UNLIMITED);
        let ann = come(&mut world, "ann");
        let Line { shard, key, .. } = world.lines[ann.0];
        let connection = &world.shards[shard].outlet.edge.connections[key.unwrap() as usize];
        Author::of(&connection.who()).to_bytes().len() as u64
    };
    let head = 31 + 8 + 4 + author + 3;
    let mut world = world(Usage::UNLIMITED, retained(9, head + 10));
    let (ann, bob) = (come(&mut world, "ann"), come(&mut world, "bob"));
    let qos = QoS::AtLeastOnce;
    assert_eq!(retain(&mut world, ann, qos, "x/y", "1234567890"), DONE);
    assert_eq!(retain(&mut world, ann, qos, "x/y", "12345678901"), FULL);
    assert_eq!(retain(&mut world, ann, qos, "x/y", "123456789-"), DONE);
    assert_eq!(retain(&mut world, bob, qos, "x/z", "1234567890"), DONE);
    assert_eq!(retain(&mut world, bob, qos, "x/y", "123"), DONE);
    // It is Bob's now.
    assert_eq!(retain(&mut world, ann, qos, "x/1", "1234567890"), DONE);
    assert_eq!(sums(&world).0, sums(&world).1);
}

#[test]
fn retained_messages_that_wait_for_the_log_count() {
    let mut world = world(Usage::UNLIMITED, retained(4, 1 << 20));
    let ann = world.join_as("ann", passing("ann"));
    world.got(ann);
    for number in 1..=100 {
        let topic = format!("t{number}/x");
        world.send(ann, Packet::Publish(Publish { retain: true, ..publish(&topic, "1", number) }));
    }
    world.settle();
    // No shard knows yet what the others have taken.
    assert!((4..=4 * world.shards.len() as u64).contains(&kept(&world)), "{}", kept(&world));
    assert!(world.shards.iter().all(|shard| shard.slots.iter().all(|slot| slot.line.kept().is_empty())));
}

#[test]
fn a_will_that_cannot_be_retained_is_published() {
    let mut world = world(Usage::UNLIMITED, retained(1, 1 << 20));
    let subscriber = world.subscriber(passing("s"), &["#"]);
    let will = convoy_wire::Will { retain: true, ..will_on("will/1", b"gone") };
    let ann = world.join_as("ann", Connect { will: Some(will), ..passing("ann") });
    world.got(ann);
    assert_eq!(retain(&mut world, ann, QoS::AtLeastOnce, "x/y", "1"), DONE);
    world.cut_and_settle(ann);
    assert_eq!(world.payloads(subscriber), ["1", "gone"]);
    assert_eq!(kept(&world), 1);
}

fn stored(bytes: u64) -> Usage {
    Usage { stored_bytes: bytes, ..Usage::UNLIMITED }
}

/// A Session with a Subscription, whose Client goes at once.
fn away(world: &mut World, user: &str, name: &str, filter: &str) {
    let client = world.join_as(user, lasting(name));
    world.subscribe_all(client, &[filter]);
    world.cut_and_settle(client);
}

/// Publishes to `x/y` and tells how it was answered.
fn offer(world: &mut World, publisher: Client, qos: QoS, payload: &str) -> ReasonCode {
    publish_and_tell(world, publisher, Publish { qos, ..publish("x/y", payload, 1) })
}

#[test]
fn publishers_are_refused_when_the_node_holds_as_much_as_it_may_and_nothing_acknowledged_is_lost() {
    for (qos, by) in
        [(QoS::AtLeastOnce, passing("p")), (QoS::ExactlyOnce, passing("p")), (QoS::ExactlyOnce, lasting("p"))]
    {
        let mut world = world(stored(10_000), Usage::UNLIMITED);
        for number in 0..4 {
            away(&mut world, "ann", &format!("a{number}"), "x/y");
        }
        let publisher = world.join(by);
        world.got(publisher);
        let payload = "p".repeat(900);
        let answers: Vec<_> = (0..5).map(|_| offer(&mut world, publisher, qos, &payload)).collect();
        // Of QoS 2 from a Session that lasts nobody knows yet for how many it is.
        let taken = if qos == QoS::ExactlyOnce && by == lasting("p") { 3 } else { 2 };
        assert_eq!(answers, [[DONE].repeat(taken), [FULL].repeat(5 - taken)].concat(), "{qos:?}");
        // Who is there, or asked for QoS 0, costs nothing.
        let (there, lasts) = (world.subscriber(passing("s"), &["y/z"]), world.connect(lasting("t")));
        world.subscribe(lasts, "y/z", SubscriptionOptions::new(QoS::AtMostOnce));
        world.publish(publisher, publish("y/z", "live", 9));
        assert_eq!(world.got(publisher), [Got::Puback(9, DONE)]);
        assert_eq!(
            (world.payloads(there), world.payloads(lasts)),
            (vec!["live".into()], vec!["live".into()])
        );
        world.restart();
        tell(&mut world);
        let publisher = world.join(by);
        world.got(publisher);
        assert_eq!(offer(&mut world, publisher, qos, &payload), FULL);
        // Whoever reads makes room.
        let reader = world.join_as("ann", lasting("a1"));
        let got = world.got(reader);
        assert_eq!(got[0], Got::Connack(DONE, true));
        assert_eq!(got.len(), 1 + taken);
        for got in got {
            match got {
                Got::Publish(message) if message.qos == 1 => {
                    world.send_and_settle(reader, puback(message.packet_id));
                }
                Got::Publish(message) => {
                    world.send_and_settle(reader, pubrec(message.packet_id));
                    world.send_and_settle(reader, pubcomp(message.packet_id));
                }
                _ => {}
            }
        }
        world.got(reader);
        world.cut_and_settle(reader);
        tell(&mut world);
        // What counts is what it would be afterwards, with all four.
        assert_eq!(offer(&mut world, publisher, qos, "little"), DONE);
    }
}

#[test]
fn a_user_who_does_not_read_lets_its_oldest_messages_go_and_refuses_nobody() {
    let mut world = world(Usage::UNLIMITED, stored(5_000));
    away(&mut world, "ann", "a1", "x/y");
    away(&mut world, "ann", "a2", "x/y");
    away(&mut world, "bob", "b", "x/y");
    let publisher = world.connect(passing("p"));
    let payload = |number: u32| format!("{number:0900}");
    for number in 0..5 {
        assert_eq!(offer(&mut world, publisher, QoS::AtLeastOnce, &payload(number)), DONE);
    }
    let held = |world: &World, user| {
        world.shards.iter().map(|shard| shard.budget.own().of(User::of(user)).stored_bytes).sum::<u64>()
    };
    assert!((3_700..=5_000).contains(&held(&world, "ann")), "{}", held(&world, "ann"));
    let read = |world: &mut World, user, name| {
        let client = world.join_as(user, lasting(name));
        let messages = world.got(client).into_iter().filter_map(|got| match got {
            Got::Publish(message) => Some(message.payload.trim_start_matches('0').to_owned()),
            _ => None,
        });
        messages.collect::<Vec<_>>()
    };
    // The youngest are there, in each of its Sessions, and all of the other user's.
    for name in ["a1", "a2"] {
        let numbers = read(&mut world, "ann", name);
        assert_eq!(numbers.last().map(String::as_str), Some("4"), "{name}: {numbers:?}");
        assert!((1..=3).contains(&numbers.len()), "{name}: {numbers:?}");
    }
    assert_eq!(read(&mut world, "bob", "b"), ["", "1", "2", "3", "4"]);
    let dropped: u64 = world.shards.iter().map(|shard| shard.observe().messages_dropped).sum();
    assert!(dropped > 0);
}

#[test]
fn what_is_under_way_to_a_user_who_stores_too_much_stays() {
    // [MQTT-4.4.0-1]
    let mut world = world(Usage::UNLIMITED, stored(500));
    let reader = world.join_as("ann", lasting("a"));
    world.subscribe_all(reader, &["x/y"]);
    let publisher = world.connect(passing("p"));
    for number in 0..4 {
        assert_eq!(offer(&mut world, publisher, QoS::AtLeastOnce, &format!("{number:0300}")), DONE);
    }
    assert_eq!(world.payloads(reader).len(), 4);
    world.cut_and_settle(reader);
    let reader = world.join_as("ann", lasting("a"));
    assert_eq!(world.got(reader).len(), 1 + 4);
}
