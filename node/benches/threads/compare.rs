//! The comparison: which loads, in which order, and what the figures of a row are.

use serde_json::Value;

use super::Failure;
use super::process::{Relay, itself, pinned};

/// What clients do, in the words of mqload.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub mode: &'a str,
    pub pubs: usize,
    pub subs: usize,
    pub qos: u8,
}

struct Scenario {
    name: &'static str,
    mode: &'static str,
    pubs: usize,
    subs: usize,
    /// On one core nothing crosses: a scenario that is about crossing says nothing there.
    one_core: bool,
}

/// Subscribers connect first, then publishers, and shards are dealt connections in turn: of an even number of pairs each
/// has both ends on one shard, of an odd number none has.
const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "pairs", mode: "pairs", pubs: 50, subs: 50, one_core: true },
    Scenario { name: "pairs, all crossing", mode: "pairs", pubs: 51, subs: 51, one_core: false },
    Scenario { name: "fan-in 50 to 1", mode: "fanin", pubs: 50, subs: 1, one_core: true },
    Scenario { name: "fan-out 1 to 50", mode: "fanout", pubs: 1, subs: 50, one_core: true },
];

/// Messages of one publisher that have not arrived everywhere yet.
pub const WINDOW: usize = 20;

struct Bench {
    rounds: usize,
    seconds: u64,
    mqload: Option<String>,
}

struct Figures {
    cpu_us: f64,
    per_second: f64,
    /// The share of deliveries that went to another shard.
    crossed: f64,
}

pub fn compare() -> Result<(), Failure> {
    let number = |name: &str, default| std::env::var(name).map_or(Ok(default), |text| text.parse::<u64>());
    let bench = Bench {
        rounds: number("ROUNDS", 5)? as usize,
        seconds: number("SECONDS", 2)?.max(1),
        mqload: std::env::var("MQLOAD").ok(),
    };
    println!(
        "{} rounds of {} s, driven by {}",
        bench.rounds,
        bench.seconds,
        bench.mqload.as_deref().unwrap_or("itself")
    );
    println!(
        "CPU in µs a message delivered: median (least). Ratios are of neighbours: median (least to most)."
    );
    for cores in [1, 2] {
        let mut variants = vec!["shards", "stealing"];
        if cores == 1 && bench.mqload.is_some() {
            variants.push("floor");
        }
        println!(
            "\n| {cores} core{} | QoS | {} | stealing ÷ shards | messages/s, stealing ÷ shards | crossed |",
            if cores == 1 { "" } else { "s, shared with the generator" },
            variants.join(" | ")
        );
        println!("|{}", " --- |".repeat(5 + variants.len()));
        for scenario in SCENARIOS.iter().filter(|scenario| cores == 2 || scenario.one_core) {
            for qos in [0, 1] {
                bench.row(scenario, qos, cores, &variants)?;
            }
        }
    }
    Ok(())
}

impl Bench {
    fn row(&self, scenario: &Scenario, qos: u8, cores: usize, variants: &[&str]) -> Result<(), Failure> {
        let load = Load { mode: scenario.mode, pubs: scenario.pubs, subs: scenario.subs, qos };
        let mut runs: Vec<Vec<Figures>> = variants.iter().map(|_| Vec::new()).collect();
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..variants.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                runs[at].push(self.run(&load, variants[at], cores)?);
            }
        }
        let costs = runs.iter().map(|runs| {
            let cost = Spread::of(runs.iter().map(|run| run.cpu_us));
            format!("{:.2} ({:.2})", cost.median, cost.least)
        });
        let ratio = |figure: fn(&Figures) -> f64| {
            let ratio = Spread::of(
                runs[0].iter().zip(&runs[1]).map(|(shards, stealing)| figure(stealing) / figure(shards)),
            );
            format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most)
        };
        println!(
            "| {} | {qos} | {} | {} | {} | {:.0} % |",
            scenario.name,
            costs.collect::<Vec<_>>().join(" | "),
            ratio(|run| run.cpu_us),
            ratio(|run| run.per_second),
            100.0 * Spread::of(runs[0].iter().map(|run| run.crossed)).median,
        );
        Ok(())
    }

    /// A fresh relay, loaded once.
    fn run(&self, load: &Load<'_>, variant: &str, cores: usize) -> Result<Figures, Failure> {
        let (relay_on, generator_on) = if cores == 1 { ("0", "1") } else { ("0,1", "0,1") };
        let relay = match (&self.mqload, variant) {
            (Some(mqload), "floor") => Relay::floor(mqload, relay_on)?,
            _ => Relay::start(variant, cores, relay_on)?,
        };
        let (port, pid) = (relay.port.to_string(), relay.child.id().to_string());
        let (pubs, subs, qos) = (load.pubs.to_string(), load.subs.to_string(), load.qos.to_string());
        let seconds = self.seconds.to_string();
        let output = match &self.mqload {
            Some(mqload) => pinned(generator_on, mqload)
                .args([load.mode, "--pubs", &pubs, "--subs", &subs, "--qos", &qos, "--port", &port])
                .args(["--broker-pid", &pid, "--duration", &seconds, "--warmup", "0.5", "--conc", "1"])
                .args(["--window", &WINDOW.to_string()])
                .output()?,
            None => pinned(generator_on, &itself()?)
                .args(["generate", load.mode, &pubs, &subs, &qos, &port, &pid, &seconds])
                .output()?,
        };
        if !output.status.success() {
            return Err(
                format!("{} on {variant}: {}", load.mode, String::from_utf8_lossy(&output.stderr)).into()
            );
        }
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let figure = |name: &str| report[name].as_f64().ok_or(format!("no {name} in the generator's report"));
        let crossed = relay.end()?;
        Ok(Figures {
            cpu_us: figure("broker_cpu_us_per_msg")?,
            per_second: figure("msgs_per_s")?,
            crossed: crossed as f64 / figure("delivered")?,
        })
    }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = figures.collect();
        all.sort_by(f64::total_cmp);
        Self { least: all[0], median: all[all.len() / 2], most: all[all.len() - 1] }
    }
}
