//! Rules against Topic Names and Topic Filters, and both against an oracle that knows nothing but the definitions.

use std::sync::Arc;

use proptest::prelude::*;

use super::filter::{covers, matches};
use super::*;

const WHO: Who<'static> = Who {
    client_id: "car-1",
    user: Some("fleet"),
    address: core::net::IpAddr::V4(core::net::Ipv4Addr::new(10, 1, 2, 3)),
    listener: "cars",
};

fn allow(action: Action, topic: &str) -> Rule {
    Rule::new(Effect::Allow, action, topic)
}

fn deny(action: Action, topic: &str) -> Rule {
    Rule::new(Effect::Deny, action, topic)
}

fn permits(rules: Vec<Rule>, who: &Who<'_>) -> Box<Permits> {
    Permits::of(&Arc::new(Access::new(rules, Policy::default())), who).expect("there are rules about topics")
}

#[test]
fn without_rules_nothing_is_judged() {
    let access = Arc::new(Access::default());
    assert!(Permits::of(&access, &WHO).is_none() && access.may_connect(&WHO));
}

#[test]
fn the_first_rule_that_fits_decides_and_without_one_it_is_denied() {
    let permits = permits(
        vec![deny(Action::Publish, "a/secret"), allow(Action::All, "a/#"), deny(Action::All, "a/b")],
        &WHO,
    );
    let published = ["a/secret", "a/b", "a", "b"].map(|topic| permits.may_publish(topic, 0, false));
    assert_eq!(published, [false, true, true, false]);
    let subscribed = ["a/secret", "a/#", "a/+", "#", "b"].map(|filter| permits.may_subscribe(filter, 2));
    assert_eq!(subscribed, [true, true, true, false, false]);
}

#[test]
fn a_filter_is_allowed_only_by_a_rule_that_covers_it() {
    let permits = permits(vec![allow(Action::Subscribe, "a/+")], &WHO);
    let asked = ["a/b", "a/+", "a/#", "+/b", "a", "a/b/c", "#"];
    assert_eq!(
        asked.map(|filter| permits.may_subscribe(filter, 0)),
        [true, true, false, false, false, false, false]
    );
}

#[test]
fn what_a_narrow_rule_denies_is_left_out_of_a_wide_subscription() {
    let permits = permits(vec![deny(Action::Subscribe, "a/secret/#"), allow(Action::Subscribe, "a/#")], &WHO);
    assert!(permits.may_subscribe("a/#", 1) && !permits.may_subscribe("a/secret/x", 1));
    let received = ["a/b", "a/secret", "a/secret/x"].map(|topic| permits.may_receive(topic));
    assert_eq!(received, [true, false, false]);
}

#[test]
fn names_stand_in_topics_and_never_as_wildcards_or_levels() {
    let rules = || vec![allow(Action::All, "up/%c/%u"), allow(Action::All, "x%%c/#")];
    let mine = permits(rules(), &WHO);
    assert!(mine.may_publish("up/car-1/fleet", 0, false) && !mine.may_publish("up/car-2/fleet", 0, false));
    assert!(mine.may_publish("x%car-1/y", 0, false));
    for client_id in ["+", "#", "a/b", "car/+", ""] {
        let theirs = permits(rules(), &Who { client_id, ..WHO });
        for topic in ["up/car-1/fleet", "up/a/b/fleet", "up/x/fleet", "up//fleet"] {
            assert!(
                !theirs.may_publish(topic, 0, false) && !theirs.may_receive(topic),
                "{client_id} {topic}"
            );
        }
        assert!(!theirs.may_subscribe(&format!("up/{client_id}/fleet"), 0), "{client_id}");
    }
    let nobody = permits(rules(), &Who { user: None, ..WHO });
    assert!(!nobody.may_publish("up/car-1/", 0, false) && !nobody.may_publish("up/car-1", 0, false));
    // A name that looks like a place for another one is taken as it is.
    let sly = permits(vec![allow(Action::All, "up/%c")], &Who { client_id: "%u", ..WHO });
    assert!(sly.may_publish("up/%u", 0, false) && !sly.may_publish("up/fleet", 0, false));
}

