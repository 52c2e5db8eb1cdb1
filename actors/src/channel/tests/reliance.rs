use super::*;

const A: Process = Process { node: NodeId::new(1).unwrap(), start: 7 };
const B: Process = Process { node: NodeId::new(2).unwrap(), start: 9 };
/// What one clock counts until the other has surely counted 2,000: one for each clock's rounding, and a hundredth.
const GONE: u64 = 2_001 + 21 + 1;

#[test]
fn ends_open_when_each_is_named_by_the_other() {
    let (mut a, mut b) = (end(1, 7, 0), end(2, 9, 0));
    let hello = frames(&mut a, 5);
    assert_eq!((hello.len(), hello[0].of, hello[0].heard), (1, None, None));
    assert_eq!(hear(&mut b, 10, &hello[0]), []);
    let named = frames(&mut b, 10);
    assert_eq!((named[0].of, named[0].heard), (Some(Side { start: 7, epoch: 1 }), None));
    assert_eq!(hear(&mut a, 15, &named[0]), [Event::Opened { with: B, shards: 1 }]);
    assert_eq!((a.is_open(), a.with(), a.relies_until()), (true, Some(B), None));
    let answer = frames(&mut a, 15);
    assert_eq!(answer[0].heard, Some(10));
    assert_eq!(hear(&mut b, 20, &answer[0]), [Event::Opened { with: A, shards: 1 }]);
    assert_eq!(b.relies_until(), Some(2_010), "from when it was sent");
    hear(&mut a, 25, &frames(&mut b, 20)[0]);
    assert_eq!(a.relies_until(), Some(2_015));
}

#[test]
fn an_end_that_hears_no_answer_lapses_and_later_the_other_end_is_gone() {
    let mut two = Two::open(0);
    two.exchange(500);
    two.exchange(750);
    two.a.send(bytes("a")).unwrap();
    // What was sent at 500 came back at 750. From now on nothing comes from B; what A sends is lost as well.
    assert_eq!(tick(&mut two.a, 2_500), []);
    assert_eq!((two.a.is_open(), two.a.waiting().0), (true, 1));
    assert_eq!(tick(&mut two.a, 2_501), [Event::Lapsed { with: B }]);
    assert_eq!((two.a.is_open(), two.a.with(), two.a.waiting()), (false, None, (0, 0)));
    frames(&mut two.a, 2_501);
    assert!(!two.a.is_gone(2_501) && two.a.next_deadline() == Some(2_751), "the next heartbeat");
    frames(&mut two.a, 2_751);
    assert_eq!(two.a.next_deadline(), Some(750 + GONE));
    assert_eq!(tick(&mut two.a, 749 + GONE), []);
    assert_eq!(tick(&mut two.a, 750 + GONE), [Event::Gone { with: B }]);
    assert!(two.a.is_gone(750 + GONE));
    assert_eq!(tick(&mut two.a, 9_000), [], "once");
}

#[test]
fn an_end_that_nobody_answers_any_more_lapses_though_it_hears_the_other() {
    let mut two = Two::open(0);
    for now in (250..2_000).step_by(250) {
        for frame in frames(&mut two.b, now) {
            hear(&mut two.a, now, &frame);
        }
    }
    assert_eq!(tick(&mut two.a, 2_001), [Event::Lapsed { with: B }]);
    // B may rely on what came last, and on nothing that comes behind the lapse.
    for frame in frames(&mut two.b, 2_000) {
        assert_eq!(hear(&mut two.a, 2_002, &frame), []);
    }
    assert_eq!(tick(&mut two.a, 1_749 + GONE), []);
    assert_eq!(tick(&mut two.a, 1_750 + GONE), [Event::Gone { with: B }]);
}

#[test]
fn an_open_end_without_any_answer_lapses_too() {
    let (mut a, mut b) = (end(1, 7, 0), end(2, 9, 0));
    hear(&mut b, 0, &frames(&mut a, 0)[0]);
    hear(&mut a, 0, &frames(&mut b, 0)[0]);
    assert_eq!((a.relies_until(), tick(&mut a, 2_000)), (None, vec![]));
    assert_eq!(tick(&mut a, 2_001), [Event::Lapsed { with: B }]);
}

#[test]
fn a_lapse_is_told_before_what_came_meanwhile_is_looked_at() {
    let mut two = Two::open(0);
    two.exchange(1_700);
    two.exchange(1_950);
    two.a.send(bytes("a")).unwrap();
    let frame = frames(&mut two.a, 3_000).remove(0);
    // B was paused for long.
    assert_eq!(frames(&mut two.b, 3_701), [], "nothing is said before the lapse");
    assert_eq!(hear(&mut two.b, 3_701, &frame), [Event::Lapsed { with: A }]);
    assert_eq!(tick(&mut two.b, 9_000), [Event::Gone { with: A }]);
}

