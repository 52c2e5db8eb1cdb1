//! No attack: the process stands still for a while. Whoever measures others has to see it.

use std::time::Duration;

use tokio::time::sleep;

use super::{Attack, Ground, PLAIN};
use crate::fleet::signal;

pub(super) const ATTACK: Attack =
    Attack { name: "a node that stands still", run: |ground| Box::pin(run(ground)), ..PLAIN };

async fn run(ground: Ground) -> anyhow::Result<String> {
    sleep(Duration::from_millis(500)).await;
    signal::pause(ground.pid);
    sleep(Duration::from_secs(4)).await;
    signal::resume(ground.pid);
    ground.rest().await;
    Ok("stopped for 4 s".to_owned())
}
