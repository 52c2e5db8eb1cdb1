//! Certificates that end or are taken back while the node runs, and what a listener asks of their names.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use crate::authority::{Authority, DAY};
use crate::mqtt::{CONNACK, Tls, TlsClient, ask, connect_packet, join, ping};
use crate::node::{Folder, Node, connect};

fn folder(authority: &Authority) -> Folder {
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    folder.write("ca.pem", &authority.pem());
    folder.write("crl.pem", &authority.revoke(&[]));
    folder
}

/// A listener by TLS, and a plain one.
fn listeners(more: &str) -> String {
    format!(
        "[[mqtt.listeners]]\nkind = \"mqtts\"\naddr = \"127.0.0.1:0\"\ncertificate = \"@server.pem\"\n\
         key = \"@server.key\"\n{more}[[mqtt.listeners]]\naddr = \"127.0.0.1:0\"\n"
    )
}

const JUDGED: &str = "client_ca = \"@ca.pem\"\nclient_crl = \"@crl.pem\"\n";

/// Whether the node closes within ten seconds.
fn ends(stream: &mut Tls) -> bool {
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    match stream.read(&mut [0; 16]) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn who_is_named_by_a_new_list_is_closed_and_all_others_stay() {
    let authority = Authority::new("authority");
    let mut node = Node::start(folder(&authority), &listeners(JUDGED));
    let client = |serial| TlsClient::with(&authority, &authority.client("VIN42", serial));
    let mut revoked = client(7).join(node.addr("mqtts")).expect("it is served");
    let mut stays = client(8).join(node.addr("mqtts")).expect("it is served");
    node.folder.write("crl.pem", &authority.revoke(&[7]));
    node.wait_for("certificates were read again");
    let begin = Instant::now();
    assert!(ends(&mut revoked), "it is still connected");
    println!("closed {:?} after the list was read", begin.elapsed());
    ping(&mut stays).expect("it is still served");
    client(7).join(node.addr("mqtts")).expect_err("it is revoked");
    node.wait_for_metric(&["convoy_connections_revoked_total", " 1"]);
}

#[test]
fn a_list_whose_time_has_passed_is_worth_what_the_listener_says() {
    let authority = Authority::new("authority");
    let car = TlsClient::with(&authority, &authority.client("VIN42", 7));
    for (said, joins) in [("", true), ("client_crl_expired = \"refuse\"\n", false)] {
        let folder = folder(&authority);
        folder.write("crl.pem", &authority.revoke_until(&[8], 2025));
        let mut node = Node::start(folder, &listeners(&format!("{JUDGED}{said}")));
        node.wait_for("the list of revoked certificates has expired");
        assert_eq!(car.join(node.addr("mqtts")).is_ok(), joins, "{said:?}: {}", node.log());
        if !joins {
            node.wait_for_metric(&["convoy_handshakes_failed_total", "reason=\"crl_expired\"", " 1"]);
            node.folder.write("crl.pem", &authority.revoke(&[]));
            node.wait_for("certificates were read again");
            car.join(node.addr("mqtts")).expect("the new list is in time");
        }
    }
}

#[test]
fn an_expired_certificate_stops_its_listener_and_no_other() {
    let authority = Authority::new("authority");
    let folder = folder(&authority);
    authority.pair("localhost", &["localhost"], 1, -9 * DAY, -3 * DAY).write(&folder, "server");
    let mut node = Node::start(folder, &listeners(""));
    let client = TlsClient::plain(&authority);
    join(&mut connect(node.addr("mqtt"))).expect("the other listener is served");
    node.wait_for("the certificate has expired 3 days ago: no connection is accepted here");
    let refused = Instant::now();
    client.join(node.addr("mqtts")).expect_err("there is nothing to be shown");
    assert!(refused.elapsed() < Duration::from_secs(5));
    node.wait_for_metric(&["convoy_listener_stopped", "mqtts", " 1"]);
    node.wait_for_metric(&["convoy_connections_refused_total", "mqtts", "reason=\"no_certificate\"", " 1"]);

    authority.server(&["localhost"]).write(&node.folder, "server");
    node.wait_for("certificates were read again");
    client.join(node.addr("mqtts")).expect("it is served again");
    node.wait_for_metric(&["convoy_listener_stopped", "mqtts", " 0"]);
}

#[test]
fn a_certificate_that_expires_while_the_node_runs_stops_its_listener_and_closes_nobody() {
    let authority = Authority::new("authority");
    let folder = folder(&authority);
    authority.pair("localhost", &["localhost"], 1, -DAY, 12).write(&folder, "server");
    let mut node = Node::start(folder, &listeners(""));
    let client = TlsClient::plain(&authority);
    let mut before = client.join(node.addr("mqtts")).expect("it is valid yet");
    node.wait_for("no connection is accepted here");
    client.join(node.addr("mqtts")).expect_err("it has expired");
    ping(&mut before).expect("it is still served");
    join(&mut connect(node.addr("mqtt"))).expect("the other listener is served");
}

#[test]
fn a_client_identifier_is_the_name_in_the_certificate_where_that_is_asked_for() {
    let authority = Authority::new("authority");
    let more = "client_ca = \"@ca.pem\"\nclient_id_from_certificate = true\n";
    let node = Node::start(folder(&authority), &listeners(more));
    let car = TlsClient::with(&authority, &authority.client("VIN42", 7));
    let said = |client_id: &str| {
        ask::<4>(&mut car.open(node.addr("mqtts")), &connect_packet(client_id)).expect("CONNACK")
    };
    assert_eq!(said("VIN42"), CONNACK);
    // Identifier rejected.
    assert_eq!([said("VIN43"), said("")], [[0x20, 2, 0, 2]; 2]);
    assert!(!node.log().contains("no name is taken from them"));
    // Elsewhere it is free.
    join(&mut connect(node.addr("mqtt"))).expect("it is served");
}

#[test]
fn certificates_that_give_no_name_are_told_of() {
    let authority = Authority::new("authority");
    let mut node = Node::start(folder(&authority), &listeners("client_ca = \"@ca.pem\"\n"));
    node.wait_for("certificates are required here and no name is taken from them");
    let more = "client_ca = \"@ca.pem\"\nclient_certificate = \"off\"\nclient_id_from_certificate = true\n";
    let complaints = node.folder.complaints(&listeners(more));
    assert!(complaints.contains("client_id_from_certificate needs client_certificate"), "{complaints}");
}
