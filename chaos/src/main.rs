//! `chaos STORY`: runs a story of the suite for as long as one likes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use convoy_chaos::fleet::Program;
use convoy_chaos::scenario::damage::{self, Target};
use convoy_chaos::scenario::disk_full::{self, Depth};
use convoy_chaos::scenario::load::Crowd;
use convoy_chaos::scenario::{Report, durability, power_cut};
use convoy_chaos::sim::seed::Seed;

const USAGE: &str = "usage: chaos durability [--seconds N] [--seed N] [--keep FOLDER] [--no-faults]
       chaos power      [--cuts N]    [--seed N] [--keep FOLDER]
       chaos disk-full  [--to-the-last-byte]
       chaos damage     [--rounds N]  [--seed N]

The broker is the one that CONVOY_BIN names. The same seed makes the same choices.";

struct Asked {
    story: String,
    seconds: u64,
    cuts: usize,
    rounds: u64,
    depth: Depth,
    seed: Seed,
    keep: Option<PathBuf>,
    faults: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let asked = match parse(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    let temporary = tempfile::tempdir().context("a temporary folder")?;
    let folder = asked.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    eprintln!("{} with seed {}", asked.story, asked.seed.0);
    let report = run(&asked, folder).await?;
    println!("{report}");
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(asked: &Asked, folder: &std::path::Path) -> anyhow::Result<Report> {
    match asked.story.as_str() {
        "durability" => {
            let mut options = durability::Options::new(asked.seed, Duration::from_secs(asked.seconds));
            options.faults = asked.faults;
            Ok(durability::run(Program::from_env()?, folder, &options).await?)
        }
        "disk-full" => match disk_full::run(Program::from_env()?, folder, asked.seed, asked.depth).await? {
            Ok(report) => Ok(report),
            Err(lacking) => bail!("this machine lacks {lacking}"),
        },
        "damage" => {
            let program = Program::from_env()?;
            let (log, table) = (folder.join("log"), folder.join("table"));
            let (mut report, in_log) =
                damage::run(program.clone(), &log, asked.seed, Target::Log, asked.rounds).await?;
            let (other, in_tables) =
                damage::run(program, &table, asked.seed, Target::Table, asked.rounds).await?;
            report.join(other);
            println!("in the log: {in_log:?}\nin tables: {in_tables:?}");
            Ok(report)
        }
        "power" => {
            let options = power_cut::Options { seed: asked.seed, cuts: asked.cuts, crowd: Crowd::default() };
            match power_cut::run(Program::from_env()?, folder, &options).await? {
                Ok(report) => Ok(report),
                Err(lacking) => bail!("this machine lacks {lacking}"),
            }
        }
        other => bail!("there is no story called {other}\n{USAGE}"),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Asked> {
    let story = words.next().context("which story?")?;
    let mut asked = Asked {
        story,
        seconds: 60,
        cuts: 10,
        rounds: 20,
        depth: Depth::Reserve,
        seed: Seed::from_env(),
        keep: None,
        faults: true,
    };
    while let Some(flag) = words.next() {
        let mut value = || words.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--seconds" => asked.seconds = value()?.parse().context("--seconds takes a whole number")?,
            "--cuts" => asked.cuts = value()?.parse().context("--cuts takes a whole number")?,
            "--seed" => asked.seed = Seed(value()?.parse().context("--seed takes a whole number")?),
            "--keep" => asked.keep = Some(value()?.into()),
            "--rounds" => asked.rounds = value()?.parse().context("--rounds takes a whole number")?,
            "--to-the-last-byte" => asked.depth = Depth::Nothing,
            "--no-faults" => asked.faults = false,
            _ => bail!("unknown flag {flag}"),
        }
    }
    Ok(asked)
}
