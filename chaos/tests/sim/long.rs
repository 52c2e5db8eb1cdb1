//! Days of every kind, as many as there is time for: what befell fleets in them, and what was judged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use convoy_chaos::invariant::census::Census;
use convoy_chaos::sim::clock::SECOND;
use convoy_chaos::sim::node_clock::Clocks;
use convoy_chaos::sim::{Setup, strike};

use super::several::{calm, forgetful, often_cut, stale, stormy};
use super::{judge, seeds};

/// The name of a kind of day, and what it is for a seed.
type Day = (&'static str, fn(u64, u16, u16) -> Setup);

const DAYS: [Day; 8] = [
    ("stormy", stormy),
    ("forgetful", forgetful),
    ("stale leaders", stale),
    // For longer than this the queue of who reads slowly may be full.
    ("cut", |seed, nodes, shards| Setup { work: 14 * SECOND, ..often_cut(seed, nodes, shards) }),
    ("crashing", |seed, nodes, shards| Setup {
        crash_every: Some(3 * SECOND),
        clocks: Clocks::Apart,
        ..calm(seed, nodes, shards)
    }),
    ("standing still", |seed, nodes, shards| Setup {
        pause_every: Some(3 * SECOND),
        clocks: Clocks::Near,
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    }),
    ("hurt disks", |seed, nodes, shards| Setup {
        hurt_every: Some(2 * SECOND),
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    }),
    ("hurt disks and crashes", |seed, nodes, shards| Setup {
        hurt_every: Some(3 * SECOND),
        crash_every: Some(4 * SECOND),
        clocks: Clocks::Near,
        disorder: true,
        work: 14 * SECOND,
        ..calm(seed, nodes, shards)
    }),
];

const FLEETS: [(u16, u16); 4] = [(3, 1), (3, 2), (5, 3), (4, 2)];

#[derive(Default)]
struct Sum {
    days: usize,
    lasted: Duration,
    struck: BTreeMap<&'static str, usize>,
    census: Census,
    copies: u64,
    refused: [usize; 2],
    damaged: usize,
    failed: Vec<String>,
}

impl Sum {
    fn add(&mut self, name: &str, setup: Setup) {
        self.days += 1;
        match judge(setup) {
            Ok((verdict, _)) => {
                self.lasted += verdict.lasted;
                verdict.struck.iter().for_each(|(_, of)| *self.struck.entry(of.kind()).or_default() += 1);
                self.census.merge(&verdict.census);
                self.copies += verdict.copies;
                self.damaged += verdict.damaged.len();
                self.refused = [0, 1].map(|of| self.refused[of] + verdict.refused[of]);
            }
            Err(said) => {
                println!("{name}: {said}");
                self.failed.push(format!("{name}: {}", said.lines().next().unwrap_or_default()));
            }
        }
    }

    fn tell(&self, took: Duration) {
        let hours = |of: Duration| of.as_secs_f64() / 3600.0;
        println!(
            "{} days, {:.2} simulated hours in {:.3} real hours, {:.0} times as fast; {} failed",
            self.days,
            hours(self.lasted),
            hours(took),
            self.lasted.as_secs_f64() / took.as_secs_f64(),
            self.failed.len()
        );
        println!("faults:");
        for kind in strike::KINDS {
            println!("    {:>10}  {kind}", self.struck.get(kind).copied().unwrap_or(0));
        }
        println!("    {:>10}  copies of slots put in force", self.copies);
        println!("    {:>10}  rows damaged; {:?} refused at the start, or met", self.damaged, self.refused);
        println!("judged:\n{}", self.census);
        self.failed.iter().for_each(|said| println!("failed: {said}"));
    }
}

#[test]
fn promises_hold_on_days_of_every_kind() {
    let (mut sum, began) = (Sum::default(), Instant::now());
    for seed in seeds(1) {
        for (place, (name, day)) in DAYS.iter().enumerate() {
            let (nodes, shards) = FLEETS[(seed as usize + place) % FLEETS.len()];
            sum.add(name, day(seed, nodes, shards));
        }
        // A long run may be ended at any time, and has said then what it found.
        if seed % 50 == 0 {
            sum.tell(began.elapsed());
        }
    }
    sum.tell(began.elapsed());
    assert!(sum.failed.is_empty(), "{} days failed\n{}", sum.failed.len(), sum.failed.join("\n"));
    let happened = |kind: &&&str| sum.struck.contains_key(**kind);
    let never: Vec<_> = strike::KINDS.iter().filter(|kind| !happened(kind)).collect();
    let idle = (sum.census.idle(), never);
    assert!(
        sum.days < 40 || idle == (vec![], vec![]),
        "nothing was judged by these, or they never happened: {idle:?}"
    );
}
