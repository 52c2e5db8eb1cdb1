use super::*;
use convoy_actors::Transport;

pub(super) fn load_text(
    text: &str,
    environment: &[(&str, &str)],
    flags: &Flags,
) -> Result<Loaded, Vec<String>> {
    let mut problems = Problems::default();
    let table = sources::from_text("convoy.toml", text, &mut problems);
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    from_table(table, environment, flags, problems)
        .map_err(|error| error.problems.iter().map(Problem::to_string).collect())
}

pub(super) fn config(text: &str) -> Config {
    load_text(text, &[], &Flags::default()).unwrap().config
}

#[track_caller]
pub(super) fn refused(text: &str) -> String {
    let problems = load_text(text, &[], &Flags::default()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

#[test]
fn nothing_said_serves_loopback_only() {
    let config = config("");
    let [listener] = &config.mqtt[..] else { panic!("{:?}", config.mqtt) };
    assert_eq!((listener.kind, listener.addr), (Transport::Tcp, ([127, 0, 0, 1], 1883).into()));
    assert_eq!(listener.allow_anonymous, None);
    assert_eq!(config.api.addr, ([127, 0, 0, 1], 18083).into());
    assert_eq!(config.node.data, PathBuf::from("./convoy-data"));
    assert_eq!((config.fleet.slots, config.fleet.partitions, config.fleet.partition_levels), (64, 8, 2));
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let text = "[node]\nname = \"file\"\nzone = \"file\"\ndata = \"/file\"\n";
    let environment = [("CONVOY_NODE__NAME", "environment"), ("CONVOY_NODE__ZONE", "environment")];
    let flags = Flags { node: Some("flag".to_owned()), ..Flags::default() };
    let loaded = load_text(text, &environment, &flags).unwrap();

    let node = &loaded.config.node;
    assert_eq!((node.name.as_str(), node.zone.as_str()), ("flag", "environment"));
    assert_eq!(node.data, PathBuf::from("/file"));
    assert_eq!(loaded.settings.origin("node", "name"), Origin::Flag("--node"));
    assert_eq!(loaded.settings.origin("node", "zone").to_string(), "CONVOY_NODE__ZONE");
    assert_eq!(loaded.settings.origin("node", "data").to_string(), "convoy.toml:4");
    assert_eq!(loaded.settings.origin("node", "shards"), Origin::Default);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    assert_eq!(
        refused("[limits]\n\npaket_bytes = 4096\n"),
        "convoy.toml:3: unknown key limits.paket_bytes; did you mean packet_bytes?"
    );
    assert_eq!(refused("[node]\nquux = 1\n"), "convoy.toml:2: unknown key node.quux");
}

#[test]
fn an_unknown_section_is_named_once_for_each_of_its_keys() {
    let problems = load_text("[limit]\nconnections = 1\nqueue_age = \"1d\"\n", &[], &Flags::default());
    assert_eq!(
        problems.unwrap_err(),
        [
            "convoy.toml:2: unknown section limit; did you mean limits?",
            "convoy.toml:3: unknown section limit; did you mean limits?"
        ]
    );
    assert_eq!(
        refused("slots = 4\n"),
        "convoy.toml:1: unknown section slots; slots is a key of section [fleet]"
    );
}

#[test]
fn a_wrong_type_or_value_names_what_was_expected() {
    assert_eq!(
        refused("[fleet]\nslots = \"many\"\n"),
        "convoy.toml:2: fleet.slots = \"many\": expected an integer from 1 to 16384"
    );
    assert_eq!(
        refused("[fleet]\nslots = 0\n"),
        "convoy.toml:2: fleet.slots = 0: expected an integer from 1 to 16384"
    );
    assert_eq!(
        refused("[log]\nformat = \"xml\"\n"),
        "convoy.toml:2: log.format = \"xml\": expected one of text, json"
    );
    assert_eq!(
        refused("[limits]\nconnect_timeout = 10\n"),
        "convoy.toml:2: limits.connect_timeout = 10: expected a duration with its unit, such as \"90s\", \
         \"15m\", \"2h\" or \"3d\", from 1s to 1h"
    );
    assert!(refused("[limits]\npacket_bytes = -1\n").starts_with("convoy.toml:2: limits.packet_bytes"));
    assert!(refused("[node]\nname = \"two words\"\n").contains("expected a name"));
    assert!(refused("[node]\nshards = 1.5\n").contains("node.shards = a float"));
    assert!(refused("node = 3\n").contains("node is a section"));
}

#[test]
fn a_wrong_value_is_named_even_where_another_source_hides_it() {
    let flags = Flags { api: Some("127.0.0.1:9000".to_owned()), ..Flags::default() };
    let problems = load_text("[api]\naddr = \"nowhere\"\n", &[], &flags).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("convoy.toml:2: api.addr = \"nowhere\""), "{problems:?}");
}

#[test]
fn variables_and_flags_are_named_as_they_were_written() {
    let environment = [("CONVOY_FLEET__SLOTS", "x"), ("CONVOY_FLEET__SLOT", "1")];
    let flags = Flags { mqtt: vec!["localhost".to_owned()], ..Flags::default() };
    let problems = load_text("", &environment, &flags).unwrap_err();
    assert_eq!(
        problems,
        [
            "CONVOY_FLEET__SLOTS: fleet.slots = x: expected an integer from 1 to 16384",
            "CONVOY_FLEET__SLOT: unknown key fleet.slot; did you mean slots?",
            "--mqtt: mqtt.listeners = localhost: expected an IP address with a port, such as 127.0.0.1:1883 or \
             [::1]:1883",
        ]
    );
}

#[test]
fn a_variable_with_one_underscore_too_few_is_not_passed_over() {
    let environment =
        [("CONVOY_NODE_NAME", "a"), ("CONVOY_PORT", "tcp://10.0.0.1:1883"), ("CONVOY_LOG", "debug")];
    let problems = load_text("", &environment, &Flags::default()).unwrap_err();
    assert_eq!(problems, ["CONVOY_NODE_NAME: unknown variable; did you mean CONVOY_NODE__NAME?"]);
}

#[test]
fn all_problems_come_at_once() {
    let text = "[fleet]\nslot = 0\npartitions = 0\n[log]\nlevel = \"lod=\"\n[mqtt]\nlisteners = [\"0.0.0.0:1883\"]\n";
    let problems = load_text(text, &[], &Flags::default()).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| &problem[..13]).collect();
    assert_eq!(places, ["convoy.toml:2", "convoy.toml:3", "convoy.toml:5", "convoy.toml:7"], "{problems:?}");
}

