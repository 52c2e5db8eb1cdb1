//! Route, Unroute, Publish, InLine, Will, Retain, Expire, Inbox, Trim.

use super::*;

const PARTITION: u64 = 1;

pub(super) fn route(subscriber: SessionNumber, filter: &str, qos: u8, home: Option<Home>) -> Op<'_> {
    let route = RouteRow { subscription: Subscription::plain(qos), home };
    Op::Route { partition: PARTITION, subscriber, filter, route }
}

pub(super) fn publish(message: &[u8]) -> Op<'_> {
    let (root_targets, chosen) = (Obsolete, Vec::new());
    Op::Publish { partition: PARTITION, message, client: 0, again: None, root_targets, chosen }
}

pub(super) const FAR: SessionNumber = SessionNumber((OTHER.0 as u64) << 48 | 5);

const NEAR: SessionNumber = SessionNumber((SLOT.0 as u64) << 48 | 5);

#[test]
fn a_message_goes_to_those_who_subscribed_and_no_more() {
    let mut bench = Bench::new();
    let (one, two) = (message("a/b", "m", QoS::AtLeastOnce), message("a/c", "m", QoS::AtLeastOnce));
    let routes = [
        route(FAR, "a/+", 1, None),
        route(NEAR, "a/b", 1, None),
        // It lives with its connection.
        route(SessionNumber::new(OTHER, 6), "a/b", 1, Some(home(3))),
        // Of QoS 0 there is a copy for whom it finds.
        route(SessionNumber::new(OTHER, 7), "a/b", 0, None),
    ];
    bench.apply(0, &routes);
    let copy = Effect::Copied(SessionNumber::new(OTHER, 7), "m".into());
    let expected = [
        Effect::Delivered(3, "m".into()),
        done(),
        copy,
        Effect::Emitted(SLOT, 1, "Enqueue"),
        Effect::Emitted(OTHER, 1, "Enqueue"),
    ];
    assert_eq!(bench.apply(0, &[publish(&one)]), expected);
    assert_eq!(bench.apply(0, &[publish(&two)]), [done(), Effect::Emitted(OTHER, 2, "Enqueue")]);
    bench.apply(0, &[Op::Unroute { partition: PARTITION, subscriber: FAR, filter: "a/+" }]);
    assert_eq!(bench.apply(0, &[publish(&two)]), [done()]);
    // Routes are rows: another leader knows them.
    let mut bench = bench.recovered();
    assert_eq!(bench.apply(0, &[publish(&two)]), [done()]);
    assert_eq!(bench.apply(0, &[publish(&one)])[0], Effect::Delivered(3, "m".into()));
}

#[test]
fn a_message_for_very_many_connections_is_passed_on_in_pieces() {
    let mut bench = Bench::new();
    for key in 1..=3 {
        bench.apply(0, &[route(SessionNumber::new(OTHER, 10 + u64::from(key)), "a", 1, Some(home(key)))]);
    }
    bench.recorder.many = Some(3);
    let message = message("a", "m", QoS::AtLeastOnce);
    assert_eq!(bench.apply(0, &[publish(&message)]), [Effect::Cast(3, "m".into()), done()]);
}

#[test]
fn an_operation_of_another_slot_is_applied_once_and_in_its_turn() {
    let mut bench = Bench::new();
    let mut op = Vec::new();
    record::encode_into(&route(FAR, "a", 1, None), &mut op);
    let inbox = |number| Op::Inbox { from: OTHER.0, number, op: &op };
    // Before its turn nothing happens, and nobody is told that it has.
    assert_eq!(bench.apply(0, &[inbox(2)]), []);
    let registered = |effects: &[Effect], number| {
        let told = matches!(effects[0], Effect::Told(7, Answer::Registered(_)));
        assert!(told && effects[1..] == [Effect::Applied(OTHER, number, number)], "{effects:?}");
    };
    registered(&bench.apply(0, &[inbox(1)]), 1);
    let before = bench.rows();
    assert_eq!(bench.apply(0, &[inbox(1)]), [done(), Effect::Applied(OTHER, 1, 1)]);
    assert_eq!(bench.rows(), before);
    let mut bench = bench.recovered();
    assert_eq!(bench.apply(0, &[inbox(1)]), [done(), Effect::Applied(OTHER, 1, 1)]);
    registered(&bench.apply(0, &[inbox(2)]), 2);
}

