//! What a node does with those who come in by its door.

use convoy_actors::meta::{Command, Fleet, FleetId};
use convoy_ids::NodeId;
use convoy_peer::authority::{Authority, node_of};
use convoy_peer::door::{Host, Refused};
use convoy_peer::link::{Frame, Hello, Reply};
use convoy_peer::{Lane, seal};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::call::{self, Answer, Ask, Welcome};
use super::orders::{Error, Orders};
use crate::drive::{Inward, wall};
use crate::listen::LogLimit;

/// A node, for others.
pub struct Node {
    pub fleet: FleetId,
    pub founders: Vec<NodeId>,
    pub authority: Authority,
    pub key: seal::Key,
    pub orders: Orders,
    pub known: watch::Receiver<Arc<Fleet>>,
    pub inward: Arc<Inward>,
    /// The newest start of each node that was heard of.
    pub starts: Mutex<BTreeMap<NodeId, u32>>,
    pub log: LogLimit,
}

impl Host for Node {
    fn who(&self, certificates: Option<&[CertificateDer<'static>]>) -> Result<NodeId, String> {
        node_of(certificates, self.fleet.0).map_err(|error| error.to_string())
    }

    fn judge(&self, node: NodeId, hello: Hello) -> Reply {
        if self.known.borrow().member(node).is_none() {
            return Reply::Stranger;
        }
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = starts.entry(node).or_insert(hello.start);
        match hello.start < *newest {
            true => Reply::Older,
            false => {
                *newest = hello.start;
                Reply::Welcome
            }
        }
    }

    fn take(&self, node: NodeId, lane: Lane, frames: Vec<Frame>) {
        self.inward.bring(node, lane, frames);
    }

    async fn answer(&self, node: Option<NodeId>, stream: TlsStream<TcpStream>) {
        let from = stream.get_ref().0.peer_addr();
        let answered = call::answer(stream, async |ask| self.reply(node, ask).await).await;
        if let Err(error) = answered {
            self.log.say(Instant::now(), |unsaid| {
                tracing::warn!(from = ?from.ok(), unsaid, %error, "call of a node");
            });
        }
    }

    fn tell(&self, from: SocketAddr, node: Option<NodeId>, refused: &Refused) {
        // Of a link that has ended its own node tells more.
        if node.is_none_or(|node| self.known.borrow().member(node).is_none()) {
            self.log.say(Instant::now(), |unsaid| {
                tracing::warn!(%from, unsaid, reason = %refused, "a connection to the peer address was refused");
            });
        }
    }
}

impl Node {
    async fn reply(&self, node: Option<NodeId>, ask: Ask) -> Answer {
        match ask {
            Ask::Join { entrant, fleet, slots, token } => {
                let (joins, name, zone) = (entrant.node, entrant.name.clone(), entrant.zone.clone());
                let command = Command::Join { entrant, fleet, slots, token, at: wall() };
                let is_there =
                    |fleet: &Fleet| NodeId::new(joins).is_some_and(|node| fleet.member(node).is_some());
                match self.orders.carry_out(&command, is_there).await {
                    Ok(fleet) => {
                        tracing::info!(node = %name, %zone, "a node has joined the fleet");
                        Answer::Welcome(Box::new(self.welcome(&fleet)))
                    }
                    Err(Error::Refused(reason)) => Answer::Refused(reason),
                    Err(error @ Error::Late(_)) => Answer::Later(error.to_string()),
                }
            }
            Ask::Order { command } => {
                let is_member = node.is_some_and(|node| self.known.borrow().member(node).is_some());
                match Command::decode(&command) {
                    _ if !is_member => Answer::Refused("only a member gives commands".into()),
                    Ok(command) => self.orders.give_here(&command).await,
                    Err(error) => Answer::Refused(error.to_string()),
                }
            }
        }
    }

    fn welcome(&self, fleet: &Fleet) -> Welcome {
        Welcome {
            authority: self.authority.to_bytes(),
            key: self.key.to_bytes(),
            founders: self.founders.iter().map(|node| node.get()).collect(),
            fleet: fleet.encode(),
        }
    }
}
