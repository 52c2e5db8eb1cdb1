//! The sections `[auth]` and `[access]`: who is let in, and to what. Both may change while the node runs; what needs a
//! restart says so.

use convoy_actors::{Access, Action, Ban, ClientIdOwner, DeniedPublish, Finding, Policy, Rule};
use std::path::PathBuf;
use std::time::Duration;

/// `[auth]`: who Clients are.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthOptions {
    /// The users file. Once there is one, Clients have to say who they are, except on listeners that let anonymous ones
    /// in. By default `users` in the data folder, if it is there.
    pub users: Option<PathBuf>,
    /// Whether a Session belongs to the user who made it. `any` lets whoever is let in take up any Session, by its
    /// Client Identifier alone.
    pub client_id_owner: ClientIdOwner,
    /// Threads that verify passwords. Raise it where many different users come at once; each takes a core while it works,
    /// and the memory of one hash. Needs a restart.
    pub threads: usize,
    /// Clients that may wait for a verdict; beyond it those of the address and user that have most of them waiting are told
    /// that the server is busy. Each may hold a CONNECT in memory. Needs a restart.
    pub waiting: u32,
    /// How long a verdict is remembered, so that who comes back is let in at once. Zero for never. Needs a restart.
    pub cache_age: Duration,
    /// Verdicts that are remembered, some hundred bytes each. Needs a restart.
    pub cache_entries: u32,
    /// Failures per minute, of an address (of IPv6 a network of 64 bits) or against a user, beyond which more guesses
    /// wait, and are refused if they wait for 8 seconds. It slows nobody who has a drawn password, whose verdict is
    /// remembered, or who was let in from that address within a day. Zero for any number: raise it where many people
    /// share an address. Needs a restart.
    pub failures_per_minute: u32,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            users: None,
            client_id_owner: ClientIdOwner::Bind,
            threads: 2,
            waiting: 1024,
            cache_age: Duration::from_secs(600),
            cache_entries: 100_000,
            failures_per_minute: 30,
        }
    }
}

impl AuthOptions {
    /// Whether what needs a restart is the same in both.
    pub(super) fn is_fixed_like(&self, other: &Self) -> bool {
        *self == Self { users: self.users.clone(), client_id_owner: self.client_id_owner, ..other.clone() }
    }
}

/// `[access]`: what Clients may do.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessOptions {
    /// What becomes of a 3.x Client that publishes what it may not.
    pub denied_publish: DeniedPublish,
    /// Whether a Retained Message is kept from new Subscriptions while rules do not let who published it publish it: as it
    /// said who it was then, by Client Identifier, user, address and listener. It stays where it is, and is served again
    /// once they do. False serves whatever is there. What operators have published is served, and what was retained by a
    /// version of Convoy that did not note who did.
    pub check_retain_source: bool,
    /// In their order: the first that fits decides.
    pub rules: Vec<Rule>,
    /// `[[ban]]`: who may not connect, whatever rules say. Others are added and removed by `convoy ctl ban`.
    pub bans: Vec<Ban>,
}

impl Default for AccessOptions {
    fn default() -> Self {
        Self {
            denied_publish: DeniedPublish::default(),
            check_retain_source: true,
            rules: Vec::new(),
            bans: Vec::new(),
        }
    }
}

impl AccessOptions {
    /// What of the rules is rarely meant, in words for people. Rules are counted from one.
    pub fn warnings(&self) -> Vec<String> {
        let said = |finding| match finding {
            Finding::Unreachable { rule, behind } => format!(
                "[[access.rule]] {} decides nothing: rule {} stands before it and fits whatever it fits",
                rule + 1,
                behind + 1
            ),
            Finding::Nobody(Action::Connect) => {
                "there are rules about connect and none allows it: nobody may \
                                                 connect; to keep single Clients out, write [[ban]]"
                    .to_owned()
            }
            Finding::Nobody(action) => {
                let verb = if action == Action::Publish { "publish" } else { "subscribe or receive" };
                format!("there are rules about topics and none allows to {verb}: nobody may")
            }
        };
        Access::new(self.rules.clone(), Policy::default()).findings().into_iter().map(said).collect()
    }
}
