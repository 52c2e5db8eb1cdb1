//! A replica that was away for longer than its leader's log reaches back gets a copy of the state, whatever becomes of the
//! messages that bring it, and has everything then.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use convoy_storage::engine::Family;
use convoy_storage::replica::Outgoing;
use convoy_storage::snapshot::{CopyId, Message};

use super::fleet::{Fleet, Letter, REST, WELCOME_BACK, Weather, client_of, node};
use super::*;
use crate::options::{CatchUp, Without};

/// Logs that keep next to nothing, and pieces of a few rows.
const SHORT: CatchUp = CatchUp { kept_log_bytes: 512, segment_entries: 2, piece_bytes: 200 };

type Rows = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

fn end_of(slot: SlotId) -> Vec<u8> {
    slot.0.checked_add(1).map_or(vec![0xff; 4], |next| next.to_be_bytes().to_vec())
}

/// The replicated rows of a slot.
fn rows_of(world: &World, slot: SlotId) -> Rows {
    let mut rows = Rows::new();
    for family in [Family::Session, Family::Queue, Family::Retained, Family::Archive] {
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.insert((family, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        };
        world.shards[0].rows.scan(family, &slot.0.to_be_bytes(), &end_of(slot), visit).unwrap();
    }
    rows
}

fn slots() -> impl Iterator<Item = SlotId> {
    (0..8).map(SlotId).chain([SlotId::META])
}

fn rows(world: &World) -> Vec<Rows> {
    slots().map(|slot| rows_of(world, slot)).collect()
}

/// Slots of which a copy is in force.
fn copied(world: &World) -> usize {
    let mut found = 0;
    let visit = &mut |_: &[u8], _: &[u8]| {
        found += 1;
        ControlFlow::Continue(())
    };
    world.engine.scan(Family::Meta, b"\xff\xffgeneration", b"\xff\xffgenerations", visit).unwrap();
    found
}

/// Rows that are staged or in force under numbers that no slot has.
fn staged(world: &World) -> bool {
    world.engine.last(Family::Session, &[0x80], &[0xff, 0xfe]).unwrap().is_some()
}

fn exactly_once<'a>(topic: &'a str, payload: &'a str, packet_id: u16) -> Packet<'a> {
    Packet::Publish(Publish { qos: QoS::ExactlyOnce, ..publish(topic, payload, packet_id) })
}

/// Whose Sessions the first node leads whoever is cut off but itself.
fn names() -> [String; 2] {
    ["reader", "writer"].map(|name| client_of(0, name))
}

/// The second node misses everything that there is: queues, messages half on their way, Retained Messages, Subscriptions.
fn behind(without: Without) -> (Fleet, Client) {
    let mut fleet = Fleet::with(SHORT, without);
    fleet.cut.insert(1);
    fleet.pass(REST);
    assert_eq!(fleet.ready(), [0, 2]);
    let [reader, writer] = names();
    let (reader, _) = fleet.join(0, lasting(&reader));
    fleet.subscribe_at(0, reader, "a/#", QoS::ExactlyOnce);
    fleet.subscribe_at(0, reader, "+/b", QoS::ExactlyOnce);
    let (writer, _) = fleet.join(0, lasting(&writer));
    assert_eq!(fleet.send(0, writer, exactly_once("a/c", "half", 5)), [Got::Pubrec(5, ReasonCode::Success)]);
    assert_eq!(fleet.nodes[0].got(reader), [received("a/c", "half").at(2, 1).got()]);
    assert_eq!(fleet.send(0, reader, pubrec(1)), [Got::Pubrel(1)]);
    fleet.send(0, reader, goodbye());
    fill(&mut fleet, writer);
    (fleet, writer)
}

/// More than any log keeps.
fn fill(fleet: &mut Fleet, writer: Client) {
    for number in 0..120 {
        let topic = format!("s{}/{}", number % 23, number % 5);
        let publish = Publish { retain: true, ..publish(&topic, "stands", 100 + number) };
        fleet.send(0, writer, Packet::Publish(publish));
    }
    for number in 0..10 {
        fleet.send(0, writer, exactly_once("a/d", "waits", 300 + number));
        fleet.send(0, writer, pubrel(300 + number));
    }
    fleet.pass(1_000);
}

#[test]
fn a_replica_that_missed_more_than_the_log_keeps_leads_with_everything() {
    let (mut fleet, writer) = behind(Without::Nothing);
    fleet.send(0, writer, goodbye());
    assert_ne!(rows(&fleet.nodes[0]), rows(&fleet.nodes[1]));
    fleet.cut.clear();
    fleet.pass(20_000);
    assert!(copied(&fleet.nodes[1]) > 2, "{}", copied(&fleet.nodes[1]));
    let seen = [0, 1, 2].map(|at: usize| fleet.nodes[at].shards[0].observe());
    assert_eq!(seen[0].snapshots_sent + seen[2].snapshots_sent, seen[1].snapshots_received);
    let expected = rows(&fleet.nodes[0]);
    (1..3).for_each(|at| assert!(rows(&fleet.nodes[at]) == expected, "node {at}"));
    // It counts what is there as if it had started with it.
    let counted = fleet.nodes[1].shards[0].budget.own().clone();
    assert_eq!(counted, *fleet.nodes[2].shards[0].budget.own());

    fleet.cut.insert(0);
    fleet.pass(REST);
    assert_eq!(fleet.ready(), [1, 2]);
    let [reader, writer] = names();
    let (reader, got) = fleet.join(1, lasting(&reader));
    assert_eq!(got[..2], [WELCOME_BACK, Got::Pubrel(1)], "{got:?}");
    assert_eq!(got.len(), 12, "what waited: {got:?}");
    let (writer, _) = fleet.join(1, lasting(&writer));
    // It was taken already, and is not passed on again.
    let again = Publish { dup: true, qos: QoS::ExactlyOnce, ..publish("a/c", "half", 5) };
    assert_eq!(fleet.send(1, writer, Packet::Publish(again)), [Got::Pubrec(5, ReasonCode::Success)]);
    assert_eq!(fleet.nodes[1].got(reader), []);
    // Its Subscriptions match, that with a wildcard in front among them.
    fleet.send(1, writer, Packet::Publish(publish("x/b", "root", 9)));
    assert_eq!(fleet.nodes[1].payloads(reader), ["root"]);
    let (late, _) = fleet.join(1, passing("late"));
    fleet.subscribe_at(1, late, "s1/#", QoS::AtMostOnce);
    assert_eq!(fleet.nodes[1].payloads(late).len(), 5);
}

#[test]
fn a_copy_goes_on_where_the_log_goes_on() {
    let (mut fleet, writer) = behind(Without::Nothing);
    fleet.cut.clear();
    // What is published while copies are under way comes behind them, by the log, or by the next copy.
    for _ in 0..10 {
        fill(&mut fleet, writer);
    }
    fleet.pass(30_000);
    let expected = rows(&fleet.nodes[0]);
    (1..3).for_each(|at| assert!(rows(&fleet.nodes[at]) == expected, "node {at}"));
    // And after a start, from the rows of the copies.
    fleet.nodes[1].start_again(|engine| engine.crash(0));
    fleet.pass(10_000);
    assert!(rows(&fleet.nodes[1]) == rows(&fleet.nodes[0]));
    let counted = fleet.nodes[1].shards[0].budget.own().clone();
    assert_eq!(counted, *fleet.nodes[2].shards[0].budget.own());
}

/// Loses, doubles and reorders.
fn storm(mut seed: u64) -> Weather {
    let mut late: Vec<Letter> = Vec::new();
    Box::new(move |letters| {
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut arrive: Vec<Letter> = Vec::new();
        for letter in letters {
            match next(8) {
                0 => {}
                1 => arrive.extend([letter.clone(), letter]),
                2 => arrive.insert(0, letter),
                3 => late.push(letter),
                4 => {
                    let mut letter = letter;
                    let at = next(letter.1.bytes.len() as u64) as usize;
                    letter.1.bytes[at] ^= 0x10;
                    arrive.push(letter);
                }
                _ => arrive.push(letter),
            }
        }
        if !late.is_empty() && next(4) == 0 {
            arrive.append(&mut late);
        }
        arrive
    })
}

#[test]
fn pieces_may_be_lost_doubled_late_damaged_and_out_of_order() {
    for seed in 0..4 {
        let (mut fleet, _) = behind(Without::Nothing);
        fleet.cut.clear();
        fleet.weather = storm(seed);
        fleet.pass(120_000);
        assert!(copied(&fleet.nodes[1]) > 2);
        assert!(rows(&fleet.nodes[1]) == rows(&fleet.nodes[0]), "seed {seed}");
    }
}

/// The power of the receiver goes behind each message of a copy, with none, some or all of what was not synced.
#[test]
fn a_crash_leaves_each_slot_as_it_was_or_as_the_copy_has_it() {
    let (mut old, mut new, mut step) = (0, 0, 0);
    loop {
        let (mut fleet, writer) = behind(Without::Nothing);
        fleet.send(0, writer, goodbye());
        let before = rows(&fleet.nodes[1]);
        let mut left = 1 + step * 7;
        let total = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = std::rc::Rc::clone(&total);
        fleet.weather = Box::new(move |mut letters| {
            letters.truncate(left);
            left -= letters.len();
            seen.set(seen.get() + letters.len());
            letters
        });
        fleet.cut.clear();
        fleet.pass(3_000);
        fleet.cut.insert(1);
        let keep = [0, 1, usize::MAX][step % 3];
        fleet.nodes[1].start_again(|engine| engine.crash(keep));
        let (found, leader) = (rows(&fleet.nodes[1]), rows(&fleet.nodes[0]));
        for ((found, before), leader) in found.iter().zip(&before).zip(&leader) {
            old += usize::from(found == before);
            new += usize::from(found == leader);
            assert!(found == before || found == leader, "step {step}");
        }
        fleet.weather = Box::new(|letters| letters);
        fleet.cut.clear();
        fleet.pass(40_000);
        assert!(rows(&fleet.nodes[1]) == leader, "step {step}");
        if total.get() < 1 + step * 7 {
            break;
        }
        step += 1;
    }
    assert!(old > 10 && new > 10 && step > 4, "{old} {new} {step}");
}

#[test]
fn a_copy_ends_with_the_term_of_its_leader_and_the_next_one_sends_its_own() {
    let (mut fleet, _) = behind(Without::Nothing);
    let mut left = 5;
    fleet.weather = Box::new(move |mut letters| {
        letters.truncate(left);
        left -= letters.len();
        letters
    });
    fleet.cut.clear();
    fleet.pass(1_000);
    assert!(staged(&fleet.nodes[1]));
    fleet.cut.insert(0);
    fleet.weather = Box::new(|letters| letters);
    fleet.pass(60_000);
    assert_eq!(fleet.ready(), [1, 2]);
    assert!(fleet.led(1).contains(&SlotId(0)), "it has everything, and is preferred");
    assert!(rows(&fleet.nodes[1]) == rows(&fleet.nodes[2]));
}

#[test]
fn pieces_of_who_does_not_lead_or_led_before_are_not_taken() {
    let (mut fleet, _) = behind(Without::Nothing);
    let first = std::rc::Rc::new(std::cell::RefCell::new(None::<Outgoing>));
    let seen = std::rc::Rc::clone(&first);
    fleet.weather = Box::new(move |letters| {
        let mut seen = seen.borrow_mut();
        *seen = seen.take().or(letters.into_iter().next().map(|(_, letter)| letter));
        Vec::new()
    });
    fleet.cut.clear();
    fleet.pass(1_000);
    let letter = first.borrow_mut().take().expect("a copy has begun");
    let Ok(Message::Piece { term, copy, number, piece }) = Message::decode(&letter.bytes) else { panic!() };
    let now = fleet.nodes[1].now;
    let said = |from: usize, term: u64, copy: CopyId, number: u32, fleet: &mut Fleet| {
        let bytes = Message::Piece { term, copy, number, piece }.encode();
        let shard = &mut fleet.nodes[1].shards[0];
        shard.hear_snapshot_message(now, node(from), letter.slot, &bytes);
        let answers = shard.take_snapshot_messages();
        answers
            .iter()
            .map(|answer| format!("{:?}", Message::decode(&answer.bytes).unwrap()))
            .collect::<Vec<_>>()
    };
    let nothing: [String; 0] = [];
    assert_eq!(said(2, term, copy, number, &mut fleet), nothing, "a follower");
    assert_eq!(said(0, term - 1, copy, number, &mut fleet), nothing, "of an earlier term");
    assert_eq!(said(0, term, CopyId(copy.0 + 1), number, &mut fleet), nothing, "of another copy");
    assert!(!staged(&fleet.nodes[1]));
    let unknown = format!("{:?}", Message::Unknown { copy });
    assert_eq!(said(0, term, copy, 3, &mut fleet), [unknown], "not the first");
    let wanted = [format!("{:?}", Message::Wanted { copy, next: 1 })];
    assert_eq!(said(0, term, copy, 0, &mut fleet), wanted);
    assert!(staged(&fleet.nodes[1]));
    assert_eq!(said(0, term, copy, 0, &mut fleet), wanted, "it comes twice");
    assert_eq!(said(0, term, CopyId(copy.0 - 1), 0, &mut fleet), nothing, "of an earlier copy");
    // Who leads takes no piece, and who is cut off has no leader.
    let bytes = Message::Piece { term, copy, number, piece }.encode();
    let now = fleet.nodes[0].now;
    fleet.nodes[0].shards[0].hear_snapshot_message(now, node(0), letter.slot, &bytes);
    assert!(!staged(&fleet.nodes[0]));
}

#[test]
fn a_copy_that_nobody_answers_is_given_up_and_made_anew_later() {
    let (mut fleet, _) = behind(Without::Nothing);
    let begun = std::rc::Rc::new(std::cell::RefCell::new(std::collections::BTreeSet::new()));
    let seen = std::rc::Rc::clone(&begun);
    fleet.weather = Box::new(move |letters| {
        for (_, letter) in letters {
            if let Ok(Message::Piece { copy, .. }) = Message::decode(&letter.bytes) {
                seen.borrow_mut().insert(copy);
            }
        }
        Vec::new()
    });
    fleet.cut.clear();
    fleet.pass(70_000);
    // One at a time, each for half a minute.
    assert!((2..=3).contains(&begun.borrow().len()), "{:?}", begun.borrow());
    fleet.weather = Box::new(|letters| letters);
    fleet.pass(60_000);
    assert!(rows(&fleet.nodes[1]) == rows(&fleet.nodes[0]));
}

#[test]
fn a_full_disk_takes_no_piece_and_the_copy_goes_on_when_there_is_room() {
    let (mut fleet, _) = behind(Without::Nothing);
    let engine = Arc::clone(&fleet.nodes[1].engine);
    let mut left = 5;
    fleet.weather = Box::new(move |letters| {
        left -= left.min(letters.len());
        engine.set_full(left == 0);
        letters
    });
    fleet.cut.clear();
    fleet.pass(10_000);
    assert!(rows(&fleet.nodes[1]) != rows(&fleet.nodes[0]));
    fleet.weather = Box::new(|letters| letters);
    fleet.nodes[1].engine.set_full(false);
    fleet.pass(40_000);
    assert!(rows(&fleet.nodes[1]) == rows(&fleet.nodes[0]));
}

#[test]
fn a_copy_that_forgets_what_is_half_on_its_way_shows() {
    let (mut fleet, _) = behind(Without::HalfWay);
    fleet.cut.clear();
    fleet.pass(20_000);
    let (whole, other) = (rows(&fleet.nodes[0]), rows(&fleet.nodes[1]));
    let missing: Vec<_> =
        whole.iter().flatten().filter(|(key, _)| !other.iter().any(|of| of.contains_key(*key))).collect();
    assert_eq!(missing.len(), 2, "{missing:?}");
}
