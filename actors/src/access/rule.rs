//! One rule: whom it is about, what they do, and whether they may.

use core::net::IpAddr;
use std::borrow::Cow;

use super::address::Network;

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

    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exactly(text) => **text == *name,
            Self::BeginsWith(text) => name.starts_with(&**text),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub client_id: &'a str,
    /// A user name that was proven; `None` for a Client that is anonymous.
    pub user: Option<&'a str>,
    pub address: IpAddr,
    pub listener: &'a str,
}

/// What is not said fits everybody and everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub effect: Effect,
    pub action: Action,
    /// A Topic Filter in which `%c` stands for the Client Identifier and `%u` for the user name. Not of a rule about
    /// CONNECT.
    pub topic: Box<str>,
    /// Bit n for QoS n: of a PUBLISH, and of what a SUBSCRIBE asks for. Delivery is not judged by it.
    pub qos: u8,
    /// The RETAIN flag of a PUBLISH.
    pub retain: Option<bool>,
    pub client_id: Option<Name>,
    /// An empty name is that of Clients who are anonymous.
    pub user: Option<Name>,
    pub address: Option<Network>,
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

    pub(super) fn is_substituted(&self) -> bool {
        self.topic.contains("%c") || self.topic.contains("%u")
    }

    /// The Topic Filter as it is for this Client. `None` if a name that stands in it could be taken for a wildcard or a
    /// level of its own: `+/secrets` is a valid Client Identifier.
    pub(super) fn filter_for<'a>(&'a self, who: &Who<'_>) -> Option<Cow<'a, str>> {
        if !self.is_substituted() {
            return Some(Cow::Borrowed(&self.topic));
        }
        // One pass: a `%u` within a Client Identifier stands for itself.
        let (mut filter, mut rest) = (String::with_capacity(self.topic.len() + 32), &*self.topic);
        while let Some(at) = rest.find('%') {
            filter.push_str(&rest[..at]);
            let name = match rest.as_bytes().get(at + 1) {
                Some(b'c') => who.client_id,
                Some(b'u') => who.user?,
                _ => {
                    filter.push('%');
                    rest = &rest[at + 1..];
                    continue;
                }
            };
            if name.is_empty() || name.contains(['+', '#', '/']) {
                return None;
            }
            filter.push_str(name);
            rest = &rest[at + 2..];
        }
        filter.push_str(rest);
        Some(Cow::Owned(filter))
    }
}
