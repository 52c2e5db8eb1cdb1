//! Relations between values, checked together once each value alone is right. A complaint names the value
//! somebody said, not the default it collides with.

use super::{Config, Origin, Problem, Problems, load::Settings};
use std::net::{IpAddr, SocketAddr};

pub(super) fn check(config: &Config, settings: &Settings, problems: &mut Problems) {
    let mut check = Check { settings, problems };
    check.strangers_stay_on_loopback(config);
    check.addresses_differ(config);
    check.limits_fit_each_other(config);
}

struct Check<'c> {
    settings: &'c Settings,
    problems: &'c mut Problems,
}

impl Check<'_> {
    /// There is no authentication yet, so an open address must be asked for by name.
    fn strangers_stay_on_loopback(&mut self, config: &Config) {
        for listener in config.mqtt.iter().filter(|listener| !listener.allow_anonymous) {
            if !is_loopback(listener.addr.ip()) {
                let message = format!(
                    "mqtt listener {} is not on loopback and would let everybody in; say allow_anonymous = true \
                     in section [mqtt] (CONVOY_MQTT__ALLOW_ANONYMOUS) if that is meant",
                    listener.addr
                );
                self.problem(&[("mqtt", "listeners")], message);
            }
        }
        if !config.api.allow_anonymous && !is_loopback(config.api.addr.ip()) {
            let message = format!(
                "api address {} is not on loopback and would answer everybody; say allow_anonymous = true in \
                 section [api] (CONVOY_API__ALLOW_ANONYMOUS) if that is meant",
                config.api.addr
            );
            self.problem(&[("api", "addr")], message);
        }
    }

    fn addresses_differ(&mut self, config: &Config) {
        let mut taken: Vec<SocketAddr> = Vec::new();
        for listener in &config.mqtt {
            if collides(&taken, listener.addr) {
                self.problem(&[("mqtt", "listeners")], format!("{} is listened on twice", listener.addr));
            }
            taken.push(listener.addr);
        }
        if collides(&taken, config.api.addr) {
            let message = format!("api.addr {} is also an mqtt listener", config.api.addr);
            self.problem(&[("api", "addr"), ("mqtt", "listeners")], message);
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
            let message = format!("{}.{} must not exceed {}.{}", low.0, low.1, high.0, high.1);
            self.problem(&[(low.0, low.1), (high.0, high.1)], message);
        }
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
