//! Live, Given, GivenUp.

use super::partitions::{FAR, publish, route};
use super::*;

/// The operation as it stands in an outbox.
fn stands(op: &Op<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode_into(op, &mut bytes);
    bytes
}

/// A connection without a queue gets what is published.
fn with_a_subscriber() -> (Bench, Vec<u8>) {
    let mut bench = Bench::new();
    bench.apply(0, &[route(FAR, "a", 2, Some(home(3)))]);
    let op = stands(&publish(&message("a", "m", QoS::ExactlyOnce)));
    (bench, op)
}

fn delivered() -> Effect {
    Effect::Delivered(3, "m".into())
}

#[test]
fn a_message_of_another_slot_is_open_until_it_is_on_record_that_it_was_given() {
    let (mut bench, op) = with_a_subscriber();
    let live = |number| Op::Live { from: OTHER.0, number, op: &op };
    let given = |number| Op::Given { from: OTHER.0, number };
    let open = rows::open(SLOT, OTHER);
    let expected = |number| {
        let ends = [Effect::LiveEnds(0), Effect::Applied(OTHER, number, 0)];
        [Effect::Live(OTHER, number), delivered(), done()].into_iter().chain(ends).collect::<Vec<_>>()
    };
    assert_eq!(bench.apply(0, &[live(1)]), expected(1));
    assert_eq!(bench.apply(0, &[live(2)]), expected(2));
    // It is sent again, and nobody gets it.
    assert_eq!(bench.apply(0, &[live(2)]), [done(), Effect::Applied(OTHER, 2, 0)]);
    assert!(bench.has(&open) && !bench.slot.has_given());
    bench.slot.taken(bench.slot.live(OTHER, 2));
    assert!(!bench.slot.has_given(), "the first is not");
    bench.slot.taken(bench.slot.live(OTHER, 1));
    assert!(bench.slot.has_given());
    assert_eq!(bench.apply(0, &[given(1)]), [Effect::Applied(OTHER, 2, 1)]);
    assert!(bench.has(&open));
    assert_eq!(bench.apply(0, &[given(2)]), [Effect::Applied(OTHER, 2, 2)]);
    assert!(!bench.has(&open));
    let mut bench = bench.recovered();
    assert_eq!(bench.apply(0, &[given(1)]), [Effect::Applied(OTHER, 2, 2)], "it is late");
}

#[test]
fn who_leads_next_gives_what_is_open_again_and_no_more() {
    let (mut bench, op) = with_a_subscriber();
    for number in 1..=3 {
        bench.apply(0, &[Op::Live { from: OTHER.0, number, op: &op }]);
    }
    bench.apply(0, &[Op::Given { from: OTHER.0, number: 1 }]);
    let mut bench = bench.recovered();
    bench.slot.lead();
    assert_eq!(bench.slot.inboxes().collect::<Vec<_>>(), [(OTHER, 1)]);
    let comes = [4, 3, 1, 2].map(|number| bench.slot.comes(OTHER, number));
    assert_eq!(comes, [Comes::Early, Comes::Early, Comes::Known, Comes::Again]);
    let again = bench.turn(|slot, turn| slot.give_again(OTHER, 2, &op, turn));
    assert_eq!(again, [Effect::Live(OTHER, 2), delivered(), Effect::LiveEnds(1)]);
    // What is no message is given to nobody.
    let ends = stands(&Op::Unroute { partition: 1, subscriber: FAR, filter: "x" });
    assert_eq!(bench.turn(|slot, turn| slot.give_again(OTHER, 3, &ends, turn)), []);
}

#[test]
fn a_subscription_without_a_queue_is_answered_when_nothing_before_it_is_open() {
    let (mut bench, op) = with_a_subscriber();
    bench.apply(0, &[Op::Live { from: OTHER.0, number: 1, op: &op }]);
    let answered =
        |effects: &[Effect]| effects.iter().any(|of| matches!(of, Effect::Told(7, Answer::Registered(_))));
    let later = SessionNumber(FAR.0 + 1);
    assert_eq!(bench.apply(0, &[route(later, "a", 1, Some(home(4)))]), []);
    // One with a queue has what it gets in there.
    let with_queue = SessionNumber(FAR.0 + 2);
    assert!(answered(&bench.apply(0, &[route(with_queue, "a", 1, None)])));
    assert!(answered(&bench.apply(0, &[Op::Given { from: OTHER.0, number: 1 }])));
    // Who waits when the slot is led no longer is told that nobody knows.
    bench.apply(0, &[Op::Live { from: OTHER.0, number: 2, op: &op }]);
    bench.apply(0, &[route(later, "a/b", 1, Some(home(4)))]);
    assert_eq!(bench.slot.follow().len(), 1);
}

