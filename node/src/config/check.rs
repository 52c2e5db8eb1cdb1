//! Relations between values, checked together once each value alone is right. A complaint names the value
//! somebody said, not the default it collides with.

use super::{ClientCertificate, Config, Origin, Problem, Problems, load::Settings};
use crate::listen::tls::Tls;
use std::net::{IpAddr, SocketAddr};

pub(super) fn check(config: &Config, settings: &Settings, problems: &mut Problems) {
    let mut check = Check { settings, problems };
    check.strangers_stay_on_loopback(config);
    check.addresses_differ(config);
    check.listeners_are_whole(config);
    check.limits_fit_each_other(config);
}

/// Reads the files that the configuration names: certificates, keys, authorities. Certificates that are out of date are a
/// problem if they have to be `in_date`.
pub(super) fn check_files(config: &Config, settings: &Settings, problems: &mut Problems, in_date: bool) {
    let check = Check { settings, problems };
    let data = &config.node.data;
    if data.exists() && !data.is_dir() {
        let message =
            format!("node.data = {:?}: expected a folder, and this is a file", data.display().to_string());
        check.problems.push(Problem::at(check.settings.origin("node", "data"), message));
    } else if let Err(problem) = crate::auth::reload::read_users(config) {
        let message = format!("users file {}: {problem}", config.users_file().display());
        check.problems.push(Problem::at(check.settings.origin("auth", "users"), message));
    }
    for (at, listener) in config.mqtt.iter().enumerate() {
        let Some(tls) = &listener.tls else { continue };
        let Err(problem) = Tls::load(tls, listener.web.is_some(), in_date) else { continue };
        let key = match &problem.file {
            file if tls.key.contains(file) => "key",
            file if tls.client_ca.as_ref() == Some(file) => "client_ca",
            file if tls.client_crl.contains(file) => "client_crl",
            _ => "certificate",
        };
        let own = check.settings.listener_origin(at, key);
        let origin = if own == Origin::Default { check.settings.origin("tls", key) } else { own };
        let problem = Problem::at(origin, format!("{key}: {problem}"));
        // Several listeners may share what is wrong.
        if !check.problems.contains(&problem) {
            check.problems.push(problem);
        }
    }
}

struct Check<'c> {
    settings: &'c Settings,
    problems: &'c mut Problems,
}

