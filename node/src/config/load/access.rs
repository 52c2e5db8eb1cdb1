//! `[auth]` and `[access]` with its rules, each a table of its own.

use convoy_actors::{Access, Action, Ban, Bans, ClientIdOwner, DeniedPublish, Effect, Name, Network, Rule};
use convoy_wire::TopicFilter;

use super::*;
use crate::auth::bans;
use crate::config::{AccessOptions, AuthOptions};

const RULES: &str = "access.rule";
const BANS: &str = "ban";

const OWNERS: [(&str, ClientIdOwner); 2] = [("bind", ClientIdOwner::Bind), ("any", ClientIdOwner::Any)];
const DENIED: [(&str, DeniedPublish); 2] =
    [("acknowledge", DeniedPublish::Acknowledge), ("close", DeniedPublish::Close)];
const EFFECTS: [(&str, Effect); 2] = [("allow", Effect::Allow), ("deny", Effect::Deny)];
const ACTIONS: [(&str, Action); 4] = [
    ("connect", Action::Connect),
    ("publish", Action::Publish),
    ("subscribe", Action::Subscribe),
    ("all", Action::All),
];

impl Reader {
    pub(super) fn auth(&mut self) -> AuthOptions {
        let mut options = AuthOptions::default();
        let mut section = self.section("auth");
        section.optional("users", &mut options.users, path, |path| quote(&path.display().to_string()));
        section.one_of("client_id_owner", &mut options.client_id_owner, &OWNERS);
        section.number("threads", &mut options.threads, 1..=64);
        section.number("waiting", &mut options.waiting, 1..=100_000);
        section.duration("cache_age", &mut options.cache_age, Duration::ZERO..=HOUR * 24);
        section.number("cache_entries", &mut options.cache_entries, 0..=10_000_000);
        section.number("failures_per_minute", &mut options.failures_per_minute, 0..=1_000_000);
        section.end();
        options
    }

    pub(super) fn access(&mut self) -> AccessOptions {
        let mut options = AccessOptions::default();
        let mut section = self.section("access");
        section.one_of("denied_publish", &mut options.denied_publish, &DENIED);
        section.boolean("check_retain_source", &mut options.check_retain_source);
        let entry = section.table.entries.remove("rule");
        section.end();
        options.rules = self.tables(entry, RULES, Access::RULES, Self::rule);
        let bans = self.table.entries.remove(BANS);
        options.bans = self.tables(bans, BANS, Bans::LIMIT, Self::ban);
        options
    }

