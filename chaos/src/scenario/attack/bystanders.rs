//! Others: pairs of a publisher and a subscriber on topics of their own, so that some are on each shard.
//!
//! They have a thread to themselves. On that of whoever pours without ever waiting they would wait for him, and that would
//! be taken for the node's doing.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::scenario::ping::Ping;

const PAIRS: usize = 4;
/// Between two messages of a pair.
const PAUSE: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_millis(800);

pub(super) struct Bystanders {
    stop: watch::Sender<bool>,
    heard: oneshot::Receiver<anyhow::Result<Heard>>,
}

/// What became of their messages.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// How long each took; one that takes long stands for those that would have been sent meanwhile.
    took: Vec<Duration>,
    /// Messages that did not arrive, or were not acknowledged, within ten seconds; and connections that ended.
    pub lost: Vec<String>,
    pub quiet_p99: Duration,
}

impl Heard {
    pub fn p99(&self) -> Duration {
        self.took.get(self.took.len() * 99 / 100).copied().unwrap_or_default()
    }

    pub fn longest(&self) -> Duration {
        self.took.last().copied().unwrap_or_default()
    }

    pub fn count(&self) -> usize {
        self.took.len()
    }

    /// Without the coordinated omission of whoever waits for an answer before it asks again.
    fn add(&mut self, took: Duration) {
        let mut left = took;
        loop {
            self.took.push(left);
            match left.checked_sub(PAUSE) {
                Some(rest) if !rest.is_zero() => left = rest,
                _ => break,
            }
        }
    }
}

impl Bystanders {
    /// Returns when they know how long their messages take in quiet.
    pub(super) async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (begin, began) = oneshot::channel();
        let (tell, heard) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("bystanders".into()).spawn(move || {
            // Whoever asked for it may be gone.
            let _ = tell.send(runtime.block_on(stand_by(server, begin, stopped)));
        })?;
        match began.await {
            Ok(()) => Ok(Self { stop, heard }),
            Err(_) => Err(heard.await?.err().context("the bystanders ended before they began")?),
        }
    }

    pub(super) async fn stop(self) -> anyhow::Result<Heard> {
        self.stop.send_replace(true);
        self.heard.await?
    }
}

async fn stand_by(
    server: SocketAddr,
    begin: oneshot::Sender<()>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<Heard> {
    let mut pings = Vec::new();
    for pair in 0..PAIRS {
        pings.push(Ping::new(server, &format!("bystander-{pair}")).await?);
    }
    let mut quiet = Heard::default();
    let until = Instant::now() + QUIET;
    while Instant::now() < until {
        for ping in &mut pings {
            quiet.add(ping.bounce().await?);
        }
    }
    quiet.took.sort_unstable();
    let _ = begin.send(());
    let pairs: JoinSet<_> = pings.into_iter().map(|ping| watched(ping, stopped.clone())).collect();
    let mut all = Heard { quiet_p99: quiet.p99(), ..Heard::default() };
    for heard in pairs.join_all().await {
        all.took.extend(heard.took);
        all.lost.extend(heard.lost);
    }
    all.took.sort_unstable();
    Ok(all)
}

async fn watched(mut ping: Ping, stopped: watch::Receiver<bool>) -> Heard {
    let mut heard = Heard::default();
    while !*stopped.borrow() {
        let began = Instant::now();
        match ping.bounce().await {
            Ok(took) => heard.add(took),
            Err(error) => {
                heard.add(began.elapsed());
                heard.lost.push(error.to_string());
                // As a Client would, until it is let in.
                while !*stopped.borrow() && ping.open_again().await.is_err() {
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        sleep(PAUSE).await;
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_the_server_counts_for_all_who_would_have_asked_meanwhile() {
        let mut heard = Heard::default();
        (0..500).for_each(|_| heard.add(Duration::from_millis(1)));
        heard.add(Duration::from_secs(1));
        heard.took.sort_unstable();
        assert_eq!((heard.count(), heard.longest()), (600, Duration::from_secs(1)));
        assert!(heard.p99() > Duration::from_millis(900), "{:?}", heard.p99());
    }
}
