//! Looks after the files of listeners while the node runs: new ones are taken up, and an operator hears in time of what
//! ends.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};

use super::{Expiry, Tls, What, files::span};
use crate::drive::ShardHandle;
use crate::observe::metrics::{CERTIFICATE_EXPIRY, CERTIFICATE_RELOADS, LISTENER_STOPPED};

/// How often files are looked at. Who cannot wait sends SIGHUP.
const EVERY: Duration = Duration::from_secs(3);

/// From when on it is said that a certificate ends, and how often.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);
const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// To be run for as long as the node lets Clients in. `listeners` come with their names; `shards` end the connections of
/// those whose certificates were revoked.
pub async fn watch(listeners: Vec<(String, Arc<Tls>)>, shards: Arc<[ShardHandle]>) {
    let mut hang_up = match signal(SignalKind::hangup()) {
        Ok(hang_up) => hang_up,
        Err(error) => return tracing::error!(%error, "certificates are not looked after"),
    };
    let mut warned = None;
    let mut ended = BTreeSet::new();
    loop {
        for (name, tls) in &listeners {
            tell_ended(name, tls, &mut ended);
        }
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
                    let revoked = Arc::new(tls.revoked());
                    for shard in shards.iter() {
                        shard.revoke_certificates(name.clone(), Arc::clone(&revoked)).await;
                    }
                }
                Some(Err(problem)) => {
                    metrics::counter!(CERTIFICATE_RELOADS, "outcome" => "refused").increment(1);
                    tracing::error!(listener = %name, %problem, "new certificates are not used, the old ones are kept");
                }
            }
        }
    }
}

/// Says once that something has ended, as soon as it has, and whether the listener is served.
fn tell_ended(name: &str, tls: &Tls, ended: &mut BTreeSet<(String, PathBuf, SystemTime)>) {
    let now = SystemTime::now();
    let stopped = !tls.is_in_date(now);
    metrics::gauge!(LISTENER_STOPPED, "listener" => name.to_owned()).set(f64::from(u8::from(stopped)));
    for Expiry { what, file, at } in tls.expiries() {
        if at >= now || !ended.insert((name.to_owned(), file.clone(), at)) {
            continue;
        }
        let (ago, file) = (span(now, at, "ago"), file.display());
        match what {
            What::Certificate if stopped => {
                tracing::error!(listener = %name, %file, "the certificate has expired {ago}: no connection is accepted here");
            }
            What::Crl if tls.judges_nobody(now) => {
                tracing::error!(listener = %name, %file, "the {what} has expired {ago}: no certificate is accepted here");
            }
            _ => tracing::error!(listener = %name, %file, "the {what} has expired {ago}"),
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
        if now <= expiry.at && expiry.at < now + WARN_BEFORE {
            let ends = span(expiry.at, now, "from now");
            tracing::warn!(listener = %name, %file, "the {what} expires {ends}");
        }
    }
}
