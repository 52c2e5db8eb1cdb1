//! Enqueue, Finished, Received, Accept, Release, Redispatch.

use super::*;
use crate::call::{Ack, SessionCall};

fn packet_id(number: u16) -> PacketId {
    PacketId::new(number).expect("a test gives no identifier of zero")
}

fn sent(key: u32, packet_id: u16, dup: bool, payload: &str) -> Effect {
    Effect::Sent(key, Some(packet_id), dup, payload.into())
}

#[test]
fn a_message_is_queued_and_sent_to_who_is_there() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    assert_eq!(bench.ready(1, &grant), []);
    assert_eq!(bench.enqueue(grant.session, QoS::AtLeastOnce, "one"), [sent(1, 1, false, "one"), done()]);
    assert!(bench.has(&rows::queued(grant.session, 0)));
    // One for a Session that has ended is for nobody, and its publisher is told all the same.
    let gone = SessionNumber::new(SLOT, 99);
    assert_eq!(bench.enqueue(gone, QoS::AtLeastOnce, "two"), [done()]);
}

#[test]
fn what_was_sent_and_not_acknowledged_is_sent_again_under_its_identifier_also_by_another_leader() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    bench.ready(1, &grant);
    for payload in ["one", "two"] {
        bench.enqueue(grant.session, QoS::AtLeastOnce, payload);
    }
    bench.turn(|slot, turn| {
        slot.on_ack(grant.session, grant.epoch, Ack::Puback, packet_id(1), turn).unwrap();
        slot.save_acknowledged(turn.now.wall);
    });
    bench.apply_pending();
    assert!(!bench.has(&rows::queued(grant.session, 0)) && bench.has(&rows::queued(grant.session, 1)));
    bench.leave(&grant, Farewell::Normal);
    bench.enqueue(grant.session, QoS::AtLeastOnce, "three");
    let mut bench = bench.recovered();
    let again = bench.connect(2, "a", FOREVER);
    assert_eq!(bench.ready(2, &again), [sent(2, 2, true, "two"), sent(2, 3, false, "three")]);
}

#[test]
fn a_message_of_qos_2_is_received_then_released_then_finished() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    let (session, epoch) = (grant.session, grant.epoch);
    bench.ready(1, &grant);
    bench.enqueue(session, QoS::ExactlyOnce, "one");
    let ack = |bench: &mut Bench, ack| {
        let mut effects = bench.turn(|slot, turn| {
            slot.on_ack(session, epoch, ack, packet_id(1), turn).unwrap();
            slot.save_acknowledged(turn.now.wall);
        });
        effects.extend(bench.apply_pending());
        effects
    };
    // PUBREL is due once PUBREC is on record, and not before.
    assert_eq!(ack(&mut bench, Ack::Pubrec { refused: false }), [Effect::Released(1, 1)]);
    assert!(bench.has(&rows::received(session, 0)) && bench.has(&rows::queued(session, 0)));
    assert_eq!(ack(&mut bench, Ack::Pubcomp), []);
    assert!(!bench.has(&rows::received(session, 0)) && !bench.has(&rows::queued(session, 0)));
    // PUBREC of nothing is answered, so that the Client can forget it.
    let unknown = [Effect::ReleasedUnknown(1, 1)];
    assert_eq!(ack(&mut bench, Ack::Pubrec { refused: false }), unknown);
}

#[test]
fn a_publish_of_qos_2_is_taken_once_for_each_identifier() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    let (session, epoch) = (grant.session, grant.epoch);
    let (place, message) = (Place { slot: OTHER.0, partition: 2 }, message("t", "one", QoS::ExactlyOnce));
    let accept = || Op::Accept { session, epoch, packet_id: 5, place, message: &message };
    assert_eq!(bench.apply(1, &[accept()]), [done(), Effect::Emitted(OTHER, 1, "Publish")]);
    assert_eq!(bench.apply(1, &[accept()]), [done()]);
    let mut bench = bench.recovered();
    assert_eq!(bench.apply(1, &[accept()]), [done()]);
    bench.apply(1, &[Op::Release { session, epoch, packet_id: 5 }]);
    assert_eq!(bench.apply(1, &[accept()]), [done(), Effect::Emitted(OTHER, 2, "Publish")]);
}

