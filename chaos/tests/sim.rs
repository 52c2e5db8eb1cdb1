//! A fleet of one node or more in simulated time, judged by the promises of the suite.
//!
//! `SIM_SEED` runs a single seed again, `SIM_SEEDS` says how many are tried, `SIM_FROM` which is the first of them. With
//! `SIM_SHRINK=1` the faults of a run that failed are left out by halves until those are left that it takes.

#[path = "sim/fleet.rs"]
mod fleet;
#[path = "sim/long.rs"]
mod long;
#[path = "sim/moving.rs"]
mod moving;
#[path = "sim/schedules.rs"]
mod schedules;
#[path = "sim/several.rs"]
mod several;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use convoy_actors::Without;
use convoy_chaos::invariant::racing;
use convoy_chaos::oracle::{Event, Fault, Qos, What};
use convoy_chaos::sim::client::Character;
use convoy_chaos::sim::clock::{MILLISECOND, SECOND};
use convoy_chaos::sim::disk::{CutAt, Moment};
use convoy_chaos::sim::node_clock::Clocks;
use convoy_chaos::sim::seed::Seed;
use convoy_chaos::sim::strike::{Schedule, Told};
use convoy_chaos::sim::{Cuts, Setup, Verdict, run, shrink};

use fleet::{GROUP, everybody, few};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many runs are made to find what a failure takes, and for so long: the time is a bound for slow machines, and what is found
/// follows from the runs.
const SHRINK_RUNS: usize = 150;
const SHRINKS: Duration = Duration::from_secs(60);

/// Runs and judges; what was wrong is said with the seed that shows it again.
fn judge(setup: Setup) -> Result<(Verdict, u64), String> {
    let (seed, nodes, shards, cut_at) = (setup.seed.0, setup.nodes, setup.shards, setup.cut_at);
    let outcome = run(setup.clone());
    let (syncs, struck) = (outcome.syncs, outcome.struck.clone());
    let verdict = outcome.judge(Some(GROUP));
    if verdict.wrong.is_empty() {
        return Ok((verdict, syncs));
    }
    let file = std::env::temp_dir().join(format!("sim-{seed}-{nodes}-{shards}.history"));
    let written = match verdict.ledger.write_to(&file) {
        Ok(()) => format!("history in {}", file.display()),
        Err(error) => format!("the history was not written: {error}"),
    };
    // One of each kind says more than ten of the first.
    let mut kinds = BTreeSet::new();
    let said_of = |said: &str| said.trim_start_matches("a shard failed: ").to_owned();
    let kind =
        |said: &str| said_of(said).chars().filter(|c| !c.is_ascii_digit()).take(12).collect::<String>();
    let shown: Vec<&String> = verdict.wrong.iter().filter(|said| kinds.insert(kind(said))).collect();
    let takes =
        if number("SIM_SHRINK") == Some(1) { what_it_takes(&setup, &struck, &kinds) } else { String::new() };
    Err(format!(
        "SIM_SEED={seed}, {nodes} nodes, {shards} shards, cut {cut_at:?}: {} findings, {written}\n{shown:#?}\n{}{takes}",
        verdict.wrong.len(),
        verdict.tally
    ))
}

/// What a finding is about.
fn kind(said: &str) -> String {
    said.chars().filter(|c| !c.is_ascii_digit()).take(12).collect()
}

/// The least that has to befall a fleet so that something of these kinds is found again.
fn what_it_takes(setup: &Setup, struck: &Schedule, kinds: &BTreeSet<String>) -> String {
    let began = Instant::now();
    let fails = |setup: Setup| {
        began.elapsed() < SHRINKS
            && run(setup).judge(Some(GROUP)).wrong.iter().any(|said| kinds.contains(&kind(said)))
    };
    let least = shrink::shrink(setup, struck, SHRINK_RUNS, fails);
    let Setup { disorder, stalls, clocks, .. } = least;
    match &least.schedule {
        None => "\nTold by its faults it does not fail again.".into(),
        Some(schedule) => format!(
            "\nOf {} faults it takes these {} (disorder: {disorder}, stalls: {stalls}, clocks: {clocks:?}):\n{}",
            struck.len(),
            schedule.len(),
            Told(schedule)
        ),
    }
}

