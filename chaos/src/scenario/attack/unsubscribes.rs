//! UNSUBSCRIBE after UNSUBSCRIBE of what was never subscribed, none waited for.

use anyhow::ensure;

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::unsubscribe;

pub(super) const ATTACK: Attack =
    Attack { name: "pipelined UNSUBSCRIBE", run: |ground| Box::pin(run(ground)), ..PLAIN };

async fn run(ground: Ground) -> anyhow::Result<String> {
    let poured = besiege(&ground, 2, Reads::All, |_, round| {
        let packet = |at| unsubscribe(1 + ((round * 5000 + at) % 60_000) as u16, "a/b");
        (0..5000).map(packet).collect::<Vec<_>>().concat()
    });
    let poured = poured.await?;
    ensure!(poured.bytes > 100_000, "{poured}");
    Ok(poured.to_string())
}