impl Check<'_> {
    /// Where nobody has to say who they are, an open address must be asked for by name.
    fn strangers_stay_on_loopback(&mut self, config: &Config) {
        for (at, listener) in config.mqtt.iter().enumerate() {
            if !config.knows_clients_of(listener)
                && listener.allow_anonymous.is_none()
                && !is_loopback(listener.addr.ip())
            {
                let message = format!(
                    "mqtt listener {} is not on loopback and would let everybody in; make users with convoy ctl users \
                     add, or say allow_anonymous = true in section [mqtt] (CONVOY_MQTT__ALLOW_ANONYMOUS) if that \
                     is meant",
                    listener.addr
                );
                self.listener_problem(at, &["addr"], message);
            }
        }
    }

    fn addresses_differ(&mut self, config: &Config) {
        let mut taken: Vec<SocketAddr> = Vec::new();
        for (at, listener) in config.mqtt.iter().enumerate() {
            if collides(&taken, listener.addr) {
                self.listener_problem(at, &["addr"], format!("{} is listened on twice", listener.addr));
            }
            taken.push(listener.addr);
        }
        if collides(&taken, config.api.addr) {
            let message = format!("api.addr {} is also an mqtt listener", config.api.addr);
            match config.mqtt.iter().position(|listener| listener.addr == config.api.addr) {
                Some(at) if self.settings.origin("api", "addr") == Origin::Default => {
                    self.listener_problem(at, &["addr"], message);
                }
                _ => self.problem(&[("api", "addr")], message),
            }
        }
    }

    fn listeners_are_whole(&mut self, config: &Config) {
        let mut names: Vec<&str> = Vec::new();
        for (at, listener) in config.mqtt.iter().enumerate() {
            if let Some(name) = &listener.name {
                if names.contains(&name.as_str()) {
                    let message = format!("two listeners have the name {name}");
                    self.listener_problem(at, &["name"], message);
                }
                names.push(name);
            }
            let Some(tls) = &listener.tls else { continue };
            if tls.certificate.is_empty() || tls.key.is_empty() {
                let message = format!(
                    "listener {} has no {}: say certificate and key, there or in section [tls]",
                    listener.addr,
                    if tls.certificate.is_empty() { "certificate" } else { "key" }
                );
                self.listener_problem(at, &["certificate", "key", "addr"], message);
            } else if tls.certificate.len() != tls.key.len() {
                let message = format!(
                    "listener {} has {} certificates and {} keys: each certificate needs its own key",
                    listener.addr,
                    tls.certificate.len(),
                    tls.key.len()
                );
                self.listener_problem(at, &["certificate", "key", "addr"], message);
            }
            let asks = tls.client_certificate != ClientCertificate::Off;
            if asks && tls.client_ca.is_none() {
                let message =
                    "client_certificate needs client_ca, by which certificates are judged".to_owned();
                self.listener_problem(at, &["client_certificate", "addr"], message);
            }
            if !tls.client_crl.is_empty() && tls.client_ca.is_none() {
                let message = "client_crl needs client_ca".to_owned();
                self.listener_problem(at, &["client_crl", "addr"], message);
            }
            for (key, is_said) in [
                ("user_name_from_certificate", tls.user_name_from_certificate),
                ("client_id_from_certificate", tls.client_id_from_certificate),
            ] {
                if is_said && !asks {
                    let message = format!("{key} needs client_certificate, \"optional\" or \"required\"");
                    self.listener_problem(at, &[key, "addr"], message);
                }
            }
        }
    }

    fn limits_fit_each_other(&mut self, config: &Config) {
        let limits = &config.limits;
        self.at_most(
            ("limits", "connect_packet_bytes", u64::from(limits.connect_packet_bytes)),
            ("limits", "packet_bytes", u64::from(limits.packet_bytes)),
        );
        self.at_most(
            ("limits", "packet_bytes", u64::from(limits.packet_bytes)),
            ("limits", "queue_bytes", limits.queue_bytes),
        );
        self.at_most(
            ("limits", "inflight_default", u64::from(limits.inflight_default)),
            ("limits", "inflight_maximum", u64::from(limits.inflight_maximum)),
        );
        self.at_most(
            ("limits", "session_expiry_default", limits.session_expiry_default.as_secs()),
            ("limits", "session_expiry_maximum", limits.session_expiry_maximum.as_secs()),
        );
        self.at_most(
            ("limits", "sessions_per_user", limits.user.sessions),
            ("limits", "sessions", limits.sessions),
        );
        self.at_most(
            ("limits", "stored_bytes_per_user", limits.user.stored_bytes),
            ("limits", "stored_bytes", limits.stored_bytes),
        );
        self.at_most(
            ("limits", "will_bytes_per_user", limits.user.will_bytes),
            ("limits", "will_bytes", limits.will_bytes),
        );
        self.at_most(
            ("limits", "retained_messages_per_user", limits.user.retained_messages),
            ("limits", "retained_messages", limits.retained_messages),
        );
        self.at_most(
            ("limits", "retained_bytes_per_user", limits.user.retained_bytes),
            ("limits", "retained_bytes", limits.retained_bytes),
        );
        self.at_most(
            ("limits", "connects_per_second", u64::from(limits.connects_per_second)),
            ("limits", "connections", u64::from(limits.connections).max(100)),
        );
        self.at_most(
            ("fleet", "partition_levels", config.fleet.partition_levels as u64),
            ("limits", "topic_levels", u64::from(limits.topic_levels)),
        );
        self.at_most(
            ("limits", "topic_levels", u64::from(limits.topic_levels)),
            ("limits", "topic_bytes", u64::from(limits.topic_bytes)),
        );
    }

    fn at_most(&mut self, low: (&'static str, &'static str, u64), high: (&'static str, &'static str, u64)) {
        if low.2 > high.2 {
            let said = |(section, key, _)| self.settings.said(section, key);
            let message = format!("{} must not exceed {}", said(low), said(high));
            self.problem(&[(low.0, low.1), (high.0, high.1)], message);
        }
    }

    /// At the first of `keys` that somebody said of the listener, else where it is.
    fn listener_problem(&mut self, at: usize, keys: &[&str], message: String) {
        let origins = keys.iter().map(|key| self.settings.listener_origin(at, key));
        let origin = origins.into_iter().find(|origin| *origin != Origin::Default);
        self.problems.push(Problem::at(origin.unwrap_or(Origin::Default), message));
    }

    fn problem(&mut self, keys: &[(&str, &str)], message: String) {
        let origins = keys.iter().map(|(section, key)| self.settings.origin(section, key));
        let origin = origins.into_iter().find(|origin| *origin != Origin::Default);
        self.problems.push(Problem::at(origin.unwrap_or(Origin::Default), message));
    }
}

/// Also an IPv4 loopback written as IPv6.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Port 0 asks the kernel for a free one and never collides.
fn collides(taken: &[SocketAddr], addr: SocketAddr) -> bool {
    addr.port() != 0 && taken.contains(&addr)
}
