use super::*;
use crate::config::load::tests::{config, load_text, refused};

const TLS: &str = "[tls]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n";

fn kinds(config: &Config) -> Vec<(Transport, u16)> {
    config.mqtt.iter().map(|listener| (listener.kind, listener.addr.port())).collect()
}

#[test]
fn a_listener_takes_what_it_does_not_say_of_tls_from_its_section() {
    let text = format!(
        "{TLS}client_ca = \"/ca.pem\"\n[mqtt]\nlisteners = [\"127.0.0.1:1\", \"mqtts://127.0.0.1:2\", {{ kind = \
         \"wss\", addr = \"127.0.0.1:3\", certificate = [\"/a\", \"/b\"], key = [\"/c\", \"/d\"], \
         client_certificate = \"off\", path = \"/ws\" }}]\n"
    );
    let config = config(&text);
    assert_eq!(kinds(&config), [(Transport::Tcp, 1), (Transport::Tls, 2), (Transport::SecureWebSocket, 3)]);
    assert_eq!(config.mqtt[0].tls, None);
    let tls = config.mqtt[1].tls.as_ref().unwrap();
    assert_eq!((&tls.certificate[..], &tls.key[..]), (&["/c.pem".into()][..], &["/k.pem".into()][..]));
    // Whoever names authorities wants Clients to be judged by them.
    assert_eq!(tls.client_certificate, ClientCertificate::Required);
    let tls = config.mqtt[2].tls.as_ref().unwrap();
    assert_eq!(tls.certificate, ["/a", "/b"].map(PathBuf::from));
    assert_eq!(tls.client_certificate, ClientCertificate::Off);
    assert_eq!(config.mqtt[2].web.as_ref().unwrap().paths, ["/ws"]);
}

#[test]
fn a_flag_stands_for_all_listeners_of_its_kind() {
    let text = format!(
        "{TLS}[mqtt]\nlisteners = [\"127.0.0.1:1\", \"mqtts://127.0.0.1:2\", \"ws://127.0.0.1:3\"]\n"
    );
    let flags = Flags {
        mqtts: vec!["127.0.0.1:4".to_owned(), "127.0.0.1:5".to_owned()],
        wss: vec!["[::1]:6".to_owned()],
        ..Flags::default()
    };
    let loaded = load_text(&text, &[], &flags).unwrap();
    let (tcp, tls, ws, wss) =
        (Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket);
    assert_eq!(kinds(&loaded.config), [(tcp, 1), (ws, 3), (tls, 4), (tls, 5), (wss, 6)]);
    assert!(loaded.settings.to_string().contains("# --mqtts"), "{}", loaded.settings);

    let flags = Flags { ws: vec!["nowhere".to_owned()], ..Flags::default() };
    let problems = load_text("", &[], &flags).unwrap_err();
    assert!(
        problems[0].starts_with("--ws: mqtt.listeners = nowhere: expected an IP address"),
        "{problems:?}"
    );
}

#[test]
fn what_a_listener_lacks_is_named_with_its_line() {
    let wrong = [
        (
            "[mqtt]\nlisteners = [\"mqtts://127.0.0.1:1\"]\n",
            "convoy.toml:2: listener 127.0.0.1:1 has no certificate",
        ),
        (
            "[[mqtt.listeners]]\nkind = \"mqtts\"\naddr = \"127.0.0.1:1\"\ncertificate = \"/c\"\n",
            "convoy.toml:4: listener 127.0.0.1:1 has no key",
        ),
        (
            "[[mqtt.listeners]]\nkind = \"mqtt\"\naddr = \"127.0.0.1:1\"\ncertificate = \"/c\"\n",
            "convoy.toml:3: this listener has keys of TLS",
        ),
        (
            "[[mqtt.listeners]]\naddr = \"127.0.0.1:1\"\npath = \"/x\"\n",
            "convoy.toml:2: this listener has keys of WebSocket",
        ),
        (
            "[[mqtt.listeners]]\nkind = \"quic\"\naddr = \"127.0.0.1:1\"\n",
            "convoy.toml:2: mqtt.listeners.kind = \"quic\": expected \"mqtt\"",
        ),
        (
            "[[mqtt.listeners]]\naddr = \"127.0.0.1:1\"\nproxy_from = [\"10.0.0.0/99\"]\n",
            "convoy.toml:3: mqtt.listeners.proxy_from",
        ),
        ("[[mqtt.listeners]]\nkind = \"ws\"\n", "convoy.toml:1: mqtt.listeners.addr = nothing"),
        (
            "[[mqtt.listeners]]\nkind = \"ws\"\naddr = \"127.0.0.1:1\"\norigin = \"x\"\n",
            "convoy.toml:4: unknown key mqtt.listeners.origin; did you mean origins?",
        ),
    ];
    for (text, expected) in wrong {
        let problem = refused(text);
        assert!(problem.starts_with(expected), "{problem}");
    }
    let listener = "[[mqtt.listeners]]\nkind = \"mqtts\"\naddr = \"127.0.0.1:1\"\n";
    let lacking = [
        ("client_certificate = \"required\"\n", "convoy.toml:7: client_certificate needs client_ca"),
        ("client_crl = \"/crl\"\n", "convoy.toml:7: client_crl needs client_ca"),
        ("user_name_from_certificate = true\n", "convoy.toml:7: user_name_from_certificate needs"),
    ];
    for (line, expected) in lacking {
        let problem = refused(&format!("{TLS}{listener}{line}"));
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn certificates_of_clients_open_a_listener_to_other_machines() {
    let open = format!("{TLS}[[mqtt.listeners]]\nkind = \"mqtts\"\naddr = \"0.0.0.0:1\"\n");
    assert!(refused(&open).starts_with("convoy.toml:6: mqtt listener 0.0.0.0:1 is not on loopback"));
    let config = config(&format!("{open}client_ca = \"/ca.pem\"\n"));
    assert!(config.knows_clients_of(&config.mqtt[0]));
    assert!(
        refused(&format!("{open}client_ca = \"/ca.pem\"\nclient_certificate = \"optional\"\n"))
            .contains("loopback")
    );
}

#[test]
fn every_key_of_a_listener_is_shown_and_loads_again() {
    let text = format!(
        "{TLS}min_version = \"1.3\"\n[[mqtt.listeners]]\nname = \"cars\"\nkind = \"wss\"\naddr = \"127.0.0.1:1\"\n\
         allow_anonymous = true\nconnections = 5\nconnects_per_second = 6\nproxy_from = [\"10.0.0.0/8\", \"::1\"]\n\
         certificate = [\"/a\", \"/b\"]\nkey = [\"/c\", \"/d\"]\nclient_ca = \"/ca\"\nclient_crl = \"/crl\"\n\
         client_certificate = \"optional\"\nuser_name_from_certificate = true\nmin_version = \"1.2\"\npath = \
         \"/ws\"\norigins = [\"https://a.example\"]\n[[mqtt.listeners]]\naddr = \"127.0.0.1:2\"\n"
    );
    let first = load_text(&text, &[], &Flags::default()).unwrap();
    let shown = first.settings.to_string();
    let again = load_text(&shown, &[], &Flags::default()).unwrap();
    assert_eq!(first.config, again.config, "{shown}");
    let keys = text
        .lines()
        .skip(5)
        .take_while(|line| !line.starts_with("[["))
        .map(|line| line.split(' ').next().unwrap());
    for key in keys {
        assert!(shown.contains(&format!("\n{key} = ")), "{key}: {shown}");
    }
}
