//! Wills whose partition has no leader.

use convoy_wire::{TopicName, Will};

use super::super::fleet::{SENT_AWAY, WELCOME_BACK};
use super::*;

/// A Client at N whose Session S leads is taken over at P while its Will's partition gets nothing on record. Nobody is welcome
/// where a slot is known to have no leader, and that is known before two seconds have passed: so the CONNECT ends first.
#[test]
fn a_takeover_whose_wills_partition_has_no_leader_is_welcome_or_ends_after_two_seconds_at_most() {
    let mut stage = Stage::new(Without::Nothing);
    let (topic, name) = (topic_of(N, "wills"), reader());
    let watcher = stage.fleet.connect(P, lasting(&client_of(P, "watcher")));
    stage.fleet.subscribe(P, watcher, &topic);
    let will = Will {
        topic: TopicName::new(&topic).unwrap(),
        payload: b"will",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Default::default(),
    };
    let old = stage.fleet.connect(N, Connect { will: Some(will), ..lasting(&name) });
    stage.silent.insert(slot_of_topic(&topic));
    let (new, mut got) = stage.join(P, lasting(&name));
    assert_eq!(got, [], "the Will goes before it");
    let mut passed = 0;
    while got.is_empty() && passed < 10_000 {
        stage.pass(10);
        passed += 10;
        got = stage.fleet.got(P, new);
    }
    assert!(!stage.fleet.is_connected(N, old), "closed before the other one is welcome");
    assert!(got == [WELCOME_BACK] || got.ends_with(&[Got::Closed]), "{got:?} after {passed} ms");
    assert!((900..=2_200).contains(&passed), "{passed} ms");
    stage.heal();
    let watcher = match stage.fleet.is_connected(P, watcher) {
        true => watcher,
        false => {
            assert!(stage.fleet.got(P, watcher).ends_with(&SENT_AWAY));
            stage.join(P, lasting(&client_of(P, "watcher"))).0
        }
    };
    assert_eq!(stage.fleet.nodes[P].payloads(watcher), ["will"], "once, when there is a leader");
}
