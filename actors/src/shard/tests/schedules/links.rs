//! Links of three nodes of which one is cut, and nodes that are heard by some.

use super::super::fleet::{SENT_AWAY, TURNED_AWAY, WELCOME_BACK};
use super::*;

#[test]
fn where_p_and_n_are_cut_and_s_reaches_both_a_message_for_a_queue_goes_by_s() {
    let (mut stage, topic, [writer, reader]) = cast(Without::Nothing, lasting);
    stage.cut.extend(between(P, N));
    for (number, payload) in ["1", "2", "3"].into_iter().enumerate() {
        assert_eq!(stage.publish(P, writer, publish(&topic, payload, 7)), TAKEN);
        assert_eq!(stage.fleet.nodes[N].payloads(reader), [payload]);
        // Each of them at another stage: before N lapses, about then, and behind it.
        stage.pass(1_100 * (number as u64 + 1));
    }
    assert_eq!(stage.fleet.got(N, reader), [], "its Session is led where it is heard");
    assert_eq!(stage.fleet.led(N).len(), 2, "S hears it");
}

/// P and N are cut, and a message is published for a Session without a queue: after how many milliseconds it is acknowledged.
fn acknowledged_after(without: Without) -> u64 {
    let (mut stage, topic, [writer, reader]) = cast(without, passing);
    stage.cut.extend(between(P, N));
    let mut got = stage.publish(P, writer, publish(&topic, "1", 7));
    let mut passed = 0;
    while got != TAKEN {
        assert!(passed < 5_000, "its publisher waits for ever: {got:?}");
        stage.pass(10);
        passed += 10;
        got.extend(stage.fleet.got(P, writer));
    }
    if without == Without::Nothing {
        // Its subscriber has missed it, and gets nothing that came later.
        stage.cut.clear();
        stage.publish(P, writer, publish(&topic, "2", 8));
        stage.pass_until(5_000, |fleet| !fleet.is_connected(N, reader));
        assert_eq!(stage.fleet.got(N, reader), SENT_AWAY);
    }
    passed
}

#[test]
fn where_p_and_n_are_cut_a_subscriber_without_a_queue_at_n_is_given_up_before_anything_is_acknowledged() {
    assert!(acknowledged_after(Without::Nothing) >= 1_000);
    assert_eq!(acknowledged_after(Without::Receipt), 0, "the rule is not needed");
}

#[test]
fn a_node_that_was_given_up_and_is_not_told_so_goes_on_as_if_nothing_were_missing() {
    let (mut stage, topic, [writer, reader]) = cast(Without::GivenUp, passing);
    stage.cut.extend(between(P, N));
    assert_eq!(stage.publish(P, writer, publish(&topic, "1", 7)), []);
    stage.pass(4_000);
    assert_eq!(stage.fleet.got(P, writer), TAKEN);
    stage.cut.clear();
    stage.pass(1_000);
    assert_eq!(stage.publish(P, writer, publish(&topic, "2", 7)), TAKEN);
    assert_eq!(stage.fleet.nodes[N].payloads(reader), ["2"], "the rule is not needed");
}

#[test]
fn where_only_s_and_n_are_cut_the_connection_is_not_heard_and_the_session_goes_on_elsewhere() {
    let (mut stage, topic, [writer, reader]) = cast(Without::Nothing, lasting);
    stage.cut.extend(between(S, N));
    assert_eq!(stage.publish(P, writer, publish(&topic, "1", 7)), TAKEN);
    assert!(!stage.has_news(N, reader));
    let left = stage.pass_until(2_010, |fleet| !fleet.is_served(N, reader));
    assert!(left >= 900, "{left} ms");
    assert_eq!(stage.fleet.got(N, reader), []);
    assert_eq!(stage.join(N, lasting(&super::reader())).1, TURNED_AWAY, "N does not know who leads");
    let (_, granted, elsewhere) = take_over(&mut stage, P, reader);
    assert!(granted <= 2_000, "{granted} ms");
    // It was sent to N, and nobody has heard of it since.
    let again = received(&topic, "1").at(1, 1).again();
    assert_eq!(stage.fleet.got(P, elsewhere), [WELCOME_BACK, again.got()]);
    stage.heal();
    let taken = [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed];
    let got = stage.fleet.got(N, reader);
    assert!(got == taken || got == SENT_AWAY, "{got:?}");
    assert_eq!(stage.fleet.led(S).len() + stage.fleet.led(P).len() + stage.fleet.led(N).len(), 9);
}

