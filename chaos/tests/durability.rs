//! Proves: whatever is acknowledged survives kill -9, at any moment, under load.

mod common;

use std::time::Duration;

use convoy_chaos::scenario::durability::{Options, run};

/// `CHAOS_SECONDS` sets how long, `CHAOS_SEED` replays the choices of a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9_in_a_loop() {
    let seed = common::seed("durability");
    let folder = common::folder();
    let time = Duration::from_secs(common::number("CHAOS_SECONDS", 60));
    let report = run(common::broker(), folder.path(), &Options::new(seed, time)).await;
    let report = report.unwrap_or_else(|error| panic!("CHAOS_SEED={}: {error}", seed.0));
    println!("{report}");
    if !report.violations.is_empty() {
        // To be looked into: history, log and data stay.
        println!("kept: {}", folder.keep().display());
    }
    report.assert_kept();

    let tally = &report.tally;
    assert!(tally.crashes > 0, "nothing was killed");
    assert!(tally.accepted[1] > 100 && tally.accepted[2] > 100, "too little was published to prove anything: {tally}");
    assert!(tally.resumed > 0 && tally.reads > 0 && tally.wills > 0, "a role did nothing: {tally}");
}
