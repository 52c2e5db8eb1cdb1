//! Proves: what a fleet of three processes has acknowledged survives kill -9 of each of them in turn, under load, and its
//! Clients go on at the nodes that are left.

mod common;

use std::time::Duration;

use convoy_chaos::client::{Client, Gone};
use convoy_chaos::fleet::{Node, Several, StartError};
use convoy_chaos::invariant;
use convoy_chaos::oracle::{Fault, History, Ledger, Qos, Retain, Terms};
use convoy_peer::token::Token;
use convoy_wire::ProtocolVersion;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// For as long a node is away.
const AWAY: Duration = Duration::from_secs(4);

/// A kill may stop acknowledgements for so long: where it was the Client's own node, the next one waits until nobody can be
/// served there any more. And the machine does other things.
const FAILOVER_LIMIT: Duration = Duration::from_secs(10);

/// What a publisher has met.
#[derive(Default)]
struct Published {
    acknowledged: u64,
    longest_gap: Duration,
}

/// Publishes at QoS 1 and 2 from a lasting Session, at whichever node takes it.
async fn publish(
    mut desk: Client,
    nodes: Vec<std::net::SocketAddr>,
    over: watch::Receiver<bool>,
) -> Published {
    let (mut published, mut at, mut last) = (Published::default(), 0, Instant::now());
    while !*over.borrow() {
        if !desk.is_connected() {
            desk.go_to(nodes[at % nodes.len()]);
            if desk.connect(Terms::lasting()).await.is_err() {
                at += 1;
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        }
        let qos = if published.acknowledged.is_multiple_of(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let outcome: Result<bool, Gone> = async {
            desk.publish("cmd/doors", qos, Retain::No).await?;
            desk.settle(Instant::now() + FAILOVER_LIMIT).await
        }
        .await;
        match outcome {
            Ok(true) => {
                published.acknowledged += 1;
                published.longest_gap = published.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
            Ok(false) => desk.drop_link(),
            Err(_) => at += 1,
        }
    }
    while desk.in_flight() > 0 {
        desk.go_to(nodes[at % nodes.len()]);
        at += 1;
        if desk.connect(Terms::lasting()).await.is_ok() {
            let _ = desk.settle(Instant::now() + FAILOVER_LIMIT).await;
        }
    }
    desk.disconnect().await;
    published
}

/// Reads what comes for a lasting Session, at whichever node takes it, until nothing comes any more.
async fn read(mut van: Client, nodes: Vec<std::net::SocketAddr>, over: watch::Receiver<bool>) -> Client {
    let mut at = 1;
    loop {
        if !van.is_connected() {
            van.go_to(nodes[at % nodes.len()]);
            if van.connect(Terms::lasting()).await.is_err() {
                at += 1;
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        }
        match van.step(Instant::now() + Duration::from_secs(2)).await {
            Ok(true) => {}
            Ok(false) if *over.borrow() => return van,
            Ok(false) => {}
            Err(_) => at += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_each_node_is_killed_in_turn() {
    let (folder, history) = (common::folder(), History::new());
    let fleet = Several::start(&common::broker(), folder.path(), &history, 3).await;
    let mut fleet = fleet.unwrap_or_else(|error| panic!("{error}"));
    let nodes: Vec<_> = fleet.nodes.iter().map(|node| node.mqtt()).collect();
    println!("slots led: {:?}", fleet.led().await);

    let client = |name, version| Client::new(name, version, nodes[0], &history);
    let mut vans = Vec::new();
    for (name, version) in [("van-5", ProtocolVersion::V5), ("van-3", ProtocolVersion::V311)] {
        let mut van = client(name, version);
        van.connect(Terms::lasting()).await.expect("the fleet runs");
        van.subscribe("cmd/#", Qos::ExactlyOnce).await.expect("the fleet runs");
        van.disconnect().await;
        vans.push(van);
    }
    let (end, over) = watch::channel(false);
    let (end_reading, no_more) = watch::channel(false);
    let desk = tokio::spawn(publish(client("desk", ProtocolVersion::V5), nodes.clone(), over));
    let vans: Vec<_> =
        vans.into_iter().map(|van| tokio::spawn(read(van, nodes.clone(), no_more.clone()))).collect();
    for at in 0..nodes.len() {
        sleep(Duration::from_secs(1)).await;
        fleet.kill(at).await;
        sleep(AWAY).await;
        fleet.restart(at).await.unwrap_or_else(|error| panic!("{error}"));
    }
    sleep(Duration::from_secs(1)).await;
    end.send_replace(true);
    let published = desk.await.expect("it ends");
    history.fault(Fault::Healed);
    end_reading.send_replace(true);
    let mut delivered = 0;
    for van in vans {
        delivered += van.await.expect("it ends").delivered_count();
    }
    let ledger = Ledger::of(history.events());
    let violations = invariant::check(&ledger);
    println!(
        "{} acknowledged, {delivered} delivered, the longest gap {:.0?}",
        published.acknowledged, published.longest_gap
    );
    if !violations.is_empty() {
        for node in &fleet.nodes {
            println!("---- {}", node.data().display());
            for path in [
                "/api/v1/clients/van-5",
                "/api/v1/clients/van-3",
                "/api/v1/clients/desk",
                "/api/v1/topics/match?topic=cmd/doors",
                "/api/v1/subscriptions",
                "/api/v1/slots",
            ] {
                println!("{:?}", fleet.ask(node, path).await);
            }
            println!("{}", node.stderr());
        }
        println!("kept: {}", folder.keep().display());
    }
    assert_eq!(violations, []);
    assert!(published.acknowledged > 300 && delivered >= 2 * published.acknowledged, "too little happened");
    assert!(published.longest_gap < FAILOVER_LIMIT, "{:.1?}", published.longest_gap);
}

/// Starts a node with these settings that ends by itself: what it has said.
async fn refused(folder: &std::path::Path, settings: &[(&str, &str)]) -> String {
    let node = Node::new(common::broker(), &folder.join("data"), folder, &History::new()).expect("a folder");
    let with = |node: Node, (key, value): &(&str, &str)| node.with_setting(key, value);
    let mut node = settings.iter().fold(node, with);
    match node.start().await {
        Err(StartError::Exited { stderr, .. }) => stderr.lines().last().unwrap_or_default().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_join_ends_and_says_why() {
    let folder = common::folder();
    let fleet = Several::start(&common::broker(), folder.path(), &History::new(), 1).await;
    let mut fleet = fleet.unwrap_or_else(|error| panic!("{error}"));
    let (token, door) =
        (fleet.token().await.expect("it is the fleet's first node"), fleet.door().to_string());
    // As one that was revoked: the fleet knows no such secret.
    let known: Token = token.parse().expect("it is one");
    let unknown =
        Token::draw(known.fleet(), known.fingerprint()).expect("there are random numbers").to_string();
    let joins = |token: &str, slots: &str, name: &str| {
        [
            ("CONVOY_PEER__ADDR", "127.0.0.1:0"),
            ("CONVOY_PEER__ADVERTISE", "localhost:1"),
            ("CONVOY_PEER__JOIN", &door),
            ("CONVOY_PEER__TOKEN", token),
            ("CONVOY_FLEET__SLOTS", slots),
            ("CONVOY_NODE__NAME", name),
        ]
        .map(|(key, value)| (key, value.to_owned()))
    };
    let cases = [
        (joins("hunter2", "12", "node-2"), "this is no join token"),
        (joins(&token[..token.len() - 2], "12", "node-2"), "cut short"),
        (joins(&unknown, "12", "node-2"), "no such token, or it has expired"),
        (joins(&token, "64", "node-2"), "the node was set up for 64 slots and the fleet has 12"),
        (joins(&token, "12", "node-1"), "the name \"node-1\" is that of node"),
    ];
    for (number, (settings, said)) in cases.iter().enumerate() {
        let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
        let told = refused(&folder.path().join(format!("case-{number}")), &settings).await;
        assert!(told.contains(said), "{told}");
    }
    // A folder that was in use alone, and that of a member which does not say where it is reached.
    let alone = folder.path().join("alone");
    let mut node =
        Node::new(common::broker(), &alone.join("data"), &alone, &History::new()).expect("a folder");
    node = node.with_setting("CONVOY_FLEET__SLOTS", "12");
    node.start().await.unwrap_or_else(|error| panic!("{error}"));
    node.kill().await;
    let settings = joins(&token, "12", "node-2");
    let told = refused(&alone, &settings.each_ref().map(|(key, value)| (*key, value.as_str()))).await;
    assert!(told.contains("join with an empty folder"), "{told}");
    fleet.nodes[0].kill().await;
    let member = folder.path().join("node-1");
    let told = refused(&member, &[("CONVOY_FLEET__SLOTS", "12")]).await;
    assert!(told.contains("say with peer.addr (--peer) where the others reach it"), "{told}");
}
