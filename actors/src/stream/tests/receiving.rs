use super::*;

const LIMITS: Limits = Limits { streams: 2, results: 3, result_bytes: 8 };

fn take(receiver: &mut Receiver, source: &Source, number: u64, reply: &str) -> bool {
    receiver.take(source, number, 1, || done(reply)) == Verdict::Next
}

#[test]
fn the_next_number_is_taken_and_no_other() {
    let mut receiver = Receiver::new(LIMITS);
    let source = source(1, 1);
    assert_eq!(receiver.judge(&source, 2), Verdict::Gap { expected: 1 });
    assert!(take(&mut receiver, &source, 1, "a"));
    assert_eq!(receiver.judge(&source, 3), Verdict::Gap { expected: 2 });
    let mut has_acted = false;
    let verdict = receiver.take(&source, 1, 1, || {
        has_acted = true;
        Reply::Void
    });
    assert_eq!(verdict, Verdict::Filled(&done("a")));
    assert!(!has_acted);
}

#[test]
fn results_are_kept_while_they_are_asked_for_and_within_bounds() {
    let mut receiver = Receiver::new(LIMITS);
    let source = source(1, 1);
    for number in 1..=4 {
        take(&mut receiver, &source, number, "a");
    }
    assert_eq!(receiver.judge(&source, 1), Verdict::Forgotten);
    assert_eq!(receiver.judge(&source, 2), Verdict::Filled(&done("a")));
    receiver.take(&source, 5, 5, || Reply::Void);
    assert_eq!((receiver.judge(&source, 4), receiver.held()), (Verdict::Forgotten, (1, 1)));
    // By bytes, but the last one stays.
    take(&mut receiver, &source, 6, "123456789");
    assert_eq!(receiver.judge(&source, 5), Verdict::Forgotten);
    assert_eq!(receiver.judge(&source, 6), Verdict::Filled(&done("123456789")));
}

#[test]
fn a_stream_that_was_forgotten_and_those_before_it_never_act_again() {
    let mut receiver = Receiver::new(LIMITS);
    take(&mut receiver, &source(1, 4), 1, "");
    receiver.forget(&source(1, 4));
    for place in [3, 4] {
        assert_eq!(receiver.judge(&source(1, place), 1), Verdict::Skipped);
    }
    assert_eq!(receiver.judge(&source(1, 5), 1), Verdict::Next);
    receiver.forget(&source(1, 6));
    assert_eq!(receiver.judge(&source(1, 6), 1), Verdict::Skipped, "it had not come yet");
    let other_shard = Source { shard: 2, ..source(1, 4) };
    assert_eq!(receiver.judge(&other_shard, 1), Verdict::Next);
}

#[test]
fn of_a_node_the_newest_start_alone_acts() {
    let mut receiver = Receiver::new(LIMITS);
    take(&mut receiver, &source(1, 1), 1, "");
    take(&mut receiver, &source(2, 1), 1, "");
    assert_eq!(receiver.judge(&source(1, 1), 2), Verdict::Gone);
    assert_eq!(receiver.held(), (1, 1));
    receiver.forget_process(source(1, 1).process);
    assert_eq!(receiver.judge(&source(2, 1), 2), Verdict::Next, "that start was over");
    receiver.forget_process(source(2, 1).process);
    assert_eq!((receiver.judge(&source(2, 9), 1), receiver.held()), (Verdict::Gone, (0, 0)));
    assert_eq!(receiver.judge(&source(3, 1), 1), Verdict::Next);
}

#[test]
fn there_is_no_room_for_one_stream_too_many() {
    let mut receiver = Receiver::new(LIMITS);
    assert!(take(&mut receiver, &source(1, 1), 1, "") && take(&mut receiver, &source(1, 2), 1, ""));
    assert_eq!(receiver.judge(&source(1, 3), 1), Verdict::Full);
    assert!(take(&mut receiver, &source(1, 2), 2, ""));
    assert_eq!(receiver.judge(&source(2, 1), 1), Verdict::Next, "those of the earlier start go");
    receiver.forget(&source(1, 1));
    assert_eq!(receiver.judge(&source(1, 3), 1), Verdict::Next);
    receiver.forget_node(node(9));
    assert_eq!((receiver.rows().count(), receiver.held()), (0, (0, 0)));
}

#[test]
fn a_leader_proposes_a_number_once_and_expects_the_one_behind_it() {
    let (mut receiver, mut leading) = (Receiver::new(LIMITS), Leading::default());
    let source = source(1, 1);
    assert_eq!(leading.look(&receiver, &source, 1), Look::Propose);
    assert_eq!(leading.look(&receiver, &source, 1), Look::UnderWay);
    assert_eq!(leading.look(&receiver, &source, 2), Look::Propose);
    assert_eq!(leading.look(&receiver, &source, 4), Look::Answered(Verdict::Gap { expected: 3 }));
    for number in [1, 2] {
        take(&mut receiver, &source, number, "a");
        leading.applied(&source, number, true);
    }
    assert_eq!(leading.look(&receiver, &source, 2), Look::Answered(Verdict::Filled(&done("a"))));
    assert_eq!(leading.look(&receiver, &source, 3), Look::Propose);
    leading.dropped(&source);
    assert_eq!(leading.look(&receiver, &source, 4), Look::Answered(Verdict::Gap { expected: 3 }));
}

#[test]
fn numbers_of_a_predecessor_that_are_applied_are_not_proposed_again() {
    let (mut receiver, mut leading) = (Receiver::new(LIMITS), Leading::default());
    let source = source(1, 1);
    // The predecessor's 1 is not applied yet when it comes here again.
    assert_eq!(leading.look(&receiver, &source, 1), Look::Propose);
    take(&mut receiver, &source, 1, "a");
    leading.applied(&source, 1, true);
    assert_eq!(receiver.take(&source, 1, 1, || done("twice")), Verdict::Filled(&done("a")));
    leading.applied(&source, 1, false);
    assert_eq!(leading.look(&receiver, &source, 2), Look::Propose);
}
