//! `[shared_subscriptions]`: which member of a group gets a message.

use convoy_actors::{SharedOptions, Strategy};

use super::{Expected, Reader, quote, text};
use crate::config::sources::Value;

impl Reader {
    pub(super) fn shared_subscriptions(&mut self) -> SharedOptions {
        let mut options = SharedOptions::default();
        let mut section = self.section("shared_subscriptions");
        section.one_of("strategy", &mut options.strategy, &Strategy::ALL);
        section.read("groups", &mut options.groups, groups, |groups| {
            let groups = groups
                .iter()
                .map(|(name, strategy)| format!("{} = {}", quote(name), quote(name_of(*strategy))));
            match groups.collect::<Vec<_>>() {
                groups if groups.is_empty() => "{}".to_owned(),
                groups => format!("{{ {} }}", groups.join(", ")),
            }
        });
        section.end();
        options
    }
}

fn name_of(strategy: Strategy) -> &'static str {
    let named = Strategy::ALL.iter().find(|(_, known)| *known == strategy);
    named.expect("every strategy has a name").0
}

fn strategy(value: &Value) -> Result<Strategy, Expected> {
    let named = Strategy::ALL.iter().find(|(name, _)| text(value).map(str::trim) == Some(name));
    named.map(|(_, strategy)| *strategy).ok_or_else(|| {
        let names: Vec<_> = Strategy::ALL.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    })
}

type Groups = std::collections::BTreeMap<Box<str>, Strategy>;

fn groups(value: &Value) -> Result<Groups, Expected> {
    let group = |name: &str, value: &Value| match name.trim() {
        name if name.is_empty() || name.contains(['/', '+', '#']) => {
            Err(format!("Share Names without '/', '+' and '#', not {}", quote(name)))
        }
        name => Ok((name.into(), strategy(value)?)),
    };
    match value {
        Value::Table(table) => {
            table.entries.iter().map(|(name, entry)| group(name, &entry.effective.value)).collect()
        }
        Value::Bare(text) => text
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(|part| match part.split_once('=') {
                Some((name, strategy)) => group(name, &Value::Bare(strategy.to_owned())),
                None => Err("name=strategy, several of them with commas".to_owned()),
            })
            .collect(),
        _ => Err("a table of Share Names and strategies, such as { jobs = \"sticky\" }".to_owned()),
    }
}
