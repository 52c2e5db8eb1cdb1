//! Very many connections that say the same kind of thing once, and stay.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const TASKS: u64 = 8;

/// Connections that have each said what `says` makes for its number, and heard something that ends with `hears`.
pub(super) async fn crowd(
    server: SocketAddr,
    count: u64,
    says: fn(u64) -> Vec<u8>,
    hears: &'static [u8],
) -> anyhow::Result<Vec<TcpStream>> {
    let mut tasks = JoinSet::new();
    for who in 0..TASKS {
        tasks.spawn(async move {
            let mut streams = Vec::new();
            for number in (who..count).step_by(TASKS as usize) {
                let mut stream = TcpStream::connect(server).await?;
                stream.write_all(&says(number)).await?;
                let mut heard = Vec::new();
                while !heard.ends_with(hears) {
                    let mut byte = [0];
                    ensure!(stream.read(&mut byte).await? == 1 && heard.len() < 500, "{heard:02x?}");
                    heard.extend(byte);
                }
                streams.push(stream);
            }
            Ok(streams)
        });
    }
    let streams: anyhow::Result<Vec<_>> = tasks.join_all().await.into_iter().collect();
    Ok(streams?.into_iter().flatten().collect())
}