#[test]
fn what_cannot_be_written_into_a_rule_denies() {
    let rules = || {
        vec![
            deny(Action::All, "own/%c/secret"),
            deny(Action::Publish, "by/x%u"),
            deny(Action::Subscribe, "%c/inner"),
            allow(Action::All, "#"),
            allow(Action::All, "$x/#"),
        ]
    };
    let mine = permits(rules(), &WHO);
    let may =
        |permits: &Permits, topic: &str| (permits.may_publish(topic, 0, false), permits.may_receive(topic));
    assert_eq!(may(&mine, "own/car-1/secret"), (false, false));
    assert_eq!(may(&mine, "own/car-2/secret"), (true, true));
    for client_id in ["a/b", "+", "#", "$x/a", ""] {
        let theirs = permits(rules(), &Who { client_id, user: None, ..WHO });
        // All that stands below the levels before the name, and nothing beside it.
        for topic in ["own/a/b/secret", "own/car-2/secret", "own", "own/a"] {
            assert_eq!(may(&theirs, topic), (false, false), "{client_id} {topic}");
            assert!(!theirs.may_subscribe(topic, 0), "{client_id} {topic}");
        }
        assert_eq!(
            [theirs.may_publish("by/x", 0, false), theirs.may_publish("by", 0, false)],
            [false, false]
        );
        // Nothing stands before the name: it is about everything, and about what begins with a dollar sign too.
        assert!(theirs.may_publish("else", 0, false) && !theirs.may_receive("else"), "{client_id}");
        assert!(!theirs.may_receive("$x/a/inner") && !theirs.may_subscribe("$x/a/inner", 0), "{client_id}");
        assert!(!theirs.may_subscribe("#", 0), "{client_id}");
    }
}

#[test]
fn a_rule_is_about_those_it_names() {
    let about = |change: fn(&mut Rule)| {
        let mut rule = allow(Action::Publish, "#");
        change(&mut rule);
        let may = |who: &Who<'_>| permits(vec![rule.clone()], who).may_publish("a", 0, false);
        [
            may(&WHO),
            may(&Who { client_id: "bus", ..WHO }),
            may(&Who { user: Some("other"), ..WHO }),
            may(&Who { user: None, ..WHO }),
            may(&Who { address: "::ffff:10.9.9.9".parse().unwrap(), ..WHO }),
            may(&Who { address: "192.168.0.1".parse().unwrap(), ..WHO }),
            may(&Who { listener: "office", ..WHO }),
        ]
    };
    let (t, f) = (true, false);
    assert_eq!(about(|rule| rule.client_id = Some(Name::parse("car-*"))), [t, f, t, t, t, t, t]);
    assert_eq!(about(|rule| rule.user = Some(Name::parse("fleet"))), [t, t, f, f, t, t, t]);
    assert_eq!(about(|rule| rule.user = Some(Name::parse("*"))), [t, t, t, f, t, t, t]);
    assert_eq!(about(|rule| rule.user = Some(Name::parse(""))), [f, f, f, t, f, f, f]);
    assert_eq!(about(|rule| rule.address = Some("10.0.0.0/8".parse().unwrap())), [t, t, t, t, t, f, t]);
    assert_eq!(about(|rule| rule.listener = Some("cars".into())), [t, t, t, t, t, t, f]);
}

#[test]
fn qos_and_retain_are_conditions() {
    let mut retained = deny(Action::Publish, "#");
    retained.retain = Some(true);
    let mut exactly_once = deny(Action::All, "#");
    exactly_once.qos = 0b100;
    let permits = permits(vec![retained, exactly_once, allow(Action::All, "#")], &WHO);
    let published =
        [(0, false), (0, true), (2, false)].map(|(qos, retain)| permits.may_publish("a", qos, retain));
    assert_eq!(published, [true, false, false]);
    assert_eq!([0, 1, 2].map(|qos| permits.may_subscribe("a", qos)), [true, true, false]);
    // What was subscribed at QoS 1 is delivered.
    assert!(permits.may_receive("a"));
}

#[test]
fn rules_about_connect_and_rules_about_topics_are_apart() {
    let mut cars = allow(Action::Connect, "");
    cars.client_id = Some(Name::parse("car-*"));
    let access = Arc::new(Access::new(vec![cars], Policy::default()));
    assert!(access.may_connect(&WHO) && !access.may_connect(&Who { client_id: "bus", ..WHO }));
    assert!(Permits::of(&access, &WHO).is_none());
    assert!(Access::new(vec![allow(Action::All, "a")], Policy::default()).may_connect(&WHO));
}

