//! Slots go where the ring says, with all that they have, and leave nothing behind; and what nodes say to each other of
//! replicas is believed where it can be true.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use convoy_ids::{ReplicaId, Term};
use convoy_storage::engine::Family;
use convoy_storage::envelope;
use convoy_storage::replica::{Replica, Role};

use super::fleet::{Fleet, REST, TURNED_AWAY, WELCOME_BACK, client_of, node, slot_of_client, topic_of};
use super::*;
use crate::meta::{Command, Entrant, FleetId, State, TokenHash};
use crate::shard::CommandError;

/// What the first node that has a number given by the meta group is spoken to by.
const GIVEN: u64 = 1 << 63;

fn entrant(at: usize) -> Entrant {
    Entrant {
        node: node(at).get(),
        name: format!("node-{at}"),
        zone: "a".into(),
        weight: 64,
        address: "test".into(),
        formats: (1, 1),
    }
}

fn slots() -> impl Iterator<Item = SlotId> {
    (0..8).map(SlotId).chain([SlotId::META])
}

/// Gives a command to whoever leads the meta group, which carries it out.
fn order(fleet: &mut Fleet, command: &Command) {
    let leader = (0..fleet.nodes.len()).find(|at| fleet.nodes[*at].shards[0].fleet().is_some());
    let leader = leader.expect("the meta group is led");
    assert_eq!(fleet.nodes[leader].shards[0].command(command), Ok(()));
    let now = fleet.nodes[leader].now;
    fleet.nodes[leader].shards[0].turn(now);
    fleet.pass(200);
}

fn reshape(fleet: &mut Fleet) {
    let version = |world: &World| {
        let fleet = world.shards[0].fleet()?;
        Some(fleet.ring().map_or(0, |ring| ring.version().0))
    };
    let version = fleet.nodes.iter().find_map(version).expect("the meta group is led") + 1;
    order(fleet, &Command::Reshape { version });
}

const FLEET: FleetId = FleetId([1; 16]);
const TOKEN: TokenHash = TokenHash([2; 32]);

fn join(fleet: &mut Fleet, at: usize) {
    order(fleet, &Command::Join { entrant: entrant(at), fleet: FLEET, slots: 8, token: TOKEN, at: 1 });
}

/// A fleet of three nodes, which keep every slot, and perhaps of others that may join.
fn founded(nodes: usize) -> Fleet {
    let mut fleet = Fleet::moving(nodes);
    let founder = entrant(0);
    order(&mut fleet, &Command::Found { fleet: FLEET, slots: 8, replication: 3, format: 1, founder });
    order(&mut fleet, &Command::AddToken { hash: TOKEN, expires_at: u64::MAX, at: 0 });
    (1..3).for_each(|at| join(&mut fleet, at));
    reshape(&mut fleet);
    fleet.pass_until(is_in_place);
    fleet.pass(REST);
    fleet
}

/// The slots of which a node has a replica.
fn kept(fleet: &Fleet, at: usize) -> BTreeSet<SlotId> {
    fleet.nodes[at].shards[0].replicas().into_keys().collect()
}

fn target(fleet: &Fleet, at: usize) -> BTreeSet<SlotId> {
    let shard = &fleet.nodes[at].shards[0];
    slots().filter(|slot| shard.order_of(*slot).contains(&node(at))).collect()
}

fn is_in_place(fleet: &Fleet) -> bool {
    let is_at_rest = |world: &World| {
        let shard = &world.shards[0];
        slots().filter_map(|slot| shard.members(slot)).all(|(_, is_at_rest)| is_at_rest)
    };
    (0..fleet.nodes.len()).all(|at| kept(fleet, at) == target(fleet, at))
        && fleet.nodes.iter().all(is_at_rest)
}

/// The kinds of rows of a slot, by their families.
fn rows(world: &World, slot: SlotId) -> Vec<(Family, u8)> {
    let mut found = Vec::new();
    let end = slot.0.checked_add(1).map_or(vec![0xff; 4], |next| next.to_be_bytes().to_vec());
    for family in [Family::Log, Family::Session, Family::Queue, Family::Retained, Family::Archive] {
        let visit = &mut |key: &[u8], _: &[u8]| {
            found.push((family, key[2]));
            ControlFlow::Continue(())
        };
        world.shards[0].rows.scan(family, &slot.0.to_be_bytes(), &end, visit).unwrap();
    }
    found
}

