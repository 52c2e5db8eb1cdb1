//! Connect, Disconnect, Due, End, Subscribe, Unsubscribe.

use super::*;

fn told(effects: &[Effect]) -> &Answer {
    match effects {
        [Effect::Told(7, answer)] => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connect_makes_a_session_and_another_one_takes_it_over() {
    let mut bench = Bench::new();
    let first = bench.connect(1, "a", FOREVER);
    assert!(!first.present && first.has_queue);
    assert!(bench.has(&rows::client_key(SLOT, "a")) && bench.has(&rows::live(first.session)));
    let name = name_of("", "a");
    let effects = bench.apply(2, &[connect(&name, 2, FOREVER, None)]);
    let [Effect::TakenOver(Some(1), 7, Answer::Granted(second))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!((second.session, second.present), (first.session, true));
    assert!(second.epoch > first.epoch);
}

#[test]
fn a_session_of_somebody_else_is_not_granted() {
    let mut bench = Bench::new();
    let name = name_of("", "a");
    let of = |user, key| {
        let mut op = connect(&name, key, FOREVER, None);
        if let Op::Connect { owner, binds, .. } = &mut op {
            (*owner, *binds) = (user, true);
        }
        op
    };
    bench.apply(1, &[of("x", 1)]);
    let before = bench.rows();
    let refused = Effect::Told(7, Answer::Refused(ReasonCode::NotAuthorized));
    assert_eq!(bench.apply(2, &[of("y", 2)]), [Effect::Noted(Note::NotItsOwner), refused]);
    assert_eq!(bench.rows(), before);
}

#[test]
fn a_disconnect_sends_the_will_by_the_outbox_unless_it_is_normal() {
    for (farewell, delay, sent) in [
        (Farewell::WithWill, 0, true),
        (Farewell::Normal, 0, false),
        // It is due later, and remembered by a row.
        (Farewell::WithWill, 5, false),
    ] {
        let mut bench = Bench::new();
        let name = name_of("", "a");
        bench.apply(1, &[connect(&name, 1, FOREVER, will("gone", delay))]);
        let (session, epoch) = (SessionNumber::new(SLOT, 1), Epoch(1));
        let op = Op::Disconnect { session, epoch, farewell, expiry_seconds: None, sent: 0 };
        let mut expected = vec![done()];
        expected.extend(sent.then_some(Effect::Emitted(OTHER, 1, "Will")));
        assert_eq!(bench.apply(1, &[op]), expected);
        assert_eq!(bench.has(&rows::outbox(SLOT, OTHER, 1)), sent);
        let due = NOW.wall + 5_000;
        let is_due_later = delay > 0;
        assert_eq!(bench.has(&rows::due(SLOT, due, session)), is_due_later);
        assert!(!bench.has(&rows::live(session)));
        if is_due_later {
            assert_eq!(
                bench.apply(0, &[Op::Due { at: due, session }])[1..],
                [Effect::Emitted(OTHER, 1, "Will")]
            );
        }
    }
}

#[test]
fn a_disconnect_of_an_earlier_epoch_changes_nothing() {
    let mut bench = Bench::new();
    let first = bench.connect(1, "a", FOREVER);
    bench.connect(2, "a", FOREVER);
    let before = bench.rows();
    assert_eq!(*told(&bench.leave(&first, Farewell::WithWill)), Answer::Done);
    assert_eq!(bench.rows(), before);
}

#[test]
fn a_session_that_ends_with_its_connection_leaves_no_row() {
    let mut bench = Bench::new();
    bench.connect(9, "stays", FOREVER);
    let before = bench.rows();
    let grant = bench.connect(1, "a", 0);
    assert!(!grant.has_queue);
    bench.leave(&grant, Farewell::WithWill);
    let mut after = bench.rows();
    // Its number is never used again.
    let grants = rows::grants(SLOT);
    assert_ne!(after.insert(grants.clone(), before[&grants].clone()), None);
    assert_eq!(after, before);
}

#[test]
fn a_session_expires_when_it_is_due_and_not_before_nor_after_a_return() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", 60);
    bench.leave(&grant, Farewell::Normal);
    let (session, at) = (grant.session, NOW.wall + 60_000);
    assert!(bench.has(&rows::due(SLOT, at, session)));
    let again = bench.connect(2, "a", 60);
    assert!(again.present && !bench.has(&rows::due(SLOT, at, session)));
    bench.apply(0, &[Op::Due { at, session }]);
    assert!(bench.has(&rows::client_key(SLOT, "a")));
    bench.leave(&again, Farewell::Normal);
    bench.apply(0, &[Op::Due { at, session }]);
    assert!(!bench.has(&rows::client_key(SLOT, "a")));
    assert_eq!((bench.slot.counts().sessions, bench.slot.expired), (0, 1));
}

#[test]
fn an_operator_ends_a_session_and_its_connection() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    let effects = bench.apply(0, &[Op::End { session: grant.session }]);
    assert_eq!(effects, [Effect::Evicted(1), done()]);
    assert!(!bench.has(&rows::client_key(SLOT, "a")));
}

#[test]
fn a_subscription_is_a_row_and_a_route_on_its_way_to_each_place() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    let (session, epoch) = (grant.session, grant.epoch);
    let places = vec![Place { slot: OTHER.0, partition: 2 }, Place { slot: SLOT.0, partition: 1 }];
    let row = SubscriptionRow { subscription: Subscription::plain(1), places };
    let subscribe = |epoch| Op::Subscribe {
        session,
        epoch,
        entries: vec![crate::slot::op::Entry { filter: "x/+", row: row.clone() }],
    };
    let stale = Answer::Refused(ReasonCode::SessionTakenOver);
    assert_eq!(*told(&bench.apply(1, &[subscribe(Epoch(99))])), stale);
    for existed in [false, true] {
        let number = 1 + u64::from(existed);
        let answer = Answer::Subscribed { more: 2, existed: vec![existed] };
        let expected = [
            Effect::Told(7, answer),
            Effect::Emitted(OTHER, number, "Route"),
            Effect::Emitted(SLOT, number, "Route"),
        ];
        assert_eq!(bench.apply(1, &[subscribe(epoch)]), expected);
        assert_eq!(bench.slot.counts().subscriptions, 1);
    }
    assert!(bench.has(&rows::subscription(session, "x/+")));
    let effects = bench.apply(1, &[Op::Unsubscribe { session, epoch, filters: vec!["x/+"] }]);
    let unroutes = [Effect::Emitted(OTHER, 3, "Unroute"), Effect::Emitted(SLOT, 3, "Unroute")];
    assert_eq!(effects[1..], unroutes);
    assert!(!bench.has(&rows::subscription(session, "x/+")));
    assert_eq!(bench.slot.counts().subscriptions, 0);
}

