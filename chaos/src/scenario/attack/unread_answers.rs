//! The API: requests one after the other, with the key and without, whose answers nobody reads.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Attack, Ground, PLAIN};
use crate::fleet::get_from_elsewhere;

pub(super) const ATTACK: Attack =
    Attack { name: "API answers that nobody reads", run: |ground| Box::pin(run(ground)), ..PLAIN };

const CONNECTIONS: usize = 250;

/// It takes some milliseconds; this leaves room for a machine that does other things.
const READYZ_LIMIT: Duration = Duration::from_millis(500);

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
    let sent = Arc::new(AtomicUsize::new(0));
    tokio::spawn(flood(ground.clone(), streams, floods, Arc::clone(&sent)));
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while !ground.is_over() {
        let began = Instant::now();
        // Whoever comes with many connections displaces its own; of the same address, health could be one of them.
        let (status, _) = get_from_elsewhere(ground.api, "/readyz").await.context("/readyz")?;
        ensure!(status == 200, "/readyz says {status}");
        longest = longest.max(began.elapsed());
        asked += 1;
        sleep(Duration::from_millis(50)).await;
    }
    let sent = sent.load(Ordering::Relaxed);
    ensure!(sent > 1 << 20, "only {sent} bytes of requests were taken");
    ensure!(asked > 0 && longest < READYZ_LIMIT, "/readyz answered {asked} times, once after {longest:.1?}");
    Ok(format!("{} kB of requests, /readyz took {longest:.1?} at most", sent >> 10))
}

async fn flood(ground: Ground, mut streams: Vec<TcpStream>, floods: [String; 4], sent: Arc<AtomicUsize>) {
    while !ground.is_over() {
        for (number, stream) in streams.iter_mut().enumerate() {
            match stream.try_write(floods[number % floods.len()].as_bytes()) {
                Ok(bytes) => drop(sent.fetch_add(bytes, Ordering::Relaxed)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Whoever is closed comes again.
                Err(_) => {
                    if let Ok(again) = connect(&ground).await {
                        *stream = again;
                    }
                }
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// With room for little of an answer.
async fn connect(ground: &Ground) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(2048)?;
    Ok(timeout(Duration::from_secs(2), socket.connect(ground.api)).await??)
}
