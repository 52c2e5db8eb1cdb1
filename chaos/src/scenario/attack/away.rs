//! Large messages for a thousand Sessions that are away.

use anyhow::ensure;
use convoy_wire::QoS;

use super::{Attack, Ground, PLAIN};
use crate::scenario::plain::{by_many_hands, one_session, send_large};

pub(super) const ATTACK: Attack = Attack {
    name: "1 MB to 1,000 offline Sessions",
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const SESSIONS: u64 = 1000;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let server = ground.mqtt;
    by_many_hands(SESSIONS, |at, hand| async move {
        one_session(server, hand, &format!("away-{at}"), "news/all").await
    })
    .await?;
    // The attack begins here.
    ground.begin_again(5);
    let sent = send_large(server, "news/all", QoS::AtLeastOnce, ground.until).await?;
    ensure!(sent > 0, "none was acknowledged");
    Ok(format!("{sent} of them acknowledged"))
}
