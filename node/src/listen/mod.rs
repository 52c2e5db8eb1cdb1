//! Listeners: addresses are bound before anything else starts, so that a taken one is an error of the start; Clients
//! are let in when they can be served.

mod admit;
mod tcp;

use anyhow::Context;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use admit::Admission;
pub use admit::Admitted;

use crate::config::{Config, Listener};
use crate::drive::ShardHandle;

/// A listener that has its address and lets nobody in yet.
pub struct Bound {
    pub addr: SocketAddr,
    /// Only Clients of this machine are let in without a name.
    pub loopback_only: bool,
    listener: TcpListener,
}

/// Takes the addresses.
pub fn bind(listeners: &[Listener]) -> anyhow::Result<Vec<Bound>> {
    listeners
        .iter()
        .map(|options| {
            let listener = tcp::bind(options.addr)
                .with_context(|| format!("MQTT cannot be served on {}", options.addr))?;
            let addr = listener.local_addr()?;
            Ok(Bound { addr, loopback_only: !options.allow_anonymous, listener })
        })
        .collect()
}

/// Lets Clients in, spread over the shards. To be called on a runtime.
pub fn start(listeners: Vec<Bound>, config: &Config, shards: Arc<[ShardHandle]>) {
    let admission = Arc::new(Admission::new(&config.limits));
    for bound in listeners {
        match bound.loopback_only {
            true => {
                tracing::info!(addr = %bound.addr, "mqtt: anonymous Clients are let in from this machine only")
            }
            false => tracing::warn!(addr = %bound.addr, "mqtt: anonymous Clients are let in from anywhere"),
        }
        tokio::spawn(tcp::accept(bound, Arc::clone(&admission), Arc::clone(&shards)));
    }
}
