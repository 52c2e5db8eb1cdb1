//! Links to the other members: one for each lane, from when a node is a member until it is none, or is reached elsewhere.

use convoy_actors::meta::Fleet;
use convoy_ids::NodeId;
use convoy_peer::Lane;
use convoy_peer::authority::{Identity, server_name};
use convoy_peer::link::dialling::{Target, dial};
use convoy_peer::link::{Broken, Hello, Queue, Times};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Me;
use crate::drive::{Outward, Queues};
use crate::observe::metrics::PEER_LINKS;

/// A member that is dialled.
struct Dialled {
    address: String,
    queues: Queues,
}

/// Dials whoever is a member.
pub async fn keep_up(
    me: &Me,
    identity: &Arc<Identity>,
    mut known: watch::Receiver<Arc<Fleet>>,
    outward: &Outward,
) {
    let (mut dialled, mut tasks): (BTreeMap<NodeId, Dialled>, _) = (BTreeMap::new(), JoinSet::new());
    loop {
        let fleet = Arc::clone(&known.borrow_and_update());
        let is_there = |node: &NodeId, at: &Dialled| {
            fleet.member(*node).is_some_and(|member| member.address == at.address)
        };
        dialled.retain(|node, at| {
            let stays = is_there(node, at);
            if !stays {
                at.queues.iter().for_each(|queue| queue.end());
            }
            stays
        });
        for (node, member) in fleet.members().filter(|(node, _)| *node != me.node) {
            if dialled.contains_key(&node) {
                continue;
            }
            let name = server_name(node, me.fleet.0);
            let queues: Queues = Lane::ALL.map(|lane| Arc::new(Queue::new(lane)));
            let target = Target { address: member.address.clone(), name, tls: identity.client_config() };
            for queue in &queues {
                let hello = Hello::new(queue.lane(), me.start);
                tasks.spawn(link(target.clone(), member.name.clone(), hello, Arc::clone(queue)));
            }
            dialled.insert(node, Dialled { address: member.address.clone(), queues });
        }
        let peers = dialled.iter().map(|(node, at)| (*node, at.queues.clone()));
        outward.set(peers.collect::<HashMap<_, _>>());
        while tasks.try_join_next().is_some() {}
        if known.changed().await.is_err() {
            return;
        }
    }
}

/// One link, told of in the log when it comes up and when it breaks, and once for each reason that it does not come up.
async fn link(target: Target, name: String, hello: Hello, queue: Arc<Queue>) {
    let lane = queue.lane().name();
    let (was_up, mut said) = (AtomicBool::new(false), String::new());
    let up = metrics::gauge!(PEER_LINKS, "node" => name.clone(), "lane" => lane);
    let address = target.address.clone();
    let tell = |outcome: Result<(), &Broken>| match outcome {
        Ok(()) => {
            up.set(1.0);
            said.clear();
            was_up.store(true, Ordering::Relaxed);
            tracing::info!(node = %name, %address, lane, "link is up");
        }
        Err(Broken::Ended) => up.set(0.0),
        Err(reason) => {
            up.set(0.0);
            let reason = reason.to_string();
            if was_up.swap(false, Ordering::Relaxed) {
                tracing::warn!(node = %name, %address, lane, %reason, "link is down, and is dialled again");
            } else if said != reason {
                tracing::warn!(node = %name, %address, lane, %reason, "node is not reached, and is dialled again");
            }
            said = reason;
        }
    };
    dial(&target, hello, &queue, &Times::default(), tell).await;
}
