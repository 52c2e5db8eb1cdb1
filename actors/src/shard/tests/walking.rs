//! What is done for everybody who is connected is done in pieces, and nobody says anything under what held before.

use std::collections::BTreeSet;

use super::*;
use crate::access::{Action, Ban, Bans, Effect, Name, Policy, Rule};

const PIECE: usize = 8;
const CLIENTS: usize = 100;

/// Clients in a world whose turns do little for each of them, and who they are.
fn world() -> (World, Vec<Client>) {
    let mut world = World::new();
    let clients = (0..CLIENTS).map(|number| world.connect(passing(&format!("car-{number}")))).collect();
    for shard in &mut world.shards {
        shard.outlet.edge.changes.piece = PIECE;
        shard.outlet.edge.visits = PIECE;
    }
    (world, clients)
}

/// Takes turns until nothing is left: the most connections that one step began to close, and how many are closed.
fn most_closed(world: &mut World, mut step: impl FnMut(&mut Shard, Now)) -> (usize, usize) {
    let (mut most, mut all) = (0, 0);
    for shard in &mut world.shards {
        let closed = |shard: &Shard| {
            let connections = shard.outlet.edge.connections.iter();
            connections.filter(|(_, of)| matches!(of.stage, Stage::Closing | Stage::Gone)).count()
        };
        let before = closed(shard);
        step(shard, world.now);
        let mut last = closed(shard);
        most = most.max(last - before);
        while shard.has_more() {
            shard.turn(world.now);
            let now = closed(shard);
            (most, last) = (most.max(now - last), now);
        }
        all += last;
    }
    (most, all)
}

fn ban(client_id: &str) -> Arc<Bans> {
    let client_id = Some(Name::parse(client_id));
    Arc::new(Bans::new(vec![Ban { client_id, user: None, address: None, until: None, reason: "".into() }]))
}

/// Nobody may connect but who is called so.
fn only(client_id: &str) -> Arc<Access> {
    let mut rule = Rule::new(Effect::Allow, Action::Connect, "");
    rule.client_id = Some(Name::parse(client_id));
    Arc::new(Access::new(vec![rule], Policy::default()))
}

#[test]
fn a_ban_and_rules_and_the_end_of_the_node_are_carried_to_everybody_in_pieces() {
    let steps: [fn(&mut Shard, Now); 3] = [
        |shard, now| shard.set_bans(now, ban("car-*"), &ban("car-*")),
        |shard, now| shard.set_access(now, only("bus-*")),
        |shard, now| shard.shut_down(now),
    ];
    for step in steps {
        let (mut world, clients) = world();
        let (most, all) = most_closed(&mut world, step);
        assert_eq!(all, CLIENTS);
        assert!(most <= PIECE, "{most} in one step");
        world.settle();
        for client in clients {
            assert_eq!(world.got(client).last(), Some(&Got::Closed));
        }
    }
}

#[test]
fn users_who_are_gone_are_cut_off_in_pieces() {
    let mut world = World::new();
    world.set_access(Access::new(vec![], Policy { authenticates: true, ..Policy::default() }));
    for number in 0..CLIENTS {
        world.join_as(if number % 2 == 0 { "ann" } else { "bob" }, passing(&format!("car-{number}")));
    }
    world.shards.iter_mut().for_each(|shard| shard.outlet.edge.changes.piece = PIECE);
    let gone = Arc::new(BTreeSet::from(["ann".to_owned()]));
    let (most, all) = most_closed(&mut world, |shard, now| shard.revoke(now, &gone));
    assert_eq!(all, CLIENTS / 2);
    assert!(most <= PIECE, "{most} in one step");
}

#[test]
fn a_client_that_the_walk_has_not_come_to_says_nothing_under_what_held_before() {
    let (mut world, clients) = world();
    let watcher = world.subscriber(passing("watcher"), &["#"]);
    for shard in &mut world.shards {
        shard.set_bans(world.now, ban("car-*"), &ban("car-*"));
    }
    // The last of each shard, in a place that the walk comes to last.
    for client in clients.into_iter().rev().take(3) {
        let Line { shard, key, .. } = world.lines[client.0];
        let mut bytes = Vec::new();
        Packet::Publish(publish("a", "no", 0)).encode(V5, &mut bytes).unwrap();
        assert!(world.shards[shard].outlet.edge.connections[key.unwrap() as usize].stage == Stage::Open);
        world.shards[shard].receive(world.now, key.unwrap(), &bytes);
        assert!(world.shards[shard].outlet.edge.connections[key.unwrap() as usize].stage == Stage::Closing);
    }
    world.settle();
    assert_eq!(world.got(watcher), []);
}

#[test]
fn a_client_that_is_banned_while_its_session_is_looked_up_is_told_so_by_connack() {
    let (mut world, _) = world();
    // Behind all the others, so that the walk comes to it last.
    let late = world.ask(passing("late"));
    for shard in &mut world.shards {
        shard.set_bans(world.now, ban("late"), &ban("late"));
    }
    for (at, round) in std::mem::take(&mut world.rounds) {
        world.engine.sync().unwrap();
        world.shards[at].synced(world.now, round);
    }
    world.settle();
    assert_eq!(world.got(late), [Got::Connack(ReasonCode::Banned, false), Got::Closed]);
}

