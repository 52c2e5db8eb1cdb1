//! Proves: a full disk is told to publishers and not to readers, and is over when there is room again.

mod common;

use convoy_chaos::fault::skipped;
use convoy_chaos::scenario::disk_full::{Depth, run, strangers};

async fn full(test: &str, depth: Depth) {
    let seed = common::seed(test);
    let folder = common::folder();
    match run(common::broker(), folder.path(), seed, depth).await {
        Ok(Ok(report)) => {
            println!("{report}");
            report.assert_kept();
            assert!(report.tally.refused > 0, "nobody was refused: {}", report.tally);
        }
        Ok(Err(lacking)) => skipped(test, &lacking),
        Err(error) => panic!("CHAOS_SEED={}: {error:?}", seed.0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_publishers_are_refused_and_readers_go_on() {
    full("below_the_reserve_publishers_are_refused_and_readers_go_on", Depth::Reserve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_one_byte_left_the_node_lives_and_recovers() {
    full("without_one_byte_left_the_node_lives_and_recovers", Depth::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_strangers_do_not_take_what_is_left() {
    let folder = common::folder();
    match strangers(common::broker(), folder.path()).await {
        Ok(Ok(told)) => println!("{told:?}"),
        Ok(Err(lacking)) => skipped("below_the_reserve_strangers_do_not_take_what_is_left", &lacking),
        Err(error) => panic!("{error:?}"),
    }
}
