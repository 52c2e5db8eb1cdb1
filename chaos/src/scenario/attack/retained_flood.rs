//! Retained Messages at QoS 0, as fast as they are taken, on topics of all shards.

use anyhow::ensure;
use convoy_wire::{ProtocolVersion, QoS};

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::{publish, retained};

pub(super) const ATTACK: Attack =
    Attack { name: "retained QoS 0 flood", run: |ground| Box::pin(run(ground)), ..PLAIN };

async fn run(ground: Ground) -> anyhow::Result<String> {
    let poured = besiege(&ground, 4, Reads::All, |who, round| {
        let topic = format!("flood-{who}/{}/x", round % 500);
        retained(publish(ProtocolVersion::V311, QoS::AtMostOnce, &topic, 0, &[b'x'; 16 << 10]))
    });
    let poured = poured.await?;
    ensure!(poured.bytes > 1 << 20, "{poured}");
    Ok(poured.to_string())
}