#[test]
fn whoever_begins_anew_is_gone_at_once() {
    let mut two = Two::open(0);
    tick(&mut two.b, 2_001);
    let frame = frames(&mut two.b, 2_001).remove(0);
    assert_eq!(hear(&mut two.a, 2_000, &frame), [Event::Lapsed { with: B }, Event::Gone { with: B }]);
    let (to_a, to_b) = two.exchange(2_002);
    assert_eq!(to_a, [Event::Opened { with: B, shards: 1 }]);
    assert_eq!(to_b, [Event::Gone { with: A }, Event::Opened { with: A, shards: 1 }]);
}

#[test]
fn a_new_start_of_the_other_node_ends_the_old_one() {
    let mut two = Two::open(0);
    let old = frames(&mut two.b, 250).remove(0);
    two.b = end(2, 10, 300);
    let hello = frames(&mut two.b, 300).remove(0);
    assert_eq!(hear(&mut two.a, 310, &hello), [Event::Lapsed { with: B }, Event::Gone { with: B }]);
    assert_eq!(hear(&mut two.a, 320, &old), [], "an older start is ignored for ever");
    let with = Process { start: 10, ..B };
    assert_eq!(two.exchange(330).0, [Event::Opened { with, shards: 1 }]);
    assert_eq!(hear(&mut two.a, 340, &old), []);
}

#[test]
fn whoever_begins_anew_behind_a_lapse_is_gone_at_once_too() {
    let mut two = Two::open(0);
    assert_eq!(tick(&mut two.a, 2_001), [Event::Lapsed { with: B }]);
    two.b = end(2, 10, 1_990);
    let hello = frames(&mut two.b, 1_990).remove(0);
    assert_eq!(hear(&mut two.a, 2_002, &hello), [Event::Gone { with: B }]);
    assert!(two.a.is_gone(2_002));
}

#[test]
fn a_new_start_waits_for_those_who_relied_on_the_one_before() {
    let mut a = end(1, 7, 5_000);
    assert!(!a.is_gone(4_999 + GONE) && a.is_gone(5_000 + GONE));
    assert_eq!(tick(&mut a, 20_000), [], "no pair was opened, so none is over");
}

#[test]
fn an_end_that_is_heard_and_hears_nothing_is_gone_all_the_same() {
    let mut two = Two::open(0);
    assert_eq!(tick(&mut two.a, 2_001), [Event::Lapsed { with: B }]);
    tick(&mut two.b, 2_001);
    for now in (2_001..10_000).step_by(250) {
        for frame in frames(&mut two.b, now) {
            hear(&mut two.a, now, &frame);
            // A has told B nothing that it may rely on, and goes on to tell it nothing.
            assert!(frames(&mut two.a, now).iter().all(|frame| frame.heard.is_none()));
            assert!(two.a.is_gone(now));
        }
    }
}

/// A opens, sends a payload and is heard no more, until A has said that B is gone. Only then the payload comes, and B has not
/// been open before. What B makes of it.
fn late_opening(without: Without) -> Vec<Event> {
    let (mut a, mut b) = (end(1, 7, 0), end(2, 9, 0));
    b.without = without;
    hear(&mut b, 0, &frames(&mut a, 0)[0]);
    hear(&mut a, 0, &frames(&mut b, 0)[0]);
    a.send(bytes("a")).unwrap();
    let late = frames(&mut a, 1).remove(0);
    assert_eq!(late.heard, Some(0));
    assert_eq!(tick(&mut a, GONE), [Event::Lapsed { with: B }, Event::Gone { with: B }]);
    hear(&mut b, GONE, &late)
}

#[test]
fn a_frame_that_was_on_its_way_for_too_long_opens_nothing() {
    assert_eq!(late_opening(Without::Nothing), []);
    assert_eq!(late_opening(Without::TheAge)[1], Event::Payload(bytes("a")), "the rule is missed");
}

#[test]
fn nothing_of_an_old_pair_counts_in_a_new_one() {
    let mut two = Two::open(0);
    two.a.send(bytes("old")).unwrap();
    let old = frames(&mut two.a, 10);
    tick(&mut two.a, 2_001);
    two.exchange(2_001);
    two.a.send(bytes("new")).unwrap();
    for frame in old {
        assert_eq!(hear(&mut two.b, 2_002, &frame), []);
    }
    assert_eq!(two.exchange(2_003).1, [Event::Payload(bytes("new"))]);
}