/// A Session has subscribed so many filters of a hundred bytes.
fn with_root_filters(bench: &mut Bench, grant: &Grant, count: usize) -> Vec<Effect> {
    let filters: Vec<_> = (0..count).map(|number| format!("+/{number:0>100}")).collect();
    let row = SubscriptionRow {
        subscription: Subscription::plain(1),
        places: vec![Place { slot: SlotId::META.0, partition: crate::slot::roots::everywhere() }],
    };
    let entry = |filter| crate::slot::op::Entry { filter, row: row.clone() };
    let entries = filters.iter().map(|filter| entry(filter.as_str())).collect();
    bench.apply(1, &[Op::Subscribe { session: grant.session, epoch: grant.epoch, entries }])
}

#[test]
fn root_filters_go_to_every_slot_together_and_their_rows_share_one_body() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    let effects = with_root_filters(&mut bench, &grant, 500);
    // Two runs for each of eight slots.
    assert_eq!(*told(&effects[..1]), Answer::Subscribed { more: 16, existed: vec![false; 500] });
    let emitted: Vec<_> = (1..=2)
        .flat_map(|number| (0..8).map(move |slot| Effect::Emitted(SlotId(slot), number, "Roots")))
        .collect();
    assert_eq!(effects[1..], emitted);
    let bytes = |bench: &Bench, kind: u8| {
        let rows = bench.rows();
        let of_kind = rows.iter().filter(|(key, _)| key.get(2) == Some(&kind));
        of_kind.map(|(_, value)| value.len()).sum::<usize>()
    };
    assert!(bytes(&bench, b'b') <= 2 * 8 * 8, "{}", bytes(&bench, b'b'));
    // Another leader sends them all the same.
    let mut bench = bench.recovered();
    bench.slot.lead();
    let mut filters = 0;
    bench.turn(|slot, turn| {
        while slot.lead_on(turn).unwrap() {}
        for emitted in &*turn.emitted {
            let Emitted::Op { op, .. } = emitted else { panic!("{emitted:?}") };
            let Op::Roots { filters: run, .. } = record::decode(op).unwrap() else { panic!("{emitted:?}") };
            filters += run.len();
        }
    });
    assert_eq!(filters, 8 * 500);
    for to in 0..8 {
        bench.apply(0, &[Op::Trim { to, number: 2 }]);
    }
    assert_eq!((bytes(&bench, b'b'), bytes(&bench, b'p')), (0, 0));
}

