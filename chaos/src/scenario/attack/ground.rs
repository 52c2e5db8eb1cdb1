//! Where an attack takes place, and until when.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::client::Transport;
use crate::fleet::{Listeners, Node, Program};

#[derive(Clone)]
pub struct Ground {
    pub mqtt: SocketAddr,
    pub api: SocketAddr,
    pub pid: u32,
    pub program: Program,
    pub data: PathBuf,
    listeners: Option<Listeners>,
    pub until: Instant,
}

impl Ground {
    pub(super) fn new(node: &Node, lasts: Duration) -> Self {
        Self {
            mqtt: node.mqtt(),
            api: node.api(),
            program: node.program().clone(),
            data: node.data().to_owned(),
            pid: node.pid().expect("it was started"),
            listeners: node.listeners().cloned(),
            until: Instant::now() + lasts,
        }
    }

    pub fn address(&self, transport: Transport) -> SocketAddr {
        self.listeners.as_ref().expect("the attack asked for listeners").address(transport)
    }

    /// What came before was preparation.
    pub fn begin_again(&mut self, seconds: u64) {
        self.until = Instant::now() + Duration::from_secs(seconds);
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Holds what the caller has until the end.
    pub async fn rest(&self) {
        sleep_until(self.until).await;
    }
}
