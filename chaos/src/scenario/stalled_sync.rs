//! The disk stops answering under a node, for longer than anybody waits: Clients come, ask for what needs a record, and leave.
//! What they held is given back while the disk still stands, others are served as far as they need no record, and when
//! it goes on everything does.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use convoy_wire::{ProtocolVersion, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::attack::stranger;
use crate::client::bytes::{connect, publish, subscribe};
use crate::fault::Lacking;
use crate::fault::stall::StallingDisk;
use crate::fleet::{Node, Program};
use crate::oracle::History;

const DISK_BYTES: u64 = 512 << 20;
/// Clients that ask for a Subscription, and as many that ask for a Session.
const HALF: usize = 500;
/// How soon after they have left nothing of them may be held: the time of a CONNECT, and a tick or two.
const LIMIT: Duration = Duration::from_secs(15);
/// Descriptors that the node may open for itself meanwhile.
const DESCRIPTORS_SLACK: usize = 8;
const MEMORY_SLACK: u64 = 16 << 20;

/// What the node held.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub descriptors: usize,
    pub resident_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// After as many Clients as come later had come and gone.
    pub before: Held,
    /// While all were there.
    pub most: Held,
    pub after: Held,
    /// How long after they had left.
    pub took: Duration,
}

fn held(node: &Node) -> std::io::Result<Held> {
    Ok(Held { descriptors: node.descriptors()?, resident_bytes: node.resident_bytes()? })
}

/// `Ok(Err(_))`: this machine has no disk that stalls.
pub async fn run(program: Program, folder: &Path) -> anyhow::Result<Result<Told, Lacking>> {
    let disk = match StallingDisk::new(folder, DISK_BYTES) {
        Ok(disk) => disk,
        Err(lacking) => return Ok(Err(lacking)),
    };
    let mut node = Node::new(program, &disk.path().join("data"), &folder.join("aside"), &History::new())?
        .with_setting("CONVOY_STORAGE__MIN_FREE_BYTES", &(32 << 20).to_string());
    node.start().await?;
    let told = story(&node, &disk).await.with_context(|| format!("the node said:\n{}", node.stderr()));
    ensure!(node.is_running(), "the node did not live through it:\n{}", node.stderr());
    node.kill().await;
    told
}

async fn story(node: &Node, disk: &StallingDisk) -> anyhow::Result<Result<Told, Lacking>> {
    // The first time costs what is kept for the next.
    drop((strangers(node, "first").await?, strangers(node, "other").await?));
    let mut bystander = stranger(node.mqtt(), "bystander").await?;
    let settled = Instant::now() + LIMIT;
    while node.descriptors()? > HALF && Instant::now() < settled {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let before = held(node)?;
    let mut subscribers = strangers(node, "subscriber").await?;
    let stalled = match disk.stall() {
        Ok(stalled) => stalled,
        Err(lacking) => return Ok(Err(lacking)),
    };
    let mut newcomers = Vec::new();
    for (at, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber.write_all(&subscribe(1, &[&format!("car/{at}/#"), "all/#"], 1)).await?;
        let mut newcomer = TcpStream::connect(node.mqtt()).await?;
        newcomer.write_all(&connect(ProtocolVersion::V311, &format!("newcomer-{at}"))).await?;
        newcomers.push(newcomer);
    }
    sleep(Duration::from_secs(2)).await;
    for waiting in [&subscribers[0], &newcomers[0], &subscribers[HALF - 1], &newcomers[HALF - 1]] {
        let heard = waiting.try_read(&mut [0; 1]);
        let is_waiting = heard.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        ensure!(is_waiting, "it was answered, or closed, before the disk had: {heard:?}");
    }
    let most = held(node)?;
    ensure!(
        most.descriptors >= before.descriptors + 2 * HALF,
        "they are not there: {most:?} after {before:?}"
    );
    ping(&mut bystander).await.context("others are not served while a sync stalls")?;

    drop((subscribers, newcomers));
    let left = Instant::now();
    let is_back = |now: &Held| {
        now.descriptors <= before.descriptors + DESCRIPTORS_SLACK
            && now.resident_bytes <= before.resident_bytes + MEMORY_SLACK
    };
    let mut after = held(node)?;
    while !is_back(&after) && left.elapsed() < LIMIT {
        sleep(Duration::from_millis(100)).await;
        after = held(node)?;
    }
    let told = Told { before, most, after, took: left.elapsed() };
    ensure!(is_back(&after), "what was held for those who left is not given back: {told:?}");
    ping(&mut bystander).await.context("others are not served when they have left")?;

    drop(stalled);
    let mut publisher = stranger(node.mqtt(), "publisher").await.context("the disk answers again")?;
    publisher.write_all(&publish(ProtocolVersion::V311, QoS::AtLeastOnce, "all/x", 7, b"x")).await?;
    let mut answer = [0; 4];
    timeout(Duration::from_secs(10), publisher.read_exact(&mut answer)).await.context("no PUBACK")??;
    ensure!(answer == [0x40, 2, 0, 7], "{answer:02x?}");
    Ok(Ok(told))
}

/// So many Clients that are connected.
async fn strangers(node: &Node, name: &str) -> anyhow::Result<Vec<TcpStream>> {
    let mut joining = JoinSet::new();
    for at in 0..HALF {
        let (server, client_id) = (node.mqtt(), format!("{name}-{at}"));
        joining.spawn(async move { stranger(server, &client_id).await });
    }
    joining.join_all().await.into_iter().collect()
}

async fn ping(client: &mut TcpStream) -> anyhow::Result<()> {
    client.write_all(&[0xc0, 0]).await?;
    let mut answer = [0; 2];
    timeout(Duration::from_secs(2), client.read_exact(&mut answer)).await.context("no PINGRESP")??;
    ensure!(answer == [0xd0, 0], "{answer:02x?}");
    Ok(())
}
