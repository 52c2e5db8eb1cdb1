//! A peer is of the fleet, and may be wrong all the same.

use super::*;

/// An open end with one payload under way, and a true frame of the other.
fn open() -> (Channel, Frame) {
    let mut two = Two::open(1_000);
    two.a.send(bytes("a")).unwrap();
    frames(&mut two.a, 1_010);
    let frame = frames(&mut two.b, 1_250).remove(0);
    (two.a, frame)
}

fn ignored(what: &str, change: impl FnOnce(&mut Frame)) {
    let (mut a, mut frame) = open();
    frame.payload = Some(Payload { number: 1, bytes: bytes("b") });
    change(&mut frame);
    let before = (a.relies_until(), a.waiting());
    assert_eq!(hear(&mut a, 1_300, &frame), [], "{what}");
    assert_eq!((a.relies_until(), a.waiting(), a.is_open()), (before.0, before.1, true), "{what}");
}

#[test]
fn what_cannot_be_true_is_ignored() {
    ignored("an acknowledgement of what was not sent", |frame| frame.acknowledged = 2);
    ignored("an acknowledgement of everything", |frame| frame.acknowledged = u64::MAX);
    ignored("what was not sent was heard", |frame| frame.heard = Some(1_011));
    ignored("the end of time was heard", |frame| frame.heard = Some(u64::MAX));
    ignored("a payload without having heard", |frame| frame.heard = None);
    ignored("another node", |frame| frame.from.process.node = NodeId::new(5).unwrap());
    ignored("another shard", |frame| frame.from.shard = 1);
    ignored("to another node", |frame| frame.to_node = NodeId::new(5).unwrap());
    ignored("to another shard", |frame| frame.to_shard = 1);
    ignored("an earlier start", |frame| frame.from.process.start = 8);
    ignored("an earlier epoch", |frame| frame.epoch = 0);
    ignored("of nobody", |frame| frame.of = None);
    ignored("of a later epoch of ours", |frame| frame.of = Some(Side { start: 7, epoch: 2 }));
    ignored("of a later start of ours", |frame| frame.of = Some(Side { start: 8, epoch: 1 }));
}

#[test]
fn numbers_far_ahead_are_not_taken_and_leave_nothing_behind() {
    for number in [0, 2, u64::MAX] {
        let (mut a, mut frame) = open();
        frame.payload = Some(Payload { number, bytes: bytes("b") });
        assert_eq!(hear(&mut a, 1_300, &frame), []);
        frame.payload = Some(Payload { number: 1, bytes: bytes("b") });
        assert_eq!(hear(&mut a, 1_300, &frame), [Event::Payload(bytes("b"))]);
    }
}

#[test]
fn a_time_at_the_end_of_all_times_comes_back_and_harms_nobody_here() {
    let (mut a, mut frame) = open();
    frame.sent_at = u64::MAX;
    hear(&mut a, 1_300, &frame);
    assert_eq!(frames(&mut a, 1_300)[0].heard, Some(u64::MAX));
}

#[test]
fn the_highest_of_names_is_one_like_any_other() {
    let (mut a, mut frame) = open();
    (frame.from.process.start, frame.epoch) = (u64::MAX, u64::MAX);
    assert_eq!(hear(&mut a, 1_300, &frame).len(), 2, "lapsed and gone");
    assert_eq!(frames(&mut a, 1_300)[0].of, Some(frame.side()));
    frame.of = Some(Side { start: 7, epoch: 2 });
    assert_eq!(hear(&mut a, 1_310, &frame), [Event::Opened { with: frame.from.process, shards: 1 }]);
}
