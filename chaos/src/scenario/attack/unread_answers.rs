//! The API: requests one after the other, with the key and without, whose answers nobody reads.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Attack, Ground, PLAIN};
use crate::fleet::get;

pub(super) const ATTACK: Attack =
    Attack { name: "API answers that nobody reads", run: |ground| Box::pin(run(ground)), ..PLAIN };

const CONNECTIONS: usize = 250;

/// Before it `/readyz` took ten seconds and more; this leaves room for a machine that does other things.
const READYZ_LIMIT: Duration = Duration::from_secs(1);

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let key = std::fs::read_to_string(ground.data.join("api.key")).context("the key")?;
    let floods = [("/metrics", None), ("/status", None), ("/metrics", Some(&key)), ("/readyz", None)];
    let floods = floods.map(|(path, key)| {
        let key = key.map(|key| format!("Authorization: Bearer {}\r\n", key.trim())).unwrap_or_default();
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{key}\r\n", ground.api).repeat(100)
    });
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.extend(connect(&ground).await.ok());
    }
    ground.begin_again(8);
    let (mut asked, mut longest, mut sent) = (0, Duration::ZERO, 0);
    while !ground.is_over() {
        for (number, stream) in streams.iter_mut().enumerate() {
            let flood = floods[number % floods.len()].as_bytes();
            match stream.try_write(flood) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // Whoever is closed comes again.
                Err(_) => {
                    if let Ok(again) = connect(&ground).await {
                        *stream = again;
                    }
                }
            }
        }
        let began = Instant::now();
        let (status, _) = get(ground.api, "/readyz").await.context("/readyz")?;
        ensure!(status == 200, "/readyz says {status}");
        longest = longest.max(began.elapsed());
        asked += 1;
        sleep(Duration::from_millis(50)).await;
    }
    ensure!(sent > 1 << 20, "only {sent} bytes of requests were taken");
    ensure!(asked > 0 && longest < READYZ_LIMIT, "/readyz answered {asked} times, once after {longest:.1?}");
    Ok(format!("{} kB of requests, /readyz took {longest:.1?} at most", sent >> 10))
}

/// With room for little of an answer.
async fn connect(ground: &Ground) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(2048)?;
    Ok(timeout(Duration::from_secs(2), socket.connect(ground.api)).await??)
}
