//! What waits in outboxes is given to slots that are led, from behind what they have applied.

use super::*;
use crate::slot::context::Context;

/// Puts an operation for [`OTHER`] into the outbox: what of it leaves.
fn unroute(bench: &mut Bench, count: u64) -> Vec<Effect> {
    let context = Context { at: bench.now.wall, agreed: 1, reply: None, is_forwarded: false };
    let op = Op::Unroute { partition: 1, subscriber: SessionNumber(3), filter: "a/b" };
    let effects = bench.turn(|slot, turn| {
        for _ in 0..count {
            slot.emit(OTHER, &op, context, turn);
        }
    });
    bench.write();
    effects
}

/// What leaves in one piece, and whether there is more.
fn piece(bench: &mut Bench) -> (Vec<u64>, bool) {
    let mut more = false;
    let sent = bench.turn(|slot, turn| more = slot.lead_on(turn).unwrap());
    let number = |effect: &Effect| match effect {
        Effect::Emitted(OTHER, number, _) => *number,
        other => panic!("{other:?}"),
    };
    (sent.iter().map(number).collect(), more)
}

fn all(bench: &mut Bench) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let (sent, more) = piece(bench);
        all.extend(sent);
        if !more {
            return all;
        }
    }
}

#[test]
fn what_is_for_a_slot_that_is_led_elsewhere_waits_until_it_is_led_here() {
    let mut bench = Bench::new();
    bench.led.set(OTHER, false);
    assert_eq!(unroute(&mut bench, 2), []);
    assert!(all(&mut bench).is_empty() && !bench.slot.has_unsent(&bench.led));
    bench.led.set(OTHER, true);
    assert!(bench.slot.send_after(OTHER, 0));
    assert!(bench.slot.has_unsent(&bench.led));
    // What comes meanwhile does not overtake it.
    assert_eq!(unroute(&mut bench, 1), []);
    assert_eq!(all(&mut bench), [1, 2, 3]);
    assert_eq!(unroute(&mut bench, 1).len(), 1);
}

#[test]
fn a_slot_that_is_led_anew_gets_again_what_it_has_not_applied() {
    let mut bench = Bench::new();
    assert_eq!(unroute(&mut bench, 4).len(), 4);
    assert!(bench.slot.send_after(OTHER, 3));
    assert_eq!(all(&mut bench), [4]);
    assert!(!bench.slot.send_after(OTHER, 4));
    assert_eq!(all(&mut bench), [] as [u64; 0]);
}

#[test]
fn a_replica_that_begins_to_lead_sends_all_of_it_in_pieces() {
    let mut bench = Bench::new();
    unroute(&mut bench, 600);
    let mut bench = bench.recovered();
    bench.slot.lead();
    let (first, more) = piece(&mut bench);
    assert_eq!((first, more), ((1..=256).collect(), true));
    assert_eq!(all(&mut bench), (257..=600).collect::<Vec<_>>());
    // One that follows sends nothing.
    bench.slot.follow();
    assert!(!bench.slot.send_after(OTHER, 0) && all(&mut bench).is_empty());
}
