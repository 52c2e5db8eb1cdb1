//! Nobody attacks the node: what runs beside the bystanders gives no other task a turn. They must not notice.

use std::thread;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};

use super::{Attack, Ground, Limit, PLAIN};

/// More than threads that tasks may be run by.
const HOGS: usize = 8;
const EACH: Duration = Duration::from_millis(400);

pub(super) const ATTACK: Attack = Attack {
    name: "this process has no time, the node has",
    limit: Limit { p99: Duration::from_millis(200), ..PLAIN.limit },
    seconds: 3,
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let hog = |ground: Ground| async move {
        while !ground.is_over() {
            thread::sleep(EACH);
            yield_now().await;
        }
    };
    let hogs: JoinSet<()> = (0..HOGS).map(|_| hog(ground.clone())).collect();
    hogs.join_all().await;
    Ok(format!("{HOGS} tasks that took {EACH:?} at a time"))
}
