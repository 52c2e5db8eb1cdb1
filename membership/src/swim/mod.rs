//! Who of the fleet is alive, suspect or down, as SWIM finds it: every second a node probes another one, has others probe it
//! where no answer comes, and what it hears of anybody travels with what it says anyway ("SWIM: Scalable Weakly-consistent
//! Infection-style Process Group Membership Protocol", Das, Gupta and Motivala, 2002). The cost of it does not grow with the
//! fleet.
//!
//! It proposes, and Raft disposes: who leads, who serves and who owns a Session hangs on none of it. What it is good for is to
//! say that a node has been away for long, and where one that has moved is to be found.
//!
//! `foca` is the protocol. Around it is here:
//!
//! - who is a member is not gossip: the meta group says it ([`Swim::set_fleet`]), and what is heard of anybody else is not
//!   told;
//! - a member that is not alive is spoken to again and again, also by a node that has nobody left. So two halves of a fleet
//!   find each other without an operator;
//! - a process that was taken for down says that it is not, at once;
//! - since when each member has been away.
//!
//! Datagrams are handed in and out as they are: whoever carries them authenticates them, for a member may say anything of
//! another one. Times are milliseconds of a clock that never goes back.

mod codec;
mod process;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convoy_ids::NodeId;
use foca::{Config, Foca, Member, NoCustomBroadcast, Notification, PeriodicParams, State, Timer};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::ring::MAX_MEMBERS;
use codec::Codec;
use timers::Timers;

pub use codec::Malformed;
pub use process::{ADDRESS_LIMIT, Process};

/// Bytes of a datagram. With what encryption adds to it, it crosses every IPv6 network in one piece.
pub const DATAGRAM_LIMIT: usize = 1_200;

/// Milliseconds between two attempts to be heard by a member that is not alive; one at a time.
const ANNOUNCE: u64 = 1_000;

/// What SWIM holds a member for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Alive,
    /// It gave no answer, and has some seconds to say that it is alive.
    Suspect,
    /// Since this time; or nothing was heard of it since this time, when this process began to look.
    Away(u64),
}

/// Why a datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("datagram of a node refused: {0}")]
    Malformed(Malformed),
    #[error(
        "another process says that it is this node: it runs twice, or its data folder was copied. Stop one of them; empty its \
         data folder to let it join as a new node"
    )]
    Twin,
    #[error("more than {MAX_MEMBERS} nodes are spoken of")]
    Crowded,
    #[error("datagram of a node refused: it makes no sense where it stands")]
    Senseless,
}

/// Bytes that are to go to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub to: NodeId,
    pub address: Arc<str>,
    pub bytes: Bytes,
}

/// What one node knows of the lives of the others.
pub struct Swim {
    foca: Foca<Process, Codec, SmallRng, NoCustomBroadcast>,
    gathered: Gathered,
    /// The other members, and where each was when it joined.
    fleet: BTreeMap<NodeId, Arc<str>>,
    /// When the next member that is not alive is spoken to, and behind which.
    announces_at: u64,
    announced: Option<NodeId>,
}

/// What the protocol wants done.
#[derive(Default)]
struct Gathered {
    now: u64,
    datagrams: Vec<Datagram>,
    timers: Timers,
    /// Members that are not alive, and since when.
    away: BTreeMap<NodeId, u64>,
}

impl foca::Runtime<Process> for &mut Gathered {
    fn notify(&mut self, notification: Notification<'_, Process>) {
        match notification {
            Notification::MemberUp(process) => _ = self.away.remove(&process.node),
            Notification::MemberDown(process) => _ = self.away.entry(process.node).or_insert(self.now),
            _ => {}
        }
    }

    fn send_to(&mut self, to: Process, data: &[u8]) {
        let bytes = Bytes::copy_from_slice(data);
        self.datagrams.push(Datagram { to: to.node, address: to.address, bytes });
    }

    fn submit_after(&mut self, timer: Timer<Process>, after: Duration) {
        self.timers.enter(self.now + after.as_millis() as u64, timer);
    }
}

impl Swim {
    /// This process is `me`, and `seed` decides whom it asks first. It has nobody yet.
    pub fn new(now: u64, me: Process, seed: u64) -> Self {
        let foca = Foca::new(me, config(1), SmallRng::seed_from_u64(seed), Codec);
        let gathered = Gathered { now, ..Gathered::default() };
        Self { foca, gathered, fleet: BTreeMap::new(), announces_at: now, announced: None }
    }

    pub fn node(&self) -> NodeId {
        self.foca.identity().node
    }

