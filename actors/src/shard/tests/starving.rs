//! What time brings about comes in time on a slot that is never idle.

use super::*;

/// A piece of work, and what one record may do behind its end: so many operations, and one more, or so much of Sessions that
/// end.
const PIECE: u64 = 2_048 + 100;
const RECORD: u64 = 1_024 + 1_024;

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
    let mut will = will_on("will/a", b"gone");
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

/// Ends the syncs that are under way, and takes turns until nothing is left: the most that one of them did.
fn most_work(world: &mut World) -> u64 {
    let mut most = 0;
    let mut measured = |shard: &mut Shard, act: &mut dyn FnMut(&mut Shard)| {
        let before = shard.work;
        act(shard);
        most = most.max(shard.work - before);
    };
    world.engine.sync().expect("the disk of this test works");
    let now = world.now;
    for (at, round) in std::mem::take(&mut world.rounds) {
        let mut round = Some(round);
        measured(&mut world.shards[at], &mut |shard| shard.synced(now, round.take().expect("it is one")));
        while world.shards[at].has_more() {
            measured(&mut world.shards[at], &mut |shard| shard.turn(now));
        }
    }
    world.flow();
    most
}

#[test]
fn what_is_committed_is_applied_in_pieces() {
    let mut world = World::new();
    let names: Vec<_> = (0..20).map(|number| format!("s{number}")).collect();
    for name in &names {
        let subscriber = world.subscriber(lasting(name), &["x/y"]);
        world.cut_and_settle(subscriber);
    }
    let publishers: Vec<_> = ["p", "q"].map(|name| world.connect(passing(name))).into();
    // While the first of them is under way the others gather.
    for publisher in &publishers {
        for packet_id in 1..=1000 {
            world.send(*publisher, Packet::Publish(publish("x/y", "1", packet_id)));
        }
    }
    let mut most = 0;
    while !world.rounds.is_empty() {
        most = most.max(most_work(&mut world));
    }
    assert!(most < PIECE + RECORD, "{most}");
    for publisher in publishers {
        assert_eq!(world.got(publisher).len(), 1000);
    }
    assert_eq!(observed(&world, |observation| observation.messages_dropped), 20 * 1000);
}

#[test]
fn sessions_with_many_subscriptions_expire_in_pieces() {
    let mut world = World::new();
    let properties = ConnectProperties { session_expiry_interval: Some(2), ..Default::default() };
    let filters: Vec<_> = (0..100).map(|number| format!("s/+/{number}")).collect();
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    let names: Vec<_> = (0..40).map(|number| format!("s{number}")).collect();
    for name in &names {
        let client = world.connect(Connect { properties, ..passing(name) });
        world.subscribe_all(client, &filters);
        world.cut_and_settle(client);
    }
    world.settle();
    world.now.monotonic += 3_000;
    world.now.wall += 3_000;
    let (mut most, mut ticks) = (0, 0);
    while observed(&world, |observation| observation.sessions_expired) < 40 {
        ticks += 1;
        assert!(ticks < 100);
        world.now.monotonic += 100;
        world.now.wall += 100;
        world.shards.iter_mut().for_each(|shard| shard.tick(world.now));
        world.flow();
        while !world.rounds.is_empty() {
            most = most.max(most_work(&mut world));
        }
    }
    // Four partitions for each Subscription, and up to three Sessions in a record.
    assert!(most < 2_048 + 3 * 4 * 100 + 100, "{most}");
    assert!(!world.has_routes());
}

#[test]
fn one_message_for_many_sessions_of_a_slot_is_several_operations() {
    let mut world = World::new();
    let subscription =
        crate::session::Subscription { qos: 1, no_local: false, retain_as_published: false, identifier: 0 };
    let route = crate::topic::RouteRow { subscription, home: None };
    for shard in &mut world.shards {
        for slot in shard.slots.iter().map(|slot| slot.id).filter(|slot| !slot.is_meta()) {
            for number in 1..=5_000 {
                let session = crate::session::SessionNumber::new(SlotId(3), 1 << 40 | number);
                shard.roots.insert(slot, "+/y", session, route);
            }
        }
    }
    let publisher = world.connect(passing("p"));
    for payload in ["1".to_owned(), "p".repeat(40_000)] {
        world.publish(publisher, publish("x/y", &payload, 1));
        assert_eq!(world.got(publisher).len(), 1);
        let runs = world.shards.iter().flat_map(|shard| &shard.targets).filter(|(_, run)| !run.is_empty());
        let sizes: Vec<_> = runs.map(|(_, run)| run.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 5_000 * 9);
        let run = crate::slot::targets_run(payload.len() + 100);
        assert!(
            sizes.len() >= 5_000 * 9 / (run + 9) && sizes.iter().all(|size| *size < run + 9),
            "{sizes:?}"
        );
    }
}

