//! What placement costs: `cargo bench -p convoy-membership`. A Topic Name is located for every PUBLISH: some tens of
//! nanoseconds. A ring version is placed when a node comes or goes: some milliseconds.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use convoy_ids::{ActorId, NodeId, RingVersion, Zone};
use convoy_membership::{Locator, Member, Partitioning, Ring, slot_of};

fn main() {
    let topics: Vec<_> = (0..1000).map(|vin| format!("telemetry/WVWZZZ1JZXW{vin:06}/engine/rpm")).collect();
    let partitioning = Partitioning::default();
    report("locate a topic", 1000, || {
        for topic in &topics {
            black_box(partitioning.locate("default", black_box(topic), 64));
        }
    });
    let mut locator = Locator::new("default", partitioning, 64);
    report("locate a topic of a known parent", 1000, || {
        for topic in &topics {
            black_box(locator.locate(black_box(topic)));
        }
    });
    report("slot of a session", 1000, || {
        for topic in &topics {
            black_box(slot_of(
                &ActorId::Session { tenant: "default", client_id: black_box(&topic[10..27]) },
                64,
            ));
        }
    });
    report("partitions of a filter", 1000, || {
        for topic in &topics {
            black_box(partitioning.partitions_of_filter(black_box(topic)));
        }
    });
    let members: Vec<_> = (1..=100)
        .map(|number| Member {
            node: NodeId::new(number).expect("numbers begin with one"),
            zone: Zone(format!("zone-{}", number % 3)),
            weight: 128,
        })
        .collect();
    report("place 1024 slots on 100 nodes", 1, || {
        black_box(Ring::new(RingVersion(1), 1024, 3, members.clone()).expect("the ring is valid"));
    });
}

/// The best of several rounds.
fn report(name: &str, count: u32, mut round: impl FnMut()) {
    let best = (0..50)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .min()
        .expect("there was a round");
    println!("{name:<32} {:>9.1} ns", best.as_nanos() as f64 / f64::from(count));
}
