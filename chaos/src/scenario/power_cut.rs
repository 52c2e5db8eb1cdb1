//! The power goes while messages flow, again and again: what was acknowledged is there when it is back.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::Report;
use super::load::{Crowd, Load};
use crate::fault::Lacking;
use crate::fault::power::Disk;
use crate::fleet::{Node, Program};
use crate::invariant::{Tally, power_loss};
use crate::oracle::{Fault, History, Ledger};
use crate::sim::seed::Seed;

const DISK_BYTES: u64 = 4 << 30;

#[derive(Clone, Debug)]
pub struct Options {
    pub seed: Seed,
    pub cuts: usize,
    pub crowd: Crowd,
}

/// `Ok(Err(_))`: this machine cannot cut the power.
pub async fn run(
    program: Program,
    folder: &Path,
    options: &Options,
) -> anyhow::Result<Result<Report, Lacking>> {
    let began = Instant::now();
    let mut disk = match Disk::new(folder, DISK_BYTES) {
        Ok(disk) => disk,
        Err(lacking) => return Ok(Err(lacking)),
    };
    let history = History::new();
    let mut chance = options.seed.stream("cuts");
    let mut node =
        Node::new(program, &disk.path().join("data"), &folder.join("aside"), &history)?.with_listeners()?;
    let mut starts = vec![node.start().await?];
    let load = Load::start(node.places(), &history, options.seed, options.crowd).await;
    for cut in 0..options.cuts {
        sleep(chance.millis(1500, 4000)).await;
        history.fault(Fault::PowerCut);
        // The processor stops before the disk does, as with a loss of power: what was acknowledged up to here counts.
        // ext4's shutdown does not keep the promise of a sync that is under way when it begins: a program that did
        // nothing but append 700 bytes and fdatasync was told of success in 7 of 200 cuts although the bytes were not in
        // the image afterwards. No disk that loses its power answers like that, since nobody is left to hear it.
        node.pause();
        if let Err(lacking) = disk.cut() {
            return Ok(Err(lacking));
        }
        node.reap().await;
        disk.power_off();
        disk.power_on()
            .map_err(|lacking| anyhow::anyhow!("{lacking}"))
            .with_context(|| format!("mounting after cut {cut}"))?;
        starts.push(node.start().await?);
    }
    sleep(Duration::from_secs(2)).await;
    history.fault(Fault::Healed);
    let mut violations = load.rest().await;
    history.fault(Fault::Healed);
    node.reap().await;

    let ledger = Ledger::of(history.events());
    violations.extend(power_loss::check(&ledger));
    super::keep_history(folder, &ledger, &violations);
    let tally = Tally::of(&ledger);
    Ok(Ok(Report {
        story: "power cut",
        seed: options.seed,
        tally,
        violations,
        starts,
        took: began.elapsed(),
    }))
}