#[test]
fn what_an_order_of_rules_makes_of_no_effect_is_found() {
    let found = |rules: &[Rule]| Access::new(rules.to_vec(), Policy::default()).findings();
    let of = |mut rule: Rule, client_id: &str| {
        rule.client_id = Some(Name::parse(client_id));
        rule
    };
    let unreachable = |rule, behind| vec![Finding::Unreachable { rule, behind }];
    let (all, one) = (allow(Action::All, "#"), deny(Action::Publish, "a/secret"));
    assert_eq!(found(&[]), []);
    assert_eq!(found(&[one.clone(), all.clone()]), []);
    assert_eq!(found(&[all.clone(), one.clone()]), unreachable(1, 0));
    assert_eq!(found(&[of(all.clone(), "car-*"), of(one.clone(), "car-1"), all.clone()]), unreachable(1, 0));
    assert_eq!(found(&[of(all.clone(), "car-*"), of(one.clone(), "bus-1"), all.clone()]), []);
    assert_eq!(found(&[of(all.clone(), "car-*"), one.clone(), all.clone()]), []);
    assert_eq!(found(&[allow(Action::All, "up/+/#"), allow(Action::All, "up/%c/#")]), unreachable(1, 0));
    // Of a name with levels of its own more is denied.
    assert_eq!(found(&[allow(Action::All, "up/+/x"), deny(Action::All, "up/%c/x")]), []);
    assert_eq!(found(&[allow(Action::All, "up/#"), deny(Action::All, "up/%c/x")]), unreachable(1, 0));
    let from = |address: &str| {
        let mut rule = deny(Action::Publish, "a/secret");
        rule.address = Some(address.parse().unwrap());
        rule
    };
    let (wide, narrow) = (from("10.0.0.0/8"), from("10.1.0.0/16"));
    assert_eq!(found(&[wide.clone(), narrow.clone(), all.clone()]), unreachable(1, 0));
    assert_eq!(found(&[narrow, wide, all.clone()]), []);
    // One rule about CONNECT denies it to all whom none allows it.
    let ban = of(deny(Action::Connect, ""), "car-7");
    assert_eq!(found(std::slice::from_ref(&ban)), [Finding::Nobody(Action::Connect)]);
    assert_eq!(found(&[ban, allow(Action::Connect, ""), all]), []);
    assert_eq!(found(&[one]), [Finding::Nobody(Action::Publish), Finding::Nobody(Action::Subscribe)]);
    // Nobody is no name.
    let mut named = allow(Action::All, "#");
    named.user = Some(Name::parse("*"));
    let mut nobody = deny(Action::All, "a");
    nobody.user = Some(Name::parse(""));
    assert_eq!(found(&[named, nobody]), []);
}

#[test]
fn topics_of_the_server_are_not_in_a_wildcard() {
    // [MQTT-4.7.2-1]
    let all = permits(vec![allow(Action::All, "#")], &WHO);
    assert!(!all.may_receive("$SYS/uptime") && !all.may_subscribe("$SYS/#", 0));
    let system = permits(vec![allow(Action::Subscribe, "$SYS/#")], &WHO);
    assert!(system.may_receive("$SYS/uptime") && system.may_subscribe("$SYS/+", 0));
}

#[test]
fn who_is_let_in_without_a_name_is_what_the_listener_says() {
    use crate::peer::{Listener, Peer, Transport};
    use convoy_wire::{Connect, ProtocolVersion, ReasonCode};
    let access = |authenticates| Access::new(Vec::new(), Policy { authenticates, ..Policy::default() });
    let peer = |allow_anonymous| Peer {
        address: "127.0.0.1:1".parse().unwrap(),
        listener: Arc::new(Listener { allow_anonymous, ..Listener::new("l", Transport::Tcp) }),
        certificate: None,
    };
    let admitted = |authenticates: bool, allow_anonymous: Option<bool>, connect: &Connect<'_>| {
        access(authenticates).admit(connect, &peer(allow_anonymous))
    };
    let let_in = Admission::Decided(Verdict::Granted(Principal::ANONYMOUS));
    let refused = |reason| Admission::Decided(Verdict::Refused(reason));
    let nobody = Connect::new(ProtocolVersion::V5, "a");
    let named = Connect { username: Some("ann"), password: Some(b"a"), ..nobody };
    for (authenticates, allow_anonymous, without, with) in [
        (false, None, let_in.clone(), let_in.clone()),
        (false, Some(true), let_in.clone(), let_in.clone()),
        // A no that was said holds, though nobody could prove a name.
        (false, Some(false), refused(ReasonCode::NotAuthorized), refused(ReasonCode::NotAuthorized)),
        (true, None, refused(ReasonCode::NotAuthorized), Admission::Asks),
        (true, Some(true), let_in.clone(), Admission::Asks),
        (true, Some(false), refused(ReasonCode::NotAuthorized), Admission::Asks),
    ] {
        let found = [&nobody, &named].map(|connect| admitted(authenticates, allow_anonymous, connect));
        assert_eq!(found, [without, with], "{authenticates} {allow_anonymous:?}");
    }
    // A name without a password proves nothing, even where the password of that user is empty.
    let bare = Connect { username: Some("ann"), ..nobody };
    assert_eq!(admitted(true, None, &bare), refused(ReasonCode::BadUserNameOrPassword));
}

#[test]
fn an_author_is_who_it_was() {
    for address in ["10.1.2.3", "2001:db8::1"] {
        let who = Who { address: address.parse().unwrap(), ..WHO };
        let author = Author::of(&who);
        assert_eq!(format!("{:?}", author.who()), format!("{who:?}"));
    }
}

