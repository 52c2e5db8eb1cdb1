//! Retained Messages at QoS 1 on ever new topics: beyond the limit nothing more is kept, and whoever goes on is refused.

use anyhow::{Context, ensure};
use convoy_wire::{ProtocolVersion, QoS};

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::{publish, retained};
use crate::fleet;

const LIMIT: u64 = 2000;

pub(super) const ATTACK: Attack = Attack {
    name: "retained on ever new topics",
    settings: &[("CONVOY_LIMITS__RETAINED_MESSAGES", "2000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let poured = besiege(&ground, 4, Reads::All, |who, round| {
        let topic = format!("ever-{who}/{round}/new");
        let packet_id = (round % 60_000) as u16 + 1;
        retained(publish(ProtocolVersion::V311, QoS::AtLeastOnce, &topic, packet_id, b"kept"))
    });
    let poured = poured.await?;
    let metrics = fleet::get(ground.api, "/metrics").await?.1;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).with_context(|| format!("no {name}"))
    };
    let kept = value("convoy_retained_messages")? as u64;
    // Of nobody there may be half of it. Shards hear of each other ten times a second.
    ensure!((LIMIT / 4..LIMIT * 3 / 2).contains(&kept), "{kept} messages are kept");
    let met = value("convoy_limit_met_total{limit=\"retained_messages_per_user\"}")? as u64;
    ensure!(met > 500, "only {met} were refused");
    Ok(format!("{kept} kept, {met} refused, {poured}"))
}