#[test]
fn mail_that_is_dear_is_opened_in_pieces() {
    let mut world = World::new();
    if world.shards.len() == 1 {
        return;
    }
    // Ways of ten levels that almost match.
    for part in 0..2 {
        let subscriber = world.connect(passing(&format!("s{part}")));
        for way in (0..1024_u32).filter(|way| way % 2 == part) {
            let level = |bit: u32| if way >> bit & 1 == 0 { "/a" } else { "/+" };
            let filter: String = (0..10).map(level).collect();
            world.subscribe(subscriber, &format!("a{filter}/b"), SubscriptionOptions::new(QoS::AtMostOnce));
        }
    }
    let topic = ["a"; 20].join("/");
    let (_, slot) = world.options.partitioning.locate("", &topic, world.options.slots);
    let to = usize::from(world.shards[0].outlet.post.shard_of(slot));
    let mut publisher = world.connect(passing("p"));
    while world.lines[publisher.0].shard == to {
        publisher = world.connect(passing("p"));
    }
    let mut bytes = Vec::new();
    for _ in 0..200 {
        Packet::Publish(publish(&topic, "x", 0)).encode(V5, &mut bytes).unwrap();
    }
    let Line { shard, key, .. } = world.lines[publisher.0];
    world.shards[shard].receive(world.now, key.unwrap(), &bytes);
    let mut mail: Vec<_> = world.shards[shard].take_mail().collect();
    let (_, mail) = &mut mail[0];
    let (mut pieces, mut is_open) = (0, false);
    while !is_open {
        let before = world.shards[to].work;
        is_open = world.shards[to].open(world.now, mail);
        let work = world.shards[to].work - before;
        // As many steps as half of the levels' ways; the last message may go over.
        assert!(work < 2048 + 100, "{work}");
        pieces += 1;
    }
    assert!(pieces > 3, "{pieces}");
}

/// Topic Filters of four places each.
fn many_filters(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s/+/{number}")).collect()
}

/// Everything goes that follows from what was asked for: the most that one step did.
fn most_until_quiet(world: &mut World) -> u64 {
    let mut most = 0;
    for _ in 0..3 {
        world.flow();
        while !world.rounds.is_empty() {
            most = most.max(most_work(world));
        }
        world.now.monotonic += 100;
        world.now.wall += 100;
        world.shards.iter_mut().for_each(|shard| shard.tick(world.now));
    }
    most
}