#[test]
fn slots_go_to_a_node_that_comes_and_from_one_that_is_drained_with_all_that_they_have() {
    let mut fleet = founded(4);
    let (reader_name, writer_name) = (client_of(0, "reader"), client_of(1, "writer"));
    let reader = fleet.connect(2, lasting(&reader_name));
    let topic = topic_of(0, "a");
    fleet.subscribe(2, reader, &topic);
    fleet.subscribe(2, reader, "+/b");
    fleet.send(2, reader, goodbye());
    let writer = fleet.connect(1, passing(&writer_name));
    fleet.publish(1, writer, publish(&topic, "waits", 7));
    fleet.publish(1, writer, Publish { retain: true, ..publish("stands/x", "1", 8) });
    fleet.send(1, writer, goodbye());
    join(&mut fleet, 3);
    assert!(kept(&fleet, 3).is_empty());

    reshape(&mut fleet);
    fleet.pass_until(is_in_place);
    assert!(kept(&fleet, 3).len() > 3, "{:?}", kept(&fleet, 3));
    order(&mut fleet, &Command::Drain { node: node(0).get() });
    reshape(&mut fleet);
    fleet.pass_until(is_in_place);
    assert!(kept(&fleet, 0).is_empty() && kept(&fleet, 3) == slots().collect());
    for slot in slots() {
        assert_eq!(rows(&fleet.nodes[0], slot), [(Family::Log, 8)], "slot {slot}: its number alone");
    }
    let left = &fleet.nodes[0].shards[0];
    assert!(left.roots.is_empty());
    assert_eq!(left.budget.own().clone(), Default::default());
    let counted = |at: usize| fleet.nodes[at].shards[0].budget.own().clone();
    assert_eq!((counted(1), counted(2)), (counted(3), counted(3)));

    // It serves Clients all the same, and everything is there.
    fleet.pass(REST);
    let (reader, got) = fleet.join(0, lasting(&reader_name));
    let [connack, Got::Publish(message)] = &got[..] else { panic!("{got:?}") };
    assert_eq!((connack, &message.payload[..]), (&WELCOME_BACK, "waits"));
    let writer = fleet.connect(3, passing(&writer_name));
    fleet.publish(3, writer, publish("x/b", "2", 9));
    assert_eq!(fleet.nodes[0].payloads(reader), ["2"]);
    fleet.subscribe(0, reader, "stands/#");
    assert_eq!(fleet.nodes[0].payloads(reader), ["1"]);
}

#[test]
fn a_node_that_starts_again_has_the_slots_that_it_had_and_no_others() {
    let mut fleet = founded(4);
    join(&mut fleet, 3);
    order(&mut fleet, &Command::Drain { node: node(1).get() });
    reshape(&mut fleet);
    fleet.pass_until(is_in_place);
    for at in [1, 3] {
        let before = (kept(&fleet, at), fleet.nodes[at].shards[0].replicas());
        fleet.nodes[at].start_again(Model::restart);
        assert_eq!((kept(&fleet, at), fleet.nodes[at].shards[0].replicas()), before);
        fleet.pass(REST);
    }
    assert!(is_in_place(&fleet));
}

#[test]
fn commands_are_for_whoever_leads_the_meta_group_and_are_judged_before_they_are_proposed() {
    let mut fleet = founded(3);
    let leader = (0..3).find(|at| fleet.nodes[*at].shards[0].fleet().is_some()).unwrap();
    let others = (0..3).filter(|at| *at != leader).collect::<Vec<_>>();
    let drain = |number| Command::Drain { node: number };
    let refused = fleet.nodes[leader].shards[0].command(&drain(77));
    assert!(matches!(refused, Err(CommandError::Refused(_))), "{refused:?}");
    for at in others {
        assert_eq!(fleet.nodes[at].shards[0].command(&drain(1)), Err(CommandError::NotLeader));
    }
    // Everybody has heard of the fleet, whoever of the meta group.
    let version = |world: &World| world.shards[0].ring().map(|ring| ring.version().0);
    reshape(&mut fleet);
    fleet.pass(REST);
    assert!(fleet.nodes.iter().all(|world| version(world) == Some(3)));
}

