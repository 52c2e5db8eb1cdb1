//! Attacks: what a Client or a stranger does to a node that has 1 GiB of address space and 1,024 descriptors, and what
//! becomes of others meanwhile. A file for each story, a [`Row`] for each run, and a stated limit for each row.

mod all_matching;
mod almost_matching;
mod away;
mod besiege;
mod bystanders;
mod connected;
mod crowd;
mod dripping;
mod dropped_wills;
mod due_wills;
mod ground;
mod guesses;
mod handshakes;
mod hogs;
mod identifiers;
mod large_properties;
mod large_will;
mod long_subscribes;
mod memory;
mod mutual_wills;
mod operators;
mod pings;
mod releases;
mod retained_again;
mod retained_flood;
mod retained_topics;
mod row;
mod sessions;
mod shares;
mod silent;
mod stalled;
mod stopped_slot;
mod subscribes;
mod unacknowledged;
mod unread_answers;
mod unsubscribes;
mod wills;

use std::pin::Pin;
use std::time::Duration;

pub(super) use besiege::stranger;
pub use ground::Ground;
pub use row::{Limit, Row};

use crate::fleet::{Node, ProcessLimits, Program};
use crate::oracle::History;
use bystanders::Bystanders;
use memory::Memory;

/// One after the other in the table.
pub const ALL: &[Attack] = &[
    pings::ATTACK,
    releases::ATTACK,
    subscribes::ATTACK,
    long_subscribes::ATTACK,
    unsubscribes::ATTACK,
    retained_again::ATTACK,
    retained_flood::ATTACK,
    retained_topics::ATTACK,
    away::ATTACK,
    connected::ATTACK,
    large_properties::ATTACK,
    shares::ATTACK,
    unacknowledged::ATTACK,
    almost_matching::ATTACK,
    all_matching::ATTACK,
    identifiers::ATTACK,
    silent::ATTACK,
    dripping::ATTACK,
    guesses::ATTACK,
    handshakes::ATTACK,
    operators::ATTACK,
    unread_answers::ATTACK,
    wills::ATTACK,
    due_wills::ATTACK,
    dropped_wills::ATTACK,
    mutual_wills::ATTACK,
    sessions::ATTACK,
    stopped_slot::ATTACK,
];

/// Rows that have to fail, or the table proves nothing: a bound is switched off, or the node does not answer at all.
pub const CONTROLS: &[Attack] = &[pings::UNBOUNDED, stalled::ATTACK];

/// What is done to a node before it is attacked.
type Preparing<'n> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'n>>;

/// A row that has to hold, or what others are said to wait for is not the node's doing.
pub const MEASURES: &[Attack] = &[hogs::ATTACK];

type Story = Pin<Box<dyn Future<Output = anyhow::Result<String>> + Send>>;

#[derive(Clone, Copy)]
pub struct Attack {
    pub name: &'static str,
    pub limit: Limit,
    pub seconds: u64,
    pub process: ProcessLimits,
    /// Of the environment: what the attack needs to reach what it attacks.
    pub settings: &'static [(&'static str, &'static str)],
    /// Whether there are listeners for TLS and WebSocket too.
    pub has_listeners: bool,
    /// Makes the data folder what the attack needs; leaves the node stopped.
    pub prepare: Option<for<'n> fn(&'n mut Node) -> Preparing<'n>>,
    /// A slot stops in it, and the node says that it is not ready.
    pub stops_a_slot: bool,
    /// Says what was done, in a few words; an error is an attack that did not take place.
    pub run: fn(Ground) -> Story,
    /// Why it is known not to be held yet: then the row is printed and fails nothing.
    pub known_open: Option<&'static str>,
}

/// What most of them have in common.
const PLAIN: Attack = Attack {
    name: "",
    limit: Limit { resident_bytes: 256 << 20, p99: Duration::from_millis(1500) },
    seconds: 6,
    process: ProcessLimits { address_space_bytes: 1 << 30, descriptors: 1024 },
    settings: &[],
    has_listeners: false,
    prepare: None,
    stops_a_slot: false,
    run: |_| Box::pin(async { Ok(String::new()) }),
    known_open: None,
};

/// To match every message against thousands of filters is the dearest of all, and others wait for it by far the longest.
const DEAREST: Limit = Limit { p99: Duration::from_millis(2500), ..PLAIN.limit };

impl Attack {
    /// A node of its own, bystanders, the attack, and what was measured.
    pub async fn fight(&self, program: Program) -> anyhow::Result<Row> {
        let folder = tempfile::Builder::new().prefix("convoy-attack-").tempdir()?;
        let mut node = Node::new(program, &folder.path().join("data"), folder.path(), &History::new())?
            .with_process_limits(self.process);
        if self.has_listeners {
            node = node.with_listeners()?;
        }
        for (variable, value) in self.settings {
            node = node.with_setting(variable, value);
        }
        if let Some(prepare) = self.prepare {
            prepare(&mut node).await?;
        }
        node.start().await?;
        let bystanders = Bystanders::start(node.mqtt()).await?;
        let memory = Memory::watch(node.pid().expect("it was started"));
        let said = (self.run)(Ground::new(&node, Duration::from_secs(self.seconds))).await;
        let heard = bystanders.stop().await?;
        let resident_bytes = memory.highest();
        let is_running = node.is_running();
        let is_ready = is_running && node.is_ready().await;
        let Self { name, limit, known_open, stops_a_slot, .. } = *self;
        let row = Row {
            name,
            limit,
            known_open,
            said,
            heard,
            resident_bytes,
            is_running,
            is_ready,
            is_to_be_ready: !stops_a_slot,
        };
        if !row.faults().is_empty() {
            eprintln!("---- {}: what the node said ----\n{}\n----", self.name, node.stderr());
        }
        node.kill().await;
        Ok(row)
    }
}