    /// What each table of a list says, up to so many.
    fn tables<T>(
        &mut self,
        entry: Option<Entry>,
        name: &str,
        limit: usize,
        read: impl Fn(&mut Self, Table, Origin, usize) -> Option<T>,
    ) -> Vec<T> {
        let Some(Entry { effective, .. }) = entry else { return Vec::new() };
        let items = match effective.value {
            Value::List(items) if items.len() <= limit => items,
            _ => {
                let message = format!("{name}: expected up to {limit} tables [[{name}]]");
                self.problems.push(Problem::at(effective.origin, message));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for (item, at) in items.into_iter().zip(0..) {
            match item.value {
                Value::Table(table) => found.extend(read(self, table, item.origin, at)),
                value => {
                    let message = format!("{name} = {}: expected a table [[{name}]]", shown(&value));
                    self.problems.push(Problem::at(item.origin, message));
                }
            }
        }
        found
    }

    fn ban(&mut self, table: Table, origin: Origin, at: usize) -> Option<Ban> {
        let before = self.problems.len();
        let mut section = Section { name: BANS, item: Some(at), table, reader: self };
        let mut said = bans::Entry::default();
        let quoted = |text: &String| quote(text);
        section.optional("client", &mut said.client_id, some_text, quoted);
        section.optional("user", &mut said.user, some_text, quoted);
        let mut address = None;
        section.optional("address", &mut address, network, |network: &Network| quote(&network.to_string()));
        said.address = address.map(|network| network.to_string());
        section.optional("until", &mut said.until, moment, quoted);
        let mut reason = None;
        section.optional("reason", &mut reason, any_text, quoted);
        section.end();
        said.reason = reason.unwrap_or_default();
        let ban = said.ban();
        match &ban {
            Err(wrong) if self.problems.len() == before => {
                self.problems.push(Problem::at(origin, format!("this ban {wrong}")));
            }
            _ => {}
        }
        ban.ok().filter(|_| self.problems.len() == before)
    }

    fn rule(&mut self, table: Table, origin: Origin, at: usize) -> Option<Rule> {
        let before = self.problems.len();
        let mut section = Section { name: RULES, item: Some(at), table, reader: self };
        let (mut effect, mut action, mut topic) = (None, None, None);
        section.choice("effect", &mut effect, &EFFECTS);
        section.choice("action", &mut action, &ACTIONS);
        section.optional("topic", &mut topic, topic_filter, |topic: &String| quote(topic));
        let (mut qos, mut retain) = (None, None);
        section.optional("qos", &mut qos, qualities, |qos| {
            let named = (0..3).filter(|n| qos & 1 << n != 0).map(|n: u8| n.to_string());
            format!("[{}]", named.collect::<Vec<_>>().join(", "))
        });
        section.optional("retain", &mut retain, boolean, bool::to_string);
        let (mut client, mut user) = (None, None);
        section.optional("client", &mut client, some_text, |text: &String| quote(text));
        section.optional("user", &mut user, any_text, |text: &String| quote(text));
        let (mut address, mut listener) = (None, None);
        section.optional("address", &mut address, network, |network: &Network| quote(&network.to_string()));
        section.optional("listener", &mut listener, some_text, |text: &String| quote(text));
        section.end();

        let wrong = match (effect, action, &topic) {
            _ if self.problems.len() > before => None,
            (None, ..) => Some("has no effect: say allow or deny"),
            (_, None, _) => Some("has no action: say connect, publish, subscribe or all"),
            (_, Some(Action::Connect), None) if qos.is_none() && retain.is_none() => None,
            (_, Some(Action::Connect), _) => Some("is about connect and has a topic, qos or retain"),
            (_, _, None) => Some("has no topic: # is every topic but those that begin with $"),
            (_, Some(action), _) if retain.is_some() && action != Action::Publish => {
                Some("has retain and is not about publish alone")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.problems.push(Problem::at(origin, format!("this rule {wrong}")));
        }
        if self.problems.len() > before {
            self.settings.keys.retain(|setting| (setting.section, setting.item) != (RULES, Some(at)));
            return None;
        }
        Some(Rule {
            qos: qos.unwrap_or(Rule::ANY_QOS),
            retain,
            client_id: client.as_deref().map(Name::parse),
            user: user.as_deref().map(Name::parse),
            address,
            listener: listener.map(String::into_boxed_str),
            ..Rule::new(effect?, action?, topic.as_deref().unwrap_or(""))
        })
    }
}

/// With `%c` and `%u` in it, which may stand for any level or a part of one.
fn topic_filter(value: &Value) -> Result<String, Expected> {
    match text(value) {
        Some(text) if TopicFilter::new(text).is_ok_and(|filter| !filter.is_shared()) => Ok(text.to_owned()),
        _ => Err("a Topic Filter such as \"up/%c/#\", without $share".to_owned()),
    }
}

fn qualities(value: &Value) -> Result<u8, Expected> {
    let bit = |value: &Value| match value {
        Value::Integer(qos @ 0..=2) => Some(1 << qos),
        _ => None,
    };
    let bits = match value {
        Value::List(items) if !items.is_empty() => {
            items.iter().try_fold(0, |bits, item| Some(bits | bit(&item.value)?))
        }
        value => bit(value),
    };
    bits.ok_or_else(|| "0, 1 or 2, or a list of them".to_owned())
}

fn any_text(value: &Value) -> Result<String, Expected> {
    text(value)
        .map(str::to_owned)
        .ok_or_else(|| "a name, or the beginning of names and an asterisk".to_owned())
}

fn some_text(value: &Value) -> Result<String, Expected> {
    any_text(value).and_then(|text| if text.is_empty() { Err("a name".to_owned()) } else { Ok(text) })
}

fn moment(value: &Value) -> Result<String, Expected> {
    let moment = text(value).filter(|text| crate::admin::time::millis_of(text).is_some());
    moment.map(str::to_owned).ok_or_else(|| "a moment in UTC such as \"2026-12-24T18:00:00Z\"".to_owned())
}

fn network(value: &Value) -> Result<Network, Expected> {
    let network = text(value).and_then(|text| text.parse().ok());
    network.ok_or_else(|| "an address or a network such as \"10.0.0.0/8\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, load_text, refused};
    use super::*;

    const RULE: &str = "[[access.rule]]\neffect = \"allow\"\naction = \"publish\"\ntopic = \"up/%c/#\"\n";

    #[test]
    fn rules_keep_their_order_and_what_they_say() {
        let text = format!(
            "{RULE}qos = [0, 1]\nretain = false\nclient = \"car-*\"\nuser = \"fleet\"\naddress = \"10.0.0.0/8\"\n\
             listener = \"cars\"\n[[access.rule]]\neffect = \"deny\"\naction = \"connect\"\nuser = \"\"\n"
        );
        let rules = config(&text).access.rules;
        let [first, second] = &rules[..] else { panic!("{rules:?}") };
        assert_eq!((first.effect, first.action, &*first.topic), (Effect::Allow, Action::Publish, "up/%c/#"));
        assert_eq!((first.qos, first.retain), (0b011, Some(false)));
        assert_eq!(first.client_id, Some(Name::BeginsWith("car-".into())));
        assert_eq!(first.address.map(|network| network.to_string()).as_deref(), Some("10.0.0.0/8"));
        assert_eq!((second.effect, second.action), (Effect::Deny, Action::Connect));
        assert_eq!((second.qos, &second.user), (Rule::ANY_QOS, &Some(Name::Exactly("".into()))));
    }

    #[test]
    fn what_is_shown_of_rules_loads_again() {
        let text = format!(
            "[auth]\nusers = \"/u\"\n{RULE}qos = 2\n[[access.rule]]\neffect = \"deny\"\naction = \"connect\"\n"
        );
        let loaded = load_text(&text, &[], &Flags::default()).unwrap();
        let again = load_text(&loaded.settings.to_string(), &[], &Flags::default()).unwrap();
        assert_eq!(again.config, loaded.config);
    }

    #[test]
    fn a_rule_that_says_too_little_or_too_much_is_named_with_its_line() {
        let of = |text: &str| refused(&format!("[[access.rule]]\n{text}"));
        assert!(
            of("action = \"all\"\ntopic = \"#\"\n").ends_with("this rule has no effect: say allow or deny")
        );
        assert!(of("effect = \"deny\"\ntopic = \"#\"\n").contains("no action"));
        assert!(of("effect = \"deny\"\naction = \"all\"\n").contains("no topic"));
        assert!(of("effect = \"deny\"\naction = \"connect\"\ntopic = \"#\"\n").contains("about connect"));
        assert!(of("effect = \"deny\"\naction = \"all\"\ntopic = \"#\"\nretain = true\n").contains("retain"));
        assert!(of("effect = \"maybe\"\n").starts_with("convoy.toml:2: access.rule.effect"));
        assert!(refused(&format!("{RULE}qos = 3\n")).starts_with("convoy.toml:5: access.rule.qos = 3"));
        assert!(refused(&format!("{RULE}topics = \"a\"\n")).contains("did you mean topic?"));
        let bad = RULE.replace("up/%c/#", "$share/g/a");
        assert!(refused(&bad).contains("without $share"));
        assert!(refused("[access]\nrule = 1\n").contains("[[access.rule]]"));
    }

    #[test]
    fn bans_are_a_list_of_their_own_and_load_again() {
        let text = "[[ban]]\nclient = \"car-7\"\nreason = \"stolen\"\n[[ban]]\nuser = \"old-*\"\naddress = \
                    \"10.0.0.0/8\"\nuntil = \"2030-01-01T00:00:00Z\"\n";
        let loaded = load_text(text, &[], &Flags::default()).unwrap();
        let [first, second] = &loaded.config.access.bans[..] else { panic!("{:?}", loaded.config.access) };
        assert_eq!((&first.client_id, &*first.reason), (&Some(Name::Exactly("car-7".into())), "stolen"));
        assert_eq!(
            (&second.user, second.until),
            (&Some(Name::BeginsWith("old-".into())), Some(1_893_456_000_000))
        );
        let again = load_text(&loaded.settings.to_string(), &[], &Flags::default()).unwrap();
        assert_eq!(again.config, loaded.config);
        // Nobody else is concerned.
        assert!(loaded.config.access.rules.is_empty() && loaded.config.warnings().is_empty());
        assert_eq!(
            refused("[[ban]]\nreason = \"x\"\n"),
            "convoy.toml:1: this ban is on nobody: say a client, a user or an address"
        );
        assert!(refused("[[ban]]\nclient = \"\"\n").contains("convoy.toml:2: ban.client"));
        assert!(refused("[[ban]]\nclient = \"a\"\nuntil = \"never\"\n").contains("a moment in UTC"));
        assert!(refused("[[ban]]\nclients = \"a\"\n").contains("did you mean client?"));
        assert!(refused("ban = 1\n").contains("[[ban]]"));
        assert!(refused("[[bans]]\nclient = \"a\"\n").contains("did you mean ban?"));
        assert!(refused("[[access.rules]]\ntopic = \"a\"\n").contains("did you mean rule?"));
    }

    #[test]
    fn what_rules_make_of_no_effect_is_warned_of() {
        let warnings = |text: &str| config(text).warnings().join("\n");
        let deny = "[[access.rule]]\neffect = \"deny\"\naction = \"connect\"\nclient = \"car-7\"\n";
        assert!(warnings(deny).contains("nobody may connect; to keep single Clients out, write [[ban]]"));
        let behind = format!("{RULE}{RULE}listener = \"trucks\"\n");
        let text = warnings(&behind);
        assert!(text.contains("[[access.rule]] 2 decides nothing: rule 1 stands before it"), "{text}");
        assert!(text.contains("nobody may") && text.contains("no listener is called \"trucks\""), "{text}");
        let right =
            format!("{RULE}[[access.rule]]\neffect = \"allow\"\naction = \"subscribe\"\ntopic = \"#\"\n");
        assert_eq!(warnings(&right), "");
    }

    #[test]
    fn an_address_that_users_guard_is_served() {
        let open = "[mqtt]\nlisteners = [\"0.0.0.0:1883\"]\n";
        assert!(refused(open).contains("loopback"));
        let config = config(&format!("{open}[auth]\nusers = \"/etc/convoy/users\"\n"));
        assert!(config.has_authentication());
        let data = tempfile::tempdir().unwrap();
        let text = format!("{open}[node]\ndata = {:?}\n", data.path());
        assert!(refused(&text).contains("loopback"));
        std::fs::write(data.path().join("users"), "").unwrap();
        assert!(super::super::tests::config(&text).has_authentication());
    }
}
