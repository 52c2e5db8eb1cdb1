//! kill -9 in a loop under load, with bans and reloads between: 0 acknowledged messages lost, 0 duplicates at QoS 2, order kept, Session Present true,
//! Retained Messages and Wills right, and the node ready again in time.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Report;
use super::load::{Crowd, Load};
use crate::fleet::{Node, Program, StartError};
use crate::invariant::liveness::{self, Limits};
use crate::invariant::{self, Tally};
use crate::oracle::{Fault, History, Ledger, Name};
use crate::sim::seed::{Seed, Stream};

/// A history is judged whole, so a long run is cut into rounds; the node and its data stay.
const ROUND: Duration = Duration::from_secs(60);

/// Roles of which the first Client is banned now and then.
const BANNED: [&str; 4] = ["van", "desk", "wagon", "member"];

#[derive(Clone, Debug)]
pub struct Options {
    pub seed: Seed,
    pub time: Duration,
    pub crowd: Crowd,
    /// Off only to look at the suite itself, against a broker that does not survive kills.
    pub faults: bool,
    pub limits: Limits,
}

impl Options {
    pub fn new(seed: Seed, time: Duration) -> Self {
        let limits = Limits { ready: Duration::from_secs(3), serve: Duration::from_secs(5) };
        Self { seed, time, crowd: Crowd::default(), faults: true, limits }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// kill -9, and a start after `down`.
    Kill { after: Duration, down: Duration },
    /// SIGSTOP for a while: to the Clients a long silence, after which everything has to go on.
    Pause { after: Duration, length: Duration },
    /// A Client is banned for a while; where `dies`, over a kill -9.
    Ban { after: Duration, length: Duration, client: Name, dies: bool },
    /// The configuration is read again, and nothing comes of it.
    Reload { after: Duration },
}

impl Strike {
    fn after(&self) -> Duration {
        match self {
            Self::Kill { after, .. }
            | Self::Pause { after, .. }
            | Self::Ban { after, .. }
            | Self::Reload { after } => *after,
        }
    }
}

/// The strikes of a run, one after the other.
pub struct Plan {
    chance: Stream,
}

impl Plan {
    pub fn new(seed: Seed) -> Self {
        Self { chance: seed.stream("strikes") }
    }
}

impl Iterator for Plan {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        // Sometimes at once: a crash during recovery is a crash like any other.
        let after =
            if self.chance.one_in(5) { self.chance.millis(0, 150) } else { self.chance.millis(300, 3500) };
        Some(match self.chance.below(8) {
            0 => Strike::Pause { after, length: self.chance.millis(100, 1200) },
            1 => {
                let role = *self.chance.pick(&BANNED);
                let (length, dies) = (self.chance.millis(200, 1500), self.chance.one_in(2));
                Strike::Ban { after, length, client: format!("{role}-0").into(), dies }
            }
            2 => Strike::Reload { after },
            _ => Strike::Kill { after, down: self.chance.millis(0, 300) },
        })
    }
}

/// Runs in `folder`, which stays with what the node left behind.
pub async fn run(program: Program, folder: &Path, options: &Options) -> Result<Report, StartError> {
    let mut whole: Option<Report> = None;
    let mut left = options.time;
    let node = |program: Program, data: &str| {
        let is_convoy = program.is_convoy();
        let node = Node::new(program, &folder.join(data), folder, &History::new())?;
        // Another broker is met over TCP.
        if is_convoy { node.with_listeners() } else { Ok(node) }
    };
    let mut current = node(program, "data").map_err(StartError::Spawn)?;
    let mut round = 0;
    while !left.is_zero() {
        let time = left.min(ROUND);
        left -= time;
        let seed = Seed(options.seed.0.wrapping_add(round));
        // Rounds have the same names for their Clients, so each begins with an empty broker.
        if round > 0 {
            current.reap().await;
            current = node(current.program().clone(), &format!("data-{round}")).map_err(StartError::Spawn)?;
        }
        let report = one_round(&mut current, folder, seed, time, options).await?;
        if options.time > ROUND {
            eprintln!("{report}");
        }
        match &mut whole {
            Some(whole) => whole.join(report),
            None => whole = Some(report),
        }
        round += 1;
    }
    Ok(whole.expect("at least one round"))
}

async fn one_round(
    node: &mut Node,
    folder: &Path,
    seed: Seed,
    time: Duration,
    options: &Options,
) -> Result<Report, StartError> {
    let began = Instant::now();
    let history = History::new();
    node.record_to(&history);
    let mut starts = vec![node.start().await?];
    let load = Load::start(node.places(), &history, seed, options.crowd).await;
    let ends = Instant::now() + time;
    if options.faults {
        for strike in Plan::new(seed) {
            if Instant::now() + strike.after() > ends {
                break;
            }
            sleep(strike.after()).await;
            match strike {
                Strike::Kill { down, .. } => {
                    node.kill().await;
                    sleep(down).await;
                    starts.push(node.start().await?);
                }
                Strike::Pause { length, .. } => {
                    node.pause();
                    sleep(length).await;
                    node.resume();
                }
                // Another broker has no operator that we know.
                Strike::Ban { .. } | Strike::Reload { .. } if !node.program().is_convoy() => {}
                Strike::Ban { length, client, dies, .. } => {
                    let ban = node.ban(&client).await.map_err(StartError::Spawn)?;
                    sleep(length / 2).await;
                    if dies {
                        node.kill().await;
                        starts.push(node.start().await?);
                    }
                    sleep(length / 2).await;
                    node.pardon(&client, ban).await.map_err(StartError::Spawn)?;
                }
                Strike::Reload { .. } => node.reload(),
            }
        }
    }
    sleep(ends.saturating_duration_since(Instant::now())).await;
    history.fault(Fault::Healed);
    let mut violations = load.rest().await;
    if let Some(status) = node.exited() {
        return Err(StartError::Exited { status, stderr: node.stderr() });
    }
    history.fault(Fault::Healed);

    let ledger = Ledger::of(history.events());
    violations.extend(invariant::check(&ledger));
    violations.extend(liveness::check(&ledger, options.limits));
    super::keep_history(folder, &ledger, &violations);
    let tally = Tally::of(&ledger);
    Ok(Report { story: "durability", seed, tally, violations, starts, took: began.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_replays_the_strikes() {
        let strikes = |seed| Plan::new(Seed(seed)).take(50).collect::<Vec<_>>();
        assert_eq!(strikes(11), strikes(11));
        assert_ne!(strikes(11), strikes(12));
        assert!(strikes(11).iter().any(|strike| matches!(strike, Strike::Pause { .. })));
        assert!(strikes(11).iter().any(|strike| matches!(strike, Strike::Ban { dies: true, .. })));
    }
}
