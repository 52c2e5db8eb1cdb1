//! Connections with a large Will each, all of which break off in the same moment.

use convoy_wire::{Connect, ProtocolVersion};

use super::crowd::crowd;
use super::large_will::{WILL_BYTES, connect_with_will};
use super::{Attack, Ground, Limit, PLAIN};
use crate::fleet::ProcessLimits;

pub(super) const ATTACK: Attack = Attack {
    name: "Wills of a network that goes",
    // The Wills themselves, which are 162 MB, and little on top of them.
    limit: Limit { resident_bytes: 480 << 20, ..PLAIN.limit },
    seconds: 8,
    process: ProcessLimits { descriptors: 8_192, ..PLAIN.process },
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const CONNECTIONS: u64 = 2_700;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let says = |number| {
        let client_id = format!("dropped-{number}");
        let connect = Connect::new(ProtocolVersion::V311, &client_id);
        connect_with_will(connect, &format!("dropped/{number}"), |_| {})
    };
    let streams = crowd(ground.mqtt, CONNECTIONS, says, &[0x20, 2, 0, 0]).await?;
    // The attack begins here.
    ground.begin_again(6);
    drop(streams);
    ground.rest().await;
    Ok(format!("{CONNECTIONS} Wills of {WILL_BYTES} bytes"))
}
