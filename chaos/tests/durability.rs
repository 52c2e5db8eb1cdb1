//! Proves: whatever is acknowledged survives kill -9, at any moment, under load.

mod common;

use std::time::Duration;

use convoy_chaos::client::{Client, Gone};
use convoy_chaos::invariant;
use convoy_chaos::oracle::{History, Ledger, Qos, Retain, Terms};
use convoy_chaos::scenario::durability::{Options, run};
use convoy_wire::ProtocolVersion;
use tokio::time::Instant;

/// `CHAOS_SECONDS` sets how long, `CHAOS_SEED` replays the choices of a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9_in_a_loop() {
    let seed = common::seed("durability");
    let folder = common::folder();
    let time = Duration::from_secs(common::number("CHAOS_SECONDS", 60));
    let report = run(common::broker(), folder.path(), &Options::new(seed, time)).await;
    let report = report.unwrap_or_else(|error| panic!("CHAOS_SEED={}: {error}", seed.0));
    println!("{report}");
    if !report.violations.is_empty() {
        // To be looked into: history, log and data stay.
        println!("kept: {}", folder.keep().display());
    }
    report.assert_kept();

    let tally = &report.tally;
    assert!(tally.crashes > 0, "nothing was killed");
    assert!(
        tally.accepted[1] > 100 && tally.accepted[2] > 100,
        "too little was published to prove anything: {tally}"
    );
    assert!(tally.resumed > 0 && tally.reads > 0 && tally.wills > 0, "a role did nothing: {tally}");
    assert!(
        tally.shared > 100 && tally.expired > 0 && tally.overflowed > 0 && tally.bans > 0,
        "a role did nothing: {tally}"
    );
}

/// An orderly end: 5.0 Clients are told so (0x8B), the exit is clean, and all is there after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_says_goodbye_and_keeps_everything() {
    let folder = common::folder();
    let mut node = common::started(&folder, &[]).await;
    let history = History::new();
    node.record_to(&history);
    let mut van = Client::new("van", ProtocolVersion::V5, node.mqtt(), &history);
    van.connect(Terms::lasting()).await.expect("it runs");
    van.subscribe("cmd/#", Qos::ExactlyOnce).await.expect("it runs");
    van.drop_link();
    let mut desk = Client::new("desk", ProtocolVersion::V5, node.mqtt(), &history);
    desk.connect(Terms::lasting()).await.expect("it runs");
    for _ in 0..100 {
        desk.publish("cmd/stop", Qos::ExactlyOnce, Retain::No).await.expect("it runs");
    }
    assert!(desk.settle(Instant::now() + Duration::from_secs(10)).await.expect("it runs"));

    let watched = tokio::spawn(async move {
        let heard = desk.step(Instant::now() + Duration::from_secs(10)).await;
        (desk, heard)
    });
    let status = node.stop(Duration::from_secs(10)).await.expect("it ends within 10 s of SIGTERM");
    assert!(status.success(), "{status}:\n{}", node.stderr());
    let (desk, heard) = watched.await.expect("a Client");
    assert_eq!(heard, Err(Gone::Disconnected(0x8b)), "Server shutting down");
    drop(desk);

    node.start().await.unwrap_or_else(|error| panic!("{error}"));
    assert!(van.connect(Terms::lasting()).await.expect("it runs"), "the Session is there");
    while van.step(Instant::now() + Duration::from_secs(2)).await.expect("it runs") {}
    assert_eq!(invariant::check(&Ledger::of(history.events())), []);
    assert_eq!(van.delivered_count(), 100);
}