#[test]
fn subscriptions_that_wait_have_a_bound_and_a_connection_ends_that_goes_beyond_it() {
    let (mut bench, op) = with_a_subscriber();
    bench.apply(0, &[Op::Live { from: OTHER.0, number: 1, op: &op }]);
    let later = SessionNumber(FAR.0 + 1);
    let (mut asked, mut effects) = (0, Vec::new());
    while effects.is_empty() {
        for _ in 0..1_000 {
            asked += 1;
            let reply = ReplyTo { home: home(asked), token: 7 };
            bench.slot.pending.push(NOW.wall, &route(later, "a", 1, Some(home(4))), Some(reply));
        }
        effects = bench.apply_pending();
    }
    let ends = |key| [Effect::Noted(Note::WaitingFull), Effect::BrokenOff(key, ReasonCode::QuotaExceeded)];
    let waiting = asked - effects.len() as u32 / 2;
    assert!((30_000..100_000).contains(&waiting), "{waiting}");
    assert_eq!(effects, (waiting + 1..=asked).flat_map(ends).collect::<Vec<_>>());
    // The others are answered, and there is room again.
    let effects = bench.apply(0, &[Op::Given { from: OTHER.0, number: 1 }]);
    let answered = effects.iter().filter(|of| matches!(of, Effect::Told(7, Answer::Registered(_))));
    assert_eq!(answered.count() as u32, waiting);
    bench.apply(0, &[Op::Live { from: OTHER.0, number: 2, op: &op }]);
    assert_eq!(bench.apply(0, &[route(later, "a", 1, Some(home(4)))]), []);
}

#[test]
fn each_subscription_that_waits_is_answered_when_all_is_given_that_was_applied_before_it() {
    let (mut bench, op) = with_a_subscriber();
    let live = |from: SlotId, number| Op::Live { from: from.0, number, op: &op };
    let given = |from: SlotId, number| Op::Given { from: from.0, number };
    let another = SlotId(3);
    let subscribe = |bench: &mut Bench, number| {
        let (reply, later) = (ReplyTo { home: home(4), token: number }, SessionNumber(FAR.0 + number));
        bench.slot.pending.push(NOW.wall, &route(later, "a/b", 1, Some(home(4))), Some(reply));
        assert_eq!(bench.apply_pending(), []);
    };
    bench.apply(0, &[live(OTHER, 1), live(another, 1)]);
    subscribe(&mut bench, 11);
    subscribe(&mut bench, 12);
    bench.apply(0, &[live(OTHER, 2)]);
    subscribe(&mut bench, 13);
    let told = |effects: Vec<Effect>| {
        let token = |of| if let Effect::Told(token, Answer::Registered(_)) = of { Some(token) } else { None };
        effects.into_iter().filter_map(token).collect::<Vec<_>>()
    };
    assert_eq!(told(bench.apply(0, &[given(OTHER, 1)])), []);
    assert_eq!(told(bench.apply(0, &[given(another, 1)])), [11, 12]);
    assert_eq!(told(bench.apply(0, &[given(OTHER, 2)])), [13]);
}

#[test]
fn how_many_times_a_node_was_given_up_is_known_to_who_leads_next() {
    let mut bench = Bench::new();
    assert_eq!(bench.apply(0, &[Op::GivenUp { node: 5 }]), [Effect::GivenUp(5, 1)]);
    assert_eq!(bench.apply(0, &[Op::GivenUp { node: 5 }]), [Effect::GivenUp(5, 2)]);
    let bench = bench.recovered();
    assert_eq!([5, 6].map(|node| bench.slot.times_given_up(node)), [2, 0]);
}
