//! Looks after the files of listeners while the node runs: new ones are taken up, and an operator hears in time of what
//! ends.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};

use super::{Tls, files::span};
use crate::observe::metrics::{CERTIFICATE_EXPIRY, CERTIFICATE_RELOADS};

/// How often files are looked at. Who cannot wait sends SIGHUP.
const EVERY: Duration = Duration::from_secs(3);

/// From when on it is said that a certificate ends, and how often.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);
const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// To be run for as long as the node lets Clients in. `listeners` come with their names.
pub async fn watch(listeners: Vec<(String, Arc<Tls>)>) {
    let mut hang_up = match signal(SignalKind::hangup()) {
        Ok(hang_up) => hang_up,
        Err(error) => return tracing::error!(%error, "certificates are not looked after"),
    };
    let mut warned = None;
    loop {
        if warned.is_none_or(|at: Instant| at.elapsed() >= WARN_EVERY) {
            warned = Some(Instant::now());
            listeners.iter().for_each(|(name, tls)| look_ahead(name, tls));
        }
        let anyway = tokio::select! {
            _ = hang_up.recv() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        for (name, tls) in &listeners {
            match tls.reload(anyway) {
                None => {}
                Some(Ok(())) => {
                    metrics::counter!(CERTIFICATE_RELOADS, "outcome" => "taken").increment(1);
                    tracing::info!(listener = %name, "certificates were read again");
                    look_ahead(name, tls);
                }
                Some(Err(problem)) => {
                    metrics::counter!(CERTIFICATE_RELOADS, "outcome" => "refused").increment(1);
                    tracing::error!(listener = %name, %problem, "new certificates are not used, the old ones are kept");
                }
            }
        }
    }
}

fn look_ahead(name: &str, tls: &Tls) {
    let now = SystemTime::now();
    for expiry in tls.expiries() {
        let (file, what) = (expiry.file.display().to_string(), expiry.what);
        let at = expiry.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics::gauge!(CERTIFICATE_EXPIRY, "listener" => name.to_owned(), "file" => file.clone())
            .set(at.as_secs_f64());
        if expiry.at < now {
            let ended = span(now, expiry.at, "ago");
            tracing::error!(listener = %name, %file, "the {what} has expired {ended}");
        } else if expiry.at < now + WARN_BEFORE {
            let ends = span(expiry.at, now, "from now");
            tracing::warn!(listener = %name, %file, "the {what} expires {ends}");
        }
    }
}