#[test]
fn an_open_listener_must_be_asked_for() {
    let open = "[mqtt]\nlisteners = [\"127.0.0.1:1883\", \"[::]:1883\"]\n";
    let problem = refused(open);
    assert!(problem.starts_with("convoy.toml:2: mqtt listener [::]:1883 is not on loopback"), "{problem}");
    assert!(
        config(&format!("{open}allow_anonymous = true\n"))
            .mqtt
            .iter()
            .all(|l| l.allow_anonymous == Some(true))
    );
    // Who says no lets nobody in.
    assert!(
        config(&format!("{open}allow_anonymous = false\n"))
            .mqtt
            .iter()
            .all(|l| l.allow_anonymous == Some(false))
    );

    let own = "[[mqtt.listeners]]\naddr = \"0.0.0.0:1883\"\nallow_anonymous = true\n[[mqtt.listeners]]\naddr = \
               \"[::1]:1883\"\n";
    let allowed: Vec<_> = config(own).mqtt.iter().map(|listener| listener.allow_anonymous).collect();
    assert_eq!(allowed, [Some(true), None]);

    // The key stands before it.
    assert!(!config("[api]\naddr = \"0.0.0.0:18083\"\n").api.allow_anonymous);
    assert!(config("[api]\naddr = \"0.0.0.0:18083\"\nallow_anonymous = true\n").api.allow_anonymous);
}

#[test]
fn loopback_needs_no_permission_in_either_family() {
    let config = config("[mqtt]\nlisteners = [\"127.8.8.8:1\", \"[::1]:1\", \"[::ffff:127.0.0.1]:2\"]\n");
    assert_eq!(config.mqtt.len(), 3);
}

#[test]
fn listeners_may_come_as_one_line_of_text() {
    let environment =
        [("CONVOY_MQTT__LISTENERS", "0.0.0.0:1883, [::]:1883"), ("CONVOY_MQTT__ALLOW_ANONYMOUS", "true")];
    let loaded = load_text("", &environment, &Flags::default()).unwrap();
    assert_eq!(loaded.config.mqtt.len(), 2);
}

#[test]
fn a_listener_with_an_unknown_key_is_refused() {
    let problem = refused("[mqtt]\nlisteners = [{ adr = \"127.0.0.1:1\" }]\n");
    assert_eq!(problem, "convoy.toml:2: unknown key mqtt.listeners.adr; did you mean addr?");
    assert!(refused("[mqtt]\nlisteners = []\n").contains("expected a list of addresses"));
}

