//! Leaders that change while something rests on them.

use super::super::refusing::{BOTH_TAKEN, first_times};
use super::*;

/// S hands over while N relies on it, and N hears nothing of that: when its connection is closed, and when somebody else has the
/// Session.
fn handed_over(without: Without, to: usize) -> (u64, u64) {
    let (mut stage, _, [_, reader]) = cast(without, lasting);
    stage.cut.extend(between(S, N).into_iter().chain(between(P, N)));
    stage.hand_over(slot_of_client(&super::reader()), S, to);
    let (closed, granted, _) = take_over(&mut stage, P, reader);
    (closed, granted)
}

#[test]
fn a_hand_over_while_n_relies_on_s_grants_nothing_before_that_is_over() {
    let (closed, granted) = handed_over(Without::Nothing, P);
    assert!(closed <= granted, "closed after {closed} ms, granted after {granted} ms");
    assert!((900..=2_010).contains(&closed) && granted <= 5_000, "{closed} ms, {granted} ms");
    let (closed, granted) = handed_over(Without::Leave, P);
    assert!(closed > granted, "the rule is not needed: {closed} ms, {granted} ms");
}

#[test]
fn qos_0_of_the_leader_before_does_not_come_behind_that_of_the_next() {
    for subscriber in [passing, lasting] as [fn(&str) -> Connect<'_>; 2] {
        let (mut stage, topic, [_, reader]) = cast(Without::Nothing, subscriber);
        let writer = stage.fleet.connect(S, passing(&client_of(S, "teller")));
        // What P sends is late.
        stage.held.extend([(P, N), (P, S)]);
        assert_eq!(stage.publish(S, writer, publish(&topic, "1", 0)), []);
        stage.hand_over(slot_of_topic(&topic), P, S);
        stage.publish(S, writer, publish(&topic, "2", 0));
        stage.release();
        stage.pass(500);
        let came: Vec<String> = match stage.fleet.is_connected(N, reader) {
            true => stage.fleet.nodes[N].payloads(reader),
            false => Vec::new(),
        };
        assert!(came.is_sorted(), "{came:?}");
    }
}

#[test]
fn messages_that_come_between_two_leaders_are_taken_in_their_order() {
    // m1 is refused, m2 would be taken, and m1 comes again: see `refusing` and `moving` too.
    let (mut stage, topic, [_, reader]) = cast(Without::Nothing, lasting);
    let writer = stage.fleet.connect(N, passing(&client_of(N, "teller")));
    stage.cut.extend([(P, N), (S, N)]);
    stage.hand_over(slot_of_topic(&topic), P, S);
    assert_eq!(stage.publish(N, writer, publish(&topic, "1", 7)), []);
    assert_eq!(stage.publish(N, writer, publish(&topic, "2", 8)), []);
    stage.cut.clear();
    stage.pass(1_000);
    assert_eq!(stage.fleet.got(N, writer), BOTH_TAKEN);
    assert_eq!(first_times(stage.fleet.nodes[N].payloads(reader)), ["1", "2"]);
}
