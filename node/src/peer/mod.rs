//! The other nodes of the fleet. A thread of its own keeps links up, lets others in, and hears who is there; shards say what
//! they have to say by [`crate::drive::Outward`], and never wait for any of it.

mod call;
mod gossip;
mod host;
mod join;
mod links;
mod orders;
mod record;

use anyhow::{Context, bail};
use convoy_actors::Moves;
use convoy_actors::meta::{Command, Entrant, Fleet, FleetId, TokenHash};
use convoy_ids::NodeId;
use convoy_membership::swim::Seen;
use convoy_peer::door;
use convoy_peer::link::Times;
use convoy_peer::seal::{Opener, Sealer};
use convoy_peer::token::Token;
use convoy_storage::engine::Engine;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

pub use convoy_peer::METRICS;
use gossip::{Gossip, Sight};
use host::Node;
use join::{Membership, hex};
pub use orders::Error as OrderError;
use orders::Orders;
use record::Belongs;

use crate::boot::{Watch, random};
use crate::config::Config;
use crate::drive::{self, Clock, Inward, Others, Outward, ShardHandle};

/// Points of a node on the ring.
const WEIGHT: u16 = 128;

/// Versions of records that this release reads.
const FORMATS: (u16, u16) = (1, 1);

/// Bytes in a frame at most: what shards and replicas write keeps to less.
const FRAME_BYTES: usize = 16 << 20;

/// Between two attempts to found the fleet.
const FOUND_AGAIN: Duration = Duration::from_millis(200);

/// A node as its fleet knows it.
#[derive(Clone, Debug)]
pub struct Me {
    pub node: NodeId,
    pub start: u32,
    pub fleet: FleetId,
    /// Where others reach it.
    pub address: String,
}

/// A node that belongs to a fleet, before anything of it runs.
pub struct Prepared {
    me: Me,
    entrant: Entrant,
    membership: Membership,
    replicas: u8,
    slots: u16,
    replace_after: Duration,
    tcp: TcpListener,
    udp: UdpSocket,
}

/// Finds out, before slots are opened, what fleet the node belongs to; founds or joins one, if the configuration says so.
/// `None` for a node that is alone.
pub fn prepare(
    config: &Config,
    node: NodeId,
    start: u32,
    engine: &dyn Engine,
) -> anyhow::Result<Option<Prepared>> {
    let data = &config.node.data;
    let belongs = Belongs::read(engine)?;
    let Some(addr) = config.peer.addr else {
        if let Some(belongs) = belongs {
            bail!(
                "the data in {} is of a member of fleet {}: say with peer.addr (--peer) where the others reach it",
                data.display(),
                hex(&belongs.fleet.0)
            );
        }
        return Ok(None);
    };
    let address = config.peer.advertise.clone().unwrap_or_else(|| addr.to_string());
    if config.peer.advertise.is_none() && addr.ip().is_unspecified() {
        bail!(
            "peer.addr is {addr}, which no other node can reach: say with peer.advertise where this one is reached"
        );
    }
    let tcp =
        crate::listen::bind_socket(addr).with_context(|| format!("cannot listen for nodes on {addr}"))?;
    let udp =
        UdpSocket::bind(addr).with_context(|| format!("cannot listen for membership on {addr} (UDP)"))?;
    udp.set_nonblocking(true)?;
    let entrant = Entrant {
        node: node.get(),
        name: config.node.name.clone(),
        zone: config.node.zone.clone(),
        weight: WEIGHT,
        address: address.clone(),
        formats: FORMATS,
    };
    let membership = match belongs {
        Some(belongs) => join::take_up(belongs, data)?,
        None if config.peer.join.is_empty() => join::found(node, data, engine)?,
        None => {
            if !record::is_blank(engine)? {
                bail!(
                    "the data in {} is of a node that was alone, and would be lost in another fleet: join with an empty folder",
                    data.display()
                );
            }
            let token = config.peer.token.as_deref();
            let token = token
                .context("a node joins with a token (--token): convoy ctl token on a member makes one")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let joins =
                join::join(entrant.clone(), config.fleet.slots, &config.peer.join, token, data, engine);
            runtime.block_on(joins)?
        }
    };
    let me = Me { node, start, fleet: membership.belongs.fleet, address };
    let (replicas, slots) = (config.fleet.replicas, config.fleet.slots);
    let replace_after = config.fleet.replace_after;
    Ok(Some(Prepared { me, entrant, membership, replicas, slots, replace_after, tcp, udp }))
}

