//! Bits flip in the files of a node that is down. The start refuses, or what is damaged is refused and named: it is never
//! served, and never left out without a word.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use convoy_wire::ProtocolVersion;
use tokio::time::Instant;

use super::Report;
use crate::client::Client;
use crate::fault::damage;
use crate::fleet::{Node, Program, StartError};
use crate::invariant::{self, Tally, Violation};
use crate::oracle::{Fault, History, Ledger, Message, Name, Qos, Retain, Terms};
use crate::sim::seed::Seed;

/// Where the damage is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The engine's write-ahead log, as kill -9 leaves it.
    Log,
    /// Its tables: its buffers are small, and were written out.
    Table,
}

/// More than the engine's smallest buffer holds, so that some of it lies in tables.
const QUEUED: u64 = 800;
const PAYLOAD_BYTES: usize = 4000;
const RETAINED: usize = 20;
/// What the node's words have to contain to count as naming damage.
const NAMED: [&str; 4] = ["corrupt", "damage", "checksum", "mismatch"];

/// What became of one damaged copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    StartRefused,
    /// It started, and everything was there: the bit was of no consequence.
    Harmless,
    /// It started, and refused what was damaged.
    RecordRefused,
}

/// Damages `rounds` copies of one node's data, each in another place.
pub async fn run(
    program: Program,
    folder: &Path,
    seed: Seed,
    target: Target,
    rounds: u64,
) -> anyhow::Result<(Report, Vec<Outcome>)> {
    let began = Instant::now();
    let history = History::new();
    let whole = folder.join("whole");
    prepare(&program, &whole, folder, &history, target).await?;
    let before = history.len();
    let mut report = Report {
        story: "damage",
        seed,
        tally: Tally::default(),
        violations: Vec::new(),
        starts: Vec::new(),
        took: Duration::ZERO,
    };
    let mut outcomes = Vec::new();
    // The first copy is left whole: a node that refuses it refuses copies, and not damage.
    for round in 0..=rounds {
        let copy = folder.join(format!("copy-{round}"));
        copy_folder(&whole, &copy)?;
        let places = if round == 0 { Vec::new() } else { flip(&copy, seed, target, round)? };
        let aside = folder.join(format!("aside-{round}"));
        // Each copy begins where the history stood when the node went down.
        let history = History::resumed(&history.events()[..before]);
        let mut node = Node::new(program.clone(), &copy, &aside, &history)?;
        let outcome = judge(&mut node, &history, &mut report).await;
        let outcome =
            outcome.with_context(|| format!("damage at {places:?}; the node said:\n{}", node.stderr()))?;
        node.reap().await;
        if round == 0 {
            ensure!(outcome == Outcome::Harmless, "an undamaged copy: {outcome:?}");
        } else {
            outcomes.push(outcome);
        }
        fs::remove_dir_all(&copy)?;
    }
    report.took = began.elapsed();
    Ok((report, outcomes))
}

/// A van that is away with a full queue, and a few Retained Messages.
async fn prepare(
    program: &Program,
    data: &Path,
    folder: &Path,
    history: &History,
    target: Target,
) -> anyhow::Result<()> {
    let mut node = Node::new(program.clone(), data, &folder.join("aside"), history)?;
    if target == Target::Table {
        node = node.with_setting("CONVOY_STORAGE__WRITE_BUFFER_BYTES", &(1 << 20).to_string());
    }
    node.start().await?;
    let mut van = Client::new("van", ProtocolVersion::V5, node.mqtt(), history);
    van.connect(Terms::lasting()).await?;
    van.subscribe("cmd/#", Qos::AtLeastOnce).await?;
    van.disconnect().await;
    let mut desk =
        Client::new("desk", ProtocolVersion::V5, node.mqtt(), history).with_payload_bytes(PAYLOAD_BYTES);
    desk.connect(Terms::lasting()).await?;
    for _ in 0..QUEUED {
        desk.publish("cmd/desk", Qos::AtLeastOnce, Retain::No).await?;
    }
    for at in 0..RETAINED {
        desk.publish(&door(at), Qos::AtLeastOnce, Retain::Set).await?;
    }
    ensure!(desk.settle(Instant::now() + Duration::from_secs(20)).await?, "publishes were not answered");
    desk.disconnect().await;
    node.kill().await;
    Ok(())
}