fn setup(seed: u64, shards: u16) -> Setup {
    Setup {
        seed: Seed(seed),
        nodes: 1,
        moving: None,
        shards,
        slots: 6,
        characters: everybody(),
        work: 3 * SECOND,
        cut_at: None,
        crash_every: None,
        cut_every: None,
        cuts: Cuts::Any,
        pause_every: None,
        hurt_every: None,
        clocks: Clocks::Alike,
        schedule: None,
        catch_up: Default::default(),
        disorder: false,
        stalls: false,
        full: None,
        lying_disk: false,
        without: Without::Nothing,
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn seeds(standard: u64) -> Vec<u64> {
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = number("SIM_FROM").unwrap_or(1);
            (first..first + number("SIM_SEEDS").unwrap_or(standard)).collect()
        }
    }
}

#[test]
fn messages_of_every_level_arrive_as_promised_without_faults() {
    for shards in [1, 3] {
        let (verdict, _) = judge(Setup { characters: fleet::calm(), ..setup(1, shards) })
            .unwrap_or_else(|said| panic!("{said}"));
        assert!(verdict.tally.accepted[1] > 100 && verdict.tally.accepted[2] > 100, "{}", verdict.tally);
        assert_eq!(verdict.tally.unknown, 0, "{}", verdict.tally);
    }
}

