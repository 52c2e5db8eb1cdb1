//! Sessions that last, each with a Client Identifier of its own, as fast as they are granted: up to the limit,
//! beyond which nobody of that user begins another one and whoever has one comes back to it.

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::{Attack, Ground, PLAIN};
use crate::fleet;
use crate::scenario::plain::one_session;

/// Of those without a user name, which are half of what the node may have.
const LIMIT: u64 = 500;

pub(super) const ATTACK: Attack = Attack {
    name: "Session flood",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000"), ("CONVOY_LIMITS__SESSIONS", "1000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let mut tasks = JoinSet::new();
    for hand in 0..64 {
        tasks.spawn(flood(ground.clone(), hand));
    }
    let (mut made, mut refused, mut one) = (0, 0, None);
    for (names, failed) in tasks.join_all().await {
        made += names.len() as u64;
        refused += failed;
        one = one.or(names.into_iter().next());
    }
    let one = one.unwrap_or_default();
    // Bystanders have Sessions too. Shards hear of each other ten times a second.
    ensure!((LIMIT / 2..LIMIT * 3 / 2).contains(&made), "{made} Sessions");
    ensure!(refused > 100, "only {refused} were refused");
    one_session(ground.mqtt, 0, &one, "flood/#").await?;
    let metrics = fleet::get(ground.api, "/metrics").await?.1;
    let met = "convoy_limit_met_total{limit=\"sessions_per_user\"}";
    ensure!(metrics.contains(met), "nothing counts that the limit was met");
    Ok(format!("{made} Sessions, {refused} refused"))
}

/// The Sessions that were granted, and how many were not.
async fn flood(ground: Ground, hand: u64) -> (Vec<String>, u64) {
    let (mut made, mut refused) = (Vec::new(), 0);
    for number in 0.. {
        if ground.is_over() {
            break;
        }
        let name = format!("flood-{hand}-{number}-{}", "x".repeat(100));
        match timeout_at(ground.until, one_session(ground.mqtt, hand, &name, "flood/#")).await {
            Ok(Ok(())) => made.push(name),
            Ok(Err(_)) => refused += 1,
            Err(_) => break,
        }
    }
    (made, refused)
}
