//! Others: pairs of a publisher and a subscriber on topics of their own, so that some are on each shard.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::scenario::ping::Ping;

const PAIRS: usize = 4;
/// Between two messages of a pair.
const PAUSE: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_millis(800);

pub(super) struct Bystanders {
    stop: watch::Sender<bool>,
    pairs: Vec<JoinHandle<Heard>>,
    quiet: Duration,
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
    pub(super) async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let mut pings = Vec::new();
        for pair in 0..PAIRS {
            pings.push(Ping::new(server, &format!("bystander-{pair}")).await?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut quiet = Heard::default();
        let until = Instant::now() + QUIET;
        while Instant::now() < until {
            for ping in &mut pings {
                quiet.add(ping.bounce().await?);
            }
        }
        quiet.took.sort_unstable();
        let pairs = pings.into_iter().map(|ping| tokio::spawn(watched(ping, stopped.clone()))).collect();
        Ok(Self { stop, pairs, quiet: quiet.p99() })
    }

    pub(super) async fn stop(self) -> anyhow::Result<Heard> {
        self.stop.send_replace(true);
        let mut all = Heard { quiet_p99: self.quiet, ..Heard::default() };
        for pair in self.pairs {
            let heard = pair.await?;
            all.took.extend(heard.took);
            all.lost.extend(heard.lost);
        }
        all.took.sort_unstable();
        Ok(all)
    }
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
