//! A fleet of real processes on this machine: each node in a zone of its own, joined with a token as an operator would.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Node, Program, StartError, free_ports, get, request};
use crate::oracle::{Fault, Fleet as Event, History};

/// From the last node's start until slots are where the ring says.
const SPREAD_LIMIT: Duration = Duration::from_secs(90);

/// Slots of the fleet: few enough that each node has moved its own within seconds.
const SLOTS: usize = 12;

/// Replicas of each of them, where there are as many nodes.
const REPLICAS: usize = 3;

pub struct Several {
    pub nodes: Vec<Node>,
    peers: Vec<SocketAddr>,
    program: Program,
    history: History,
}

impl Several {
    /// The first node, which founds the fleet, and so many that join it one after the other.
    pub async fn start(
        program: &Program,
        folder: &Path,
        history: &History,
        nodes: usize,
    ) -> Result<Self, StartError> {
        let mut fleet =
            Self { nodes: Vec::new(), peers: Vec::new(), program: program.clone(), history: history.clone() };
        for _ in 0..nodes {
            fleet.join(folder).await?;
        }
        fleet.spread().await?;
        Ok(fleet)
    }

    /// One more node.
    pub async fn join(&mut self, folder: &Path) -> Result<(), StartError> {
        let number = self.nodes.len() + 1;
        let [peer] = free_ports().map_err(StartError::Spawn)?;
        let at = folder.join(format!("node-{number}"));
        let node = Node::new(self.program.clone(), &at.join("data"), &at, &self.history);
        let mut node = node
            .map_err(StartError::Spawn)?
            .with_setting("CONVOY_NODE__NAME", &format!("node-{number}"))
            .with_setting("CONVOY_NODE__ZONE", &format!("zone-{number}"))
            .with_setting("CONVOY_FLEET__SLOTS", &SLOTS.to_string())
            // What falls out of a full queue is no loss.
            .with_setting("CONVOY_LIMITS__QUEUE_MESSAGES", "100000")
            .with_setting("CONVOY_PEER__ADDR", &peer.to_string());
        if let Some(first) = self.peers.first() {
            let token = self.token().await.map_err(StartError::Spawn)?;
            node = node
                .with_setting("CONVOY_PEER__JOIN", &first.to_string())
                .with_setting("CONVOY_PEER__TOKEN", &token);
        }
        node.start().await?;
        self.nodes.push(node);
        self.peers.push(peer);
        Ok(())
    }

    /// As `convoy ctl token` makes one.
    pub async fn token(&self) -> io::Result<String> {
        let first = &self.nodes[0];
        let key = std::fs::read_to_string(first.data().join("api.key"))?;
        let (status, body) = request(first.api(), "POST", "/api/v1/tokens", Some(key.trim()), "{}").await?;
        let answer = serde_json::from_str::<Value>(&body).unwrap_or_default();
        let token = answer["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| io::Error::other(format!("{status}: {body}")))
    }

    /// What a node answers its operator.
    pub async fn ask(&self, node: &Node, path: &str) -> io::Result<String> {
        ask(node, path).await
    }

    /// Where the first node is joined.
    pub fn door(&self) -> SocketAddr {
        self.peers[0]
    }

    /// How many slots each node leads that have all their replicas; none where it does not answer.
    pub async fn led(&self) -> Vec<Option<usize>> {
        let mut led = Vec::new();
        for node in &self.nodes {
            led.push(slots_led(node, self.nodes.len().min(REPLICAS)).await);
        }
        led
    }

    /// Waits until every node leads some slots, and each slot has three replicas that are up to date.
    pub async fn spread(&self) -> Result<(), StartError> {
        let began = Instant::now();
        loop {
            let led = self.led().await;
            let is_spread = led.iter().all(|led| led.is_some_and(|led| led > 0));
            let whole: usize = led.iter().flatten().sum();
            if is_spread && whole == SLOTS + 1 {
                self.history.fault(Fault::Fleet(Event::Settled));
                return Ok(());
            }
            if began.elapsed() > SPREAD_LIMIT {
                let stderr = self.nodes.iter().map(Node::stderr).collect::<Vec<_>>().join("\n----\n");
                let stderr = format!("slots led by node: {led:?}\n{stderr}");
                return Err(StartError::NotReady { after: SPREAD_LIMIT, stderr });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// kill -9 of one of them.
    pub async fn kill(&mut self, at: usize) {
        self.history.fault(Fault::Fleet(Event::Disturbed));
        self.nodes[at].kill().await;
        self.history.fault(Fault::Fleet(Event::Led(at as u64 + 1)));
    }

    /// Starts it again, and waits until slots are where they were.
    pub async fn restart(&mut self, at: usize) -> Result<(), StartError> {
        self.nodes[at].start().await?;
        self.spread().await
    }
}

async fn slots_led(node: &Node, replicas: usize) -> Option<usize> {
    node.pid()?;
    let (200, _) = get(node.api(), "/readyz").await.ok()? else { return None };
    let slots: Vec<Value> = serde_json::from_str(&ask(node, "/api/v1/slots").await.ok()?).ok()?;
    let is_whole =
        |slot: &&Value| slot["leading"] == true && slot["current"].as_u64() == Some(replicas as u64);
    Some(slots.iter().filter(is_whole).count())
}

/// What a node answers its operator.
async fn ask(node: &Node, path: &str) -> io::Result<String> {
    let key = std::fs::read_to_string(node.data().join("api.key"))?;
    Ok(request(node.api(), "GET", path, Some(key.trim()), "").await?.1)
}
