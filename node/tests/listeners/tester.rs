//! `convoy pub` and `convoy sub` over every transport.

use std::process::{Command, Output, Stdio};

use crate::authority::Authority;
use crate::node::{Folder, Node};

/// `convoy`, with `@` standing for the folder.
fn convoy(node: &Node, line: &str) -> Command {
    let folder = node.folder.path("").display().to_string();
    let mut convoy = Command::new(env!("CARGO_BIN_EXE_convoy"));
    convoy.args(line.replace('@', &folder).split_whitespace());
    convoy.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    convoy
}

fn run(node: &Node, line: &str) -> Output {
    convoy(node, line).output().expect("convoy runs")
}

fn node(authority: &Authority) -> Node {
    let folder = Folder::new();
    authority.server(&["localhost"]).write(&folder, "server");
    authority.client("VIN42", 7).write(&folder, "client");
    folder.write("ca.pem", &authority.pem());
    let text = "[tls]\ncertificate = \"@server.pem\"\nkey = \"@server.key\"\n[mqtt]\nlisteners = \
                [\"127.0.0.1:0\", \"ws://127.0.0.1:0\", \"wss://127.0.0.1:0\", { kind = \"mqtts\", addr = \
                \"127.0.0.1:0\", client_ca = \"@ca.pem\" }]\n";
    Node::start(folder, text)
}

#[test]
fn what_one_publishes_the_other_prints_over_every_transport() {
    let authority = Authority::new("authority");
    let node = node(&authority);
    let own = "--cert @client.pem --key @client.key";
    let ways = [
        ("mqtt", String::new()),
        ("mqtts", format!("--cafile @ca.pem --tls-alpn mqtt {own}")),
        ("mqtts", format!("--cafile @ca.pem --tls-version tlsv1.2 {own}")),
        ("ws", "--ws".to_owned()),
        ("wss", "--ws --ws-path /mqtt --cafile @ca.pem".to_owned()),
    ];
    // Larger than a frame with a short length, a record of TLS and what a socket takes at once.
    let message = "m".repeat(70_000);
    for (kind, options) in &ways {
        let port = node.addr(kind).port();
        let at = format!("-h localhost -p {port} {options}");
        let kept = format!("sub {at} -i {kind}{port} -c -V 5 -x 60 -t story -q 1");
        let subscribed = run(&node, &format!("{kept} -E"));
        assert!(subscribed.status.success(), "{kind}: {subscribed:?}");
        let published = run(&node, &format!("pub {at} -t story -q 1 -m {message}"));
        assert!(published.status.success(), "{kind}: {published:?}");
        let printed = run(&node, &format!("{kept} -C 1 -W 20"));
        assert!(printed.stdout.trim_ascii_end() == message.as_bytes(), "{kind}: {:?}", printed.status);
    }
}

#[test]
fn what_is_wrong_with_the_other_side_is_said() {
    let authority = Authority::new("authority");
    let mut node = node(&authority);
    node.folder.write("other.pem", &Authority::new("other").pem());
    let (mqtts, ws, wss) = (node.addr("mqtts").port(), node.addr("ws").port(), node.addr("wss").port());
    let cases = [
        (format!("-p {wss} --ws --cafile @other.pem"), "UnknownIssuer"),
        (format!("-p {mqtts} --cafile @ca.pem"), "CertificateRequired"),
        (format!("-p {mqtts} --cafile @missing.pem"), "missing.pem"),
        (format!("-p {mqtts} --cert @client.pem --key @client.key"), "TLS needs --cafile"),
        (format!("-p {ws} --ws --ws-path /other"), "HTTP 404"),
        (format!("-p {mqtts}"), "the server speaks TLS on this port"),
    ];
    for (options, expected) in cases {
        let output = run(&node, &format!("pub -h localhost {options} -t story -m now -q 1"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{options}: {said}");
    }
    // The other side hears of it before it is written.
    node.wait_for("what came is no TLS");
}

#[test]
fn insecure_takes_any_name_but_not_any_authority() {
    let authority = Authority::new("authority");
    let folder = Folder::new();
    authority.server(&["cars.example"]).write(&folder, "server");
    folder.write("ca.pem", &authority.pem());
    folder.write("other.pem", &Authority::new("other").pem());
    let text = "[tls]\ncertificate = \"@server.pem\"\nkey = \"@server.key\"\n[mqtt]\nlisteners = \
                [\"mqtts://127.0.0.1:0\"]\n";
    let node = Node::start(folder, text);
    let publish = |options: &str| {
        let port = node.addr("mqtts").port();
        run(&node, &format!("pub -h localhost -p {port} {options} -t story -m now -q 1")).status.success()
    };
    assert!(!publish("--cafile @ca.pem"));
    assert!(publish("--cafile @ca.pem --insecure"));
    assert!(!publish("--cafile @other.pem --insecure"));
}
