//! PINGREQ as fast as it goes, and nothing of the answers is read.

use anyhow::ensure;

use super::besiege::{Reads, besiege};
use super::{Attack, Ground, Limit, PLAIN};

pub(super) const ATTACK: Attack = Attack {
    name: "PINGREQ without reading",
    limit: Limit { resident_bytes: 80 << 20, ..PLAIN.limit },
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

/// The same with its bound switched off.
pub(super) const UNBOUNDED: Attack = Attack {
    name: "the same, answers without a bound",
    seconds: 9,
    settings: &[("CONVOY_LIMITS__ANSWER_BYTES", "1073741824"), ("CONVOY_LIMITS__UNREAD_TIMEOUT", "1h")],
    ..ATTACK
};

async fn run(ground: Ground) -> anyhow::Result<String> {
    let poured = besiege(&ground, 8, Reads::Nothing, |_, _| [0xc0, 0].repeat(32 << 10)).await?;
    ensure!(poured.bytes > 1 << 20, "{poured}");
    Ok(poured.to_string())
}
