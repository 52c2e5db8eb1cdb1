//! Who is there, over UDP: carries the datagrams of [`Swim`], sealed with the fleet's key.

use convoy_actors::meta::Fleet;
use convoy_ids::NodeId;
use convoy_membership::swim::{Process, Refused, Seen, Swim};
use convoy_peer::seal::{Opener, Sealer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Me;
use crate::drive::{Clock, ShardHandle};
use crate::listen::LogLimit;
use crate::observe::metrics::PEER_DATAGRAMS_REFUSED;

const TICK: Duration = Duration::from_millis(100);

/// Ticks from one report of who is away to the next.
const REPORT: u32 = 10;

/// More than any datagram of a member.
const BYTES: usize = 2048;

/// What SWIM holds each member for, to be shown.
#[derive(Clone, Debug, Default)]
pub struct Sight(Arc<Mutex<BTreeMap<NodeId, Seen>>>);

impl Sight {
    pub fn of(&self, node: NodeId) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }
}

/// What the gossip of a node has.
pub struct Gossip {
    pub socket: UdpSocket,
    pub sealer: Sealer,
    pub opener: Opener,
    pub seed: u64,
    /// Counts as the shards do.
    pub clock: Clock,
    /// The shard that has the meta group.
    pub shard: ShardHandle,
    pub sight: Sight,
}

impl Gossip {
    /// Speaks and listens for as long as the node runs.
    pub async fn run(mut self, me: &Me, mut known: watch::Receiver<Arc<Fleet>>) {
        let now = self.clock.now().monotonic;
        let mut swim = Swim::new(now, Process::new(me.node, me.start, &me.address), self.seed);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ticked, mut bytes, log) = (0, [0; BYTES], LogLimit::default());
        set_fleet(&mut swim, now, &known.borrow_and_update());
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let now = self.clock.now().monotonic;
                    if known.has_changed().unwrap_or(false) {
                        set_fleet(&mut swim, now, &known.borrow_and_update());
                    }
                    swim.tick(now);
                    ticked += 1;
                    if ticked % REPORT == 0 {
                        self.report(&swim, &known.borrow());
                    }
                }
                came = self.socket.recv_from(&mut bytes) => match came {
                    Ok((count, _)) => self.hear(&mut swim, &bytes[..count], &known.borrow(), &log),
                    // An earlier datagram of ours met nobody.
                    Err(error) => tracing::trace!(%error, "socket of membership"),
                },
            }
            self.send(&mut swim).await;
        }
    }

    fn hear(&mut self, swim: &mut Swim, datagram: &[u8], fleet: &Fleet, log: &LogLimit) {
        let now = self.clock.now().monotonic;
        let refused = match self.opener.open(datagram, |node| fleet.member(node).is_some()) {
            Ok((_, plain)) => match swim.hear(now, &plain) {
                Ok(()) => return,
                Err(twin @ Refused::Twin) => {
                    log.say(Instant::now(), |unsaid| tracing::error!(unsaid, "{twin}"));
                    "twin"
                }
                Err(refused) => {
                    log.say(Instant::now(), |unsaid| tracing::warn!(unsaid, "{refused}"));
                    "senseless"
                }
            },
            // Anybody can send anything to a port: it is counted, and not told of.
            Err(refused) => refused.name(),
        };
        metrics::counter!(PEER_DATAGRAMS_REFUSED, "reason" => refused).increment(1);
    }

    fn report(&self, swim: &Swim, fleet: &Fleet) {
        self.shard.see_away(swim.away().collect());
        let seen = fleet.members().filter_map(|(node, _)| Some((node, swim.look_at(node)?)));
        *self.sight.0.lock().unwrap_or_else(PoisonError::into_inner) = seen.collect();
    }

    async fn send(&mut self, swim: &mut Swim) {
        for said in swim.take_datagrams() {
            let mut sealed = Vec::new();
            if self.sealer.seal(&said.bytes, &mut sealed).is_err() {
                continue;
            }
            // What is lost is said again. Names are looked up each time: a node may come back under another address.
            if let Err(error) = self.socket.send_to(&sealed, &*said.address).await {
                tracing::trace!(%error, address = %said.address, "datagram of membership");
            }
        }
    }
}

fn set_fleet(swim: &mut Swim, now: u64, fleet: &Fleet) {
    swim.set_fleet(now, fleet.members().map(|(node, member)| (node, &*member.address)));
}