#[test]
fn promises_hold_through_crashes_cuts_and_takeovers() {
    let mut failed = Vec::new();
    for seed in seeds(40) {
        for shards in [1, 3] {
            let crashing = Setup { crash_every: Some(600 * MILLISECOND), ..setup(seed, shards) };
            match judge(crashing) {
                Ok((verdict, _)) => {
                    assert!(verdict.tally.resumed > 10 && verdict.tally.crashes > 0, "{}", verdict.tally);
                }
                Err(said) => failed.push(said),
            }
        }
    }
    assert!(failed.is_empty(), "{} runs failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn whoever_meets_a_retained_message_has_it_once() {
    let mut races = 0;
    for seed in seeds(40) {
        for shards in [1, 3] {
            let characters = fleet::curious();
            let (verdict, _) = judge(Setup { characters, work: 12 * SECOND, ..setup(seed, shards) })
                .unwrap_or_else(|said| panic!("{said}"));
            races += racing::races(&verdict.ledger);
        }
    }
    assert!(races > 0 && (races > 20 || seeds(40).len() < 40), "{races} races");
}

#[test]
fn whoever_meets_values_by_a_wildcard_has_each_of_them_once() {
    for seed in seeds(10) {
        for shards in [1, 3] {
            judge(Setup { characters: fleet::staring(), work: 12 * SECOND, ..setup(seed, shards) })
                .unwrap_or_else(|said| panic!("{said}"));
        }
    }
}

#[test]
fn a_rule_that_is_left_out_is_noticed() {
    let day = |characters, work, without| Setup { characters, work, without, ..setup(0, 3) };
    for (setup, what) in [
        (day(fleet::staring(), 12 * SECOND, Without::RootAnswer), "neither as it came"),
        (day(everybody(), 27 * SECOND, Without::Hearing), "while nothing was subscribed for it"),
        (day(everybody(), 3 * SECOND, Without::Place), "of another QoS"),
    ] {
        // By one of so few seeds: a check that needs more luck than this would not be one.
        let notices = |seed| {
            let outcome = run(Setup { seed: Seed(seed), ..setup.clone() });
            outcome.judge(Some(GROUP)).wrong.iter().any(|said| said.contains(what))
        };
        assert!((1..=5).any(notices), "without {:?} nobody says {what:?}", setup.without);
    }
}

/// What the judge says of a day whose deliveries were changed afterwards.
fn judge_changed(characters: Vec<Character>, change: impl Fn(&mut Vec<Event>)) -> Vec<String> {
    let mut outcome = run(Setup { characters, work: 12 * SECOND, ..setup(3, 3) });
    change(&mut outcome.log.events);
    outcome.judge(None).wrong
}

#[test]
fn a_broken_order_is_not_let_pass() {
    let delivered = |event: &Event, to: &str, front: &str| match &event.what {
        What::Delivered { link, message, .. } => *link.client == *to && message.topic.starts_with(front),
        _ => false,
    };
    let says = |wrong: &[String], what: &str| wrong.iter().any(|said| said.contains(what));
    // Own messages behind a SUBSCRIBE that do not come back.
    let echo = |name: &str| fleet::calm().into_iter().filter(|it| it.name == name).collect::<Vec<_>>();
    let wrong = judge_changed(echo("echo"), |events| events.retain(|it| !delivered(it, "echo", "own/")));
    assert!(says(&wrong, "did not come back"), "{wrong:#?}");
    // Values that neither come nor are kept for whoever subscribes.
    let wrong =
        judge_changed(fleet::curious(), |events| events.retain(|it| !delivered(it, "curious", "deed/")));
    assert!(says(&wrong, "neither as it came"), "{wrong:#?}");
    // Wills behind what the next connection says.
    let mut mourning = fleet::everybody();
    mourning.retain(|it| ["coroner", "widower"].contains(&it.name.as_str()));
    let wrong = judge_changed(mourning, |events| {
        let is_will = |event: &Event| match &event.what {
            What::Delivered { message, .. } => message.qos == Qos::ExactlyOnce,
            _ => false,
        };
        let wills: Vec<Event> = events.iter().filter(|event| is_will(event)).cloned().collect();
        events.retain(|event| !is_will(event));
        let end = events.last().expect("a day has events").at;
        events.extend(wills.into_iter().map(|will| Event { at: end, ..will }));
    });
    assert!(says(&wrong, "before the Will"), "{wrong:#?}");
}

#[test]
fn one_seed_makes_one_history() {
    for shards in [1, 3] {
        let once = || run(Setup { crash_every: Some(600 * MILLISECOND), ..setup(7, shards) });
        let (first, second) = (once(), once());
        assert_eq!(first.log.events, second.log.events);
        assert_eq!(first.trace, second.trace);
        let other = run(Setup { crash_every: Some(600 * MILLISECOND), ..setup(8, shards) });
        assert_ne!(first.trace, other.trace);
    }
}

#[test]
fn a_full_disk_is_refused_honestly_and_recovers_without_a_restart() {
    let mut refused = 0;
    for seed in seeds(8) {
        for shards in [1, 3] {
            let full = Some((800 * MILLISECOND, 2 * SECOND));
            let characters = fleet::patient();
            let (verdict, _) = judge(Setup { full, characters, ..setup(seed, shards) })
                .unwrap_or_else(|said| panic!("{said}"));
            let at = |wanted: &Fault| {
                verdict.ledger.faults().find(|(_, fault)| *fault == wanted).map(|(at, _)| at)
            };
            let (from, to) = (at(&Fault::DiskFull).expect("it was"), at(&Fault::DiskFreed).expect("it was"));
            let mut delivered = 0;
            for event in &verdict.ledger.events[from..to] {
                match &event.what {
                    What::Refused { reason, .. } => {
                        assert!(*reason >= 0x80, "SIM_SEED={seed}: {event:?}");
                        refused += 1;
                    }
                    What::Delivered { .. } => delivered += 1,
                    _ => {}
                }
            }
            assert!(delivered > 0, "SIM_SEED={seed}: nothing was delivered");
            let after =
                verdict.ledger.sent.iter().filter(|sent| sent.first > to && sent.accepted.is_some()).count();
            assert!(after > 20, "SIM_SEED={seed}: {after} accepted once there was room");
            assert_eq!(verdict.tally.crashes, 0);
        }
    }
    // A publisher whose message was in the very write that failed waits; whoever comes later is refused.
    assert!(refused > 20, "{refused} refused");
}

#[test]
fn a_disk_that_only_says_it_has_synced_is_caught() {
    for shards in [1, 3] {
        let lying = |seed| Setup { lying_disk: true, crash_every: Some(SECOND), ..setup(seed, shards) };
        assert!((1..=5).all(|seed| judge(lying(seed)).is_err()), "{shards} shards");
    }
}

#[test]
fn each_sync_point_is_cut_once() {
    for shards in [1, 3] {
        let small = Setup { characters: few(), work: 500 * MILLISECOND, ..setup(5, shards) };
        let (verdict, syncs) = judge(small.clone()).unwrap_or_else(|said| panic!("{said}"));
        assert!(verdict.tally.accepted[2] > 5 && syncs > 40, "{syncs} syncs, {}", verdict.tally);
        for sync in 1..=syncs {
            for (moment, keep) in [
                (Moment::Before, 0),
                (Moment::Before, 1),
                (Moment::Before, 3),
                (Moment::After, 0),
                (Moment::After, 2),
            ] {
                let cut_at = Some(CutAt { sync, moment, keep });
                judge(Setup { cut_at, ..small.clone() }).unwrap_or_else(|said| panic!("{said}"));
            }
        }
    }
}