/// Of a slot, a follower's place, its replica and the term.
fn follower(fleet: &Fleet, slot: SlotId) -> (usize, ReplicaId, Term) {
    let follows = |at: &usize| {
        matches!(fleet.nodes[*at].shards[0].driver.role(slot), Some(Role::Follower { leader: Some(_), .. }))
    };
    let at = (0..3).find(follows).unwrap();
    let driver = &fleet.nodes[at].shards[0].driver;
    (at, driver.replica(slot).unwrap(), driver.role(slot).unwrap().term())
}

/// What a leader says whose group has removed a replica.
fn removed(replica: u64, term: u64) -> Vec<u8> {
    crate::shard::moving::removed(replica, term)
}

/// What the first node's replica says to one of its group, as long as it has nothing to send.
fn heartbeat(to: u64) -> Vec<u8> {
    let (mut bytes, mut body) = (Vec::new(), vec![3, 0]);
    [to, 1, 9, 0, 0, 0, 0, 0, 0].iter().for_each(|number: &u64| body.extend(number.to_le_bytes()));
    body.extend([0; 8]);
    envelope::seal(0x21, 1, &mut bytes, |into| into.extend(body));
    bytes
}

fn tell(fleet: &mut Fleet, at: usize, slot: SlotId, word: &[u8]) {
    let world = &mut fleet.nodes[at];
    world.shards[0].step(world.now, node((at + 1) % 3), slot, word);
    fleet.pass(200);
}

#[test]
fn a_replica_ends_when_a_leader_of_its_term_says_so_and_not_for_one_of_before() {
    let slot = SlotId(4);
    for (term, replica_off, ends) in [(0, 0, true), (-1, 0, false), (0, 1, false)] {
        let mut fleet = founded(3);
        let (at, replica, of) = follower(&fleet, slot);
        let removed = removed(replica.get() + replica_off, of.0.wrapping_add_signed(term));
        tell(&mut fleet, at, slot, &removed);
        assert_eq!(kept(&fleet, at).contains(&slot), !ends, "{term} {replica_off}");
        if ends {
            // It was not so: its group finds out, and has another one there.
            reshape(&mut fleet);
            fleet.pass_until(is_in_place);
            let comes = fleet.nodes[at].shards[0].replicas()[&slot];
            assert!(comes.get() > GIVEN && Replica { id: comes, node: node(at) }.is_after(replica));
            assert!(fleet.led(at).len() + fleet.led((at + 1) % 3).len() + fleet.led((at + 2) % 3).len() == 9);
        }
    }
}

#[test]
fn a_replica_that_cannot_be_ended_for_a_full_disk_goes_on_as_it_was() {
    let (mut fleet, slot) = (founded(3), SlotId(4));
    let (at, replica, of) = follower(&fleet, slot);
    let before = rows(&fleet.nodes[at], slot);
    fleet.nodes[at].engine.set_full(true);
    let world = &mut fleet.nodes[at];
    world.shards[0].step(world.now, node((at + 1) % 3), slot, &removed(replica.get(), of.0));
    world.shards[0].turn(world.now);
    assert!(world.shards[0].moving.is_idle(), "it was tried");
    assert_eq!((world.shards[0].replicas().get(&slot), &rows(world, slot)), (Some(&replica), &before));
    world.engine.set_full(false);
    fleet.pass(REST);
    assert!(is_in_place(&fleet) && fleet.ready() == [0, 1, 2]);
    tell(&mut fleet, at, slot, &removed(replica.get(), of.0));
    assert!(!kept(&fleet, at).contains(&slot));
}

