//! Proves: what an operator asks of a running node is answered truly, and what he orders happens. The API is asked as any
//! tool would ask it, and by `convoy ctl`.

mod common;

use std::process::{Command, Output};
use std::time::Duration;

use convoy_chaos::fleet::{Node, Program, request};
use convoy_wire::{
    Connect, ConnectProperties, Cut, Disconnect, Limits, List, Packet, PacketId, ProtocolVersion, Publish,
    QoS, ReasonCode, Sender, Subscribe, Subscription, SubscriptionOptions, TopicFilter, cut, decode_from,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A Client of MQTT 5.0 that sends what it is told and keeps what it gets.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    async fn connect(node: &Node, client_id: &str, expiry: u32) -> Self {
        let stream = TcpStream::connect(node.mqtt()).await.expect("the node listens");
        let mut client = Self { stream, bytes: Vec::new() };
        let properties =
            ConnectProperties { session_expiry_interval: Some(expiry), ..ConnectProperties::default() };
        let connect = Connect { keep_alive: 60, properties, ..Connect::new(ProtocolVersion::V5, client_id) };
        client.send(Packet::Connect(Connect { clean_start: false, ..connect })).await;
        client.until(|packet| matches!(packet, Packet::Connack(_)).then_some(())).await;
        client
    }

    async fn send(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(ProtocolVersion::V5, &mut bytes).expect("a test sends what can be written");
        self.stream.write_all(&bytes).await.expect("the node reads");
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) {
        let filter = TopicFilter::new(filter).expect("a test subscribes to Topic Filters");
        let subscriptions = [Subscription { filter, options: SubscriptionOptions::new(qos) }];
        let subscriptions = List::new(&subscriptions);
        let packet_id = PacketId::new(1).expect("1 is one");
        self.send(Packet::Subscribe(Subscribe { packet_id, properties: Default::default(), subscriptions }))
            .await;
        self.until(|packet| matches!(packet, Packet::Suback(_)).then_some(())).await;
    }

    /// Reads until a packet is what is awaited.
    async fn until<T>(&mut self, mut awaited: impl FnMut(Packet<'_>) -> Option<T>) -> T {
        loop {
            let limits = Limits { packet_bytes: 1 << 20, connect_bytes: 1 << 20 };
            if let Ok(Cut::Whole { first, body, length }) = cut(&self.bytes, limits) {
                let packet = decode_from(Sender::Server, ProtocolVersion::V5, first, body);
                let found = awaited(packet.expect("the node sends packets"));
                self.bytes.drain(..length);
                match found {
                    Some(found) => return found,
                    None => continue,
                }
            }
            let read = self.stream.read_buf(&mut self.bytes);
            let read = tokio::time::timeout(Duration::from_secs(20), read).await;
            let read = read.expect("the packet comes in time").expect("the connection holds");
            assert_ne!(read, 0, "the connection ended before the packet came");
        }
    }

    /// The next message, as topic and payload.
    async fn message(&mut self) -> (String, String) {
        self.until(|packet| match packet {
            Packet::Publish(publish) => {
                let payload = String::from_utf8_lossy(publish.payload).into_owned();
                Some((publish.topic.to_owned(), payload))
            }
            _ => None,
        })
        .await
    }

    async fn disconnect(mut self) {
        self.send(Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION))).await;
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

/// The API of a node, with its key.
struct Operator<'a> {
    node: &'a Node,
    key: String,
}

impl<'a> Operator<'a> {
    fn of(node: &'a Node) -> Self {
        let key = std::fs::read_to_string(node.data().join("api.key")).expect("the node has drawn a key");
        Self { node, key: key.trim().to_owned() }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let answer = request(self.node.api(), method, path, Some(&self.key), body).await;
        let (status, body) = answer.expect("the API answers");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// All items of a listing, and the number of pages they came in.
    async fn all(&self, path: &str) -> (Vec<Value>, usize) {
        let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = self.get(&format!("{path}{cursor}")).await;
            items.extend(page["items"].as_array().expect("a page has items").iter().cloned());
            pages += 1;
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (items, pages),
            }
        }
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        ctl(self.node, &["--data", &self.node.data().display().to_string()], arguments)
    }

    /// What `convoy ctl` prints.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("it prints text")
    }
}

