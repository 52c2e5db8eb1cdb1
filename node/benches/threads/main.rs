//! Shards or work stealing? One relay that knows just enough MQTT 3.1.1 to carry messages, run on shared-nothing shards
//! and on tokio's work-stealing runtime, and what a message costs each of them. The connection's code is written once:
//! between the two, only what holds a connection's output, and the way to it, differ. The decision that hangs on this is
//! `docs/decisions/2026-11-21-threads.md`.
//!
//!     cargo bench -p convoy --bench threads
//!
//! `ROUNDS` (5) and `SECONDS` (2, after half a second of warming up) set how long it takes. `MQLOAD` may name the binary
//! of the load generator mqload, which then drives the relays, checks every message, and adds its own floor relay as
//! one more variant; otherwise the small generator below does. Variants of one scenario run right after one another, in
//! an order that turns round every round, so compare ratios and not single figures.
//!
//! On one core the relay has core 0 and the generator core 1. On two cores they share both.

mod compare;
mod connection;
mod generate;
mod mqtt;
mod process;
mod relay;
mod shards;
mod stealing;

use std::time::Duration;

use self::compare::{Load, compare};
use self::generate::generate;
use self::relay::relay;
use self::shards::shards;
use self::stealing::stealing;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["relay", "shards", cores] => relay(shards(cores.parse()?)?),
        ["relay", "stealing", cores] => relay(stealing(cores.parse()?)?),
        ["generate", mode, pubs, subs, qos, port, pid, seconds] => {
            let load = Load { mode, pubs: pubs.parse()?, subs: subs.parse()?, qos: qos.parse()? };
            generate(&load, port.parse()?, pid.parse()?, Duration::from_secs(seconds.parse()?))
        }
        _ => compare(),
    }
}
