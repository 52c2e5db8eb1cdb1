//! Sessions that last, each with a Client Identifier of its own, as fast as they are granted.

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::{Attack, Ground, PLAIN};
use crate::scenario::plain::one_session;

pub(super) const ATTACK: Attack = Attack {
    name: "Session flood",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let mut tasks = JoinSet::new();
    for hand in 0..64 {
        let ground = ground.clone();
        tasks.spawn(async move {
            let mut made = 0_u64;
            while !ground.is_over() {
                let name = format!("flood-{hand}-{made}-{}", "x".repeat(100));
                let one = one_session(ground.mqtt, hand, &name, "flood/#");
                if let Ok(Ok(())) = timeout_at(ground.until, one).await {
                    made += 1;
                }
            }
            made
        });
    }
    let made: u64 = tasks.join_all().await.into_iter().sum();
    ensure!(made > 100, "{made} Sessions");
    Ok(format!("{made} Sessions"))
}
