//! Strangers who connect and say nothing, more than there are descriptors.

use std::time::Duration;

use anyhow::ensure;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Attack, Ground, PLAIN};

pub(super) const ATTACK: Attack = Attack {
    name: "1,100 silent strangers",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let mut strangers = Vec::new();
    for _ in 0..1100 {
        // Beyond the node's own bound they are closed, or wait in the kernel.
        let opening = timeout(Duration::from_secs(2), TcpStream::connect(ground.mqtt));
        if let Ok(Ok(stream)) = opening.await {
            strangers.push(stream);
        }
    }
    ensure!(strangers.len() > 1000, "{} strangers connected", strangers.len());
    ground.rest().await;
    Ok(format!("{} of them", strangers.len()))
}