impl Prepared {
    /// All members that are known, this node among them.
    pub fn members(&self) -> Vec<NodeId> {
        let known = self.membership.belongs.known.members().map(|(node, _)| node);
        let mut members: Vec<_> = known.chain([self.me.node]).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// What shards are told of it.
    pub fn moves(&self) -> Moves {
        let founders = self.membership.belongs.founders.clone();
        let founds = founders.contains(&self.me.node);
        let replace_after = Some(self.replace_after.as_millis() as u64);
        Moves { founders, founds, given: 0, replace_after }
    }

    /// The way of its shards to other nodes and from them.
    pub fn others(&self, shards: u16) -> Others {
        let known = Arc::new(self.membership.belongs.known.clone());
        Others {
            me: self.me.node,
            outward: Arc::default(),
            inward: Arc::new(Inward::of(shards)),
            fleet: Arc::new(watch::Sender::new(known)),
        }
    }

    /// Starts to speak with the others.
    pub fn start(self, running: Running, watch: Watch) -> anyhow::Result<(Peers, thread::JoinHandle<()>)> {
        let Membership { belongs, authority, key } = self.membership;
        let identity = Arc::new(authority.certify(self.me.node)?);
        let orders = Orders {
            me: self.me.node,
            fleet_id: self.me.fleet.0,
            identity: Arc::clone(&identity),
            shard: running.shard.clone(),
            known: running.fleet.subscribe(),
        };
        let sight = Sight::default();
        let peers = Peers {
            me: self.me.clone(),
            fingerprint: authority.fingerprint(),
            orders: orders.clone(),
            sight: sight.clone(),
        };
        let sealer = Sealer::new(&key, self.me.node, self.me.start);
        let opener = Opener::new(&key);
        let host = Arc::new(Node {
            fleet: self.me.fleet,
            founders: belongs.founders.clone(),
            authority,
            key,
            orders: orders.clone(),
            known: running.fleet.subscribe(),
            inward: running.inward,
            starts: Mutex::default(),
            log: Default::default(),
        });
        let seed = u64::from_le_bytes(random()?);
        let (me, entrant, tcp, udp) = (self.me, self.entrant, self.tcp, self.udp);
        let found = Command::Found {
            fleet: me.fleet,
            slots: self.slots,
            replication: self.replicas,
            format: FORMATS.1,
            founder: entrant.clone(),
        };
        let (known, shard) = (running.fleet.subscribe(), running.shard);
        let (outward, engine, begin) = (running.outward, running.engine, running.begin);
        let work = async move {
            let tcp = tokio::net::TcpListener::from_std(tcp)?;
            let socket = tokio::net::UdpSocket::from_std(udp)?;
            let clock = Clock::since(begin);
            let gossip = Gossip { socket, sealer, opener, seed, clock, shard, sight };
            let limits = door::Limits { frame_bytes: FRAME_BYTES };
            let serve = door::serve(tcp, identity.server_config(), host, Times::default(), limits);
            let founds = belongs.founders == [me.node];
            tokio::select! {
                () = serve => {}
                () = gossip.run(&me, known.clone()) => {}
                () = links::keep_up(&me, &identity, known.clone(), &outward) => {}
                () = introduce(&orders, founds.then_some(&found), &entrant) => {}
                kept = keep_known(belongs, known.clone(), &*engine) => kept?,
            }
            anyhow::Ok(())
        };
        let thread = thread::Builder::new().name("convoy-peer".to_owned()).spawn(move || {
            let _watch = watch;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime needs an epoll and nothing else");
            if let Err(error) = runtime.block_on(work) {
                tracing::error!(%error, "the other nodes cannot be spoken to");
            }
        })?;
        Ok((peers, thread))
    }
}

/// What runs already when a node begins to speak with others.
pub struct Running {
    /// The shard that may have the meta group.
    pub shard: ShardHandle,
    pub inward: Arc<Inward>,
    pub outward: Arc<Outward>,
    pub fleet: Arc<watch::Sender<Arc<Fleet>>>,
    pub engine: Arc<dyn Engine>,
    /// Since when shards count.
    pub begin: u64,
}

/// Founds the fleet, if this is its first node; and tells the fleet when the node is reached elsewhere than before.
async fn introduce(orders: &Orders, found: Option<&Command>, entrant: &Entrant) {
    if let Some(found) = found {
        while orders.known.borrow().birth().is_none() {
            let _ = orders.give_here(found).await;
            sleep(FOUND_AGAIN).await;
        }
    }
    let node = entrant.node;
    let is_known = |fleet: &Fleet| {
        let member = NodeId::new(node).and_then(|node| fleet.member(node));
        member.is_none_or(|member| member.address == entrant.address)
    };
    let command = Command::Readdress { node, address: entrant.address.clone() };
    let mut known = orders.known.clone();
    let is_told = known.wait_for(|fleet| fleet.birth().is_some()).await.map(|fleet| is_known(&fleet));
    if is_told.is_ok_and(|is_told| !is_told) {
        while let Err(reason) = orders.carry_out(&command, is_known).await {
            tracing::warn!(%reason, address = %entrant.address, "the fleet was not told that this node is reached elsewhere");
            sleep(FOUND_AGAIN).await;
        }
    }
    std::future::pending().await
}

/// Keeps on disk who the others are, so that a node finds them after a restart.
async fn keep_known(
    mut belongs: Belongs,
    mut known: watch::Receiver<Arc<Fleet>>,
    engine: &dyn Engine,
) -> anyhow::Result<()> {
    while known.changed().await.is_ok() {
        let fleet = Arc::clone(&known.borrow_and_update());
        if fleet.birth().is_some() {
            belongs.known = (*fleet).clone();
            belongs.keep(engine).context("who the members are could not be written")?;
        }
        // Numbers of replicas come in bursts.
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// The fleet, as an operator asks for it.
#[derive(Clone)]
pub struct Peers {
    me: Me,
    fingerprint: [u8; 32],
    orders: Orders,
    sight: Sight,
}

impl Peers {
    /// Makes a token by which nodes may join for so long.
    pub async fn token(&self, valid: Duration) -> Result<Token, OrderError> {
        let token = Token::draw(self.me.fleet.0, self.fingerprint)
            .map_err(|error| OrderError::Late(error.to_string()))?;
        let (hash, at) = (TokenHash(token.hash()), drive::wall());
        let expires_at = at.saturating_add(valid.as_millis() as u64);
        let command = Command::AddToken { hash, expires_at, at };
        self.orders.carry_out(&command, |fleet| fleet.has_token(&hash)).await?;
        Ok(token)
    }

    pub fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.orders.known.borrow())
    }

    pub fn node(&self) -> NodeId {
        self.me.node
    }

    /// What SWIM holds a member for; of the node itself nothing.
    pub fn seen(&self, node: NodeId) -> Option<Seen> {
        self.sight.of(node)
    }
}