#[test]
fn a_session_with_very_many_subscriptions_ends_in_pieces_however_it_ends() {
    let filters = many_filters(1_000);
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    let short = ConnectProperties { session_expiry_interval: Some(2), ..Default::default() };
    type End = fn(&mut World, Client);
    let ways: [(Connect<'_>, End); 4] = [
        (lasting("s"), |world, _| {
            world.ask(Connect { clean_start: true, ..lasting("s") });
        }),
        (lasting("s"), |world, client| {
            world.cut(client);
            let query = |client_id: &str| crate::query::Query::EndSession { client_id: client_id.into() };
            let slot = world.shards[0].layout().slot_of_client("s");
            let at = usize::from(world.shards[0].outlet.post.shard_of(slot));
            world.shards[at].query(world.now, 1, query("s"));
        }),
        (Connect { properties: short, ..passing("s") }, |world, client| {
            world.cut_and_settle(client);
            world.now.monotonic += 3_000;
            world.now.wall += 3_000;
            world.shards.iter_mut().for_each(|shard| shard.tick(world.now));
        }),
        (passing("s"), |world, client| world.cut(client)),
    ];
    for (way, (connect, end)) in ways.into_iter().enumerate() {
        let mut world = World::new();
        let client = world.connect(connect);
        world.subscribe_all(client, &filters);
        most_until_quiet(&mut world);
        end(&mut world, client);
        let most = most_until_quiet(&mut world);
        assert!(most < PIECE + RECORD / 2, "{most} in one step, way {way}");
        assert!(!world.has_routes(), "way {way}");
        assert_eq!(observed(&world, |observation| observation.subscriptions), 0);
    }
}

#[test]
fn very_many_sessions_that_end_together_do_so_in_pieces() {
    let mut world = World::new();
    let filters = many_filters(20);
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    let names: Vec<_> = (0..400).map(|number| format!("c{number}")).collect();
    let clients: Vec<_> = names.iter().map(|name| world.connect(passing(name))).collect();
    for &client in &clients {
        world.subscribe_all(client, &filters);
    }
    most_until_quiet(&mut world);
    for client in clients {
        let Line { shard, key, .. } = &mut world.lines[client.0];
        world.shards[*shard].closed(world.now, key.take().unwrap());
    }
    let most = most_until_quiet(&mut world);
    assert!(most < PIECE + RECORD, "{most} in one step");
    assert!(!world.has_routes());
    assert_eq!(observed(&world, |observation| observation.sessions), 0);
}

#[test]
fn what_a_member_leaves_that_ends_goes_to_another_in_pieces_and_in_order() {
    let mut world = World::new();
    let member = world.subscriber(lasting("a"), &["$share/g/x/y"]);
    // A queue that shares its large messages with this one.
    let beside = world.subscriber(lasting("b"), &["x/y"]);
    for client in [member, beside] {
        world.cut_and_settle(client);
    }
    let publisher = world.connect(passing("p"));
    let payload =
        |number: u16| format!("{number}/{}", "x".repeat(if number.is_multiple_of(2) { 10 } else { 40_000 }));
    for number in 1..=600 {
        world.publish(publisher, publish("x/y", &payload(number), number));
    }
    // It is there, and too slow to be given anything but what it has room for.
    let other = world.subscriber(lasting("c"), &["$share/g/x/y"]);
    most_until_quiet(&mut world);
    world.ask(Connect { clean_start: true, ..lasting("a") });
    let most = most_until_quiet(&mut world);
    assert!(most < PIECE + RECORD, "{most} in one step");
    let got: Vec<_> = world.acknowledged(other).into_iter().map(|received| received.payload).collect();
    let expected: Vec<_> = (1..=600).map(payload).collect();
    assert!(got == expected, "{} of 600", got.len());
    let mut left = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        left += 1;
        std::ops::ControlFlow::Continue(())
    };
    world.engine.scan(convoy_storage::engine::Family::Queue, &[], &[0xff; 16], &mut visit).unwrap();
    // What the third one has, and its bodies.
    assert!(left >= 600, "{left}");
}

#[test]
fn a_message_that_many_members_in_turn_are_not_there_for_is_passed_on_in_pieces() {
    let mut world = World::new();
    world.shards.iter_mut().for_each(|shard| shard.piece = 64);
    let names: Vec<_> = (0..600).map(|number| format!("m{number}")).collect();
    let members: Vec<_> =
        names.iter().map(|name| world.subscriber(passing(name), &["$share/g/x/y"])).collect();
    let publisher = world.connect(passing("p"));
    // All go at once, and nothing of that is on record yet when a message comes.
    for member in members {
        let Line { shard, key, .. } = &mut world.lines[member.0];
        world.shards[*shard].closed(world.now, key.take().unwrap());
    }
    let Line { shard, key, .. } = world.lines[publisher.0];
    let mut bytes = Vec::new();
    Packet::Publish(publish("x/y", "1", 1)).encode(V5, &mut bytes).unwrap();
    let (mut most, mut all) = (0, 0);
    let mut step = |shard: &mut Shard, act: &mut dyn FnMut(&mut Shard)| {
        let before = shard.work;
        act(shard);
        most = most.max(shard.work - before);
        all += shard.work - before;
    };
    step(&mut world.shards[shard], &mut |shard| shard.receive(world.now, key.unwrap(), &bytes));
    for _ in 0..10_000 {
        let mut is_quiet = true;
        for at in 0..world.shards.len() {
            step(&mut world.shards[at], &mut |shard| shard.turn(world.now));
            let mail: Vec<_> = world.shards[at].take_mail().collect();
            is_quiet &= mail.is_empty() && !world.shards[at].has_more();
            for (to, mut mail) in mail {
                let mut is_open = false;
                while !is_open {
                    let to = &mut world.shards[usize::from(to)];
                    step(to, &mut |shard| is_open = shard.open(world.now, &mut mail));
                }
            }
        }
        if is_quiet {
            break;
        }
    }
    assert!(most < 2 * 64 + 50 && all > 1_200, "{most} in one step of {all}");
}

