//! The disk fills up under a node: publishers at QoS 1 and 2 are told so, readers go on, and when there is room again
//! everything goes on without a restart. Nothing acknowledged is lost, before, during or after.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use convoy_wire::ProtocolVersion;
use tokio::time::{Instant, sleep};

use super::Report;
use crate::client::{Client, ConnectError};
use crate::fault::Lacking;
use crate::fault::space::SmallDisk;
use crate::fleet::{Node, Program, http};
use crate::invariant::{self, Tally};
use crate::oracle::{Fault, History, Ledger, Message, Qos, Retain, Terms, What};
use crate::sim::seed::Seed;

const DISK_BYTES: u64 = 512 << 20;
/// The node refuses when less than this is left, which leaves room for what readers need.
const RESERVE_BYTES: u64 = 64 << 20;
/// Messages in the queue of the van that is away when the disk fills.
const QUEUED: usize = 300;
/// How soon the node has to notice, and how soon it has to be over it.
const NOTICE_LIMIT: Duration = Duration::from_secs(15);
const RECOVERY_LIMIT: Duration = Duration::from_secs(15);

/// How full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Below the reserve: the node can still write what readers need.
    Reserve,
    /// Not one byte.
    Nothing,
}

/// A node that keeps its data on the small disk and all else beside it, not started.
fn node_on(disk: &SmallDisk, program: Program, folder: &Path, history: &History) -> anyhow::Result<Node> {
    Ok(Node::new(program, &disk.path().join("data"), &folder.join("aside"), history)?
        .with_setting("CONVOY_STORAGE__MIN_FREE_BYTES", &RESERVE_BYTES.to_string())
        .with_setting("CONVOY_STORAGE__WRITE_BUFFER_BYTES", &(16 << 20).to_string()))
}

/// `Ok(Err(_))`: this machine has no small disk to offer.
pub async fn run(
    program: Program,
    folder: &Path,
    seed: Seed,
    depth: Depth,
) -> anyhow::Result<Result<Report, Lacking>> {
    let began = Instant::now();
    let disk = match SmallDisk::new(folder, DISK_BYTES) {
        Ok(disk) => disk,
        Err(lacking) => return Ok(Err(lacking)),
    };
    let history = History::new();
    let mut node = node_on(&disk, program, folder, &history)?;
    let starts = vec![node.start().await?];
    let pid = node.pid();
    let told = story(&node, &disk, &history, depth)
        .await
        .with_context(|| format!("the node said:\n{}", node.stderr()));
    ensure!(node.pid() == pid && node.is_running(), "the node did not live through it:\n{}", node.stderr());
    told?;
    node.reap().await;
    let ledger = Ledger::of(history.events());
    let violations = invariant::check(&ledger);
    super::keep_history(folder, &ledger, &violations);
    let tally = Tally::of(&ledger);
    Ok(Ok(Report { story: "disk full", seed, tally, violations, starts, took: began.elapsed() }))
}

/// Sessions that come to stay, each with a large Will.
const STRANGERS: usize = 600;
const WILL_BYTES: usize = 60_000;
/// What a CONNECT that is refused may cost, all of them together, and what the node writes for itself meanwhile.
const STRANGERS_COST: u64 = 8 << 20;

/// What Clients of whom nothing is known did to a disk below the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strangers {
    /// `/readyz` said so before anybody came.
    pub noticed: bool,
    pub refused: usize,
    pub let_in: usize,
    /// By how much they took the free space down, in bytes.
    pub taken: u64,
}

/// Below the reserve `/readyz` says so before anybody is refused; strangers who would stay with a large Will are
/// refused, whoever has a Session already is let in, and the room that is left stays.
pub async fn strangers(program: Program, folder: &Path) -> anyhow::Result<Result<Strangers, Lacking>> {
    let disk = match SmallDisk::new(folder, DISK_BYTES) {
        Ok(disk) => disk,
        Err(lacking) => return Ok(Err(lacking)),
    };
    let history = History::new();
    let mut node = node_on(&disk, program, folder, &history)?;
    node.start().await?;
    let mut known = Client::new("known", ProtocolVersion::V5, node.mqtt(), &history);
    known.connect(Terms::lasting()).await?;
    known.disconnect().await;
    disk.fill(RESERVE_BYTES * 3 / 4)?;
    let before = disk.free_bytes()?;
    let mut told = Strangers { noticed: false, refused: 0, let_in: 0, taken: 0 };
    let until = soon(2);
    while !told.noticed && Instant::now() < until {
        let (status, body) = http::get(node.api(), "/readyz").await?;
        told.noticed = status == 503 && body.contains("storage.min_free_bytes");
        sleep(Duration::from_millis(50)).await;
    }
    for at in 0..STRANGERS {
        let version = if at % 2 == 0 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        let name = format!("stranger-{at}");
        let mut stranger = Client::new(&name, version, node.mqtt(), &history).with_payload_bytes(WILL_BYTES);
        let will = Message::new(&name.as_str().into(), &"gone".into(), Qos::AtLeastOnce, 0);
        // Quota exceeded; 3.x: Server unavailable.
        let refusal = if version.has_properties() { 0x97 } else { 0x88 };
        match stranger.connect(Terms::lasting().with_will(will, Duration::ZERO)).await {
            Ok(_) => told.let_in += 1,
            Err(ConnectError::Rejected(reason)) if reason == refusal => told.refused += 1,
            Err(error) => bail!("{name} was answered {error}"),
        }
    }
    ensure!(known.connect(Terms::lasting()).await?, "the Session that was there is gone");
    told.taken = before.saturating_sub(disk.free_bytes()?);
    node.reap().await;
    ensure!(told.noticed, "/readyz said nothing of a disk below the reserve: {told:?}");
    ensure!(told.let_in == 0, "strangers came to stay on a full disk: {told:?}");
    ensure!(told.taken <= STRANGERS_COST, "strangers filled the disk: {told:?}");
    Ok(Ok(told))
}

