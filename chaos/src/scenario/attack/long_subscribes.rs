//! SUBSCRIBEs as long as a packet may be, which name the same Topic Filters again and again: each is granted.

use anyhow::ensure;

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, PLAIN};
use crate::client::bytes::subscribe;

pub(super) const ATTACK: Attack =
    Attack { name: "SUBSCRIBEs of 100,000 Topic Filters", run: |ground| Box::pin(run(ground)), ..PLAIN };

/// About eight bytes each: a packet of less than 1 MiB, the default of `limits.packet_bytes`.
const FILTERS: usize = 100_000;

/// As many as a Session may have by default.
const DIFFERENT: usize = 1_000;

async fn run(ground: Ground) -> anyhow::Result<String> {
    let poured = besiege(&ground, 4, Reads::All, |_, _| {
        let names: Vec<String> = (0..DIFFERENT).map(|at| format!("s/{at}")).collect();
        let filters: Vec<&str> = names.iter().map(String::as_str).cycle().take(FILTERS).collect();
        subscribe(1, &filters, 0)
    });
    let poured = poured.await?;
    ensure!(poured.bytes > 2_000_000, "{poured}");
    Ok(poured.to_string())
}
