//! What all stories need: the broker under test, a folder, and numbers from the environment.
#![allow(dead_code, reason = "each test crate uses its part")]

pub mod attacks;
pub mod bystanders;

pub use convoy_chaos::client::bytes;
use convoy_chaos::fleet::{Node, Program};
use convoy_chaos::oracle::History;
use convoy_chaos::sim::seed::Seed;
use tempfile::TempDir;

pub fn broker() -> Program {
    Program::from_env().unwrap_or_else(|error| panic!("{error}"))
}

pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("convoy-chaos-").tempdir().expect("a temporary folder")
}

/// Printed at once: a run that hangs has said its seed.
pub fn seed(test: &str) -> Seed {
    let seed = Seed::from_env();
    eprintln!("{test}: CHAOS_SEED={}", seed.0);
    seed
}

pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| panic!("{variable}={text} is no whole number")),
        Err(_) => default,
    }
}

/// A running broker with its data in `folder`.
pub async fn started(folder: &TempDir, settings: &[(&str, &str)]) -> Node {
    let mut node = Node::new(broker(), &folder.path().join("data"), folder.path(), &History::new())
        .expect("a folder and ports");
    for (variable, value) in settings {
        node = node.with_setting(variable, value);
    }
    node.start().await.unwrap_or_else(|error| panic!("{error}"));
    node
}

/// The same with a listener for every transport, and with `toml` as its configuration.
pub async fn started_with_listeners(folder: &TempDir, toml: &str) -> Node {
    let mut node = Node::new(broker(), &folder.path().join("data"), folder.path(), &History::new())
        .and_then(Node::with_listeners)
        .expect("a folder and ports")
        .with_toml(toml);
    node.start().await.unwrap_or_else(|error| panic!("{error}"));
    node
}