    /// The members of the fleet are these, and each was at this address when that was last put on record. This node may be among
    /// them.
    pub fn set_fleet<'a>(&mut self, now: u64, members: impl IntoIterator<Item = (NodeId, &'a str)>) {
        self.gathered.now = now;
        let me = self.node();
        let members = members.into_iter().filter(|(node, _)| *node != me);
        self.fleet = members.map(|(node, address)| (node, Arc::from(address))).collect();
        let size = NonZeroU32::new(self.fleet.len() as u32 + 1).unwrap_or(NonZeroU32::MIN);
        let _ = self.foca.set_config(config(size.get()));
        let alive: Vec<NodeId> = self.foca.iter_members().map(|member| member.id().node).collect();
        let fleet = &self.fleet;
        self.gathered.away.retain(|node, _| fleet.contains_key(node));
        for node in self.fleet.keys().filter(|node| !alive.contains(node)) {
            self.gathered.away.entry(*node).or_insert(now);
        }
    }

    fn processes(&self) -> impl Iterator<Item = Process> + '_ {
        self.foca.iter_membership_state().map(|member| member.id().clone())
    }

    /// Who is down and no member any more need not be known. Nobody else is told: each node hears of the fleet by itself.
    fn forget_strangers(&mut self) {
        let is_stranger =
            |one: &&Member<Process>| !self.fleet.contains_key(&one.id().node) && one.state() == State::Down;
        let strangers = self.foca.iter_membership_state().filter(is_stranger).map(|one| one.id().clone());
        for stranger in strangers.collect::<Vec<_>>() {
            self.gathered.away.remove(&stranger.node);
            let _ = self.foca.handle_timer(Timer::RemoveDown(stranger), &mut self.gathered);
        }
    }

    /// Another node has said something. What is refused is to be counted, and [`Refused::Twin`] is for the operator.
    pub fn hear(&mut self, now: u64, datagram: &[u8]) -> Result<(), Refused> {
        self.gathered.now = now;
        if self.foca.iter_membership_state().len() > MAX_MEMBERS {
            return Err(Refused::Crowded);
        }
        self.foca.handle_data(datagram, &mut self.gathered).map_err(|error| match error {
            foca::Error::DataFromOurselves => Refused::Twin,
            foca::Error::Decode(why) => {
                Refused::Malformed(why.downcast().map_or(Malformed::Short, |why| *why))
            }
            _ => Refused::Senseless,
        })
    }

    /// What time brings about; about ten times a second.
    pub fn tick(&mut self, now: u64) {
        self.gathered.now = now;
        while let Some(timer) = self.gathered.timers.take(now) {
            // A probe that was not brought to its end because this process stood still is begun anew.
            let _ = self.foca.handle_timer(timer, &mut self.gathered);
        }
        if now >= self.announces_at {
            self.announces_at = now + ANNOUNCE;
            self.forget_strangers();
            self.announce();
        }
    }

    /// Speaks to the next member that is not alive.
    fn announce(&mut self) {
        let behind = |last: NodeId| self.away().map(|(node, _)| node).find(|node| *node > last);
        let next = self.announced.and_then(behind).or_else(|| self.away().map(|(node, _)| node).next());
        let Some(node) = next else { return };
        self.announced = Some(node);
        let known = self.processes().find(|one| one.node == node).map(|one| one.address);
        // It may have moved before it went, and back since: each address has its turn.
        let first = self.fleet.get(&node).cloned();
        let mut addresses: Vec<_> = known.into_iter().chain(first).collect();
        addresses.dedup();
        for address in addresses {
            let _ = self.foca.announce(Process::any_of(node, address), &mut self.gathered);
        }
    }

    /// This process ends, and the others need not find out.
    pub fn leave(&mut self, now: u64) {
        self.gathered.now = now;
        let _ = self.foca.leave_cluster(&mut self.gathered);
    }

    /// What is to be sent.
    pub fn take_datagrams(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.gathered.datagrams)
    }

    /// What a member is held for; None of who is none. Of this node nothing is said.
    pub fn look_at(&self, node: NodeId) -> Option<Seen> {
        self.fleet.get(&node)?;
        if let Some(since) = self.gathered.away.get(&node) {
            return Some(Seen::Away(*since));
        }
        let found = self.foca.iter_membership_state().find(|member| member.id().node == node);
        let is_suspect = found.is_some_and(|member| member.state() == State::Suspect);
        Some(if is_suspect { Seen::Suspect } else { Seen::Alive })
    }

    /// The members that are away, and since when, in the order of their nodes.
    pub fn away(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.gathered
            .away
            .iter()
            .filter(|(node, _)| self.fleet.contains_key(node))
            .map(|(node, since)| (*node, *since))
    }

    /// Where the process of a node is to be found, by what was last heard of it.
    pub fn address_of(&self, node: NodeId) -> Option<Arc<str>> {
        let heard = self.processes().find(|process| process.node == node).map(|process| process.address);
        heard.or_else(|| self.fleet.get(&node).cloned())
    }
}

/// Times for a fleet of so many nodes. A node that does not answer is suspect within two seconds, and down four seconds or more
/// later: the more nodes there are, the longer a word takes to reach them all.
fn config(size: u32) -> Config {
    let every = |seconds: u64, members: usize| {
        let num_members = NonZeroUsize::new(members).expect("it is not zero");
        Some(PeriodicParams { frequency: Duration::from_secs(seconds), num_members })
    };
    Config {
        max_packet_size: NonZeroUsize::new(DATAGRAM_LIMIT).expect("it is not zero"),
        // A node is forgotten when it is removed from the fleet, and not before.
        remove_down_after: None,
        periodic_announce: every(30, 1),
        periodic_announce_to_down_members: None,
        ..Config::new_lan(NonZeroU32::new(size).unwrap_or(NonZeroU32::MIN))
    }
}
