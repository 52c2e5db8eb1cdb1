//! Configuration is read from all sources, checked whole, and only then handed on as plain values: nothing
//! starts on a key we do not know or a value we cannot keep, and no other room reads the environment.

mod access;
mod check;
mod listener;
mod load;
mod profile;
#[cfg(test)]
mod reference;
mod sections;
mod sources;

pub use access::{AccessOptions, AuthOptions};
pub use listener::{ClientCertificate, ExpiredCrl, Listener, Network, TlsOptions, TlsVersion, WebOptions};
pub use load::{Loaded, load, of_text, parse_duration};
pub use profile::Profile;
pub use sections::{
    AddressLimits, ApiOptions, FleetOptions, LimitsOptions, LogFormat, LogOptions, NodeOptions, PeerOptions,
    StorageOptions,
};
pub use sources::{Flags, Origin};

use std::fmt;
use std::path::PathBuf;

/// Everything a node is told before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: NodeOptions,
    pub fleet: FleetOptions,
    /// The other nodes.
    pub peer: PeerOptions,
    /// Where Clients connect. Never empty.
    pub mqtt: Vec<Listener>,
    pub api: ApiOptions,
    pub auth: AuthOptions,
    pub access: AccessOptions,
    pub limits: LimitsOptions,
    /// How Shared Subscriptions choose among their members.
    pub shared_subscriptions: convoy_actors::SharedOptions,
    /// What of MQTT 5.0 is offered.
    pub features: convoy_actors::Features,
    pub storage: StorageOptions,
    pub log: LogOptions,
}

impl Config {
    /// Whether Clients have to say who they are, and it is checked.
    pub fn has_authentication(&self) -> bool {
        self.auth.users.is_some() || self.users_file().exists()
    }

    /// What is right and yet rarely meant, in words for people.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.access.warnings();
        let named = |name: &str| {
            // One without a name of its own is called by its kind and address.
            self.mqtt.iter().any(|listener| listener.name.as_deref() == Some(name)) || name.contains("://")
        };
        for (rule, number) in self.access.rules.iter().zip(1..) {
            if let Some(name) = rule.listener.as_deref().filter(|name| !named(name)) {
                warnings
                    .push(format!("[[access.rule]] {number} fits nobody: no listener is called {name:?}"));
            }
        }
        warnings
    }

    /// The sections in which it differs from another one in what a node reads at its start alone.
    pub fn fixed_sections_unlike(&self, other: &Self) -> Vec<&'static str> {
        let sections = [
            ("node", self.node == other.node),
            ("fleet", self.fleet == other.fleet),
            ("peer", self.peer == other.peer),
            ("mqtt", self.mqtt == other.mqtt),
            ("api", self.api == other.api),
            ("auth", self.auth.is_fixed_like(&other.auth)),
            ("limits", self.limits == other.limits),
            ("shared_subscriptions", self.shared_subscriptions == other.shared_subscriptions),
            ("features", self.features == other.features),
            ("storage", self.storage == other.storage),
            ("log", self.log == other.log),
        ];
        sections.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// Where the users are, if there are any.
    pub fn users_file(&self) -> PathBuf {
        self.auth.users.clone().unwrap_or_else(|| self.node.data.join("users"))
    }

    /// The same for one listener, whose certificates may do it.
    pub fn knows_clients_of(&self, listener: &Listener) -> bool {
        self.has_authentication() || listener.proves_clients()
    }
}

/// One thing that is wrong, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    origin: Option<Origin>,
    message: String,
}

impl Problem {
    fn at(origin: Origin, message: String) -> Self {
        Self { origin: Some(origin), message }
    }

    fn general(message: String) -> Self {
        Self { origin: None, message }
    }

    /// Where in the file, if it stands in one.
    fn line(&self) -> Option<usize> {
        match self.origin {
            Some(Origin::File { line, .. }) => Some(line),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            // What follows from a default alone is our own mistake, not one of a line somebody wrote.
            Some(Origin::Default) | None => f.write_str(&self.message),
            Some(origin) => write!(f, "{origin}: {}", self.message),
        }
    }
}

type Problems = Vec<Problem>;

/// None of it is used. Each line names one problem and its place.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    pub problems: Vec<Problem>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration is wrong")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
