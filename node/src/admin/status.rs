//! `/status`: one page about this node, for people and for `convoy ctl status`.

use super::Reason;
use convoy_actors::Usage;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, time::Duration};
use utoipa::ToSchema;

/// Whoever knows the state of the node. Called from the thread of the API: it must not wait for a shard.
pub trait Source: Send + Sync + 'static {
    fn state(&self) -> NodeState;

    /// What the shards have counted, as lines of `/metrics`.
    fn figures(&self) -> String {
        String::new()
    }
}

/// What the node knows about itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeState {
    pub node: String,
    /// 16 hexadecimal digits, drawn when the data folder was made.
    pub node_id: String,
    pub zone: String,
    pub data: String,
    pub shards: usize,
    pub listeners: Vec<ListenerState>,
    pub slots: usize,
    pub slots_led: usize,
    /// Network Connections open now.
    pub connections: u64,
    /// Sessions of its slots, connected or not.
    pub sessions: u64,
    /// Sessions whose connection is open here.
    pub sessions_connected: u64,
    pub subscriptions: u64,
    pub retained_messages: u64,
    pub stored: Stored,
    /// Free bytes of the file system that holds `data`.
    pub storage_free_bytes: u64,
}

/// What is stored, and how much may be, whoever stores it: the section `[limits]` of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    pub used: Amounts,
    pub limit: Amounts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Amounts {
    /// Sessions that outlive their connections.
    pub sessions: u64,
    /// Bytes that wait for Sessions, of their Wills, and on their way from slot to slot.
    pub stored_bytes: u64,
    /// Of these, those of Wills.
    #[serde(default)]
    pub will_bytes: u64,
    pub retained_messages: u64,
    /// Of their Topic Names, properties and payloads.
    pub retained_bytes: u64,
}

impl From<Usage> for Amounts {
    fn from(usage: Usage) -> Self {
        let Usage { sessions, stored_bytes, will_bytes, retained_messages, retained_bytes } = usage;
        Self { sessions, stored_bytes, will_bytes, retained_messages, retained_bytes }
    }
}

/// An address the node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListenerState {
    /// As the configuration names it, or by kind and address.
    pub name: String,
    /// `mqtt` or `api`.
    pub kind: String,
    #[schema(value_type = String)]
    pub addr: SocketAddr,
    /// Clients that are connected by it; about a second old.
    pub clients: u64,
}

/// The answer of `/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    pub uptime_seconds: u64,
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<Reason>,
    #[serde(flatten)]
    pub state: NodeState,
}

impl Status {
    pub(super) fn new(state: NodeState, uptime: Duration, reasons: Vec<Reason>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: uptime.as_secs(),
            ready: reasons.is_empty(),
            reasons,
            state,
        }
    }
}

/// What `convoy ctl status` prints.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<12}{value}");
        let state = &self.state;
        line("node", &format_args!("{} ({}), zone {}", state.node, state.node_id, state.zone))?;
        line("version", &self.version)?;
        line("uptime", &format_args!("{} s", self.uptime_seconds))?;
        match self.ready {
            true => line("ready", &"yes")?,
            false => line("ready", &"no")?,
        }
        for reason in &self.reasons {
            line("", &format_args!("{}: {}", reason.condition, reason.reason))?;
        }
        for listener in &state.listeners {
            line("listening", &format_args!("{} {}", listener.kind, listener.addr))?;
        }
        line("slots", &format_args!("{} of {} led here", state.slots_led, state.slots))?;
        line("shards", &state.shards)?;
        line("connections", &state.connections)?;
        let (sessions, connected) = (state.sessions, state.sessions_connected);
        line("sessions", &format_args!("{sessions}, {connected} connected"))?;
        let Stored { used, limit } = state.stored;
        line("lasting", &format_args!("{} of {} Sessions", used.sessions, limit.sessions))?;
        let (bytes, most) = (used.stored_bytes >> 20, limit.stored_bytes >> 20);
        line("waiting", &format_args!("{bytes} of {most} MiB"))?;
        let (bytes, most) = (used.will_bytes >> 20, limit.will_bytes >> 20);
        line("wills", &format_args!("{bytes} of {most} MiB"))?;
        line("subscribed", &format_args!("{} Topic Filters", state.subscriptions))?;
        let (messages, bytes) = (used.retained_messages, used.retained_bytes >> 20);
        let (most, most_bytes) = (limit.retained_messages, limit.retained_bytes >> 20);
        line("retained", &format_args!("{messages} of {most} messages, {bytes} of {most_bytes} MiB"))?;
        line("data", &format_args!("{}, {} MiB free", state.data, state.storage_free_bytes >> 20))
    }
}
