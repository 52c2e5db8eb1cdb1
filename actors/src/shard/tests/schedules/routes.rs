//! Subscriptions whose routes are on their way.

use super::super::fleet::{WELCOME_BACK, preferred};
use super::*;

/// A Client at N subscribes while what goes one way is late, and a value is set meanwhile: what it sees of that.
fn meets(subscriber: fn(&str) -> Connect<'_>, filter: &str, late: (usize, usize)) -> Vec<(String, bool)> {
    let mut stage = Stage::new(Without::Nothing);
    let topic = topic_of(P, "kept");
    let filter = if filter.is_empty() { topic.as_str() } else { filter };
    let writer = stage.fleet.connect(P, passing(&client_of(P, "writer")));
    let value = |payload| Publish { retain: true, ..publish(&topic, payload, 7) };
    assert_eq!(stage.publish(P, writer, value("old")), TAKEN);
    let reader = stage.fleet.connect(N, subscriber(&reader()));
    stage.held.insert(late);
    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    stage.fleet.nodes[N].subscribe_by(reader, filter, options, None);
    stage.settle();
    let mut got = stage.publish(P, writer, value("new"));
    stage.release();
    stage.pass(3_000);
    got.extend(stage.fleet.got(P, writer));
    assert_eq!(got, TAKEN);
    let seen = |got| match got {
        Got::Publish(received) => Some((received.payload, received.retain)),
        _ => None,
    };
    let mut got = stage.fleet.got(N, reader);
    assert!(matches!(got.first(), Some(Got::Suback(..) | Got::Publish(_))), "{got:?}");
    for id in 1..4 {
        got.extend(stage.send(N, reader, puback(id)));
    }
    got.into_iter().filter_map(seen).collect()
}

#[test]
fn a_value_that_is_set_between_a_route_and_the_read_of_what_is_kept_is_seen_and_no_older_one_behind_it() {
    let ways = [(N, P), (P, N), (N, S), (S, N), (S, P), (P, S)];
    for subscriber in [passing, lasting] as [fn(&str) -> Connect<'_>; 2] {
        for (filter, late) in ["", "#", "+/t"].into_iter().flat_map(|filter| ways.map(|way| (filter, way))) {
            let seen = meets(subscriber, filter, late);
            let values: Vec<&str> = seen.iter().map(|(payload, _)| &payload[..]).collect();
            assert_eq!(values.last(), Some(&"new"), "{filter:?} {late:?}: {seen:?}");
            let news = values.iter().filter(|value| **value == "new").count();
            assert_eq!(news, 1, "{filter:?} {late:?}: {seen:?}");
        }
    }
}

#[test]
fn a_subscribe_to_everything_while_nobody_leads_a_slot_ends_with_an_answer_and_leaves_nothing_behind() {
    let mut stage = Stage::new(Without::Nothing);
    let lone = topic_of(N, "lone");
    let silent = slot_of_topic(&lone);
    let other = (0..).map(|number| format!("other{number}/t"));
    let other = other.into_iter().find(|topic| preferred(slot_of_topic(topic)) == P).expect("there is one");
    let name = reader();
    assert_ne!(slot_of_client(&name), silent);
    let reader = stage.fleet.connect(N, lasting(&name));
    let writer = stage.fleet.connect(P, passing(&client_of(P, "writer")));
    stage.silent.insert(silent);
    stage.pass_until(4_000, |fleet| (0..3).all(|at| !fleet.led(at).contains(&silent)));
    assert!(stage.fleet.is_connected(N, reader), "nothing of it is led there");
    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    stage.fleet.nodes[N].subscribe_by(reader, "#", options, None);
    stage.settle();
    stage.pass_until(30_000, |fleet| !fleet.nodes[N].lines[reader.0].got.is_empty());
    let got = stage.fleet.got(N, reader);
    let is_refused = match &got[..] {
        [Got::Suback(_, reasons), ..] => reasons[0] as u8 >= 0x80,
        got => !got.ends_with(&[Got::Closed]),
    };
    // Whoever was closed without an answer does not know; whoever had one was told the truth.
    assert!(is_refused || got.ends_with(&[Got::Closed]), "{got:?}");
    stage.heal();
    let reader = match stage.fleet.is_connected(N, reader) {
        true => reader,
        false => stage.join(N, lasting(&name)).0,
    };
    assert_eq!(stage.publish(P, writer, publish(&other, "1", 7)), TAKEN);
    let came = stage.fleet.nodes[N].payloads(reader);
    assert!(!is_refused || came.is_empty(), "it was refused: {came:?}");
    stage.fleet.nodes[N].subscribe_by(reader, "#", options, None);
    stage.settle();
    assert!(
        matches!(&stage.fleet.got(N, reader)[..], [Got::Suback(_, reasons)] if (reasons[0] as u8) < 0x80)
    );
    for topic in [&other, &lone] {
        assert_eq!(stage.publish(P, writer, publish(topic, "2", 7)), TAKEN);
    }
    assert_eq!(stage.fleet.nodes[N].payloads(reader), ["2", "2"]);
}

#[test]
fn a_session_that_is_resumed_while_its_routes_are_on_their_way_is_there_when_they_are() {
    for late in [(S, P), (P, S), (N, P), (S, N)] {
        let mut stage = Stage::new(Without::Nothing);
        let (name, topic) = (reader(), topic_of(P, "a"));
        let reader = stage.fleet.connect(N, lasting(&name));
        let writer = stage.fleet.connect(P, passing(&client_of(P, "writer")));
        stage.held.insert(late);
        let options = SubscriptionOptions::new(QoS::AtLeastOnce);
        stage.fleet.nodes[N].subscribe_by(reader, &topic, options, None);
        stage.settle();
        let promised = stage.fleet.got(N, reader);
        // The Client comes to the leader of its Session, which hears itself.
        let (again, mut got) = stage.join(S, lasting(&name));
        for _ in 0..50 {
            if !got.is_empty() {
                break;
            }
            stage.pass(10);
            got.extend(stage.fleet.got(S, again));
        }
        let is_resumed = got.first() == Some(&WELCOME_BACK);
        let mut taken = stage.publish(P, writer, publish(&topic, "1", 7));
        stage.release();
        stage.pass(1_000);
        taken.extend(stage.fleet.got(P, writer));
        got.extend(stage.fleet.got(S, again));
        let came = got.iter().any(|got| matches!(got, Got::Publish(_)));
        // A Client that had no SUBACK subscribes again; one that had it relies on it.
        let is_promised = promised.iter().any(|got| matches!(got, Got::Suback(..)));
        assert!(!(is_promised && is_resumed && taken == TAKEN) || came, "{late:?}: {got:?}");
        stage.heal();
        assert_eq!(stage.publish(P, writer, publish(&topic, "2", 7)), TAKEN);
        let resumed = stage.fleet.is_connected(S, again);
        assert!(!resumed || stage.has_news(S, again), "{late:?}: the Session has no route");
    }
}
