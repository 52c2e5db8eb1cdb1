//! Fleets of several nodes, each with a replica of every slot: nodes die and stand still, links are cut and in disorder, and
//! the promises are those of one node.

use convoy_actors::{CatchUp, Without};
use convoy_chaos::oracle::{Fault, Fleet};
use convoy_chaos::sim::clock::SECOND;
use convoy_chaos::sim::node_clock::Clocks;
use convoy_chaos::sim::seed::Seed;
use convoy_chaos::sim::{Cuts, Setup, Verdict, run};

use super::{fleet, judge, number, seeds, setup};

/// So many nodes, each with so many shards.
const FLEETS: [(u16, u16); 3] = [(3, 1), (3, 2), (5, 3)];

pub fn calm(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup {
        nodes,
        characters: fleet::searching(fleet::everybody()),
        work: 10 * SECOND,
        ..setup(seed, shards)
    }
}

/// Everything at once.
pub fn stormy(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup {
        crash_every: Some(6 * SECOND),
        cut_every: Some(5 * SECOND),
        pause_every: Some(6 * SECOND),
        clocks: if seed.is_multiple_of(3) { Clocks::Near } else { Clocks::Apart },
        disorder: true,
        hurt_every: (seed % 2 == 1).then_some(7 * SECOND),
        stalls: seed.is_multiple_of(2),
        work: 18 * SECOND,
        ..calm(seed, nodes, shards)
    }
}

/// A leader is alone with Clients that do not know better, while others lead.
pub fn stale(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup {
        characters: fleet::strangers(),
        cut_every: Some(3 * SECOND),
        cuts: Cuts::StaleLeader,
        work: 20 * SECOND,
        ..calm(seed, nodes, shards)
    }
}

/// Logs reach back to next to nothing, so that who was away gets copies, which are cut off and crash with everything else.
pub fn forgetful(seed: u64, nodes: u16, shards: u16) -> Setup {
    let catch_up = CatchUp { kept_log_bytes: 1 << 10, segment_entries: 4, piece_bytes: 1 << 10 };
    let mut characters = fleet::searching(fleet::everybody());
    // What expires while replicas catch up and nobody can lead is no loss, and the judge would take it for one.
    characters.iter_mut().for_each(|character| character.hasty = false);
    Setup { catch_up, characters, ..stormy(seed, nodes, shards) }
}

/// Nodes die and links are cut while Sessions without a queue get what is published by the log.
pub fn listening(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup {
        characters: fleet::searching(fleet::listening()),
        crash_every: Some(2 * SECOND),
        cut_every: seed.is_multiple_of(2).then_some(3 * SECOND),
        disorder: true,
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    }
}

/// Links are cut again and again.
pub fn often_cut(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup { cut_every: Some(2 * SECOND), work: 20 * SECOND, ..calm(seed, nodes, shards) }
}

/// How often something befell a fleet.
fn count(verdict: &Verdict, like: impl Fn(&Fleet) -> bool) -> usize {
    verdict.ledger.faults().filter(|(_, fault)| matches!(fault, Fault::Fleet(of) if like(of))).count()
}

/// Judges days of these fleets, of which all must be well and some must have had leaders that moved: how many copies of
/// slots' state came into force.
fn all_hold(standard: u64, fleets: &[(u16, u16)], day: impl Fn(u64, u16, u16) -> Setup) -> u64 {
    let (mut failed, mut moves, mut accepted, mut copies) = (Vec::new(), 0, 0, 0);
    for seed in seeds(standard) {
        for &(nodes, shards) in fleets {
            match judge(day(seed, nodes, shards)) {
                Ok((verdict, _)) => {
                    let led = count(&verdict, |of| matches!(of, Fleet::Led(_)));
                    println!(
                        "SIM_SEED={seed}, {nodes} nodes, {shards} shards: led {led} times, {} copies, {}",
                        verdict.copies, verdict.tally
                    );
                    moves += led - 1;
                    copies += verdict.copies;
                    accepted += verdict.tally.accepted[1] + verdict.tally.accepted[2];
                }
                Err(said) => failed.push(said),
            }
        }
    }
    assert!(failed.is_empty(), "{} runs failed\n{}", failed.len(), failed.join("\n"));
    assert!(moves > 0 && accepted > 200, "{moves} changes of leader, {accepted} messages accepted");
    copies
}

#[test]
fn a_fleet_without_faults_serves_as_one_node_does() {
    for (nodes, shards) in FLEETS {
        let characters = fleet::searching(fleet::calm());
        let (verdict, _) =
            judge(Setup { characters, ..calm(1, nodes, shards) }).unwrap_or_else(|said| panic!("{said}"));
        assert!(verdict.tally.accepted[1] > 100 && verdict.tally.accepted[2] > 100, "{}", verdict.tally);
    }
}

#[test]
fn promises_hold_while_nodes_die() {
    all_hold(2, &FLEETS[..2], |seed, nodes, shards| Setup {
        crash_every: Some(3 * SECOND),
        ..calm(seed, nodes, shards)
    });
}

#[test]
fn promises_hold_while_links_are_cut() {
    all_hold(2, &FLEETS[..2], |seed, nodes, shards| Setup {
        cut_every: Some(3 * SECOND),
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    });
}

#[test]
fn promises_hold_while_nodes_stand_still() {
    all_hold(2, &FLEETS[..2], |seed, nodes, shards| Setup {
        pause_every: Some(3 * SECOND),
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    });
}

#[test]
fn promises_hold_while_disks_are_slow() {
    all_hold(2, &FLEETS[..2], |seed, nodes, shards| Setup {
        stalls: true,
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    });
}

