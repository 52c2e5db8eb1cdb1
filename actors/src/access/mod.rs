//! Who may do what: rules are compiled once, and each connection keeps those that can concern it. Every way on which a
//! message enters or leaves asks here: CONNECT, PUBLISH, SUBSCRIBE, each delivery, and a Will once more when it is due.
//! Delivery is judged message by message, so a permission that was taken away ends there, whatever a Session on disk has
//! subscribed and whatever waits for it (CVE-2021-34434).

mod address;
mod ban;
mod filter;
mod permits;
mod principal;
mod rule;
#[cfg(test)]
mod tests;

pub use address::Network;
pub use ban::{Ban, Bans};
pub use permits::Permits;
pub use principal::{Admission, ClientIdOwner, Credentials, Principal, Proof, Verdict};
pub use rule::{Action, Effect, Name, Rule};

use filter::matches;
use rule::Scope;

use crate::author::{Author, Who};

/// What becomes of a 3.x Client that publishes what it may not: a refusal cannot be said to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeniedPublish {
    /// It is acknowledged and dropped, as mosquitto does: a Client that is closed would only send it again.
    #[default]
    Acknowledge,
    /// The connection is closed.
    Close,
}

/// What the configuration says of access, as all shards have it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    rules: Vec<Rule>,
    /// There are rules about CONNECT.
    judges_connect: bool,
    /// There are rules about topics.
    judges_topics: bool,
    pub policy: Policy,
}

/// What rules do that is rarely meant. They are counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The rule decides nothing: an earlier one fits whatever it fits.
    Unreachable { rule: usize, behind: usize },
    /// There are rules about this, and none allows it to anybody.
    Nobody(Action),
}

/// What is decided beside the rules.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub denied_publish: DeniedPublish,
    pub client_id_owner: ClientIdOwner,
    /// Somebody knows user names: then who gives one has to prove it, and who gives none is let in only where the
    /// listener says so.
    pub authenticates: bool,
    /// A Retained Message is served as long as who published it may publish it.
    pub checks_retain_source: bool,
}

impl Access {
    /// Rules beyond this number cannot be told apart by a connection.
    pub const RULES: usize = u16::MAX as usize;

    pub fn new(rules: Vec<Rule>, policy: Policy) -> Self {
        assert!(rules.len() <= Self::RULES, "the configuration was checked");
        let judges_connect = rules.iter().any(|rule| rule.action == Action::Connect);
        let judges_topics = rules.iter().any(|rule| rule.action != Action::Connect);
        Self { rules, judges_connect, judges_topics, policy }
    }

    /// What an order of rules makes of no effect, or leaves to nobody: rarely what was meant.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            if let Some(behind) = self.rules[..at].iter().position(|earlier| earlier.precludes(rule)) {
                findings.push(Finding::Unreachable { rule: at, behind });
            }
        }
        let allows = |action: Action| {
            let mut about = self.rules.iter().filter(|rule| {
                rule.action == action || (action != Action::Connect && rule.action == Action::All)
            });
            about.any(Rule::allows)
        };
        let judged = [
            (Action::Connect, self.judges_connect),
            (Action::Publish, self.judges_topics),
            (Action::Subscribe, self.judges_topics),
        ];
        let denied = judged.into_iter().filter(|(action, judges)| *judges && !allows(*action));
        findings.extend(denied.map(|(action, _)| Finding::Nobody(action)));
        findings
    }

    /// Rules that are looked at for a Client.
    pub(crate) fn size(&self) -> usize {
        self.rules.len()
    }

    /// Whether a Client may connect. Once there is a rule about it, the first that fits decides, and without one it
    /// may not.
    pub fn may_connect(&self, who: &Who<'_>) -> bool {
        let mut about = self.rules.iter().filter(|rule| rule.action == Action::Connect);
        !self.judges_connect || about.find(|rule| rule.fits(who)).is_some_and(Rule::allows)
    }

    /// Whether somebody may publish this now who may not be connected any more. As [`Permits::may_publish`], for one
    /// message: nothing is picked beforehand.
    pub fn may_publish(&self, who: &Who<'_>, topic: &str, qos: u8, retain: bool) -> bool {
        let about = self.rules.iter().filter(|rule| {
            matches!(rule.action, Action::Publish | Action::All)
                && rule.is_about_publish(qos, retain)
                && rule.fits(who)
        });
        let mut about = about.filter(|rule| match rule.scope_for(who) {
            Scope::Nothing => false,
            Scope::Everything => true,
            Scope::Filter(filter) => matches(&filter, topic),
        });
        !self.judges_topics || about.next().is_some_and(Rule::allows)
    }

    /// Whether a Retained Message is served that was published by `author`, as [`Author::to_bytes`] writes it; one of
    /// nobody is.
    pub fn serves_retained(&self, author: &[u8], topic: &str, qos: u8) -> bool {
        if author.is_empty() || !self.judges_topics || !self.policy.checks_retain_source {
            return true;
        }
        // Who cannot be told is nobody who may.
        Author::from_bytes(author).is_ok_and(|author| self.may_publish(&author.who(), topic, qos, true))
    }
}