#[test]
fn changes_that_come_while_one_is_carried_are_carried_too() {
    let (mut world, clients) = world();
    for shard in &mut world.shards {
        // Many more than are kept for those who have not been judged.
        for number in (0..CLIENTS).rev().filter(|number| number % 4 == 0) {
            let ban = ban(&format!("car-{number}"));
            shard.set_bans(world.now, Arc::clone(&ban), &ban);
            for _ in 0..8 {
                shard.set_access(world.now, Arc::default());
            }
        }
        shard.set_access(world.now, only("car-*"));
    }
    world.settle();
    for (number, client) in clients.into_iter().enumerate() {
        assert_eq!(world.got(client).last() == Some(&Got::Closed), number % 4 == 0, "{number}");
    }
    let allow = |topic| {
        Arc::new(Access::new(vec![Rule::new(Effect::Allow, Action::Publish, topic)], Policy::default()))
    };
    for topic in ["a", "b"] {
        world.shards.iter_mut().for_each(|shard| shard.set_access(world.now, allow(topic)));
    }
    world.settle();
    for shard in &world.shards {
        for (_, connection) in &shard.outlet.edge.connections {
            let may = |topic| connection.permits.as_ref().unwrap().may_publish(topic, 0, false);
            assert!(may("b") && !may("a"));
        }
    }
}

#[test]
fn how_many_would_be_cut_off_is_counted_in_pieces() {
    let (mut world, _) = world();
    let bans = ban("car-1*");
    let (mut cut, mut asked) = (0, 0);
    for shard in &mut world.shards {
        let mut at = Some(0);
        while let Some(from) = at {
            let (clients, next) = shard.would_cut(world.now, None, &bans, from);
            assert!(clients <= PIECE as u64);
            (cut, asked, at) = (cut + clients, asked + 1, next);
        }
    }
    assert_eq!(cut, 11);
    assert!(asked >= CLIENTS / PIECE);
}

#[test]
fn members_of_shared_subscriptions_are_told_of_other_rules_in_pieces() {
    let mut world = World::new();
    let members: Vec<_> =
        (0..40).map(|number| world.subscriber(passing(&format!("m-{number}")), &["$share/g/a"])).collect();
    let publisher = world.connect(passing("p"));
    let mut deny = Rule::new(Effect::Deny, Action::Subscribe, "a");
    deny.client_id = Some(Name::parse("m-1*"));
    let access =
        Arc::new(Access::new(vec![deny, Rule::new(Effect::Allow, Action::All, "#")], Policy::default()));
    for shard in &mut world.shards {
        shard.outlet.edge.changes.piece = PIECE;
        shard.set_access(world.now, Arc::clone(&access));
        let mut turns = 0;
        while shard.has_more() {
            shard.turn(world.now);
            turns += 1;
        }
        // All members are known everywhere.
        assert!(turns >= 40 / PIECE - 1, "{turns}");
    }
    for _ in 0..60 {
        world.publish(publisher, publish("a", "1", 1));
    }
    let counts: Vec<_> = members.into_iter().map(|member| world.payloads(member).len()).collect();
    let denied = |number: usize| number == 1 || (10..20).contains(&number);
    assert!((0..40).all(|number| denied(number) == (counts[number] == 0)), "{counts:?}");
}

#[test]
fn very_many_who_are_silent_are_closed_in_pieces() {
    let mut world = World::new();
    for number in 0..CLIENTS {
        world.connect(Connect { keep_alive: 1, ..passing(&format!("car-{number}")) });
    }
    world.shards.iter_mut().for_each(|shard| shard.outlet.edge.visits = PIECE);
    let mut all = 0;
    for _ in 0..30 {
        world.now.monotonic += 100;
        world.now.wall += 100;
        let (most, closed) = most_closed(&mut world, |shard, now| shard.tick(now));
        assert!(most <= PIECE, "{most} in one step");
        let (most, more) = most_closed(&mut world, |shard, now| shard.tick_connections(now));
        assert!(most <= 2 * PIECE, "{most} in one step");
        all = closed.max(more);
    }
    assert_eq!(all, CLIENTS);
}

#[test]
fn connections_are_counted_in_pieces_and_as_they_are_when_all_were_visited() {
    let (mut world, _) = world();
    let counted =
        |world: &World| -> u64 { world.shards.iter().map(|shard| shard.observe().sessions_connected).sum() };
    for shard in &mut world.shards {
        shard.tick_connections(world.now);
        assert!(shard.has_more(), "in one step");
    }
    assert_eq!(counted(&world), 0);
    world.settle();
    assert_eq!(counted(&world), CLIENTS as u64);
    for _ in 0..3 {
        world.pass(1_000);
        assert_eq!(counted(&world), CLIENTS as u64);
    }
}