#[test]
fn one_address_serves_one_purpose() {
    let problem = refused("[api]\naddr = \"127.0.0.1:1883\"\n");
    assert_eq!(problem, "convoy.toml:2: api.addr 127.0.0.1:1883 is also an mqtt listener");
    assert!(refused("[mqtt]\nlisteners = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n").contains("twice"));
    config("[mqtt]\nlisteners = [\"127.0.0.1:0\"]\n[api]\naddr = \"127.0.0.1:0\"\n");
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let pairs = [
        ("packet_bytes = \"32 KiB\"", "limits.connect_packet_bytes = \"128 KiB\""),
        ("queue_bytes = \"512 KiB\"", "limits.packet_bytes = \"1 MiB\""),
        ("session_expiry_maximum = \"1h\"", "limits.session_expiry_default = \"2h\""),
        ("inflight_maximum = 16", "limits.inflight_default = 32"),
        ("topic_levels = 1", "fleet.partition_levels = 2"),
        ("topic_bytes = 64", "limits.topic_levels = 128"),
    ];
    for (line, low) in pairs {
        // Both values are told, and who said them.
        let message = format!("{low} (default) must not exceed limits.{line} (convoy.toml:2)");
        assert_eq!(refused(&format!("[limits]\n{line}\n")), format!("convoy.toml:2: {message}"));
    }
    assert!(refused("[limits]\npacket_bytes = \"33 MiB\"\n").ends_with("from 1 KiB to 32 MiB"));
}

#[test]
fn the_connect_rate_follows_the_connections_unless_it_is_said() {
    assert_eq!(config("[limits]\nconnections = 50_000\n").limits.connects_per_second, 500);
    assert_eq!(config("[limits]\nconnections = 50\n").limits.connects_per_second, 100);
    assert_eq!(config("[limits]\nconnects_per_second = 7\n").limits.connects_per_second, 7);
}

