//! Fleets whose replicas move: nodes come, are drained and leave, die and are replaced, lose their disks and come again, under
//! the faults that fleets have anyway. The promises are those of one node, and in the end every slot is where the ring says.

use convoy_actors::{CatchUp, Without};
use convoy_chaos::sim::client::Character;
use convoy_chaos::sim::clock::SECOND;
use convoy_chaos::sim::{Moving, Setup, run};

use super::{fleet, judge, seeds, setup};

/// Those who take little at a time fall behind in a day that is so long, and what falls out of their queues is no loss.
fn characters() -> Vec<Character> {
    let mut all = fleet::searching(fleet::everybody());
    all.iter_mut().for_each(|character| character.receive_maximum = None);
    all
}

/// A fleet that begins with three nodes, and has places for more.
fn calm(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup {
        nodes,
        moving: Some(Moving { founders: 3, every: 2 * SECOND, replaces_after: None }),
        characters: characters(),
        work: 20 * SECOND,
        ..setup(seed, shards)
    }
}

fn stormy(seed: u64, nodes: u16, shards: u16) -> Setup {
    Setup {
        crash_every: Some(5 * SECOND),
        cut_every: Some(8 * SECOND),
        pause_every: Some(8 * SECOND),
        disorder: true,
        stalls: seed.is_multiple_of(2),
        work: 25 * SECOND,
        ..calm(seed, nodes, shards)
    }
}

/// Logs reach back to next to nothing: who comes gets a copy.
fn forgetful(seed: u64, nodes: u16, shards: u16) -> Setup {
    let catch_up = CatchUp { kept_log_bytes: 1 << 10, segment_entries: 4, piece_bytes: 1 << 10 };
    let mut characters = characters();
    characters.iter_mut().for_each(|character| character.hasty = false);
    Setup { catch_up, characters, ..stormy(seed, nodes, shards) }
}

/// Nobody says that a node is to be replaced.
fn unattended(seed: u64, nodes: u16, shards: u16) -> Setup {
    let moving = Moving { founders: 3, every: 2 * SECOND, replaces_after: Some(2 * SECOND) };
    Setup { moving: Some(moving), work: 40 * SECOND, ..stormy(seed, nodes, shards) }
}

/// The fleet begins with one node, and has three and more after a while.
fn growing(seed: u64, nodes: u16, shards: u16) -> Setup {
    let moving = Moving { founders: 1, every: 2 * SECOND, replaces_after: Some(2 * SECOND) };
    Setup { moving: Some(moving), work: 30 * SECOND, ..calm(seed, nodes, shards) }
}

/// What happened on some days.
#[derive(Default)]
struct Sum {
    moves: u64,
    copies: u64,
    replaced: u64,
}

/// Judges days of such fleets: how many replicas came and went.
fn all_hold(standard: u64, day: impl Fn(u64, u16, u16) -> Setup) -> Sum {
    let (mut failed, mut sum) = (Vec::new(), Sum::default());
    for seed in seeds(standard) {
        let (nodes, shards) = [(5, 1), (5, 2), (6, 3)][seed as usize % 3];
        match judge(day(seed, nodes, shards)) {
            Ok((verdict, _)) => {
                println!(
                    "SIM_SEED={seed}, {nodes} nodes, {shards} shards: {} moves, {} copies, {}",
                    verdict.moves, verdict.copies, verdict.tally
                );
                sum.moves += verdict.moves;
                sum.copies += verdict.copies;
                sum.replaced += verdict.replaced;
            }
            Err(said) => failed.push(said),
        }
    }
    assert!(failed.is_empty(), "{} runs failed\n{}", failed.len(), failed.join("\n"));
    sum
}

#[test]
fn promises_hold_while_nodes_come_and_go() {
    let Sum { moves, .. } = all_hold(1, calm);
    assert!(moves > 15, "{moves} moves");
}

#[test]
fn promises_hold_while_nodes_come_and_go_in_a_storm() {
    let Sum { moves, .. } = all_hold(2, stormy);
    assert!(moves > 15, "{moves} moves");
}

#[test]
fn promises_hold_where_who_comes_gets_a_copy() {
    let Sum { moves, copies, .. } = all_hold(2, forgetful);
    assert!(moves > 15 && copies > 15, "{moves} moves, {copies} copies");
}

#[test]
fn promises_hold_where_the_fleet_replaces_nodes_that_are_away_by_itself() {
    let Sum { moves, replaced, .. } = all_hold(3, unattended);
    assert!(moves > 15 && replaced > 0, "{moves} moves, {replaced} nodes replaced");
}

#[test]
fn promises_hold_while_a_fleet_of_one_node_grows() {
    let Sum { moves, .. } = all_hold(2, growing);
    assert!(moves > 15, "{moves} moves");
}

#[test]
fn a_rule_of_moves_that_is_left_out_is_noticed() {
    for without in [Without::NewNumbers, Without::OneBatch] {
        let notices = |seed| {
            let outcome = run(Setup { without, ..stormy(seed, 5, 2) });
            let found = outcome.judge(Some(fleet::GROUP)).wrong;
            println!("without {without:?}, SIM_SEED={seed}: {:?}", found.first());
            !found.is_empty()
        };
        // Some of them lose a disk, or die, at the right moment.
        assert!((7..=26).any(notices), "without {without:?}");
    }
}

#[test]
fn one_seed_makes_one_history_of_a_fleet_that_changes() {
    let once = |seed| run(Setup { work: 8 * SECOND, ..stormy(seed, 5, 2) });
    let (first, second) = (once(7), once(7));
    assert_eq!(first.log.events, second.log.events);
    assert_eq!(first.trace, second.trace);
}