#[test]
fn an_outbox_keeps_what_is_not_applied_over_there() {
    let mut bench = Bench::new();
    bench.apply(0, &[route(FAR, "a", 1, None)]);
    let message = message("a", "m", QoS::AtLeastOnce);
    for _ in 0..3 {
        bench.apply(0, &[publish(&message)]);
    }
    bench.apply(0, &[Op::Trim { to: OTHER.0, number: 2 }]);
    let held: Vec<_> = (1..=3).map(|number| bench.has(&rows::outbox(SLOT, OTHER, number))).collect();
    assert_eq!(held, [false, false, true]);
    // Its numbers go on where they were, also where nothing is left of it.
    bench.apply(0, &[Op::Trim { to: OTHER.0, number: 3 }]);
    let mut bench = bench.recovered();
    assert_eq!(bench.apply(0, &[publish(&message)]), [done(), Effect::Emitted(OTHER, 4, "Enqueue")]);
}

#[test]
fn a_retained_message_is_kept_replaced_expired_and_deleted() {
    let mut bench = Bench::new();
    let retained = |bench: &Bench| (bench.slot.retained().messages, bench.slot.retained().bytes);
    let (one, longer) =
        (encoded("a", "1", QoS::AtLeastOnce, true), encoded("a", "22", QoS::AtLeastOnce, true));
    bench.apply(0, &[Op::Retain { partition: PARTITION, message: &one }]);
    assert_eq!(retained(&bench), (1, one.len() as u64));
    // It is retained where it is published, too.
    bench.apply(0, &[publish(&longer)]);
    assert_eq!(retained(&bench), (1, longer.len() as u64));
    // It has no end.
    bench.apply(0, &[Op::Expire { topics: vec![(PARTITION, "a")] }]);
    let bench = bench.recovered();
    assert_eq!(retained(&bench), (1, longer.len() as u64));
    let mut bench = bench;
    let nothing = encoded("a", "", QoS::AtLeastOnce, true);
    bench.apply(0, &[Op::Retain { partition: PARTITION, message: &nothing }]);
    assert_eq!(retained(&bench), (0, 0));
    let rows: Vec<_> = bench.rows().into_keys().filter(|key| key.starts_with(b"a")).collect();
    assert!(rows.is_empty(), "{rows:?}");
}

#[test]
fn what_expires_goes_when_its_time_is_over() {
    let mut bench = Bench::new();
    let mut bytes = Vec::new();
    let whole = encoded("a", "1", QoS::AtLeastOnce, true);
    let message = Message::decode(&whole).unwrap();
    Message { expires_at: Some(NOW.wall + 10), ..message }.encode_into(&mut bytes);
    bench.apply(0, &[Op::Retain { partition: PARTITION, message: &bytes }]);
    for (after, left) in [(9, 1), (10, 0)] {
        bench.now.wall = NOW.wall + after;
        bench.apply(0, &[Op::Expire { topics: vec![(PARTITION, "a")] }]);
        assert_eq!(bench.slot.retained().messages, left);
    }
}

#[test]
fn a_will_is_published_in_its_partition() {
    let mut bench = Bench::new();
    bench.apply(0, &[route(FAR, "will", 1, None)]);
    let will = will("gone", 0).unwrap();
    let (client, author) = (0, will.author);
    let op = Op::Will { partition: PARTITION, message: &will.message, client, author };
    assert_eq!(bench.apply(0, &[op]), [done(), Effect::Emitted(OTHER, 1, "Enqueue")]);
}