#[test]
fn bytes_and_durations_read_as_people_write_them() {
    let limits = config(
        "[limits]\npacket_bytes = \"2 MiB\"\nqueue_bytes = 4_194_304\nqueue_age = \"1d12h\"\n\
         session_expiry_default = \"0s\"\nsession_expiry_maximum = \"never\"\n",
    )
    .limits;
    assert_eq!(limits.packet_bytes, 2 << 20);
    assert_eq!(limits.queue_bytes, 4 << 20);
    assert_eq!(limits.queue_age, Duration::from_secs(36 * 3600));
    assert_eq!(limits.session_expiry_default, Duration::ZERO);
    assert_eq!(limits.session_expiry_maximum, Duration::from_secs(u32::MAX.into()));

    for text in ["", "5", "5 s", "s", "5x", "-5s", "99999999999999999999s", "9999999999999999999d"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
    for text in ["", "MiB", "5 MB", "-1", "99999999999 PiB"] {
        assert_eq!(parse_bytes(text), None, "{text}");
    }
}

#[test]
fn what_is_shown_loads_again_to_the_same_configuration() {
    let text = "[node]\nname = \"n-1\"\ndata = 'C:\\odd \"path\"'\n[limits]\nqueue_age = \"90s\"\nqueue_bytes = \
                1048577\n[mqtt]\nlisteners = [{ addr = \"0.0.0.0:1883\", allow_anonymous = true }, \"[::1]:1883\"]\n";
    let first = load_text(text, &[], &Flags::default()).unwrap();
    let again = load_text(&first.settings.to_string(), &[], &Flags::default()).unwrap();
    assert_eq!(first.config, again.config);
    assert!(
        first
            .settings
            .to_string()
            .contains("name = \"n-1\"                                     # convoy.toml:2")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_like_any_other() {
    let path = Path::new("/nonexistent/convoy.toml");
    let error = load(Some(path), [], &Flags::default()).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/convoy.toml: cannot be read"), "{error}");
}

#[test]
fn groups_may_have_strategies_of_their_own() {
    use convoy_actors::Strategy;
    let text = "[shared_subscriptions]\nstrategy = \"random\"\ngroups = { jobs = \"sticky\", \"a.b\" = \"hash_topic\" }\n";
    let first = load_text(text, &[], &Flags::default()).unwrap();
    let options = &first.config.shared_subscriptions;
    assert_eq!(options.strategy, Strategy::Random);
    let strategies = ["jobs", "a.b", "other"].map(|name| options.strategy_of(name));
    assert_eq!(strategies, [Strategy::Sticky, Strategy::HashTopic, Strategy::Random]);
    let again = load_text(&first.settings.to_string(), &[], &Flags::default()).unwrap();
    assert_eq!(&again.config.shared_subscriptions, options);

    let variable = ("CONVOY_SHARED_SUBSCRIPTIONS__GROUPS", "jobs=least_inflight, x=random");
    let groups = load_text("", &[variable], &Flags::default()).unwrap().config.shared_subscriptions.groups;
    assert_eq!(groups.len(), 2);
    assert_eq!(groups["jobs"], Strategy::LeastInflight);

    assert!(
        refused("[shared_subscriptions]\nstrategy = \"rand\"\n")
            .contains("expected one of round_robin, random")
    );
    assert!(
        refused("[shared_subscriptions]\ngroups = { \"a/b\" = \"random\" }\n")
            .contains("Share Names without")
    );
}

#[test]
fn a_rate_and_what_becomes_of_the_excess_are_set_together() {
    use convoy_actors::{Excess, SecondConnection};
    let text = "[limits]\npublish_messages_per_second = 50\npublish_bytes_per_second = \"64 KiB\"\n\
                publish_excess = \"refuse\"\nsecond_connection = \"refuse\"\n\
                [node]\nserver_reference = \"b.example:1883 c.example\"\n";
    let first = load_text(text, &[], &Flags::default()).unwrap();
    let limits = &first.config.limits;
    assert_eq!((limits.publish_messages_per_second, limits.publish_bytes_per_second), (50, 64 << 10));
    assert_eq!(
        (limits.publish_excess, limits.second_connection),
        (Excess::Refuse, SecondConnection::IsRefused)
    );
    assert_eq!(first.config.node.server_reference.as_deref(), Some("b.example:1883 c.example"));
    let again = load_text(&first.settings.to_string(), &[], &Flags::default()).unwrap();
    assert_eq!(first.config, again.config);
    assert!(refused("[limits]\npublish_excess = \"drop\"\n").ends_with("expected one of wait, refuse"));
}

#[test]
fn every_client_that_is_let_in_by_default_can_be_named_to_the_api() {
    let config = config("");
    // Each byte may become three in a path, and other lines of a request have their room too.
    assert!(3 * usize::from(config.limits.client_id_bytes) + 8192 < config.api.head_bytes);
}

#[test]
fn a_profile_sets_the_numbers_of_its_product_and_a_key_overrides_one() {
    use convoy_actors::SecondConnection;
    let limits = |text: &str| config(text).limits;
    let tencent = limits("[limits]\nprofile = \"tencent\"\n");
    assert_eq!((tencent.subscriptions_per_session, tencent.inflight_default), (30, 16));
    assert_eq!(tencent.second_connection, SecondConnection::IsRefused);
    let aliyun = limits("[limits]\nprofile = \"aliyun\"\nsubscriptions_per_session = 50\n");
    assert_eq!((aliyun.subscriptions_per_session, aliyun.client_id_bytes), (50, 64));
    assert_eq!(limits("[limits]\nprofile = \"ctyun\"\n").queue_messages, 10);
    assert_eq!(limits("[limits]\nprofile = \"convoy\"\n"), limits(""));

    let first = load_text("[limits]\nprofile = \"aliyun\"\n", &[], &Flags::default()).unwrap();
    let again = load_text(&first.settings.to_string(), &[], &Flags::default()).unwrap();
    assert_eq!(first.config, again.config);
}

#[test]
fn features_are_on_unless_they_are_switched_off() {
    assert_eq!(config("").features, convoy_actors::Features::default());
    let off = config(
        "[features]\nmaximum_qos = 1\nretain_available = false\nwildcard_subscription_available = false\n\
         subscription_identifiers_available = false\nshared_subscription_available = false\n\
         check_payload_format = true\nresponse_information = \"answers/\"\n",
    );
    let expected = convoy_actors::Features {
        maximum_qos: convoy_wire::QoS::AtLeastOnce,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_identifiers_available: false,
        shared_subscription_available: false,
        check_payload_format: true,
        response_information: "answers/".into(),
    };
    assert_eq!(off.features, expected);
    for (line, expected) in [
        ("maximum_qos = 3", "0, 1 or 2"),
        ("retain_available = 0", "true or false"),
        ("response_information = \"a/+\"", "the beginning of a Topic Name"),
    ] {
        let found = refused(&format!("[features]\n{line}\n"));
        assert!(found.contains(expected), "{line}: {found}");
    }
}
