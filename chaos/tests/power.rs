//! Proves: what was acknowledged is on the disk and not merely on its way there. After a cut only synced bytes are left.

mod common;

use convoy_chaos::fault::skipped;
use convoy_chaos::scenario::load::Crowd;
use convoy_chaos::scenario::power_cut::{Options, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_power_cuts() {
    let seed = common::seed("power");
    let folder = common::folder();
    let cuts = common::number("CHAOS_CUTS", 6) as usize;
    let options = Options { seed, cuts, crowd: Crowd::default() };
    let report = match run(common::broker(), folder.path(), &options).await {
        Ok(Ok(report)) => report,
        Ok(Err(lacking)) => return skipped("nothing_acknowledged_is_lost_by_power_cuts", &lacking),
        Err(error) => panic!("CHAOS_SEED={}: {error:?}", seed.0),
    };
    println!("{report}");
    if !report.violations.is_empty() {
        println!("kept: {}", folder.keep().display());
    }
    report.assert_kept();
    assert_eq!(report.tally.crashes, cuts, "every cut took place");
}
