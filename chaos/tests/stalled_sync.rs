//! Proves: while a disk does not answer, what was held for Clients that have left is given back.

mod common;

use convoy_chaos::fault::skipped;
use convoy_chaos::scenario::stalled_sync::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_while_a_sync_stalls_holds_nothing() {
    let folder = common::folder();
    match run(common::broker(), folder.path()).await {
        Ok(Ok(told)) => println!("{told:?}"),
        Ok(Err(lacking)) => skipped("who_leaves_while_a_sync_stalls_holds_nothing", &lacking),
        Err(error) => panic!("{error:?}"),
    }
}
