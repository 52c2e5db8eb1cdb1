//! Bits flip in the files of a node that is down. The start refuses, or what is damaged is refused and named: it is never
//! served, and never left out without a word.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use convoy_wire::ProtocolVersion;
use tokio::time::Instant;

use super::Report;
use crate::client::Client;
use crate::fault::damage;
use crate::fleet::{Node, Program, StartError, http};
use crate::invariant::{self, Tally, Violation};
use crate::oracle::{Fault, History, Ledger, Message, Name, Qos, Retain, Terms, What};
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
    prepare(&program, &whole, folder, &history, target, (1, QUEUED)).await?;
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

/// Vans that are away with full queues, and a few Retained Messages.
async fn prepare(
    program: &Program,
    data: &Path,
    folder: &Path,
    history: &History,
    target: Target,
    (vans, queued): (usize, u64),
) -> anyhow::Result<()> {
    let mut node = Node::new(program.clone(), data, &folder.join("aside"), history)?;
    if target == Target::Table {
        node = node.with_setting("CONVOY_STORAGE__WRITE_BUFFER_BYTES", &(1 << 20).to_string());
    }
    // Their queues drop nothing, which would read them.
    node = node
        .with_setting("CONVOY_LIMITS__QUEUE_MESSAGES", "100000")
        .with_setting("CONVOY_LIMITS__QUEUE_BYTES", &(1_u64 << 30).to_string());
    node.start().await?;
    for at in 0..vans {
        let name = if at == 0 { "van".to_owned() } else { format!("van-{at}") };
        let mut van = Client::new(&name, ProtocolVersion::V5, node.mqtt(), history);
        van.connect(Terms::lasting()).await?;
        van.subscribe("cmd/#", Qos::AtLeastOnce).await?;
        van.disconnect().await;
    }
    let mut desk =
        Client::new("desk", ProtocolVersion::V5, node.mqtt(), history).with_payload_bytes(PAYLOAD_BYTES);
    desk.connect(Terms::lasting()).await?;
    for _ in 0..queued {
        desk.publish("cmd/desk", Qos::AtLeastOnce, Retain::No).await?;
    }
    for at in 0..RETAINED {
        desk.publish(&door(at), Qos::AtLeastOnce, Retain::Set).await?;
    }
    ensure!(desk.settle(Instant::now() + Duration::from_secs(20)).await?, "publishes were not answered");
    desk.disconnect().await;
    if vans > 1 {
        damage::quiet(data).await?;
    }
    node.kill().await;
    Ok(())
}

/// What a compaction that meets damage did to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Publications until the first refusal.
    pub accepted_before: u64,
    /// Those accepted after each of the next starts.
    pub accepted_after: Vec<u64>,
}

/// Publications after a restart: more than the first start took to meet the damage.
const AFTER: u64 = 400;

/// 16 bytes flip in a table, and a compaction meets them. Publishers are refused by the right name, QoS 0 goes on, and
/// the file is named: now, and after each of two more starts, which write on without meeting it again.
pub async fn meet(program: Program, folder: &Path) -> anyhow::Result<Met> {
    let history = History::new();
    let data = folder.join("data");
    // Their queues lie in many slots, so that each table reaches over all of them and compactions merge it.
    prepare(&program, &data, folder, &history, Target::Table, (20, 80)).await?;
    let file = damage::table_of(&data, "queue")?.context("no queue is in a table")?;
    damage::spoil(&file, 33, 16)?;
    let name = file.file_name().context("a file has a name")?.to_string_lossy().into_owned();
    let mut node = Node::new(program, &data, &folder.join("met"), &history)?
        .with_setting("CONVOY_STORAGE__WRITE_BUFFER_BYTES", &(1 << 20).to_string());
    let mut met = Met::default();
    match node.start().await {
        Ok(_) => {
            met.accepted_before = publish_on(&node, &history, 2_000).await?;
            ensure!(met.accepted_before < 2_000, "no compaction met the damage: {met:?}");
            let until = Instant::now() + Duration::from_secs(5);
            loop {
                let (status, body) = http::get(node.api(), "/readyz").await?;
                if status == 503 && body.contains(&name) && body.contains("slots") {
                    break;
                }
                ensure!(Instant::now() < until, "/readyz does not name {name}: {status}, {body}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // It was met before anybody was served: the process ends, and the next one knows.
        Err(StartError::Exited { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    ensure!(node.stderr().contains(&name), "the log does not name {name}:\n{}", node.stderr());
    for _ in 0..2 {
        node.reap().await;
        node.start_damaged().await?;
        let (_, body) = http::get(node.api(), "/readyz").await?;
        ensure!(body.contains(&name) && body.contains("slots"), "/readyz does not name {name}: {body}");
        met.accepted_after.push(publish_on(&node, &history, AFTER).await?);
    }
    node.reap().await;
    ensure!(met.accepted_after == [AFTER, AFTER], "the damage was met again: {met:?}");
    Ok(met)
}

/// Publishes for the van that is away until it is refused: how many were accepted. Then QoS 0 still goes through.
async fn publish_on(node: &Node, history: &History, limit: u64) -> anyhow::Result<u64> {
    let mut reader = Client::new("reader", ProtocolVersion::V5, node.mqtt(), history);
    reader.connect(Terms::clean()).await?;
    reader.subscribe("loose/#", Qos::AtMostOnce).await?;
    let mut desk =
        Client::new("desk", ProtocolVersion::V5, node.mqtt(), history).with_payload_bytes(PAYLOAD_BYTES);
    desk.connect(Terms::lasting()).await?;
    let mut accepted = 0;
    while accepted < limit {
        let before = history.len();
        let message = desk.publish("cmd/desk", Qos::AtLeastOnce, Retain::No).await?;
        ensure!(
            desk.settle(Instant::now() + Duration::from_secs(10)).await?,
            "{message} got no answer: neither accepted nor refused; the node said:
{}",
            node.stderr()
        );
        let events = history.since(before);
        let refusal = events.iter().find_map(|event| match &event.what {
            What::Refused { reason, .. } => Some(*reason),
            _ => None,
        });
        match refusal {
            None => accepted += 1,
            // Implementation specific error: PUBACK has no word for a Server that cannot.
            Some(0x83) => break,
            Some(reason) => bail!("{message} was refused with 0x{reason:02x}"),
        }
    }
    let seen = reader.delivered_count();
    desk.publish("loose/desk", Qos::AtMostOnce, Retain::No).await?;
    let until = Instant::now() + Duration::from_secs(5);
    while reader.delivered_count() == seen {
        ensure!(reader.step(until).await?, "a message of QoS 0 did not arrive");
    }
    Ok(accepted)
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
    // A table of the log may hold what is not needed any more; all that is in those of the queue is.
    if let (Target::Table, true, Some(table)) =
        (target, !round.is_multiple_of(3), damage::table_of(data, "queue")?)
    {
        files = vec![table];
    }
    ensure!(!files.is_empty(), "there is no file of {suffixes:?} under {}", data.display());
    files.sort_by_key(|file| fs::metadata(file).map_or(0, |metadata| metadata.len()));
    if round.is_multiple_of(2) {
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