#[test]
fn messages_that_a_client_does_not_take_are_passed_over_in_pieces() {
    let mut limits = Limits::default();
    limits.queue.messages = 10_000;
    let mut world = World::with(limits);
    let subscriber = world.subscriber(lasting("s"), &["x/y"]);
    world.cut_and_settle(subscriber);
    let publisher = world.connect(passing("p"));
    let payload = "p".repeat(100);
    for _ in 0..6 {
        for packet_id in 1..=1000 {
            world.send(publisher, Packet::Publish(publish("x/y", &payload, packet_id)));
        }
        world.settle();
    }
    world.publish(publisher, publish("x/y", "last", 1));
    let mut small = lasting("s");
    small.properties.maximum_packet_size = std::num::NonZeroU32::new(60);
    let subscriber = world.ask(small);
    let session = session_of(&mut world, "s");
    let sent = |world: &World| {
        world
            .shards
            .iter()
            .flat_map(|shard| shard.slots.iter())
            .find(|slot| slot.id == session.slot())
            .unwrap()
            .sent(session)
    };
    let (mut most, mut last) = (0, sent(&world));
    for _ in 0..3 {
        world.engine.sync().unwrap();
        for (at, round) in std::mem::take(&mut world.rounds) {
            world.shards[at].synced(world.now, round);
        }
        for _ in 0..200 {
            for at in 0..world.shards.len() {
                world.shards[at].turn(world.now);
                let now = sent(&world);
                (most, last) = (most.max(now - last), now);
                let mail: Vec<_> = world.shards[at].take_mail().collect();
                for (to, mail) in mail {
                    world.shards[usize::from(to)].mail(world.now, mail);
                    let now = sent(&world);
                    (most, last) = (most.max(now - last), now);
                }
                let round = world.shards[at].take_sync();
                world.rounds.extend(round.map(|round| (at, round)));
            }
        }
    }
    world.settle();
    assert!(most < 3_000, "{most} in one step");
    let got = world.got(subscriber);
    assert!(matches!(&got[..], [Got::Connack(..), Got::Publish(last)] if last.payload == "last"), "{got:?}");
}

/// The Session of a Client.
fn session_of(world: &mut World, client_id: &str) -> crate::session::SessionNumber {
    let slot = world.shards[0].layout().slot_of_client(client_id);
    let at = usize::from(world.shards[0].outlet.post.shard_of(slot));
    let Shard { slots, state, .. } = &mut world.shards[at];
    slots.get(slot).unwrap().session_row(state, "", client_id).unwrap().unwrap().number
}

#[test]
fn nothing_is_overtaken_by_what_comes_while_a_piece_is_left() {
    let mut world = World::new();
    world.shards.iter_mut().for_each(|shard| shard.piece = 1);
    let names: Vec<_> = (0..12).map(|number| format!("s{number}")).collect();
    let clients: Vec<_> = names.iter().map(|name| world.subscriber(lasting(name), &["x/y"])).collect();
    let publisher = world.connect(lasting("p"));
    let mut bytes = Vec::new();
    let payloads: Vec<_> = (1..=40_u16).map(|number| number.to_string()).collect();
    for (payload, packet_id) in payloads.iter().zip(1..) {
        // By the log of their topic, or past it.
        let message = Publish { retain: packet_id % 3 == 0, ..publish("x/y", payload, packet_id) };
        Packet::Publish(message).encode(V5, &mut bytes).unwrap();
    }
    for part in bytes.chunks(50) {
        world.send_bytes(publisher, part);
        if part[0] % 2 == 0 {
            world.sync();
        }
    }
    world.settle();
    for client in clients {
        let got: Vec<_> = world.acknowledged(client).into_iter().map(|received| received.payload).collect();
        assert_eq!(got, payloads);
    }
}

#[test]
fn a_queue_is_looked_through_in_pieces_for_what_others_may_get() {
    let mut limits = Limits::default();
    limits.queue.messages = 10_000;
    let mut world = World::with(limits);
    let left = world.subscriber(lasting("a"), &["$share/g/x/y", "x/z"]);
    world.cut_and_settle(left);
    let publisher = world.connect(passing("p"));
    for _ in 0..4 {
        for packet_id in 1..=1000 {
            world.send(publisher, Packet::Publish(publish("x/z", "1", packet_id)));
        }
        world.settle();
    }
    world.publish(publisher, publish("x/y", "shared", 1));
    let other = world.subscriber(lasting("b"), &["$share/g/x/y"]);
    let mut one = lasting("a");
    one.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let left = world.join(one);
    world.cut(left);
    let most = most_until_quiet(&mut world);
    assert!(most < PIECE + RECORD, "{most} in one step");
    assert_eq!(world.payloads(other), ["shared"]);
}
