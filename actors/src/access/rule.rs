//! One rule: whom it is about, what they do, and whether they may.

use std::borrow::Cow;
use std::fmt;

use super::address::Network;
use super::filter::covers;
use crate::author::Who;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Connect,
    Publish,
    /// To subscribe and to receive.
    Subscribe,
    /// To publish, to subscribe and to receive.
    All,
}

/// A name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Exactly(Box<str>),
    BeginsWith(Box<str>),
}

impl Name {
    /// An asterisk at the end stands for the rest.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(beginning) => Self::BeginsWith(beginning.into()),
            None => Self::Exactly(text.into()),
        }
    }

    /// Whether it fits every name that another one fits.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::BeginsWith(mine), Self::BeginsWith(theirs) | Self::Exactly(theirs)) => {
                theirs.starts_with(&**mine)
            }
            (mine, theirs) => mine == theirs,
        }
    }

    pub(super) fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exactly(text) => **text == *name,
            Self::BeginsWith(text) => name.starts_with(&**text),
        }
    }
}

/// As it is parsed.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::BeginsWith(beginning) => write!(f, "{beginning}*"),
        }
    }
}

/// What a rule is about for one Client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    Nothing,
    Filter(Cow<'a, str>),
    /// Also what begins with `$`, which no Topic Filter with a wildcard in its first level matches.
    Everything,
}

/// What is not said fits everybody and everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the rule does for those whom it fits.
    pub effect: Effect,
    /// What they do: connect, publish (a Will too), subscribe (and receive), or all that has a topic.
    pub action: Action,
    /// A Topic Filter in which `%c` stands for the Client Identifier and `%u` for the user name. Where such a name is
    /// missing or has `/`, `+` or `#` in it, a rule that allows is about nothing, and one that denies about everything
    /// below the levels that stand before the name. Not of a rule about CONNECT.
    pub topic: Box<str>,
    /// Of a PUBLISH, and of what a SUBSCRIBE asks for. Delivery is not judged by it.
    // Bit n is QoS n.
    pub qos: u8,
    /// The RETAIN flag of a PUBLISH.
    pub retain: Option<bool>,
    /// A Client Identifier, or the beginning of some and an asterisk.
    pub client_id: Option<Name>,
    /// A user name in the same way. An empty name is that of Clients who are anonymous.
    pub user: Option<Name>,
    /// An address or a network that the Client comes from.
    pub address: Option<Network>,
    /// The name of the listener that it came by; without a name of its own that is its kind and address, such as
    /// `mqtt://127.0.0.1:1883`.
    pub listener: Option<Box<str>>,
}

impl Rule {
    /// Every QoS.
    pub const ANY_QOS: u8 = 0b111;

    /// About everybody.
    pub fn new(effect: Effect, action: Action, topic: &str) -> Self {
        Self {
            effect,
            action,
            topic: topic.into(),
            qos: Self::ANY_QOS,
            retain: None,
            client_id: None,
            user: None,
            address: None,
            listener: None,
        }
    }

    pub fn allows(&self) -> bool {
        self.effect == Effect::Allow
    }

    /// Whether the rule is about this Client.
    pub fn fits(&self, who: &Who<'_>) -> bool {
        self.client_id.as_ref().is_none_or(|name| name.fits(who.client_id))
            && self.user.as_ref().is_none_or(|name| match who.user {
                Some(user) => *name != Name::Exactly("".into()) && name.fits(user),
                None => *name == Name::Exactly("".into()),
            })
            && self.address.is_none_or(|network| network.contains(who.address))
            && self.listener.as_ref().is_none_or(|listener| **listener == *who.listener)
    }

    /// Whether the rule is about such a PUBLISH, as far as its flags go.
    pub(super) fn is_about_publish(&self, qos: u8, retain: bool) -> bool {
        self.qos & 1 << qos != 0 && self.retain.is_none_or(|flag| flag == retain)
    }

