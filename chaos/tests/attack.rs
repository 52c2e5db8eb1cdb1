//! Proves: no Client and no stranger takes the node's memory, its descriptors or others' time, in 1 GiB of address space
//! and with 1,024 descriptors. Prints a table; each row has a limit, and fails above it. `CHAOS_ATTACKS=will,flood` runs the
//! rows whose names contain one of these.

mod common;

use std::sync::Arc;

use convoy_chaos::scenario::attack::{ALL, Attack, CONTROLS, MEASURES, Row};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Each attack is measured alone: of two, the one is charged with what the other does.
const AT_ONCE: usize = 1;

async fn table(attacks: &'static [Attack]) -> Vec<Row> {
    let wanted = std::env::var("CHAOS_ATTACKS").unwrap_or_default();
    let is_wanted =
        |attack: &&Attack| wanted.is_empty() || wanted.split(',').any(|part| attack.name.contains(part));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (at, attack) in attacks.iter().filter(is_wanted).enumerate() {
        let places = places.clone();
        running.spawn(async move {
            let _place = places.acquire_owned().await.expect("it is never closed");
            let row = attack.fight(common::broker()).await;
            (at, row.unwrap_or_else(|error| panic!("{}: {error:#}", attack.name)))
        });
    }
    let mut rows = running.join_all().await;
    rows.sort_unstable_by_key(|(at, _)| *at);
    println!("{}", Row::HEAD);
    rows.iter().for_each(|(_, row)| println!("{row}"));
    rows.into_iter().map(|(_, row)| row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_is_held_within_its_limit() {
    let rows = table(ALL).await;
    let is_broken = |row: &&Row| row.known_open.is_none() && !row.faults().is_empty();
    let broken: Vec<_> = rows.iter().filter(is_broken).map(|row| row.name).collect();
    assert!(broken.is_empty(), "the attacks {broken:?} are not held");
}

/// Without it the table could be made of rows that nothing fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_fails_where_its_bound_is_off_or_the_node_stands_still() {
    for row in table(CONTROLS).await {
        assert!(!row.faults().is_empty(), "{row}");
    }
}

/// Without it a row could tell of the attackers what it should tell of the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_wait_for_the_node_and_not_for_those_who_attack_it() {
    for row in table(MEASURES).await {
        assert_eq!(row.faults(), [""; 0], "{row}");
    }
}
