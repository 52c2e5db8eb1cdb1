//! The disk is behind with what was written: nothing more is written meanwhile, and what needs no record goes on.

use super::*;

#[test]
fn while_the_disk_is_behind_who_needs_no_record_is_served_and_the_others_wait() {
    let mut world = World::new();
    let away = world.subscriber(lasting("away"), &["x/y"]);
    world.cut_and_settle(away);
    let watcher = world.subscriber(passing("watcher"), &["x/y", "quick"]);
    let publisher = world.connect(passing("p"));
    world.engine.set_behind(true);
    let before = world.engine.writes();
    world.publish(publisher, publish("x/y", "kept", 1));
    world.publish(publisher, publish("quick", "now", 0));
    assert_eq!(world.payloads(watcher), ["kept", "now"]);
    assert_eq!((world.got(publisher), world.engine.writes()), (vec![], before));
    world.engine.set_behind(false);
    world.settle();
    assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
    let back = world.connect(lasting("away"));
    assert_eq!(world.payloads(back), ["kept"]);
}

#[test]
fn a_disk_that_stays_behind_is_tried_a_piece_at_a_time() {
    let mut world = World::new();
    let publisher = world.connect(passing("p"));
    world.engine.set_behind(true);
    world.publish(publisher, Publish { retain: true, ..publish("x/y", "kept", 1) });
    assert_eq!(world.got(publisher), []);
    let before = world.engine.writes();
    // A round, what it has committed, and what shards have to say of it.
    for _ in 0..50 {
        world.pass(100);
    }
    assert_eq!(world.got(publisher), [Got::Puback(1, ReasonCode::Success)]);
    let written = world.engine.writes() - before;
    assert!(written <= 20, "{written} writes in five seconds");
}
