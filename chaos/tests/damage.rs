//! Proves: a flipped bit on disk is refused and named. It is never delivered, and nothing vanishes without a word.

mod common;

use convoy_chaos::scenario::damage::{Outcome, Target, meet, run};

async fn damaged(test: &str, target: Target) {
    let seed = common::seed(test);
    let folder = common::folder();
    // Records that are applied are read by nobody: about every other bit of a table is of no consequence.
    let rounds = common::number("CHAOS_DAMAGES", 10);
    let (report, outcomes) = match run(common::broker(), folder.path(), seed, target, rounds).await {
        Ok(done) => done,
        Err(error) => panic!("CHAOS_SEED={}: {error:?}", seed.0),
    };
    println!("{report}{outcomes:?}");
    report.assert_kept();
    assert!(
        outcomes.iter().any(|outcome| *outcome != Outcome::Harmless),
        "no bit was of any consequence, which proves nothing: CHAOS_SEED={}",
        seed.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_log_is_refused_and_named() {
    damaged("damaged_log_is_refused_and_named", Target::Log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_table_is_refused_and_named() {
    damaged("damaged_table_is_refused_and_named", Target::Table).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_a_compaction_meets_is_named_and_not_met_again() {
    let folder = common::folder();
    match meet(common::broker(), folder.path()).await {
        Ok(met) => println!("{met:?}"),
        Err(error) => panic!("{error:?}"),
    }
}
