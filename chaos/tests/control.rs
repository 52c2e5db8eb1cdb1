//! Proves: the suite finds what it looks for. A broker that keeps everything in memory until it feels like writing is
//! killed under the same load, and its losses have to be seen. (Debian's mosquitto, whose default
//! is to save every half hour: an honest broker that promises less.)

mod common;

use std::time::Duration;

use convoy_chaos::fault::{Lacking, skipped};
use convoy_chaos::fleet::{Program, StartError};
use convoy_chaos::scenario::durability::{Options, run};
use convoy_chaos::scenario::load::Crowd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_forgets_is_condemned() {
    let seed = common::seed("control");
    let folder = common::folder();
    let mut options = Options::new(seed, Duration::from_secs(8));
    options.crowd = Crowd {
        desks: 2,
        couriers: 0,
        vans: 2,
        readers: 0,
        guests: 0,
        doors: 2,
        wagons: 0,
        watchers: 1,
        foremen: 1,
        members: 6,
        clocks: 0,
        sleepers: 0,
        hoses: 0,
        tanks: 0,
    };
    let report = match run(Program::Mosquitto, folder.path(), &options).await {
        Ok(report) => report,
        Err(StartError::Spawn(error)) => {
            let lacking = Lacking { what: "mosquitto", why: error.to_string() };
            return skipped("broker_that_forgets_is_condemned", &lacking);
        }
        Err(error) => panic!("{error}"),
    };
    for promise in ["1 no acknowledged loss", "5 Session Present", "8 Shared Subscription"] {
        assert!(
            report.violations.iter().any(|violation| violation.invariant == promise),
            "{promise} was not seen broken: {report}"
        );
    }
}
