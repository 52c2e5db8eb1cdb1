//! Clients that have all subscribed to each other's Wills, and leave together: each Will is for all of them.

use convoy_wire::{Connect, ConnectProperties, ProtocolVersion};

use super::crowd::crowd;
use super::large_will::{WILL_BYTES, connect_with_will};
use super::{Attack, Ground, Limit, PLAIN};

pub(super) const ATTACK: Attack = Attack {
    name: "Wills of all for all",
    // The Wills are 24 MB, and each is in a record of every slot on its way.
    limit: Limit { resident_bytes: 480 << 20, ..PLAIN.limit },
    settings: &[("CONVOY_LIMITS__CONNECTS_PER_SECOND", "10000")],
    run: |ground| Box::pin(run(ground)),
    ..PLAIN
};

const CLIENTS: u64 = 400;

async fn run(mut ground: Ground) -> anyhow::Result<String> {
    let says = |number| {
        let client_id = format!("mutual-{number}");
        let properties = ConnectProperties { session_expiry_interval: Some(3_600), ..Default::default() };
        let connect = Connect { properties, ..Connect::new(ProtocolVersion::V5, &client_id) };
        let mut bytes = connect_with_will(connect, &format!("mutual/{number}"), |_| {});
        // SUBSCRIBE of 5.0 to `mutual/#` at QoS 1.
        bytes.extend(b"\x82\x0e\x00\x01\x00\x00\x08mutual/#\x01");
        bytes
    };
    // CONNACK comes with properties, SUBACK behind it.
    let streams = crowd(ground.mqtt, CLIENTS, says, b"\x90\x04\x00\x01\x00\x01").await?;
    // The attack begins here.
    ground.begin_again(6);
    drop(streams);
    ground.rest().await;
    Ok(format!("{CLIENTS} Wills of {WILL_BYTES} bytes for {CLIENTS} Sessions"))
}