#[test]
fn where_only_s_and_n_are_cut_the_session_is_not_granted_before_its_connection_at_n_is_not_heard() {
    let granted_first = |without| {
        let (mut stage, _, [_, reader]) = cast(without, lasting);
        stage.cut.extend(between(S, N));
        let (closed, granted, _) = take_over(&mut stage, P, reader);
        assert!(granted <= 5_000, "{granted} ms");
        closed > granted
    };
    assert!(!granted_first(Without::Nothing));
    assert!(granted_first(Without::Leave), "the rule is not needed");
}

#[test]
fn a_clock_that_is_slow_by_what_it_may_keeps_two_owners_apart_and_one_that_is_slower_does_not() {
    let granted_first = |every| {
        let (mut stage, _, [_, reader]) = cast(Without::Nothing, lasting);
        // The node that relies counts less than those that wait until it does no more.
        stage.lags = Some((N, every));
        stage.pass(3_000);
        stage.cut.extend(between(S, N));
        let (closed, granted, _) = take_over(&mut stage, P, reader);
        closed > granted
    };
    assert!(!granted_first(100), "one part in a hundred");
    assert!(granted_first(2), "nobody relies on the bound");
}

/// Replicas of S hear nobody, and nobody hears them, while its shards and those of N do: for how long S leads on, the Session's
/// Client goes on at N. What was acknowledged while that was so, and what came.
fn deposed_but_linked(without: Without) -> (Vec<String>, Vec<String>) {
    let (mut stage, topic, [writer, reader]) = cast(without, lasting);
    stage.mute.extend(between(S, P).into_iter().chain(between(S, N)));
    let (mut acknowledged, mut came) = (Vec::new(), Vec::new());
    let mut writer = Some(writer);
    for number in 0..60_u16 {
        let payload = number.to_string();
        if let Some(writer) = writer.filter(|writer| stage.fleet.is_connected(P, *writer)) {
            let got = stage.publish(P, writer, publish(&topic, &payload, 100 + number));
            if got.contains(&Got::Puback(100 + number, ReasonCode::Success)) {
                acknowledged.push(payload);
            }
        } else if number % 10 == 0 {
            let (client, got) = stage.join(P, passing(&client_of(P, "writer")));
            writer = got.contains(&super::super::fleet::WELCOME).then_some(client);
        }
        stage.pass(100);
        came.extend(payloads(stage.fleet.got(N, reader)));
    }
    stage.heal();
    let (again, got) = stage.join(P, lasting(&super::reader()));
    assert_eq!(got[0], WELCOME_BACK, "{got:?}");
    came.extend(payloads(got));
    for id in 1..200 {
        let got = stage.send(P, again, puback(id));
        came.extend(payloads(got));
    }
    (acknowledged, came)
}

fn payloads(got: Vec<Got>) -> Vec<String> {
    let payload = |got| match got {
        Got::Publish(received) => Some(received.payload),
        _ => None,
    };
    got.into_iter().filter_map(payload).collect()
}

#[test]
fn where_s_is_deposed_and_still_linked_to_n_what_was_acknowledged_comes_in_its_order() {
    let (acknowledged, came) = deposed_but_linked(Without::Nothing);
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    let mut first: Vec<&String> = Vec::new();
    came.iter().for_each(|payload| {
        if !first.contains(&payload) {
            first.push(payload)
        }
    });
    let missing: Vec<_> = acknowledged.iter().filter(|payload| !first.contains(payload)).collect();
    assert!(missing.is_empty(), "{missing:?} of {acknowledged:?}");
    assert!(first.is_sorted_by_key(|payload| payload.parse::<u16>().unwrap()), "{came:?}");
}

#[test]
fn where_s_is_deposed_and_still_linked_to_n_the_session_is_granted_when_its_connection_is_not_heard() {
    for late in [0, 500, 1_000, 1_500, 2_500] {
        let (mut stage, _, [_, reader]) = cast(Without::Nothing, lasting);
        stage.mute.extend(between(S, P).into_iter().chain(between(S, N)));
        stage.pass(late);
        let (closed, granted, _) = take_over(&mut stage, P, reader);
        assert!(closed <= granted, "{late}: heard for {closed} ms, granted after {granted} ms");
        assert!(late + granted <= 6_000, "{late}: granted after {granted} ms");
    }
}
