//! Listeners: addresses are bound before anything else starts, so that a taken one is an error of the start; Clients
//! are let in when they can be served.

mod admit;
mod tcp;

use anyhow::Context;
use convoy_actors::{Listener, Transport};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use admit::Admission;
pub use admit::Admitted;

use crate::config::{self, Config};
use crate::drive::ShardHandle;

/// A listener that has its address and lets nobody in yet.
pub struct Bound {
    pub addr: SocketAddr,
    /// What its connections have in common.
    pub listener: Arc<Listener>,
    socket: TcpListener,
}

/// Takes the addresses.
pub fn bind(listeners: &[config::Listener]) -> anyhow::Result<Vec<Bound>> {
    listeners
        .iter()
        .map(|options| {
            let socket = tcp::bind(options.addr)
                .with_context(|| format!("MQTT cannot be served on {}", options.addr))?;
            let addr = socket.local_addr()?;
            let mut listener = Listener::new(format!("mqtt-{addr}"), Transport::Tcp);
            listener.allow_anonymous = options.allow_anonymous;
            Ok(Bound { addr, listener: Arc::new(listener), socket })
        })
        .collect()
}

/// Lets Clients in, spread over the shards. To be called on a runtime.
pub fn start(listeners: Vec<Bound>, config: &Config, shards: Arc<[ShardHandle]>) {
    let admission = Arc::new(Admission::new(&config.limits));
    for bound in listeners {
        match bound.listener.allow_anonymous {
            false => {
                tracing::info!(addr = %bound.addr, "mqtt: anonymous Clients are let in from this machine only")
            }
            true => tracing::warn!(addr = %bound.addr, "mqtt: anonymous Clients are let in from anywhere"),
        }
        tokio::spawn(tcp::accept(bound, Arc::clone(&admission), Arc::clone(&shards)));
    }
}
