//! What the shards say of themselves, for those who must not wait for them.

use convoy_actors::Observation;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

use crate::admin::{ListenerState, NodeState, Source, Stored};
use crate::config::Config;
use crate::listen::Bound;
use crate::observe::figures::{self, Turns};

use super::WAY_OUT;
use super::identity::Identity;

/// Shards write their observations here; the API and the watch read them.
pub struct Board {
    fixed: NodeState,
    shards: Vec<Mutex<Option<(bool, Observation)>>>,
    turns: Vec<Mutex<Turns>>,
    free_bytes: AtomicU64,
    changed: Notify,
}

impl Board {
    pub fn new(config: &Config, identity: &Identity, shards: u16, listeners: &[Bound]) -> Self {
        let mut states: Vec<ListenerState> = listeners
            .iter()
            .map(|bound| ListenerState {
                name: bound.listener().name.clone(),
                clients: 0,
                kind: bound.listener().transport.as_str().to_owned(),
                addr: bound.addr,
            })
            .collect();
        let (name, kind) = ("api".to_owned(), "api".to_owned());
        states.push(ListenerState { name, kind, addr: config.api.addr, clients: 0 });
        let fixed = NodeState {
            node: config.node.name.clone(),
            node_id: identity.node.to_string(),
            zone: config.node.zone.clone(),
            data: config.node.data.display().to_string(),
            shards: usize::from(shards),
            listeners: states,
            stored: Stored { limit: config.limits.of_node().into(), ..Stored::default() },
            ..NodeState::default()
        };
        Self {
            fixed,
            shards: (0..shards).map(|_| Mutex::new(None)).collect(),
            turns: (0..shards).map(|_| Mutex::default()).collect(),
            free_bytes: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// A shard tells how it is, and whether it is ready.
    pub fn put(&self, shard: u16, ready: bool, observation: Observation, turns: Turns) {
        *self.turns[usize::from(shard)].lock().unwrap_or_else(PoisonError::into_inner) = turns;
        let mut place = self.shards[usize::from(shard)].lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some((ready, observation));
        drop(place);
        self.changed.notify_waiters();
    }

    pub fn set_free_bytes(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
        metrics::gauge!(crate::observe::metrics::STORAGE_FREE_BYTES).set(bytes as f64);
    }

    fn observations(&self) -> Vec<Option<(bool, Observation)>> {
        let read = |place: &Mutex<Option<(bool, Observation)>>| {
            place.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.shards.iter().map(read).collect()
    }

    /// All shards together.
    pub fn totals(&self) -> Observation {
        let mut totals = Observation::default();
        self.observations().iter().flatten().for_each(|(_, observation)| totals.merge(observation));
        totals
    }

    pub fn is_stalled(&self) -> bool {
        self.observations().iter().flatten().any(|(_, observation)| observation.stalled)
    }

    /// Why not every Client can be served, if so.
    pub fn why_not_ready(&self) -> Option<String> {
        let observations = self.observations();
        // What one file does to all shards is told once.
        let failures = observations.iter().flatten().flat_map(|(_, observation)| &observation.failures);
        let failures: BTreeSet<&str> = failures.map(String::as_str).collect();
        if !failures.is_empty() {
            return Some(failures.into_iter().collect::<Vec<_>>().join("; ") + WAY_OUT);
        }
        for (number, observation) in observations.into_iter().enumerate() {
            match observation {
                None => return Some(format!("shard {number} is starting")),
                Some((true, _)) => {}
                Some((false, observation)) => {
                    let Observation { slots, slots_led, .. } = observation;
                    return Some(format!("shard {number} leads {slots_led} of its {slots} slots"));
                }
            }
        }
        None
    }

    /// Returns once every shard is ready.
    pub async fn all_ready(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.why_not_ready().is_none() {
                return;
            }
            changed.await;
        }
    }
}

impl Source for Board {
    fn state(&self) -> NodeState {
        let totals = self.totals();
        let mut listeners = self.fixed.listeners.clone();
        for listener in &mut listeners {
            let of_it = totals.tally.connections.iter().filter(|kind| kind.listener.name == listener.name);
            listener.clients = of_it.map(|kind| kind.connections).sum();
        }
        NodeState {
            listeners,
            slots: totals.slots as usize,
            slots_led: totals.slots_led as usize,
            connections: totals.connections,
            sessions: totals.sessions,
            sessions_connected: totals.sessions_connected,
            subscriptions: totals.subscriptions,
            retained_messages: totals.retained_messages,
            stored: Stored { used: totals.stored.into(), ..self.fixed.stored },
            storage_free_bytes: self.free_bytes.load(Ordering::Relaxed),
            ..self.fixed.clone()
        }
    }

    fn figures(&self) -> String {
        let mut turns = Turns::default();
        for of in &self.turns {
            turns.merge(&of.lock().unwrap_or_else(PoisonError::into_inner));
        }
        figures::render(&self.totals(), &turns)
    }
}
