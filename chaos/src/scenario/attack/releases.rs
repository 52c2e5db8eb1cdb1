//! PUBREL of what was never sent, as fast as it goes, and nothing of the answers is read.

use anyhow::ensure;

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, PLAIN};

pub(super) const ATTACK: Attack =
    Attack { name: "PUBREL without reading", run: |ground| Box::pin(run(ground)), ..PLAIN };

async fn run(ground: Ground) -> anyhow::Result<String> {
    let poured = besiege(&ground, 8, Reads::Nothing, |_, _| [0x62, 2, 0, 7].repeat(16 << 10)).await?;
    ensure!(poured.bytes > 1 << 20, "{poured}");
    Ok(poured.to_string())
}
