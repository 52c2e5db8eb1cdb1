//! SUBSCRIBE after SUBSCRIBE, each with a new Topic Filter, none waited for.

use anyhow::ensure;

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::subscribe;

pub(super) const ATTACK: Attack =
    Attack { name: "pipelined SUBSCRIBE", run: |ground| Box::pin(run(ground)), ..PLAIN };

async fn run(ground: Ground) -> anyhow::Result<String> {
    let poured = besiege(&ground, 4, Reads::All, |who, round| {
        let packet = |at: u64| {
            let filter = format!("siege/{who}/{round}/{at}/of/some/length/to/remember");
            subscribe(1 + (at % 60_000) as u16, &[&filter], 1)
        };
        (0..200).map(packet).collect::<Vec<_>>().concat()
    });
    let poured = poured.await?;
    ensure!(poured.bytes > 100_000, "{poured}");
    Ok(poured.to_string())
}