async fn story(node: &Node, disk: &SmallDisk, history: &History, depth: Depth) -> anyhow::Result<()> {
    let client = |name: &str, version| Client::new(name, version, node.mqtt(), history);
    let mut away = client("van-away", ProtocolVersion::V5);
    let mut here = client("van-here", ProtocolVersion::V311);
    let mut desk = client("desk", ProtocolVersion::V5);
    let mut old_desk = client("old-desk", ProtocolVersion::V311);
    for van in [&mut away, &mut here] {
        van.connect(Terms::lasting()).await?;
        van.subscribe("cmd/#", Qos::ExactlyOnce).await?;
        van.subscribe("loose/#", Qos::AtMostOnce).await?;
    }
    away.disconnect().await;
    desk.connect(Terms::lasting()).await?;
    old_desk.connect(Terms::lasting()).await?;
    for at in 0..QUEUED {
        let qos = if at % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        desk.publish("cmd/desk", qos, Retain::No).await?;
        old_desk.publish("cmd/old-desk", qos, Retain::No).await?;
    }
    for client in [&mut desk, &mut old_desk] {
        ensure!(client.settle(soon(10)).await?, "publishes were not answered on an empty disk");
    }

    history.fault(Fault::DiskFull);
    disk.fill(if depth == Depth::Reserve { RESERVE_BYTES / 2 } else { 0 })?;

    // 5.0: an answer to every PUBLISH, and soon it is a refusal.
    let noticed = Instant::now();
    loop {
        let message = honest_answer(&mut desk).await?;
        if was_refused(history, &message) {
            break;
        }
        ensure!(
            noticed.elapsed() < NOTICE_LIMIT,
            "publishes were accepted for {NOTICE_LIMIT:?} on a full disk"
        );
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..10 {
        let message = honest_answer(&mut desk).await?;
        ensure!(
            was_refused(history, &message),
            "{message} was accepted after others were refused for want of room"
        );
    }
    // 3.1.1 has no words for it: silence, or a closed connection, but no acknowledgement.
    let waiting = old_desk.publish("cmd/old-desk", Qos::AtLeastOnce, Retain::No).await;
    if waiting.is_ok() {
        // Gone is an answer too.
        let _ = old_desk.settle(soon(2)).await;
    }
    let accepted = |message: &Message| was_accepted(history, message);
    if let Ok(message) = &waiting {
        ensure!(!accepted(message), "{message} was acknowledged on a full disk");
    }

    // Readers go on: messages of QoS 0 pass, and what was queued can be fetched.
    let seen = here.delivered_count();
    desk.publish("loose/desk", Qos::AtMostOnce, Retain::No).await?;
    reads_on(&mut here, seen + 1).await.context("a connected reader on a full disk")?;
    if depth == Depth::Reserve {
        ensure!(away.connect(Terms::lasting()).await?, "the Session that was away is gone");
        reads_on(&mut away, 2 * QUEUED as u64).await.context("a reader that came back on a full disk")?;
    }

    disk.free()?;
    history.fault(Fault::DiskFreed);
    let freed = Instant::now();
    loop {
        if !desk.is_connected() {
            desk.connect(Terms::lasting()).await?;
        }
        let message = honest_answer(&mut desk).await?;
        if accepted(&message) {
            break;
        }
        ensure!(
            freed.elapsed() < RECOVERY_LIMIT,
            "publishes are refused {RECOVERY_LIMIT:?} after there was room again"
        );
        sleep(Duration::from_millis(100)).await;
    }
    // What was unanswered is sent again and accepted.
    if !old_desk.is_connected() {
        old_desk.connect(Terms::lasting()).await?;
    }
    // A Client of 3.1.1 that was not acknowledged may be closed while it waits.
    if !old_desk.settle(soon(5)).await.unwrap_or(false) {
        old_desk.drop_link();
        old_desk.connect(Terms::lasting()).await?;
        ensure!(
            old_desk.settle(soon(10)).await?,
            "an unanswered PUBLISH was not accepted after there was room again"
        );
    }
    for _ in 0..50 {
        desk.publish("cmd/desk", Qos::ExactlyOnce, Retain::No).await?;
    }
    ensure!(desk.settle(soon(10)).await?, "publishes are not answered after there was room again");

    for van in [&mut away, &mut here] {
        if !van.is_connected() {
            ensure!(van.connect(Terms::lasting()).await?, "{} lost its Session", van.name());
        }
        while van.step(soon(2)).await? {}
    }
    Ok(())
}

/// Publishes at QoS 1 and waits for the end of it, whatever it is.
async fn honest_answer(desk: &mut Client) -> anyhow::Result<Message> {
    let message = desk.publish("cmd/desk", Qos::AtLeastOnce, Retain::No).await?;
    if !desk.settle(soon(10)).await? {
        bail!("{message} got no answer for 10 s: neither accepted nor refused");
    }
    Ok(message)
}

/// Reads until `count` messages were delivered in all.
async fn reads_on(van: &mut Client, count: u64) -> anyhow::Result<()> {
    let until = soon(15);
    while van.delivered_count() < count {
        ensure!(van.step(until).await?, "{} of {count} messages arrived", van.delivered_count());
    }
    Ok(())
}

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn was_refused(history: &History, wanted: &Message) -> bool {
    history.any(|what| matches!(what, What::Refused { message, .. } if message == wanted))
}

fn was_accepted(history: &History, wanted: &Message) -> bool {
    history.any(|what| matches!(what, What::Accepted { message, .. } if message == wanted))
}
