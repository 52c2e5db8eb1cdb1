//! Strangers who announce a long CONNECT and send it a little at a time.

use std::time::Duration;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Attack, Ground, PLAIN};

pub(super) const ATTACK: Attack = Attack {
    name: "CONNECTs that drip",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let mut strangers = Vec::new();
    for _ in 0..600 {
        let mut stream = TcpStream::connect(ground.mqtt).await?;
        // 130,000 bytes, below what a CONNECT may have; of the Client Identifier the most that its length can say.
        stream
            .write_all(&[0x10, 0xd0, 0xf7, 0x07, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0xff, 0xff])
            .await?;
        strangers.push(stream);
    }
    let mut bytes = 0_u64;
    while !ground.is_over() {
        for stream in &mut strangers {
            // Who was closed has had its time.
            bytes += stream.try_write(&[b'x'; 1400]).unwrap_or(0) as u64;
        }
        sleep(Duration::from_millis(50)).await;
    }
    ensure!(bytes > 10 << 20, "{bytes} bytes dripped");
    Ok(format!("{:.1} MB from {} strangers", bytes as f64 / 1e6, strangers.len()))
}