#[test]
fn a_retained_publish_of_qos_2_is_answered_by_its_partition() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    let (session, epoch) = (grant.session, grant.epoch);
    let message = encoded("t", "one", QoS::ExactlyOnce, true);
    let place = Place { slot: OTHER.0, partition: 2 };
    let accept = Op::Accept { session, epoch, packet_id: 5, place, message: &message };
    assert_eq!(bench.apply(1, &[accept]), [Effect::Emitted(OTHER, 1, "Publish")]);
}

#[test]
fn what_a_member_has_left_goes_to_the_partition_of_its_topic() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    let session = grant.session;
    let message = message("t", "one", QoS::AtLeastOnce);
    let mut by_share = Vec::new();
    let delivery = Delivery::new(QoS::AtLeastOnce, false, 0);
    Target { session, delivery: delivery.by_share(9) }.push(&mut by_share);
    bench.apply(0, &[Op::Enqueue { message: &message, targets: &by_share }]);
    bench.leave(&grant, Farewell::Normal);
    let (_, to) = bench.options.partitioning.locate("", "t", bench.options.slots);
    let effects = bench.apply(0, &[Op::Redispatch { session, seqs: vec![0] }]);
    assert_eq!(effects, [Effect::Noted(Note::Redispatched(1)), done(), Effect::Emitted(to, 1, "Publish")]);
    assert!(!bench.has(&rows::queued(session, 0)));
}

#[test]
fn a_queue_that_is_full_lets_go_of_what_was_not_sent() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    bench.leave(&grant, Farewell::Normal);
    for number in 0..103 {
        bench.enqueue(grant.session, QoS::AtLeastOnce, &number.to_string());
    }
    let mut effects = Vec::new();
    while let Some(session) = bench.slot.overfull.pop_front() {
        effects.extend(bench.turn(|slot, turn| slot.relieve(session, turn).unwrap()));
    }
    assert_eq!(effects, [Effect::Noted(Note::QueueDropped(3))]);
    bench.apply_pending();
    let held: Vec<_> = (0..5).map(|seq| bench.has(&rows::queued(grant.session, seq))).collect();
    assert_eq!(held, [false, false, false, true, true]);
}

/// A CONNECT for this Client by the way that calls come, which waits for its record.
fn asks_to_connect(bench: &mut Bench, key: u32, yields: bool) {
    let limits = bench.options.limits.clone();
    let call = SessionCall::Connect {
        name: name_of("", "a"),
        clean_start: false,
        owner: String::new(),
        binds: false,
        expiry_seconds: FOREVER,
        limits: limits.queue,
        will: None,
        yields,
        reply: ReplyTo { home: home(key), token: 7 },
    };
    bench.turn(|slot, turn| slot.on_call(call, &limits, turn).unwrap());
}

/// Does this while a record waits that was begun before.
fn before_what_waits(bench: &mut Bench, act: impl FnOnce(&mut Bench)) {
    let waiting = bench.slot.pending.take().expect("something waits");
    act(bench);
    bench.slot.pending.restore(waiting);
}

#[test]
fn nothing_goes_out_behind_what_a_record_says_of_a_connection_that_has_ended() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    bench.ready(1, &grant);
    assert_eq!(bench.enqueue(grant.session, QoS::ExactlyOnce, "one"), [sent(1, 1, false, "one"), done()]);
    let Grant { session, epoch, .. } = grant;
    let farewell = Farewell::WithWill;
    let leaves = SessionCall::Disconnect { session, epoch, farewell, expiry_seconds: None, reply: None };
    let limits = bench.options.limits.clone();
    // One that would have taken the Session does not make it go on when it is given up.
    asks_to_connect(&mut bench, 2, false);
    bench.turn(|slot, turn| slot.on_call(leaves, &limits, turn).unwrap());
    let abandon = SessionCall::Abandon { name: name_of("", "a"), home: home(2) };
    bench.turn(|slot, turn| slot.on_call(abandon, &limits, turn).unwrap());
    before_what_waits(&mut bench, |bench| {
        assert_eq!(bench.enqueue(session, QoS::ExactlyOnce, "two"), [done()]);
        assert_eq!(bench.turn(|slot, turn| slot.pump(session, turn).unwrap()), []);
    });
    bench.apply_pending();
    // Every replica knows what was sent, and that nothing else was.
    assert_eq!(head(&bench, session).sent, 1);
    let again = bench.connect(3, "a", FOREVER);
    assert_eq!(bench.ready(3, &again), [sent(3, 1, true, "one"), sent(3, 2, false, "two")]);
}

/// The head of a queue on disk.
fn head(bench: &Bench, session: SessionNumber) -> crate::session::Head {
    record::decode(&bench.rows()[&rows::head(session)]).unwrap()
}

