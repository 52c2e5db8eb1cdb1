//! Nodes that hear each other no more, and nodes that start again: nobody is served twice, no Will is early, and nobody
//! waits for long.

use super::fleet::{Fleet, REST, SENT_AWAY, TURNED_AWAY, WELCOME, WELCOME_BACK, client_of, topic_of};
use super::*;
use crate::options::Without;

/// A lasting Client whose Will is published on this topic at once.
fn with_will<'a>(name: &'a str, topic: &'a str) -> Connect<'a> {
    Connect { will: Some(will_on(topic, b"will")), ..lasting(name) }
}

#[test]
fn a_node_that_is_cut_off_closes_its_clients_and_refuses_new_ones() {
    let mut fleet = Fleet::new(Without::Nothing);
    let clients = [0, 1, 2].map(|leader| {
        let kept = fleet.connect(2, lasting(&client_of(leader, "kept")));
        [kept, fleet.connect(2, passing(&client_of(leader, "passing")))]
    });
    fleet.cut.insert(2);
    fleet.pass(2_200);
    for (leader, client) in clients.iter().enumerate().flat_map(|(of, clients)| clients.map(|one| (of, one)))
    {
        assert_eq!(fleet.got(2, client), SENT_AWAY, "its Session is led at {leader}");
    }
    assert!(!fleet.ready().contains(&2));
    for leader in 0..3 {
        assert_eq!(fleet.join(2, passing(&client_of(leader, "new"))).1, TURNED_AWAY);
    }
    fleet.cut.clear();
    fleet.pass(REST);
    assert_eq!(fleet.join(2, lasting(&client_of(1, "kept"))).1, [WELCOME_BACK]);
}

#[test]
fn a_client_that_speaks_when_its_node_relies_on_nobody_any_more_is_closed_before_it_is_heard() {
    for leader in 0..3 {
        let cut_off = || {
            let mut fleet = Fleet::new(Without::Nothing);
            fleet.step = 10;
            let client = fleet.connect(2, passing(&client_of(leader, "client")));
            fleet.cut.insert(2);
            (fleet, client)
        };
        let (mut fleet, client) = cut_off();
        let closed = fleet.pass_until(|fleet| !fleet.is_connected(2, client));
        assert!((900..=2_010).contains(&closed), "{leader}: {closed} ms");
        let (mut fleet, client) = cut_off();
        fleet.pass(closed - 10);
        let got = fleet.send(2, client, Packet::Pingreq);
        assert!(got == [Got::Pingresp] || got.is_empty(), "{got:?}");
        if leader != 2 {
            // No turn has come by since.
            fleet.nodes[2].now.monotonic += 10;
            assert_eq!(fleet.send(2, client, Packet::Pingreq), SENT_AWAY);
        }
    }
}

/// A Client whose connection is at the second node, which is cut off, comes to the third one, as often as it is turned away:
/// after how many milliseconds its old connection was closed, and after how many it got its Session.
fn come_back(fleet: &mut Fleet, name: &str, old: Client) -> (u64, u64) {
    let (mut passed, mut closed, mut asks) = (0, None, None);
    loop {
        let client = match asks {
            Some(client) if fleet.is_connected(2, client) => client,
            _ => fleet.nodes[2].ask(lasting(name)),
        };
        asks = Some(client);
        fleet.settle();
        if closed.is_none() && !fleet.is_connected(1, old) {
            closed = Some(passed);
        }
        if fleet.got(2, client).contains(&WELCOME_BACK) {
            return (closed.unwrap_or(u64::MAX), passed);
        }
        assert!(passed < 60_000, "it is never granted");
        fleet.pass(fleet.step);
        passed += fleet.step;
    }
}

/// The same where it comes so many milliseconds after the node was cut off, and this node leads its Session.
pub fn comes_back_late(leader: usize, late: u64) {
    let mut fleet = Fleet::new(Without::Nothing);
    fleet.step = 10;
    let name = client_of(leader, "reader");
    let old = fleet.connect(1, lasting(&name));
    fleet.cut.insert(1);
    fleet.pass(late);
    let (closed, granted) = come_back(&mut fleet, &name, old);
    assert!(closed <= granted, "{leader} {late}: closed after {closed} ms, granted after {granted} ms");
    assert!(late + granted <= 5_000, "{leader} {late}: granted after {granted} ms");
}

#[test]
fn a_session_is_taken_over_from_a_node_that_is_cut_off_when_its_connection_there_is_closed() {
    // Whoever leads it: a node that goes on, or the one that was cut off.
    for late in [1_600, 1_800, 2_050, 2_300] {
        (0..3).for_each(|leader| comes_back_late(leader, late));
    }
}

#[test]
fn a_will_is_published_once_and_not_before_its_connection_on_a_node_that_died_is_closed() {
    for leader in 0..3 {
        let mut fleet = Fleet::new(Without::Nothing);
        fleet.step = 10;
        let topic = topic_of(0, "wills");
        // Led at a node that stays: nothing that happens ends its connection.
        let watcher = fleet.connect(2, lasting(&client_of(2, "watcher")));
        fleet.subscribe(2, watcher, &topic);
        let client = fleet.connect(1, with_will(&client_of(leader, "client"), &topic));
        fleet.cut.insert(1);
        let closed = fleet.pass_until(|fleet| !fleet.is_connected(1, client));
        assert_eq!(fleet.got(2, watcher), [], "{leader}: it was served until {closed} ms");
        let published = fleet.pass_until(|fleet| !fleet.nodes[2].lines[watcher.0].got.is_empty());
        assert!(closed + published <= 6_000, "{leader}: {published} ms after {closed} ms");
        assert_eq!(fleet.nodes[2].payloads(watcher), ["will"]);
        fleet.pass(REST);
        fleet.cut.clear();
        fleet.pass(REST);
        assert_eq!(fleet.got(2, watcher), [], "{leader}: once");
    }
}

