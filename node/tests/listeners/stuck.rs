//! A shard that burns and does not end: the process says so and ends, for its supervisor to start it again.

use crate::node::{Folder, Node, PATIENCE};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

const LISTENER: &str = "[[mqtt.listeners]]\naddr = \"127.0.0.1:0\"\n";

/// What the node is told is there in builds for tests alone.
#[cfg(debug_assertions)]
#[test]
fn a_shard_that_is_stuck_ends_the_process_and_says_where() {
    // No core file: nobody will look at it.
    let burns = ["prlimit", "--core=0", "env", "CONVOY_DEBUG_BURN=600"];
    let text = format!("[node]\nshards = 2\nstep_limit = \"2s\"\n{LISTENER}");
    let mut node = Node::start_under(Folder::new(), &burns, &text);
    assert!(node.answer("/livez").starts_with("HTTP/1.1 200"));
    node.wait_for("a step takes long");
    // The API answers beside a shard that does not.
    assert!(node.answer("/livez").starts_with("HTTP/1.1 200"));
    node.wait_for_metric(&["convoy_slow_steps_total", "doing=\"query\"", " 1"]);
    let begin = Instant::now();
    let dead = loop {
        let answer = node.answer("/livez");
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        assert!(begin.elapsed() < 4 * PATIENCE, "it lives on:\n{}", node.log());
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(
        dead.starts_with("HTTP/1.1 503") && dead.contains("convoy-shard-0 is stuck in query of 7"),
        "{dead}"
    );
    let status = node.wait_for_end();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{}", node.log());
    let log = node.log();
    let line = log.lines().find(|line| line.contains("a shard is stuck")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("convoy-shard-0") && line.contains("query"), "{line}");
}

#[test]
fn a_process_that_was_stopped_is_not_blamed() {
    let text = format!("[node]\nstep_limit = \"1s\"\n{LISTENER}");
    let mut node = Node::start(Folder::new(), &text);
    node.signal("STOP");
    std::thread::sleep(Duration::from_secs(3));
    node.signal("CONT");
    std::thread::sleep(Duration::from_millis(500));
    assert!(node.answer("/livez").starts_with("HTTP/1.1 200"));
    node.signal("TERM");
    assert!(node.wait_for_end().success(), "{}", node.log());
}