#[test]
fn nothing_goes_out_behind_what_a_record_says_of_the_old_connection() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    bench.ready(1, &grant);
    assert_eq!(bench.enqueue(grant.session, QoS::ExactlyOnce, "one"), [sent(1, 1, false, "one"), done()]);
    asks_to_connect(&mut bench, 2, false);
    before_what_waits(&mut bench, |bench| {
        assert_eq!(bench.enqueue(grant.session, QoS::ExactlyOnce, "two"), [done()]);
        assert_eq!(bench.turn(|slot, turn| slot.pump(grant.session, turn).unwrap()), []);
    });
    let granted = bench.apply_pending().pop();
    let Some(Effect::TakenOver(Some(1), 7, Answer::Granted(again))) = granted else { panic!("{granted:?}") };
    // Every replica knows what was sent, and that nothing else was.
    assert_eq!(head(&bench, grant.session).sent, 1);
    let expected = [sent(2, 1, true, "one"), sent(2, 2, false, "two")];
    assert_eq!(bench.ready(2, &again), expected);
}

#[test]
fn a_connection_goes_on_when_nobody_takes_its_session_after_all() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    bench.ready(1, &grant);
    // Of two that wait, both are refused.
    for (key, yields) in [(2, true), (3, true)] {
        asks_to_connect(&mut bench, key, yields);
    }
    before_what_waits(&mut bench, |bench| {
        assert_eq!(bench.enqueue(grant.session, QoS::AtLeastOnce, "one"), [done()]);
    });
    bench.apply_pending();
    let go_on = |bench: &mut Bench| {
        let deferred: Vec<_> = bench.slot.deferred.drain(..).collect();
        let pump = |slot: &mut Slot, turn: &mut Turn<'_>| {
            deferred.into_iter().for_each(|session| slot.pump(session, turn).unwrap());
        };
        bench.turn(pump)
    };
    assert_eq!(go_on(&mut bench), [sent(1, 1, false, "one")]);
    // One is given up and the other one is refused.
    for (key, yields) in [(4, false), (5, true)] {
        asks_to_connect(&mut bench, key, yields);
    }
    before_what_waits(&mut bench, |bench| {
        assert_eq!(bench.enqueue(grant.session, QoS::AtLeastOnce, "two"), [done()]);
    });
    let abandon = SessionCall::Abandon { name: name_of("", "a"), home: home(4) };
    let limits = bench.options.limits.clone();
    bench.turn(|slot, turn| slot.on_call(abandon, &limits, turn).unwrap());
    assert_eq!(go_on(&mut bench), []);
    bench.apply_pending();
    assert_eq!(go_on(&mut bench), [sent(1, 2, false, "two")]);
}

#[test]
fn a_session_that_is_ended_by_an_operator_gives_nobody_else_what_its_client_was_sent() {
    let mut bench = Bench::new();
    let grant = bench.connect(1, "a", FOREVER);
    bench.ready(1, &grant);
    let (session, epoch) = (grant.session, grant.epoch);
    let places = vec![Place { slot: OTHER.0, partition: 2 }];
    let row = SubscriptionRow { subscription: Subscription::plain(2), places };
    let entries = vec![crate::slot::op::Entry { filter: "$share/g/t", row }];
    bench.apply(1, &[Op::Subscribe { session, epoch, entries }]);
    let mut targets = Vec::new();
    let delivery = Delivery::new(QoS::ExactlyOnce, false, 0).by_share(9);
    Target { session, delivery }.push(&mut targets);
    let enqueue = |bench: &mut Bench, payload| {
        let message = message("t", payload, QoS::ExactlyOnce);
        bench.apply(0, &[Op::Enqueue { message: &message, targets: &targets }])
    };
    assert_eq!(enqueue(&mut bench, "one"), [sent(1, 1, false, "one"), done()]);
    let row = bench.slot.session_row(&mut bench.state, "", "a").unwrap().unwrap();
    bench.slot.end_session(NOW.wall, &name_of("", "a"), &row, ReplyTo { home: home(3), token: 7 });
    before_what_waits(&mut bench, |bench| assert_eq!(enqueue(bench, "two"), [done()]));
    let effects = bench.apply_pending();
    let sent_on = effects.iter().filter(|effect| matches!(effect, Effect::Noted(Note::Redispatched(1))));
    assert_eq!(sent_on.count(), 1, "the second message alone: {effects:?}");
}
