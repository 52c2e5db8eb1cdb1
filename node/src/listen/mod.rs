//! Listeners: addresses are bound before anything else starts, so that a taken one is an error of the start; Clients
//! are let in when they can be served.

mod accept;
mod addresses;
mod admit;
mod gate;
mod handshake;
mod proxy;
pub mod tls;
mod upgrade;

use anyhow::Context;
use convoy_actors::Listener;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

pub use accept::{bind as bind_socket, next as next_connection};
pub use addresses::Origin;
pub use admit::Admitted;
use admit::{Admission, Shared};
use gate::Gate;
pub use gate::LogLimit;
pub use handshake::{Handshakes, Options as HandshakeOptions, Shards};
use tls::Tls;

use crate::config::{Config, WebOptions};

/// A listener that has its address and lets nobody in yet.
pub struct Bound {
    pub addr: SocketAddr,
    socket: TcpListener,
    gate: Arc<Gate>,
}

impl Bound {
    /// What its connections have in common.
    pub fn listener(&self) -> &Listener {
        &self.gate.listener
    }
}

/// Takes the addresses and reads the certificates. There is room for so many connections of all listeners together.
pub fn bind(config: &Config, connections: u32) -> anyhow::Result<Vec<Bound>> {
    let shared = Arc::new(Shared::new(&config.limits, connections));
    let mut listeners = Vec::new();
    for options in &config.mqtt {
        let kind = options.kind;
        let socket = accept::bind(options.addr).with_context(|| {
            format!("MQTT cannot be served on {kind}://{} (see --{kind}, or mqtt.listeners)", options.addr)
        })?;
        let addr = socket.local_addr()?;
        let name = options.name.clone().unwrap_or_else(|| format!("{kind}://{addr}"));
        let tls = match &options.tls {
            Some(tls) => {
                Some(Arc::new(Tls::load(tls, options.web.is_some(), false).context("TLS cannot be served")?))
            }
            None => None,
        };
        let admission = Arc::new(Admission::new(&name, options, Arc::clone(&shared)));
        let listener = Listener {
            name,
            transport: kind,
            // Who has shown a certificate is not anonymous, though it may have no name.
            allow_anonymous: options.allow_anonymous.filter(|allowed| *allowed || !options.proves_clients()),
            certificate_is_client_id: options.tls.as_ref().is_some_and(|tls| tls.client_id_from_certificate),
            certificate_is_user_name: options.tls.as_ref().is_some_and(|tls| tls.user_name_from_certificate),
        };
        let gate = Gate {
            listener: Arc::new(listener),
            admission,
            loopback_only: options.allow_anonymous.is_none() && !config.knows_clients_of(options),
            proxy_from: options.proxy_from.clone(),
            tls,
            web: options.web.clone().map(|web| WebOptions {
                takes_foreign_pages: match options.allow_anonymous {
                    Some(anonymous) => !anonymous,
                    None => config.knows_clients_of(options),
                },
                ..web
            }),
            log: LogLimit::default(),
        };
        listeners.push(Bound { addr, socket, gate: Arc::new(gate) });
    }
    Ok(listeners)
}

/// Lets Clients in. To be called on a runtime.
pub fn start(listeners: Vec<Bound>, handshakes: &Handshakes) {
    let mut watched = Vec::new();
    for Bound { addr, socket, gate } in listeners {
        let Listener { name, transport, allow_anonymous, .. } = &*gate.listener;
        if gate.tls.as_ref().is_some_and(|tls| tls.proves_without_a_name()) {
            tracing::warn!(
                listener = %name,
                "certificates are required here and no name is taken from them: whoever has one may call itself what it \
                 likes; user_name_from_certificate or client_id_from_certificate takes it"
            );
        }
        match (allow_anonymous, gate.loopback_only) {
            (Some(true), _) => {
                tracing::warn!(listener = %name, %addr, "{transport}: anonymous Clients are let in from anywhere");
            }
            (_, true) => {
                tracing::info!(listener = %name, %addr, "{transport}: anonymous Clients are let in from this machine only");
            }
            (_, false) => {
                tracing::info!(listener = %name, %addr, "{transport}: Clients have to say who they are")
            }
        }
        watched.extend(gate.tls.iter().map(|tls| (name.clone(), Arc::clone(tls))));
        tokio::spawn(accept::accept(socket, gate, handshakes.clone()));
    }
    // Also without certificates: SIGHUP asks for a look at the files, and must not end a node that has none.
    tokio::spawn(tls::watch(watched, handshakes.shards.all()));
}