#[test]
fn a_client_whose_session_moves_stays_and_its_will_is_not_published() {
    let mut fleet = Fleet::new(Without::Nothing);
    let topic = topic_of(0, "wills");
    let watcher = fleet.connect(0, lasting(&client_of(0, "watcher")));
    fleet.subscribe(0, watcher, &topic);
    // Its Session is led by a node that dies, and it is on one that goes on.
    let client = fleet.connect(0, with_will(&client_of(1, "client"), &topic));
    fleet.cut.insert(1);
    fleet.pass(REST);
    assert_eq!(fleet.send(0, client, Packet::Pingreq), [Got::Pingresp]);
    fleet.cut.clear();
    fleet.pass(REST);
    assert_eq!(fleet.send(0, client, Packet::Pingreq), [Got::Pingresp]);
    assert_eq!(fleet.got(0, watcher), []);
}

#[test]
fn a_client_that_says_goodbye_to_a_leader_that_is_not_heard_has_no_will() {
    let mut fleet = Fleet::new(Without::Nothing);
    let topic = topic_of(0, "wills");
    let watcher = fleet.connect(0, lasting(&client_of(0, "watcher")));
    fleet.subscribe(0, watcher, &topic);
    let client = fleet.connect(0, with_will(&client_of(1, "client"), &topic));
    fleet.lost.extend([(0, 1), (1, 0)]);
    fleet.send(0, client, goodbye());
    fleet.lost.clear();
    fleet.pass(REST);
    assert_eq!(fleet.got(0, watcher), []);
}

#[test]
fn a_node_that_starts_again_is_not_taken_for_its_earlier_start() {
    for leader in 0..3 {
        let mut fleet = Fleet::new(Without::Nothing);
        let topic = topic_of(0, "a");
        let watcher = fleet.connect(0, lasting(&client_of(0, "watcher")));
        fleet.subscribe(0, watcher, &topic);
        let name = client_of(leader, "client");
        let client = fleet.connect(1, with_will(&name, &topic));
        let gone = fleet.connect(1, passing(&client_of(leader, "gone")));
        fleet.subscribe(1, gone, "x/y");
        fleet.nodes[1].start_again(|engine| engine.crash(0));
        let published = fleet.pass_until(|fleet| !fleet.nodes[0].lines[watcher.0].got.is_empty());
        assert!(published <= 6_000, "{leader}: {published} ms");
        assert_eq!(fleet.nodes[0].payloads(watcher), ["will"]);
        fleet.pass(REST);
        assert_eq!(fleet.ready(), [0, 1, 2]);
        assert!(!fleet.is_connected(1, client));
        let sessions = fleet.nodes[0].shards[0].observe().sessions;
        assert_eq!(sessions, 2, "{leader}: one ended with its connection");
        // Its connections of now are served as any others.
        let (again, got) = fleet.join(1, lasting(&name));
        assert_eq!(got, [WELCOME_BACK]);
        fleet.subscribe(1, again, "b/#");
        let writer = fleet.connect(2, passing("writer"));
        fleet.publish(2, writer, publish("b/c", "1", 7));
        assert_eq!(fleet.nodes[1].payloads(again), ["1"]);
        assert_eq!(fleet.got(0, watcher), []);
    }
}

#[test]
fn a_session_that_an_earlier_start_of_a_node_had_is_granted_soon() {
    for leader in 0..3 {
        let mut fleet = Fleet::new(Without::Nothing);
        let name = client_of(leader, "client");
        fleet.connect(1, lasting(&name));
        fleet.nodes[1].start_again(Model::restart);
        let mut tries = 0;
        loop {
            fleet.pass(500);
            tries += 1;
            let (client, mut got) = fleet.join(2, lasting(&name));
            fleet.pass(500);
            got.extend(fleet.got(2, client));
            if got == [WELCOME_BACK] {
                break;
            }
            assert!(got.is_empty() || got == TURNED_AWAY, "{got:?}");
            assert!(tries < 6, "{leader}: not after {tries} s");
        }
    }
}

#[test]
fn a_node_that_was_paused_carries_out_nothing_of_before() {
    let mut fleet = Fleet::new(Without::Nothing);
    let (name, topic) = (client_of(0, "reader"), topic_of(0, "a"));
    let old = fleet.connect(1, lasting(&name));
    fleet.subscribe(1, old, &topic);
    let writer = fleet.connect(0, passing(&client_of(0, "writer")));
    // What is sent to it waits, and it has time to do nothing.
    fleet.pause(1);
    fleet.publish(0, writer, publish(&topic, "1", 7));
    fleet.pass(4_000);
    let (_, got) = fleet.join(2, lasting(&name));
    assert_eq!(got[0], WELCOME_BACK, "{got:?}");
    fleet.wake();
    assert_eq!(fleet.got(1, old), SENT_AWAY);
    fleet.pass(REST);
    assert_eq!(fleet.join(1, passing("other")).1, [WELCOME]);
}