#[test]
fn a_message_makes_a_replica_only_where_its_slot_belongs_and_under_a_number_that_is_new() {
    let mut fleet = founded(4);
    let slot = slot_of_client("a");
    let speak = |fleet: &mut Fleet, from: NodeId, slot: SlotId, to: u64| {
        let world = &mut fleet.nodes[3];
        world.shards[0].step(world.now, from, slot, &heartbeat(to));
        (world.shards[0].replicas().contains_key(&slot), world.shards[0].take_to_replicas().len())
    };
    let stranger = NodeId::new(99).unwrap();
    assert_eq!(speak(&mut fleet, stranger, slot, GIVEN + 9), (false, 0));
    assert_eq!(speak(&mut fleet, node(0), SlotId(8), GIVEN + 9), (false, 0), "there is no such slot");
    assert_eq!(speak(&mut fleet, node(0), slot, node(3).get()), (false, 1), "it never had a first replica");
    assert!(speak(&mut fleet, node(0), slot, GIVEN + 9).0);
    // Another life of it has begun.
    assert_eq!(speak(&mut fleet, node(0), slot, GIVEN + 10), (true, 0));
    fleet.pass(200);
    assert!(!kept(&fleet, 3).contains(&slot));
    assert_eq!(speak(&mut fleet, node(0), slot, GIVEN + 9), (false, 1));
    assert!(speak(&mut fleet, node(0), slot, GIVEN + 10).0);
}

/// Tells all nodes that these are away from now on.
fn see_away(fleet: &mut Fleet, away: &[usize]) {
    for world in &mut fleet.nodes {
        let since = world.now.monotonic;
        world.shards[0].see_away(away.iter().map(|at| (node(*at), since)));
    }
}

fn state(fleet: &Fleet, at: usize) -> State {
    let known = fleet.nodes[0].shards[0].known_fleet();
    known.member(node(at)).expect("it is a member").state
}

#[test]
fn a_member_that_is_away_for_long_is_replaced_and_takes_part_again_when_it_is_back() {
    let mut fleet = founded(4);
    join(&mut fleet, 3);
    for world in &mut fleet.nodes {
        world.shards[0].options.moves.as_mut().unwrap().replace_after = Some(5_000);
    }
    // Nobody says so: the members are others than those of the ring.
    fleet.pass_until(|fleet| fleet.nodes[0].shards[0].known_fleet().unshaped().is_none());
    fleet.pass_until(is_in_place);
    fleet.pass(REST);
    assert!((0..4).all(|at| !kept(&fleet, at).is_empty()));

    // Whom the others hear is not away, whatever SWIM says.
    see_away(&mut fleet, &[2]);
    fleet.pass(10_000);
    assert_eq!(state(&fleet, 2), State::Active);

    fleet.cut.insert(2);
    see_away(&mut fleet, &[2]);
    fleet.pass(4_500);
    assert_eq!(state(&fleet, 2), State::Active);
    fleet.pass(1_500);
    assert_eq!(state(&fleet, 2), State::Down);
    let others_have_all = |fleet: &Fleet| {
        let of = |at: &usize| kept(fleet, *at) == target(fleet, *at) && !kept(fleet, *at).is_empty();
        [0, 1, 3].iter().all(of) && kept(fleet, 0).len() == slots().count()
    };
    fleet.pass_until(others_have_all);

    fleet.cut.clear();
    see_away(&mut fleet, &[]);
    fleet.pass(3_000);
    assert_eq!(state(&fleet, 2), State::Down, "it may go again");
    fleet.pass(4_000);
    assert_eq!(state(&fleet, 2), State::Active);
    fleet.pass_until(|fleet| is_in_place(fleet) && !target(fleet, 2).is_empty());
}

#[test]
fn a_node_that_was_removed_is_heard_no_more_and_closes_its_clients() {
    let mut fleet = founded(4);
    join(&mut fleet, 3);
    order(&mut fleet, &Command::Drain { node: node(0).get() });
    reshape(&mut fleet);
    fleet.pass_until(is_in_place);
    fleet.pass(REST);
    let names = [client_of(1, "there"), client_of(2, "elsewhere")];
    let clients = [fleet.connect(0, lasting(&names[0])), fleet.connect(1, lasting(&names[1]))];
    order(&mut fleet, &Command::Remove { node: node(0).get() });
    fleet.pass(5_000);
    assert!(!fleet.is_connected(0, clients[0]) && fleet.is_connected(1, clients[1]));
    assert_eq!(fleet.join(0, lasting(&names[0])).1, TURNED_AWAY);
    assert_eq!(fleet.join(2, lasting(&names[0])).1, [WELCOME_BACK]);
}