#[test]
fn networks_hold_what_begins_like_them() {
    let holds =
        |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
    assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
    assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1") && holds("::/0", "::1"));
    assert!(holds("::1", "::1") && !holds("::1", "::2") && holds("10.1.2.3", "::ffff:10.1.2.3"));
    for wrong in ["", "10.0.0.0/33", "::/129", "x", "10.0.0.0/-1"] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
}

#[test]
fn a_filter_that_begins_with_an_empty_level_has_two() {
    for (filter, covered) in
        [("+/+/#", true), ("/+/#", true), ("/#", true), ("+/#", true), ("+/+", false), ("/a/#", false)]
    {
        assert_eq!(covers(filter, "/#"), covered, "{filter}");
    }
}

/// Matching as the specification words it, level by level.
fn matches_by_definition(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) | (None, None) => true,
        (Some((&"+", filter)), Some((_, topic))) => matches_by_definition(filter, topic),
        (Some((mine, filter)), Some((level, topic))) if mine == level => matches_by_definition(filter, topic),
        _ => false,
    }
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "", "ab", "+"])
}

/// Also with a `#` at the end, also beginning with `$`.
fn topic_filter() -> impl Strategy<Value = String> {
    (prop::collection::vec(level(), 0..4), any::<bool>(), prop::bool::weighted(0.2)).prop_filter_map(
        "a Topic Filter has a level",
        |(mut levels, open, system)| {
            if system {
                levels.insert(0, "$s");
            }
            if open {
                levels.push("#");
            }
            (!levels.is_empty() && levels != [""]).then(|| levels.join("/"))
        },
    )
}

/// Every Topic Name of up to five levels out of letters that filters know and one that they do not.
fn topics() -> Vec<String> {
    let letters = ["a", "b", "", "ab", "z"];
    let mut all: Vec<Vec<&str>> = letters.iter().map(|letter| vec![*letter]).collect();
    all.push(vec!["$s"]);
    let mut last = all.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|topic| letters.map(|letter| [&topic[..], &[letter]].concat())).collect();
        all.extend(last.iter().cloned());
    }
    all.iter().map(|levels| levels.join("/")).filter(|topic| !topic.is_empty()).collect()
}

fn by_definition(filter: &str, topic: &str) -> bool {
    let wild = filter.starts_with(['+', '#']);
    let (filter, levels): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    !(wild && topic.starts_with('$')) && matches_by_definition(&filter, &levels)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_filter_matches_what_its_definition_says(filter in topic_filter()) {
        for topic in topics() {
            prop_assert_eq!(matches(&filter, &topic), by_definition(&filter, &topic), "{} {}", filter, topic);
        }
    }

    #[test]
    fn a_filter_covers_another_one_exactly_if_it_matches_all_that_the_other_does(
        filter in topic_filter(), asked in topic_filter(),
    ) {
        let all = topics().iter().all(|topic| !by_definition(&asked, topic) || by_definition(&filter, topic));
        prop_assert_eq!(covers(&filter, &asked), all, "{} {}", filter, asked);
    }
}

#[test]
fn who_is_not_connected_is_judged_like_who_is() {
    let of = |effect, action: Action, topic: &str| Rule::new(effect, action, topic);
    let wide = [
        allow(Action::All, "a/#"),
        deny(Action::Publish, "a/%c/#"),
        Rule { qos: 0b001, ..deny(Action::Publish, "a/b") },
        Rule { retain: Some(true), ..of(Effect::Deny, Action::Publish, "#") },
        Rule { user: Some(Name::Exactly("fleet".into())), ..allow(Action::Publish, "%u/#") },
        Rule { client_id: Some(Name::BeginsWith("car-".into())), ..allow(Action::Publish, "+/b") },
        allow(Action::Subscribe, "#"),
        allow(Action::Connect, ""),
    ];
    let others = [WHO, Who { client_id: "a/b", ..WHO }, Who { user: None, client_id: "van", ..WHO }];
    let mut decided = [0; 2];
    for first in &wide {
        for second in &wide {
            let access = Arc::new(Access::new(vec![first.clone(), second.clone()], Policy::default()));
            for who in &others {
                let permits = Permits::of(&access, who);
                for topic in ["a/b", "a", "a/car-1/x", "fleet/x", "c/b", "$SYS/x"] {
                    for (qos, retain) in [(0, false), (1, true), (2, false), (0, true)] {
                        let may =
                            permits.as_ref().is_none_or(|permits| permits.may_publish(topic, qos, retain));
                        decided[usize::from(may)] += 1;
                        let found = access.may_publish(who, topic, qos, retain);
                        assert_eq!(found, may, "{first:?} {second:?} {who:?} {topic} {qos} {retain}");
                    }
                }
            }
        }
    }
    assert!(decided.iter().all(|count| *count > 500), "{decided:?}");
}