#[test]
fn promises_hold_while_clocks_are_wrong() {
    all_hold(2, &FLEETS[..2], |seed, nodes, shards| Setup {
        clocks: if seed % 2 == 0 { Clocks::Near } else { Clocks::Apart },
        crash_every: Some(4 * SECOND),
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    });
}

#[test]
fn promises_hold_while_disks_fail() {
    all_hold(2, &FLEETS[..2], |seed, nodes, shards| Setup {
        hurt_every: Some(2 * SECOND),
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    });
}

#[test]
fn promises_hold_in_a_storm() {
    all_hold(3, &FLEETS, stormy);
}

#[test]
fn promises_hold_where_logs_are_short_and_copies_take_their_place() {
    let copies = all_hold(3, &FLEETS, forgetful);
    assert!(copies > 20, "{copies} copies");
}

#[test]
fn promises_hold_in_storms_that_nobody_has_seen_before() {
    let fresh = number("SIM_SEED").unwrap_or_else(|| Seed::fresh().0);
    for (seed, (nodes, shards)) in (fresh..).zip([(3, 1), (3, 2), (5, 3), (7, 2)]) {
        println!("SIM_SEED={seed}, {nodes} nodes, {shards} shards");
        judge(stormy(seed, nodes, shards)).unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn promises_hold_for_those_who_have_no_queue() {
    all_hold(4, &FLEETS, listening);
}

#[test]
fn a_leader_that_nobody_follows_promises_nothing() {
    all_hold(4, &[(3, 1), (3, 2)], stale);
}

#[test]
fn disks_that_only_say_they_have_synced_are_caught() {
    // Not by each seed: what one node has lost is with two others as a rule.
    let lies = |seed: &u64| {
        let (crash_every, work) = (Some(4 * SECOND), 12 * SECOND);
        let lying = Setup { lying_disk: true, crash_every, work, ..calm(*seed, 3, 2) };
        !run(lying).judge(Some(fleet::GROUP)).wrong.is_empty()
    };
    assert_eq!((1..=8).filter(lies).take(2).count(), 2);
}

/// A rule that is left out, the kind of day on which that is noticed by one of the first so many seeds, and what is said then.
type Mutant = (Without, fn(u64, u16, u16) -> Setup, u64, &'static str);

/// Nodes stand still again and again, and what they say to each other comes late.
fn standing_still(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup { pause_every: Some(2 * SECOND), disorder: true, ..calm(seed, nodes, shards) }
}

/// What the clocks of nodes say is seconds apart.
fn by_their_clocks(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup { clocks: Clocks::Apart, ..stormy(seed, nodes, shards) }
}

/// Not among them, and told step by step in `actors/src/shard/tests`:
///
/// - `Proof` and `LaterProof` (`several.rs`). Without the one a leader that nobody follows would lie for a few hundred
///   milliseconds, which no few seeds meet: nor did sixty cuts of single nodes, among Clients that did nothing but subscribe
///   and publish. Without the other it lies while answers that were given before are on their way.
/// - `Receipt` and `GivenUp` (`schedules/links.rs`). A node has to live while its link does not, for as long as it is given up.
/// - `Again` (`giving.rs`). A leader has to go in the millisecond between a record and what it causes.
/// - `Late` (`late_connects.rs`). A CONNECT has to be on its way for longer than its Client takes to come to another node, and
///   what is said behind it for longer than its record takes.
/// - `HeardLed` (`moving.rs`). A node has to lose a slot and to lead it again while two messages of one publisher are on one
///   channel to it,
///   one before that and one after: elections take hundreds of times as long as that, and a hand-over back takes a second.
const MUTANTS: [Mutant; 13] = [
    (Without::Resend, stormy, 40, "was acknowledged and never reached"),
    (Without::Leave, stormy, 40, "was acknowledged and never reached"),
    (Without::Owner, stormy, 60, "that another had taken over"),
    (Without::Steps, stormy, 4, "Clients that still wait"),
    (Without::Attempt, stormy, 5, "PUBCOMP"),
    (Without::Known, listening, 10, "exactly once"),
    (Without::TurnAway, standing_still, 60, "for the first time after"),
    (Without::Commit, stormy, 40, "was acknowledged and never reached"),
    (Without::Number, stormy, 40, "exactly once"),
    (Without::Routes, stormy, 10, "was acknowledged and never reached"),
    (Without::Fence, stormy, 40, "taken over"),
    (Without::Dup, stormy, 10, "without DUP"),
    (Without::LogOrder, by_their_clocks, 40, "6 Retained"),
];

#[test]
fn a_rule_of_fleets_that_is_left_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for (without, day, seeds, what) in MUTANTS {
        let notices = |seed: &u64| {
            let outcome = run(Setup { without, ..day(*seed, 3, 2) });
            outcome.judge(Some(fleet::GROUP)).wrong.iter().any(|said| said.contains(what))
        };
        // Some of them take a leader that was asked at the right moment.
        let noticed = (1..=seeds).find(notices);
        println!("without {without:?}: noticed by seed {noticed:?}");
        let Some(noticed) = noticed else {
            unnoticed.push((without, what));
            continue;
        };
        for seed in 1..=noticed {
            judge(day(seed, 3, 2)).unwrap_or_else(|said| panic!("with all rules: {said}"));
        }
    }
    assert!(unnoticed.is_empty(), "these are noticed by nobody: {unnoticed:?}");
}

#[test]
fn one_seed_makes_one_history_of_a_fleet() {
    let once = |seed| run(stormy(seed, 3, 2));
    let (first, second) = (once(7), once(7));
    assert_eq!(first.log.events, second.log.events);
    assert_eq!(first.trace, second.trace);
    assert_ne!(first.trace, once(8).trace);
}
