//! What one connection may do: the rules that are about it, picked when it connects, so that a PUBLISH looks at a few and
//! not at all of them. Nothing here allocates after that.

use std::sync::Arc;

use super::Access;
use super::filter::{covers, matches};
use super::rule::{Action, Rule, Scope};
use crate::author::Who;

#[derive(Debug)]
pub struct Permits {
    access: Arc<Access>,
    publish: List,
    subscribe: List,
}

/// Rules in their order. Those with the connection's own names in them have a Topic Filter here; an empty one, which MQTT
/// does not have, stands for every topic.
#[derive(Debug, Default)]
struct List {
    rules: Box<[u16]>,
    own: Box<[Box<str>]>,
}

impl List {
    fn of(access: &Access, who: &Who<'_>, action: Action) -> Self {
        let (mut rules, mut own) = (Vec::new(), Vec::new());
        for (rule, number) in access.rules.iter().zip(0..) {
            if !(rule.action == action || rule.action == Action::All) || !rule.fits(who) {
                continue;
            }
            let filter = match rule.scope_for(who) {
                Scope::Nothing => continue,
                Scope::Filter(filter) => filter,
                Scope::Everything => "".into(),
            };
            if rule.is_substituted() {
                own.push(filter.into_owned().into_boxed_str());
            }
            rules.push(number);
        }
        Self { rules: rules.into(), own: own.into() }
    }

    /// The first rule decides for which `is_about` holds; without one the answer is no.
    fn judge(&self, access: &Access, is_about: impl Fn(&Rule, &str) -> bool) -> bool {
        let mut own = self.own.iter();
        for number in &self.rules {
            let rule = &access.rules[usize::from(*number)];
            let filter = match rule.is_substituted() {
                true => own.next().expect("a rule with names in it has a filter of its own"),
                false => &rule.topic,
            };
            if is_about(rule, filter) {
                return rule.allows();
            }
        }
        false
    }
}

impl Permits {
    /// `None` where no rule is about topics: then everybody may do everything.
    pub fn of(access: &Arc<Access>, who: &Who<'_>) -> Option<Box<Self>> {
        access.judges_topics.then(|| {
            Box::new(Self {
                publish: List::of(access, who, Action::Publish),
                subscribe: List::of(access, who, Action::Subscribe),
                access: Arc::clone(access),
            })
        })
    }

    pub fn may_publish(&self, topic: &str, qos: u8, retain: bool) -> bool {
        self.publish.judge(&self.access, |rule, filter| {
            rule.is_about_publish(qos, retain) && (filter.is_empty() || matches(filter, topic))
        })
    }

    /// Whether a Topic Filter may be subscribed; of a Shared Subscription the one within. A rule is about it that covers
    /// it. What a narrower rule denies is not delivered.
    pub fn may_subscribe(&self, asked: &str, qos: u8) -> bool {
        self.subscribe.judge(&self.access, |rule, filter| {
            rule.qos & 1 << qos != 0 && (filter.is_empty() || covers(filter, asked))
        })
    }

    /// Whether a message on this topic may be delivered. What a rule says of QoS was heard at SUBSCRIBE: a denial of
    /// some QoS is not one of the topic.
    pub fn may_receive(&self, topic: &str) -> bool {
        self.subscribe.judge(&self.access, |rule, filter| {
            (rule.allows() || rule.qos == Rule::ANY_QOS) && (filter.is_empty() || matches(filter, topic))
        })
    }
}