#[test]
fn root_filters_of_a_session_that_has_ended_go_in_pieces_and_no_faster_than_most_slots_take_them() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    with_root_filters(&mut bench, &grant, 3000);
    let taken = |bench: &mut Bench, slots: std::ops::Range<u16>| {
        slots.for_each(|slot| bench.slot.outbox_applied(SlotId(slot), 1000, 1000));
    };
    taken(&mut bench, 0..8);
    let left = |bench: &Bench| bench.rows().keys().filter(|key| key.get(2) == Some(&b's')).count();
    bench.apply(0, &[Op::End { session: grant.session }]);
    assert_eq!(left(&bench), 3000 - 1024 / 2);
    let go_on = |bench: &mut Bench| {
        let mut pieces = 0;
        loop {
            bench.slot.propose_ends(NOW.wall);
            if bench.slot.pending.is_empty() {
                return pieces;
            }
            bench.apply_pending();
            pieces += 1;
        }
    };
    assert!((1..4).contains(&go_on(&mut bench)) && left(&bench) > 2000);
    // Those of the others have stopped.
    taken(&mut bench, 0..4);
    assert!((1..10).contains(&go_on(&mut bench)) && left(&bench) > 0);
    while left(&bench) > 0 {
        taken(&mut bench, 0..4);
        assert!(go_on(&mut bench) > 0);
    }
}

#[test]
fn wills_of_connections_that_an_earlier_leader_had_are_sent_a_few_at_a_time() {
    let mut bench = Bench::new();
    let large = "w".repeat(60_000);
    for key in 0..10 {
        let name = name_of("", &key.to_string());
        bench.apply(key, &[connect(&name, key, FOREVER, will(&large, 0))]);
    }
    let mut bench = bench.recovered();
    let now = bench.now;
    let few = || WillRoom { wills: 2, bytes: 1 << 20, was_short: false };
    bench.slot.lead();
    bench.turn(|slot, turn| while slot.lead_on(turn).unwrap() {});
    bench.slot.bid_farewells(now, &mut few());
    assert_eq!(bench.apply_pending(), [], "somebody may serve them yet");
    bench.slot.leave(Gone::Everybody);
    bench.turn(|slot, turn| while slot.lead_on(turn).unwrap() {});
    assert_eq!(bench.apply_pending(), []);
    bench.slot.bid_farewells(now, &mut few());
    let (mut sent, mut rounds) = (0, 0);
    while sent < 10 {
        let count = bench.apply_pending().iter().filter(|effect| **effect != done()).count() as u64;
        assert!((1..=2).contains(&count), "{count} Wills at once");
        sent += count;
        rounds += 1;
        assert_eq!(bench.slot.wills.applied(OTHER, sent, now.monotonic).0, count as usize);
        bench.slot.bid_farewells(now, &mut few());
    }
    assert_eq!(rounds, 5);
    assert_eq!(bench.apply_pending(), []);
}
