use super::*;

fn numbers(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame.payload.as_ref()).map(|payload| payload.number).collect()
}

/// Three payloads are taken, and the first two are under way.
fn under_way() -> (Two, Vec<Frame>) {
    let mut two = Two::open(0);
    for payload in ["a", "b", "c"] {
        two.a.send(bytes(payload)).unwrap();
    }
    let sent = frames(&mut two.a, 10);
    assert_eq!(numbers(&sent), [1, 2]);
    (two, sent)
}

#[test]
fn payloads_come_in_order_and_their_acknowledgement_makes_room() {
    let (mut two, sent) = under_way();
    assert_eq!(hear(&mut two.b, 10, &sent[0]), [Event::Payload(bytes("a"))]);
    assert_eq!(hear(&mut two.b, 10, &sent[1]), [Event::Payload(bytes("b"))]);
    let answers = frames(&mut two.b, 10);
    assert_eq!((answers.len(), answers[0].acknowledged), (1, 2));
    hear(&mut two.a, 10, &answers[0]);
    assert_eq!((numbers(&frames(&mut two.a, 10)), two.a.waiting()), (vec![3], (1, 65)));
}

#[test]
fn an_acknowledgement_rides_on_a_payload_that_goes_the_other_way() {
    let (mut two, sent) = under_way();
    two.b.send(bytes("back")).unwrap();
    hear(&mut two.b, 10, &sent[0]);
    let answers = frames(&mut two.b, 10);
    assert_eq!((numbers(&answers), answers[0].acknowledged), (vec![1], 1));
}

#[test]
fn what_comes_twice_or_too_early_is_not_taken() {
    let (mut two, sent) = under_way();
    assert_eq!(hear(&mut two.b, 10, &sent[1]), []);
    assert_eq!(hear(&mut two.b, 10, &sent[0]), [Event::Payload(bytes("a"))]);
    assert_eq!(hear(&mut two.b, 10, &sent[0]), []);
    assert_eq!(frames(&mut two.b, 10)[0].acknowledged, 1);
}

#[test]
fn silence_is_answered_by_the_first_payload_alone_at_growing_times() {
    let (mut two, _) = under_way();
    let mut resent = Vec::new();
    for now in (10..2_000).step_by(10) {
        tick(&mut two.a, now);
        resent.extend(numbers(&frames(&mut two.a, now)).into_iter().map(|number| (now, number)));
    }
    assert_eq!(resent, [(210, 1), (610, 1), (1_410, 1)]);
}

#[test]
fn the_window_follows_a_probe_that_was_heard_from_what_was_lost_on() {
    let (mut two, sent) = under_way();
    tick(&mut two.a, 210);
    let probe = frames(&mut two.a, 210);
    // What was sent before the probe and is acknowledged late moves nothing.
    hear(&mut two.b, 215, &sent[0]);
    hear(&mut two.a, 220, &frames(&mut two.b, 215)[0]);
    assert_eq!((frames(&mut two.a, 220), two.a.waiting().0), (vec![], 2));
    hear(&mut two.b, 225, &probe[0]);
    hear(&mut two.a, 230, &frames(&mut two.b, 225)[0]);
    assert_eq!(numbers(&frames(&mut two.a, 230)), [2, 3]);
}

#[test]
fn all_of_a_window_that_was_lost_is_sent_again() {
    let (mut two, _) = under_way();
    assert_eq!(two.exchange(210).1, [bytes("a"), bytes("b"), bytes("c")].map(Event::Payload));
    assert_eq!(two.a.waiting(), (0, 0));
}

#[test]
fn what_has_no_room_is_refused_and_one_large_payload_goes_alone() {
    let mut closed = end(1, 7, 0);
    assert_eq!(closed.send(bytes("a")), Err(Refused::Closed));
    let mut two = Two::open(0);
    two.a.send(Bytes::from(vec![1; 150])).unwrap();
    assert_eq!(two.a.send(bytes("b")), Err(Refused::Full { payloads: 1, bytes: 214 }));
    assert_eq!(two.exchange(10).1, [Event::Payload(Bytes::from(vec![1; 150]))]);
    for _ in 0..4 {
        two.a.send(Bytes::new()).unwrap();
    }
    let error = two.a.send(Bytes::new()).unwrap_err();
    assert_eq!(error.to_string(), "4 payloads of 256 bytes wait for the other end");
}

#[test]
fn an_end_that_has_nothing_to_say_sends_heartbeats() {
    let mut two = Two::open(0);
    assert_eq!(two.a.next_deadline(), Some(250));
    assert!(frames(&mut two.a, 249).is_empty());
    let beat = frames(&mut two.a, 250);
    assert_eq!((beat.len(), &beat[0].payload, two.a.next_deadline()), (1, &None, Some(500)));
    assert_eq!(frames(&mut two.b, 250).len(), 1);
    hear(&mut two.b, 251, &beat[0]);
    assert_eq!(frames(&mut two.b, 251), [], "a heartbeat is answered by the next heartbeat");
}