fn ctl(node: &Node, target: &[&str], arguments: &[&str]) -> Output {
    let Program::Convoy(binary) = node.program() else { panic!("mosquitto has no API") };
    let api = node.api().to_string();
    let mut command = Command::new(binary);
    command.args(["ctl", "--api", &api]).args(target).args(arguments).env_remove("CONVOY_API_KEY");
    command.output().expect("the binary runs")
}

async fn started() -> (TempDir, Node) {
    let folder = common::folder();
    let node = common::started(&folder, &[]).await;
    (folder, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_seen_kicked_and_ended() {
    let (_folder, node) = started().await;
    let operator = Operator::of(&node);
    let mut here = Client::connect(&node, "here/1", 3600).await;
    here.subscribe("a/#", QoS::AtLeastOnce).await;
    let mut away = Client::connect(&node, "away", 3600).await;
    away.subscribe("a/b", QoS::AtLeastOnce).await;
    away.disconnect().await;

    let (status, _) =
        operator.ask("POST", "/api/v1/publish", r#"{"topic":"a/b","payload":"x","qos":1}"#).await;
    assert_eq!(status, 200);
    assert_eq!(here.message().await, ("a/b".to_owned(), "x".to_owned()));

    let client = operator.get("/api/v1/clients/here%2F1").await;
    assert_eq!(client["connected"], json!(true));
    assert_eq!((&client["protocol_version"], &client["keep_alive"]), (&json!("5.0"), &json!(60)));
    assert_eq!((&client["subscriptions"], &client["messages_sent"]), (&json!(1), &json!(1)));
    assert!(client["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{client}");
    let client = operator.get("/api/v1/clients/away").await;
    assert_eq!((&client["connected"], &client["queue_messages"]), (&json!(false), &json!(1)));

    for (query, expected) in [
        ("limit=1", 2),
        ("limit=5&connected=true", 1),
        ("limit=5&connected=false", 1),
        ("limit=5&client_id=he", 1),
        ("limit=1&address=127.0.0.1", 1),
        ("limit=1&address=10.0.0.1", 0),
    ] {
        let (clients, _) = operator.all(&format!("/api/v1/clients?{query}")).await;
        assert_eq!(clients.len(), expected, "{query}: {clients:?}");
    }
    let (found, _) = operator.all("/api/v1/clients/here%2F1/subscriptions?limit=9").await;
    assert_eq!(found[0]["filter"], json!("a/#"));
    let (found, _) = operator.all("/api/v1/subscriptions?limit=1&topic=a/c").await;
    assert_eq!(found.len(), 1);
    let (found, _) = operator.all("/api/v1/topics?limit=1").await;
    assert_eq!(found.len(), 2);
    let way = operator.get("/api/v1/topics/match?topic=a/b").await;
    assert_eq!(way["matches"], json!(2));

    assert_eq!(operator.ask("DELETE", "/api/v1/clients/away", "").await.0, 409);
    assert_eq!(operator.ask("DELETE", "/api/v1/clients/nobody", "").await.0, 404);
    assert_eq!(operator.ask("DELETE", "/api/v1/clients/here%2F1", "").await.0, 204);
    let reason = here
        .until(|packet| match packet {
            Packet::Disconnect(disconnect) => Some(disconnect.reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, ReasonCode::AdministrativeAction);
    assert_eq!(operator.ask("DELETE", "/api/v1/clients/away?session=true", "").await.0, 204);
    assert_eq!(operator.ask("GET", "/api/v1/clients/away", "").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_are_seen_and_stay_deleted() {
    let (_folder, mut node) = started().await;
    let operator = Operator::of(&node);
    let message = json!({
        "topic": "/a//é", "payload": "kept", "qos": 1, "retain": true,
        "properties": { "content_type": "text/plain", "user_properties": [["k", "v"]], "message_expiry_interval": 900 },
    });
    let (status, published) = operator.ask("POST", "/api/v1/publish", &message.to_string()).await;
    assert_eq!((status, &published["acknowledged"]), (200, &json!(true)));
    for path in ["/api/v1/retained/%2Fa%2F%2F%C3%A9", "/api/v1/retained//a//%C3%A9"] {
        let whole = operator.get(path).await;
        assert_eq!((&whole["payload"], &whole["payload_base64"]), (&json!("kept"), &json!("a2VwdA==")));
        assert_eq!(whole["properties"], message["properties"]);
        assert!(whole["expires"].is_string(), "{whole}");
    }
    let (found, _) = operator.all("/api/v1/retained?limit=1").await;
    assert_eq!((found.len(), &found[0]["payload_bytes"]), (1, &json!(4)));
    assert_eq!(operator.ask("DELETE", "/api/v1/retained/%2Fa%2F%2F%C3%A9", "").await.0, 204);
    node.kill().await;
    node.start().await.unwrap_or_else(|error| panic!("{error}"));
    let operator = Operator::of(&node);
    assert_eq!(operator.ask("GET", "/api/v1/retained/%2Fa%2F%2F%C3%A9", "").await.0, 404);
    assert_eq!(operator.all("/api/v1/retained?limit=1").await.0.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_needed_and_survives_a_restart() {
    let (_folder, mut node) = started().await;
    let key = Operator::of(&node).key;
    node.kill().await;
    node.start().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Operator::of(&node).key, key);
    for (path, without, with) in [
        ("/livez", 200, 200),
        ("/readyz", 200, 200),
        ("/metrics", 200, 200),
        ("/status", 200, 200),
        ("/api/v1/status", 401, 200),
        ("/api/v1/config", 401, 200),
        ("/api/v1/slots", 401, 200),
        ("/api/v1/listeners", 401, 200),
        ("/api/v1/openapi.json", 401, 200),
        ("/api/v1/nothing", 401, 404),
    ] {
        for (key, expected) in [(None, without), (Some("0"), without), (Some(key.as_str()), with)] {
            let (status, _) = request(node.api(), "GET", path, key, "").await.expect("the API answers");
            assert_eq!(status, expected, "{path} {key:?}");
        }
    }
    let slots = Operator::of(&node).get("/api/v1/slots").await;
    let slots = slots.as_array().expect("a list");
    assert_eq!(slots.len(), 65);
    assert!(slots.iter().all(|slot| slot["leading"] == json!(true) && slot["applied"].as_u64() > Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctl_prints_what_there_is_and_says_what_went_wrong() {
    let (folder, mut node) = started().await;
    let operator = Operator::of(&node);
    let mut car = Client::connect(&node, "car", 3600).await;
    car.subscribe("$share/g/a/#", QoS::AtLeastOnce).await;
    let retained = Publish { topic: "a/kept", payload: b"value", retain: true, ..Publish::default() };
    car.send(Packet::Publish(retained)).await;
    assert_eq!(car.message().await.0, "a/kept");

    assert!(operator.told(&["status"]).contains("ready       yes"));
    let clients = operator.told(&["clients", "--prefix", "c"]);
    assert!(clients.starts_with("CLIENT ") && clients.contains("\ncar "), "{clients}");
    assert!(operator.told(&["clients", "car"]).contains("session_expiry"), "one has all its fields");
    let clients: Value = serde_json::from_str(&operator.told(&["clients", "--json"])).expect("JSON");
    assert_eq!(clients[0]["client_id"], json!("car"));
    assert!(operator.told(&["subscriptions"]).contains("$share/g/a/#"));
    assert!(operator.told(&["topics"]).contains("g (1)"));
    assert!(operator.told(&["topics", "--match", "a/b"]).contains("1 Subscriptions match"));
    assert!(operator.told(&["retained"]).contains("a/kept"));
    assert_eq!(operator.told(&["retained", "a/kept"]), "value\n");
    assert!(operator.told(&["listeners"]).contains(&node.mqtt().to_string()));
    assert_eq!(operator.told(&["slots"]).lines().count(), 66);
    operator.told(&["retained", "a/kept", "--delete"]);
    assert_eq!(operator.told(&["retained", "--json"]), "[]\n");
    operator.told(&["kick", "car", "--session"]);
    assert_eq!(operator.told(&["clients"]).lines().count(), 1);

    let code = |output: &Output| output.status.code();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let gone = operator.ctl(&["kick", "car"]);
    assert_eq!(code(&gone), Some(5), "{}", said(&gone));
    let elsewhere = folder.path().join("nothing").display().to_string();
    let keyless = ctl(&node, &["--data", &elsewhere], &["clients"]);
    assert_eq!(code(&keyless), Some(4), "{}", said(&keyless));
    assert!(said(&keyless).contains("--api-key-file"), "{}", said(&keyless));
    let file = node.data().join("api.key").display().to_string();
    assert_eq!(code(&ctl(&node, &["--api-key-file", &file], &["clients"])), Some(0));
    node.kill().await;
    let unreachable = ctl(&node, &["--api-key-file", &file], &["status"]);
    assert_eq!(code(&unreachable), Some(3), "{}", said(&unreachable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_the_node_and_metrics_tell_what_happened() {
    let folder = common::folder();
    let node = common::started(&folder, &[("CONVOY_NODE__SYS_INTERVAL", "1s")]).await;
    let mut publisher = Client::connect(&node, "publisher", 0).await;
    let forged =
        Publish { topic: "$SYS/broker/version", payload: b"forged", retain: true, ..Publish::default() };
    publisher.send(Packet::Publish(forged)).await;
    for _ in 0..3 {
        let packet_id = PacketId::new(7);
        let publish =
            Publish { topic: "a", payload: b"four", qos: QoS::AtLeastOnce, packet_id, ..Publish::default() };
        publisher.send(Packet::Publish(publish)).await;
        publisher.until(|packet| matches!(packet, Packet::Puback(_)).then_some(())).await;
    }
    let mut watcher = Client::connect(&node, "watcher", 0).await;
    watcher.subscribe("$SYS/#", QoS::AtLeastOnce).await;
    watcher.subscribe("#", QoS::AtLeastOnce).await;
    let mut awaited = vec![
        ("$SYS/broker/clients/connected", "2"),
        ("$SYS/broker/publish/messages/received", "3"),
        ("$SYS/broker/publish/bytes/received", "12"),
        ("$SYS/broker/subscriptions/count", "2"),
    ];
    while !awaited.is_empty() {
        let (topic, value) = watcher.message().await;
        assert!(topic.starts_with("$SYS/"), "{topic}");
        assert_ne!(value, "forged", "{topic}");
        awaited.retain(|wanted| *wanted != (topic.as_str(), value.as_str()));
    }

    let (_, metrics) = request(node.api(), "GET", "/metrics", None, "").await.expect("the API answers");
    for line in [
        "convoy_messages_received_total{qos=\"1\"} 3",
        "convoy_packets_received_total{type=\"connect\"} 2",
        "convoy_sessions{state=\"connected\"} 2",
        "convoy_subscriptions{kind=\"own\"} 2",
        "convoy_slots_led 65",
        "convoy_publish_acknowledge_seconds_count 3",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let of_listener = "transport=\"mqtt\",version=\"5.0\"} 2";
    assert!(metrics.lines().any(|line| line.ends_with(of_listener)), "{metrics}");
    // Every metric is described, once.
    let described: Vec<_> = metrics.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a line begins with a name");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let describes = |of: &str| described.iter().filter(|line| line.split(' ').nth(2) == Some(of)).count();
        assert!(describes(name) == 1 || base.is_some_and(|base| describes(base) == 1), "{name}");
    }
}
