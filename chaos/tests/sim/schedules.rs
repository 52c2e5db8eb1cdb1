//! Schedules that are known to be dangerous, told strike by strike, with Clients on all nodes; those of three shards are in
//! `actors/src/shard/tests/schedules`.

use convoy_actors::CatchUp;
use convoy_chaos::sim::clock::{MILLISECOND, Micros, SECOND};
use convoy_chaos::sim::disk::{CutAt, Moment};
use convoy_chaos::sim::links::Shape;
use convoy_chaos::sim::strike::{Return, Strike};
use convoy_chaos::sim::{Setup, run};

use super::several::{calm, stormy};
use super::{fleet, judge, seeds};

const SOON: Return = Return { after: 200 * MILLISECOND, shards: 2 };

/// A day on which this happens, and nothing else.
fn day(seed: u64, schedule: Vec<(Micros, Strike)>) -> Setup {
    Setup { schedule: Some(schedule), work: 9 * SECOND, ..calm(seed, 3, 2) }
}

#[test]
fn a_run_that_is_told_by_its_strikes_is_the_same_run() {
    let drawn = Setup { hurt_every: Some(4 * SECOND), ..stormy(21, 3, 2) };
    let first = run(drawn.clone());
    assert!(first.struck.len() > 5, "{:?}", first.struck);
    let second = run(Setup { schedule: Some(first.struck.clone()), ..drawn });
    assert_eq!(first.struck, second.struck);
    assert_eq!(first.trace, second.trace);
}

#[test]
fn two_nodes_are_cut_that_a_third_one_reaches() {
    for seed in seeds(3) {
        let bridge = seed as usize % 3;
        let sides: Vec<bool> = (0..3).map(|node| node == (bridge + 1) % 3).collect();
        let tear = |at| {
            let shape = Shape::Bridge { bridge, sides: sides.clone() };
            let lasts = 1_500 * MILLISECOND + seed % 3 * SECOND;
            (at, Strike::Tear { shape, lasts, divide: seed })
        };
        judge(day(seed, vec![tear(2 * SECOND), tear(7 * SECOND)])).unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn a_node_stands_still_for_longer_than_anybody_relies_on_it() {
    let still = |seed: u64| {
        let node = seed as usize % 3;
        let away = 2_100 * MILLISECOND + seed % 5 * 300 * MILLISECOND;
        let suspend = |at| (at, Strike::Suspend { node, away, order: seed });
        Setup { characters: fleet::strangers(), ..day(seed, vec![suspend(2 * SECOND), suspend(6 * SECOND)]) }
    };
    for seed in seeds(3) {
        judge(still(seed)).unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn a_row_that_cannot_be_read_is_refused_and_whoever_can_read_it_serves() {
    let (mut refused, mut rows) = ([0, 0], 0);
    for seed in seeds(6) {
        let node = seed as usize % 3;
        let row = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let damage = Strike::Damage { node, row, lasts: 5 * SECOND, comes: SOON };
        let (verdict, _) =
            judge(day(seed, vec![(2 * SECOND, damage)])).unwrap_or_else(|said| panic!("{said}"));
        rows += verdict.damaged.len();
        refused = [0, 1].map(|of| refused[of] + verdict.refused[of]);
    }
    assert!(rows > 0 && refused[0] + refused[1] > 0, "{rows} rows, {refused:?} refused");
}

#[test]
fn each_sync_of_a_node_of_a_fleet_is_cut_between_what_it_wrote() {
    // Logs are short, so that rows of groups change often and copies come into force.
    let catch_up = CatchUp { kept_log_bytes: 1 << 10, segment_entries: 4, piece_bytes: 1 << 10 };
    let characters = fleet::searching(fleet::few());
    let small = Setup { catch_up, characters, work: 2 * SECOND, ..calm(5, 3, 1) };
    let (verdict, syncs) = judge(small.clone()).unwrap_or_else(|said| panic!("{said}"));
    assert!(verdict.tally.accepted[2] > 5 && syncs > 100, "{syncs} syncs, {}", verdict.tally);
    let step = (syncs / number_of_cuts()).max(1);
    for (place, sync) in (1..=syncs).step_by(step as usize).enumerate() {
        let moment = if place % 2 == 0 { Moment::Before } else { Moment::After };
        let cut_at = Some(CutAt { sync, moment, keep: place % 5 });
        judge(Setup { cut_at, ..small.clone() }).unwrap_or_else(|said| panic!("{said}"));
    }
}

/// Of the syncs of a run so many are cut: all of them take too long for each time.
fn number_of_cuts() -> u64 {
    super::number("SIM_SYNCS").unwrap_or(24)
}

/// A node grants a Session to a connection of its peer's life before, when it has heard of the next one already: what waits for
/// the end of that connection goes on, though nothing of its channels is ever due by itself.
#[test]
fn nobody_waits_for_a_connection_of_an_earlier_start_that_was_granted_late() {
    let comes = Return { after: 2_720_189, shards: 1 };
    let fail = Strike::FailSync { node: 0, keep: 10_961_892_860_379_768_927, comes };
    let mut characters = fleet::everybody();
    characters.retain(|character| character.name != "orphan");
    let characters = fleet::searching(characters);
    let schedule = Some(vec![(1_199_203, fail)]);
    let late = Setup { characters, schedule, work: 14 * SECOND, ..calm(4, 3, 1) };
    judge(late).unwrap_or_else(|said| panic!("{said}"));
}

/// A node starts over a row that cannot be read, and meets it when it leads the slot of it: another one leads that, before the
/// disk is as it was.
#[test]
fn a_slot_that_has_stopped_where_it_is_led_is_led_elsewhere() {
    // Some of its rows are met at the start, or never.
    let is_met_at_work = |row: &u64| {
        let comes = Return { after: 304_226, shards: 1 };
        let damage = Strike::Damage {
            node: 2,
            row: row.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            lasts: 10_214_679,
            comes,
        };
        let schedule = Some(vec![(1_551_713, damage)]);
        let stopped = Setup { schedule, work: 14 * SECOND, ..calm(20_098, 3, 1) };
        let (verdict, _) = judge(stopped).unwrap_or_else(|said| panic!("{said}"));
        verdict.refused == [0, 1]
    };
    let met = (0..40).find(is_met_at_work);
    println!("row {met:?} is met at work");
    assert!(met.is_some());
}
