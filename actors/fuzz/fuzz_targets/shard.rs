//! A whole shard and four strangers who do what the input says: nothing panics, what they are sent is MQTT, and two
//! honest Clients are served as if nobody else were there.

#![no_main]

#[path = "../../tests/hostile/bench.rs"]
mod bench;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| bench::Bench::new().run(script));