fn door(at: usize) -> String {
    format!("door/{at}")
}

/// Flips bits: in a payload that can be found, by turns with a place drawn anywhere in the first part of the largest file.
/// Its end is left alone: there a half-written record is what every crash leaves, and no damage.
fn flip(data: &Path, seed: Seed, target: Target, round: u64) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut chance = seed.stream(&format!("damage-{target:?}-{round}"));
    let suffixes: &[&str] = match target {
        Target::Log => &[".log"],
        Target::Table => &[".sst"],
    };
    let mut files = damage::files(data, suffixes)?;
    ensure!(!files.is_empty(), "there is no file of {suffixes:?} under {}", data.display());
    files.sort_by_key(|file| fs::metadata(file).map_or(0, |metadata| metadata.len()));
    if round % 2 == 0 {
        let desk: Name = "desk".into();
        let message =
            Message::new(&desk, &"cmd/desk".into(), Qos::AtLeastOnce, chance.between(10, QUEUED / 2));
        let needle = message.payload(0);
        for file in files.iter().rev() {
            if let Some(at) = damage::find(file, &needle)? {
                let place = at + needle.len() + 10;
                damage::flip_at(file, place, chance.below(8) as u8)?;
                return Ok(vec![(file.clone(), place as u64)]);
            }
        }
        // Compressed: then any place will do.
    }
    let file = files.last().expect("there is one");
    let places = damage::flip(file, 3, (5, 70), &mut chance)?;
    Ok(places.into_iter().map(|place| (file.clone(), place)).collect())
}

async fn judge(node: &mut Node, history: &History, report: &mut Report) -> anyhow::Result<Outcome> {
    match node.start().await {
        Ok(took) => report.starts.push(took),
        Err(StartError::Exited { stderr, status }) => {
            ensure!(names_damage(&stderr), "the start was refused ({status}) without naming the damage");
            return Ok(Outcome::StartRefused);
        }
        Err(error) => return Err(error.into()),
    }
    let mut van = Client::new("van", ProtocolVersion::V5, node.mqtt(), history);
    // A refused CONNECT, or a connection that is closed in the middle, is a way to refuse a damaged Session.
    if van.connect(Terms::lasting()).await.is_ok() {
        while let Ok(true) = van.step(Instant::now() + Duration::from_millis(1200)).await {}
    }
    let mut reader = Client::new("reader", ProtocolVersion::V5, node.mqtt(), history);
    if reader.connect(Terms::clean()).await.is_ok() {
        let quiet = reader.subscribe("door/+", Qos::AtLeastOnce).await;
        while quiet.is_ok()
            && matches!(reader.step(Instant::now() + Duration::from_millis(800)).await, Ok(true))
        {}
    }
    drop((van, reader));
    history.fault(Fault::Healed);

    let ledger = Ledger::of(history.events());
    report.violations.extend(invariant::strange::check(&ledger));
    // What is missing has to be said. The order holds among what is left.
    report.violations.extend(invariant::order::check(&ledger));
    let lost = invariant::no_acknowledged_loss::check(&ledger);
    let doors =
        ledger.lives.iter().flat_map(|life| &life.deliveries).filter(|delivery| delivery.retained).count();
    let named = names_damage(&node.stderr());
    let tally = Tally::of(&ledger);
    report.tally.delivered += tally.delivered;
    if lost.is_empty() && doors == RETAINED {
        return Ok(Outcome::Harmless);
    }
    if !named {
        report.violations.push(Violation {
            invariant: "13 nothing damaged is served",
            at: ledger.events.len(),
            said: format!(
                "{} of {QUEUED} queued and {} of {RETAINED} Retained Messages are missing, and the node said nothing about damage",
                lost.len(),
                RETAINED - doors.min(RETAINED)
            ),
        });
    }
    Ok(Outcome::RecordRefused)
}

fn names_damage(said: &str) -> bool {
    let said = said.to_lowercase();
    NAMED.iter().any(|word| said.contains(word))
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    Ok(())
}
