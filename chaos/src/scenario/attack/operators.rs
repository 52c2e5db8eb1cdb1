//! The API: requests that never end, and bodies without a key that do not either.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Attack, Ground, PLAIN};
use crate::fleet::get_from_elsewhere;

pub(super) const ATTACK: Attack =
    Attack { name: "slow API requests, huge bodies, no key", run: |ground| Box::pin(run(ground)), ..PLAIN };

/// A supervisor that asks for liveness waits no longer.
const LIVEZ_LIMIT: Duration = Duration::from_secs(1);

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let head = format!("Host: {}\r\nContent-Type: application/json\r\n", ground.api);
    let mut slow = Vec::new();
    for _ in 0..300 {
        // Beyond its own bound the API leaves them to the kernel.
        let opening = timeout(Duration::from_millis(100), TcpStream::connect(ground.api));
        let Ok(Ok(mut stream)) = opening.await else { continue };
        if stream.write_all(format!("GET /api/v1/clients HTTP/1.1\r\n{head}X: ").as_bytes()).await.is_ok() {
            slow.push(stream);
        }
    }
    ground.begin_again(5);
    for _ in 0..2 {
        let ground = ground.clone();
        let head = format!("POST /api/v1/publish HTTP/1.1\r\n{head}Content-Length: 2000000000\r\n\r\n");
        tokio::spawn(async move {
            while !ground.is_over() {
                let Ok(mut stream) = TcpStream::connect(ground.api).await else { continue };
                let _ = stream.write_all(head.as_bytes()).await;
                while !ground.is_over() && stream.write_all(&[b'x'; 64 << 10]).await.is_ok() {}
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while !ground.is_over() {
        let began = Instant::now();
        let (status, _) = get_from_elsewhere(ground.api, "/livez").await.context("/livez")?;
        ensure!(status == 200, "/livez says {status}");
        longest = longest.max(began.elapsed());
        asked += 1;
        for stream in &slow {
            let _ = stream.try_write(b"x");
        }
        sleep(Duration::from_millis(50)).await;
    }
    ensure!(asked > 0 && longest < LIVEZ_LIMIT, "/livez answered {asked} times, once after {longest:.1?}");
    Ok(format!("{} slow requests, /livez took {longest:.1?} at most", slow.len()))
}
