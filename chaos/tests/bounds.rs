//! Proves: memory does not grow with what is remembered, a start does not take longer for it, and a subscriber that never
//! reads harms nobody. The figures are printed; `CHAOS_SESSIONS` and `CHAOS_QUEUED` set the numbers.

mod common;

use std::time::Duration;

use tokio::sync::Mutex;

use convoy_chaos::scenario::bounds::{drain, offline_sessions, queued_messages, stalled_subscriber};

/// What is measured here is measured alone.
static ALONE: Mutex<()> = Mutex::const_new(());

const READY_LIMIT: Duration = Duration::from_secs(3);
/// Messages in each queue; the limit of a queue is set above it, so that none overflows.
const EACH: u64 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_to_remember_takes_little_memory_and_no_time_to_start() {
    let _alone = ALONE.lock().await;
    let folder = common::folder();
    // The engine's own buffers are kept small, so that what is measured is what the Sessions and messages take.
    let settings = [
        ("CONVOY_LIMITS__QUEUE_MESSAGES", "2000"),
        ("CONVOY_STORAGE__WRITE_BUFFER_BYTES", "16777216"),
        ("CONVOY_STORAGE__BLOCK_CACHE_BYTES", "16777216"),
    ];
    let mut node = common::started(&folder, &settings).await;
    println!("empty: {:.1} MB resident", node.resident_bytes().expect("it runs") as f64 / 1e6);

    let sessions = offline_sessions(&node, common::number("CHAOS_SESSIONS", 100_000)).await;
    let sessions = sessions.unwrap_or_else(|error| panic!("{error:?}\n{}", node.stderr()));
    println!("{sessions}");
    let queued = queued_messages(&node, common::number("CHAOS_QUEUED", 1_000_000), EACH).await;
    let queued = queued.unwrap_or_else(|error| panic!("{error:?}\n{}", node.stderr()));
    println!("{queued}");

    node.kill().await;
    let ready = node.start().await.unwrap_or_else(|error| panic!("{error}"));
    let resident = node.resident_bytes().expect("it runs") as f64 / 1e6;
    println!("ready {ready:.0?} after kill -9 with this backlog, {resident:.1} MB resident");
    for session in [0, 17, queued.count / EACH - 1] {
        let held =
            drain(&node, session, EACH).await.unwrap_or_else(|error| panic!("{error:?}\n{}", node.stderr()));
        assert_eq!(held, EACH, "a queue came back whole");
    }

    let broken: Vec<_> = [sessions.check(), queued.check()].into_iter().flatten().collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(ready <= READY_LIMIT, "ready after {ready:?}, later than {READY_LIMIT:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_that_never_reads_harms_nobody() {
    let _alone = ALONE.lock().await;
    let folder = common::folder();
    let settings = [
        ("CONVOY_STORAGE__WRITE_BUFFER_BYTES", "16777216"),
        ("CONVOY_STORAGE__BLOCK_CACHE_BYTES", "16777216"),
    ];
    let mut node = common::started(&folder, &settings).await;
    let stall = stalled_subscriber(&node, 4000, 64 << 10).await;
    let stall = stall.unwrap_or_else(|error| panic!("{error:?}\n{}", node.stderr()));
    println!(
        "{} MB published for a subscriber that never reads: {}",
        stall.bytes_published / 1_000_000,
        stall.growth
    );
    println!("others meanwhile: {:?} (before: {:?})", stall.stalled, stall.quiet);
    assert_eq!(stall.growth.check(), None);
    // The flood itself takes its share of two cores: the bound is on harm, not on sharing.
    let limit = stall.quiet.p99 * 10 + Duration::from_millis(100);
    assert!(stall.stalled.p99 <= limit, "others waited {:?}, more than {limit:?}", stall.stalled.p99);
    assert!(node.is_running(), "{}", node.stderr());
}
