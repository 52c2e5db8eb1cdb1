//! Handshakes of TLS and WebSocket that never end.

use std::time::Duration;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Attack, Ground, PLAIN};
use crate::client::Transport;

pub(super) const ATTACK: Attack = Attack {
    name: "TLS and WebSocket handshakes without end",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    has_listeners: true,
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    // A record of 16 KB that holds a ClientHello, and a request with a header that goes on.
    let hello: &[u8] = &[0x16, 3, 3, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3];
    let request: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nX: ";
    let mut strangers = Vec::new();
    for _ in 0..200 {
        for (transport, begin) in [(Transport::Tls, hello), (Transport::WebSocket, request)] {
            let mut stream = TcpStream::connect(ground.address(transport)).await?;
            stream.write_all(begin).await?;
            strangers.push(stream);
        }
    }
    let mut bytes = 0;
    while !ground.is_over() {
        for stream in &mut strangers {
            bytes += stream.try_write(&[b'x'; 64]).unwrap_or(0);
        }
        sleep(Duration::from_millis(50)).await;
    }
    ensure!(bytes > 400 * 64, "{bytes} bytes dripped");
    Ok(format!("{} of them", strangers.len()))
}