    pub(super) fn is_substituted(&self) -> bool {
        self.topic.contains("%c") || self.topic.contains("%u")
    }

    /// Whether nothing that another rule could decide is left to it where this one stands before it.
    pub(super) fn precludes(&self, later: &Self) -> bool {
        let action = self.action == later.action
            || (self.action == Action::All && matches!(later.action, Action::Publish | Action::Subscribe));
        // Of deliveries QoS is not asked: two rules about some QoS leave something to each other.
        let qos = self.qos == Self::ANY_QOS || (self.qos == later.qos && self.effect == later.effect);
        let wider = |mine: &Option<Name>, theirs: &Option<Name>| match (mine, theirs) {
            (None, _) => true,
            (Some(mine), Some(theirs)) => mine.covers(theirs),
            (Some(_), None) => false,
        };
        // An empty user name is that of nobody, whom no other name fits.
        let nobody = Some(Name::Exactly("".into()));
        let user = wider(&self.user, &later.user)
            && (later.user != nobody || self.user.is_none() || self.user == nobody);
        action
            && qos
            && user
            && wider(&self.client_id, &later.client_id)
            && (self.retain.is_none() || self.retain == later.retain)
            && (self.listener.is_none() || self.listener == later.listener)
            && self.address.is_none_or(|mine| later.address.is_some_and(|theirs| mine.holds(&theirs)))
            && self.is_about_all_of(later)
    }

    /// Whether its topics are all that another one can be about, whoever asks.
    fn is_about_all_of(&self, later: &Self) -> bool {
        if self.topic == later.topic {
            return true;
        }
        if self.is_substituted() {
            return false;
        }
        let widest = match later.topic.find("%c").into_iter().chain(later.topic.find("%u")).min() {
            Some(at) if !later.allows() => match later.topic[..at].rfind('/') {
                Some(end) => format!("{}/#", &later.topic[..end]),
                None => return false,
            },
            _ => later.topic.to_string(),
        };
        covers(&self.topic, &widest)
    }

    /// What the rule is about for this Client. A name that could be taken for a wildcard or a level of its own
    /// (`+/secrets` is a valid Client Identifier), or that is missing, is not written into a Topic Filter: such a rule
    /// allows nothing, and it denies whatever it could be about.
    pub(super) fn scope_for<'a>(&'a self, who: &Who<'_>) -> Scope<'a> {
        match self.filter_for(who) {
            Ok(filter) => Scope::Filter(filter),
            Err(_) if self.allows() => Scope::Nothing,
            // A name may have levels of its own, so all below those that stand before it.
            Err(at) => match self.topic[..at].rfind('/') {
                Some(end) => Scope::Filter(Cow::Owned(format!("{}/#", &self.topic[..end]))),
                None => Scope::Everything,
            },
        }
    }

    /// The Topic Filter as it is for this Client, or where in it a name stands that cannot be written there.
    fn filter_for<'a>(&'a self, who: &Who<'_>) -> Result<Cow<'a, str>, usize> {
        if !self.is_substituted() {
            return Ok(Cow::Borrowed(&self.topic));
        }
        // One pass: a `%u` within a Client Identifier stands for itself.
        let (mut filter, mut rest) = (String::with_capacity(self.topic.len() + 32), &*self.topic);
        while let Some(at) = rest.find('%') {
            filter.push_str(&rest[..at]);
            let name = match rest.as_bytes().get(at + 1) {
                Some(b'c') => who.client_id,
                Some(b'u') => who.user.unwrap_or_default(),
                _ => {
                    filter.push('%');
                    rest = &rest[at + 1..];
                    continue;
                }
            };
            if name.is_empty() || name.contains(['+', '#', '/']) {
                return Err(self.topic.len() - rest.len() + at);
            }
            filter.push_str(name);
            rest = &rest[at + 2..];
        }
        filter.push_str(rest);
        Ok(Cow::Owned(filter))
    }
}
