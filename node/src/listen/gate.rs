//! Whom a listener lets in before MQTT is spoken, and what it counts and logs of those it does not.

use convoy_actors::{Certificate, Listener, Peer};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::admit::{Admission, Admitted};
use super::tls::Tls;
use crate::config::{Network, WebOptions};
use crate::observe::metrics::{CONNECTIONS_REFUSED, HANDSHAKES_FAILED};

pub struct Gate {
    pub listener: Arc<Listener>,
    pub admission: Arc<Admission>,
    /// Nobody has to say who they are, so only this machine's own Clients are let in.
    pub loopback_only: bool,
    pub proxy_from: Vec<Network>,
    pub tls: Option<Arc<Tls>>,
    pub web: Option<WebOptions>,
    pub log: LogLimit,
}

/// Why a connection is closed before anything is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Anonymous Clients of other machines are not let in.
    Stranger,
    /// It does not come from a proxy that is trusted, where all have to.
    NoProxy,
    /// There is no certificate to be shown that is valid now.
    NoCertificate,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stranger => "anonymous Clients are let in from this machine only",
            Self::NoCertificate => "the certificates of this listener are out of date",
            Self::NoProxy => "connections are accepted from the proxies of proxy_from only",
        })
    }
}

impl Gate {
    /// Whether there is something to be done before MQTT.
    pub fn shakes_hands(&self) -> bool {
        self.tls.is_some() || self.web.is_some() || !self.proxy_from.is_empty()
    }

    /// Whether anything is read from this address.
    pub fn lets_in_from(&self, address: SocketAddr) -> Result<(), Refusal> {
        if self.tls.as_ref().is_some_and(|tls| !tls.is_in_date(SystemTime::now())) {
            return Err(Refusal::NoCertificate);
        }
        if !self.proxy_from.is_empty() {
            let trusted = self.proxy_from.iter().any(|network| network.contains(address.ip()));
            return if trusted { Ok(()) } else { Err(Refusal::NoProxy) };
        }
        self.lets_in(address)
    }

    /// Whether a Client of this address is let in.
    pub fn lets_in(&self, address: SocketAddr) -> Result<(), Refusal> {
        match self.loopback_only && !address.ip().to_canonical().is_loopback() {
            true => Err(Refusal::Stranger),
            false => Ok(()),
        }
    }

    /// A place for a connection, if there is one. Behind a proxy the place of its address is found later.
    pub fn admit(&self, peer: SocketAddr, now: Instant) -> Option<Admitted> {
        let address = self.proxy_from.is_empty().then(|| peer.ip());
        let admitted = self.admission.admit(address, now);
        admitted
            .inspect_err(|refusal| {
                let name = &self.listener.name;
                self.log.say(now, |unsaid| {
                    tracing::info!(listener = %name, %peer, unsaid, "refused: {refusal}");
                });
            })
            .ok()
    }

    pub fn peer(&self, address: SocketAddr, certificate: Option<Arc<Certificate>>) -> Peer {
        Peer { address, listener: Arc::clone(&self.listener), certificate }
    }

    pub fn refuse(&self, peer: SocketAddr, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Stranger => "stranger",
            Refusal::NoCertificate => "no_certificate",
            Refusal::NoProxy => "no_proxy",
        };
        let name = &self.listener.name;
        metrics::counter!(CONNECTIONS_REFUSED, "listener" => name.clone(), "reason" => reason).increment(1);
        self.log.say(Instant::now(), |unsaid| {
            tracing::info!(listener = %name, %peer, unsaid, "refused: {refusal}");
        });
    }

    /// A handshake failed; `reason` is one of a few words.
    pub fn failed(&self, peer: SocketAddr, reason: &'static str, why: &dyn fmt::Display) {
        let name = &self.listener.name;
        metrics::counter!(HANDSHAKES_FAILED, "listener" => name.clone(), "reason" => reason).increment(1);
        // Whoever looks after a port connects and leaves, every few seconds.
        let said = reason != "closed"
            && self.log.say(Instant::now(), |unsaid| {
                tracing::info!(listener = %name, %peer, reason, unsaid, "handshake failed: {why}");
            });
        if !said {
            tracing::debug!(listener = %name, %peer, reason, "handshake failed: {why}");
        }
    }
}

/// Lines about strangers that may be written in a while: whoever knocks a thousand times a second must not fill the disk.
#[derive(Default)]
pub struct LogLimit(Mutex<Said>);

#[derive(Default)]
struct Said {
    since: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

const LINES: u32 = 10;
const WHILE: Duration = Duration::from_secs(10);

impl LogLimit {
    /// Calls `line` with the number of lines that were not written before it, if this one may be. Says whether.
    pub fn say(&self, now: Instant, line: impl FnOnce(u64)) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.since.is_none_or(|since| now.saturating_duration_since(since) >= WHILE) {
            (said.since, said.lines) = (Some(now), 0);
        }
        if said.lines == LINES {
            said.unsaid += 1;
            return false;
        }
        said.lines += 1;
        let unsaid = std::mem::take(&mut said.unsaid);
        drop(said);
        line(unsaid);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_become_few_and_the_rest_is_counted() {
        let log = LogLimit::default();
        let begin = Instant::now();
        let written = (0..100).filter(|_| log.say(begin, |_| {})).count();
        assert_eq!(written, LINES as usize);
        let mut unsaid = 0;
        assert!(log.say(begin + WHILE, |count| unsaid = count));
        assert_eq!(unsaid, 100 - u64::from(LINES));
    }
}
