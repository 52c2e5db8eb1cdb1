//! Connections that say the same kind of thing as fast as it is taken, and come again when they are closed.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use convoy_wire::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout, timeout_at};

use super::Ground;
use crate::client::bytes::connect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// Nothing at all of what the node says after its CONNACK.
    Nothing,
    /// All of it, and throws it away.
    All,
}

/// What the node took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Poured {
    pub bytes: u64,
    pub connections: u64,
}

impl fmt::Display for Poured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MB taken from {} connections", self.bytes as f64 / 1e6, self.connections)
    }
}

/// A connection with its CONNACK, of 3.1.1 and with a new Session that ends with it.
pub(in crate::scenario) async fn stranger(server: SocketAddr, client_id: &str) -> anyhow::Result<TcpStream> {
    let joining = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&connect(ProtocolVersion::V311, client_id)).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        ensure!(answer == [0x20, 2, 0, 0], "{client_id} got {answer:02x?} to its CONNECT");
        Ok(stream)
    };
    timeout(Duration::from_secs(5), joining).await.context("no CONNACK within 5 s")?
}

/// Writes what `next` makes for the number of the connection and of the round, until the end. What has not been taken
/// counts for nothing.
pub(super) async fn besiege(
    ground: &Ground,
    count: u64,
    reads: Reads,
    next: fn(u64, u64) -> Vec<u8>,
) -> anyhow::Result<Poured> {
    let mut tasks = JoinSet::new();
    for who in 0..count {
        tasks.spawn(pour(ground.clone(), who, reads, next));
    }
    let mut all = Poured::default();
    for one in tasks.join_all().await {
        all.bytes += one.bytes;
        all.connections += one.connections;
    }
    ensure!(all.connections > 0, "nobody was let in");
    Ok(all)
}

async fn pour(ground: Ground, who: u64, reads: Reads, next: fn(u64, u64) -> Vec<u8>) -> Poured {
    let mut poured = Poured::default();
    let mut round = 0;
    while !ground.is_over() {
        let Ok(stream) = stranger(ground.mqtt, &format!("siege-{who}")).await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        poured.connections += 1;
        let (mut read, mut write) = stream.into_split();
        let reader = tokio::spawn(async move {
            let mut heard = vec![0; 64 << 10];
            while reads == Reads::All && matches!(read.read(&mut heard).await, Ok(1..)) {}
            // Dropped, it would not be there to be written to.
            read
        });
        // A write that need not wait asks no clock.
        while !ground.is_over() {
            let bytes = next(who, round);
            match timeout_at(ground.until, write.write_all(&bytes)).await {
                Ok(Ok(())) => poured.bytes += bytes.len() as u64,
                _ => break,
            }
            round += 1;
            // Whoever reads in the same runtime has a turn too.
            yield_now().await;
        }
        reader.abort();
    }
    poured
}
