use super::*;

const WINDOW: Window = Window { calls: 4, bytes: 100, resend: 250, resend_most: 1_000 };

/// What a letter brings about.
fn hear(sender: &mut Sender<&'static str>, answer: Answer) -> Vec<(u64, Ended)> {
    let mut ended = Vec::new();
    sender.on_answer(node(1), answer, 0, &mut ended);
    ended
}

fn filled(number: u64, reply: Reply) -> Answer {
    Answer::Filled { number, reply }
}

/// A sender whose first call was answered, with three more that were sent.
fn under_way() -> Sender<&'static str> {
    let mut sender = led(WINDOW);
    sender.push(10, 1_000, 1, "a").unwrap();
    letters(&mut sender, 0);
    hear(&mut sender, filled(1, done("")));
    for (token, content) in [(20, "b"), (30, "c"), (40, "d")] {
        sender.push(token, 1_000, 1, content).unwrap();
    }
    assert_eq!(letters(&mut sender, 0), [(2, "b"), (3, "c"), (4, "d")]);
    sender
}

#[test]
fn the_first_call_goes_alone_and_the_others_follow_its_answer() {
    let mut sender = led(WINDOW);
    sender.push(10, 1_000, 1, "a").unwrap();
    sender.push(20, 1_000, 1, "b").unwrap();
    assert_eq!(letters(&mut sender, 0), [(1, "a")]);
    assert_eq!(hear(&mut sender, filled(1, done("yes"))), [(10, Ended::Done(b"yes".into()))]);
    assert_eq!(letters(&mut sender, 0), [(2, "b")]);
    assert_eq!(
        hear(&mut sender, filled(2, Reply::Refused(b"no".into()))),
        [(20, Ended::Refused(b"no".into()))]
    );
    assert_eq!(hear(&mut sender, filled(2, done(""))), [], "a call ends once");
}

#[test]
fn a_gap_is_gone_back_to_once_in_a_round() {
    let mut sender = under_way();
    let round = sender.next_letter(0).map_or(1, |(_, call)| call.round);
    assert_eq!(hear(&mut sender, Answer::Expected { number: 3, round }), []);
    assert_eq!(letters(&mut sender, 0), [(3, "c"), (4, "d")]);
    hear(&mut sender, Answer::Expected { number: 3, round });
    assert_eq!(letters(&mut sender, 0), []);
    assert_eq!(hear(&mut sender, filled(2, done("")))[0].0, 20, "what is before it has answers of its own");
}

#[test]
fn another_leader_is_sent_the_same_in_the_same_order_behind_one_letter() {
    let mut sender = under_way();
    hear(&mut sender, filled(3, done("")));
    hear(&mut sender, Answer::NotLeader { term: Term(2), leader: Some(node(2)) });
    let (to, call) = sender.next_letter(0).unwrap();
    assert_eq!((to, call.number, call.first), (node(2), 2, 2));
    assert_eq!(letters(&mut sender, 0), []);
    let mut ended = Vec::new();
    sender.on_answer(node(2), filled(2, done("")), 0, &mut ended);
    assert_eq!(letters(&mut sender, 0), [(4, "d")], "3 was answered");
}

#[test]
fn news_of_an_earlier_term_and_of_nodes_that_are_not_asked_are_ignored() {
    let mut sender = under_way();
    sender.on_leader(Term(5), Some(node(5)));
    letters(&mut sender, 0);
    sender.on_leader(Term(4), Some(node(4)));
    hear(&mut sender, Answer::NotLeader { term: Term(6), leader: Some(node(6)) });
    assert_eq!(letters(&mut sender, 0), []);
}

#[test]
fn nobody_is_asked_while_nobody_leads() {
    let mut sender = under_way();
    sender.on_leader(Term(2), None);
    assert_eq!((letters(&mut sender, 0), sender.next_deadline()), (vec![], Some(1_000)));
    sender.on_leader(Term(2), Some(node(3)));
    assert_eq!(letters(&mut sender, 0), [(2, "b")]);
}

#[test]
fn silence_is_answered_by_one_letter_at_growing_times() {
    let mut sender = under_way();
    assert_eq!(sender.next_deadline(), Some(250));
    let mut ended = Vec::new();
    for (now, next) in [(250, 750), (750, 1_750), (1_750, 2_750)] {
        sender.on_time(now, &mut ended);
        assert_eq!(letters(&mut sender, now).len(), 1);
        assert_eq!(sender.resend_at(), Some(next));
    }
}

#[test]
fn a_call_that_was_not_sent_in_time_leaves_no_gap() {
    let mut sender = Sender::new(WINDOW);
    sender.push(10, 100, 1, "a").unwrap();
    sender.push(20, 900, 1, "b").unwrap();
    let mut ended = Vec::new();
    assert_eq!(sender.next_deadline(), Some(100));
    sender.on_time(100, &mut ended);
    assert_eq!(ended, [(10, Ended::NotSent)]);
    sender.on_leader(Term(1), Some(node(1)));
    assert_eq!(letters(&mut sender, 100), [(1, "b")]);
}

#[test]
fn a_call_that_was_sent_and_is_late_is_unknown_and_its_number_is_void_from_then_on() {
    let mut sender = under_way();
    let mut ended = Vec::new();
    sender.push(50, 2_000, 1, "e").unwrap();
    letters(&mut sender, 0);
    sender.on_time(1_000, &mut ended);
    assert_eq!(ended, [(20, Ended::Unknown), (30, Ended::Unknown), (40, Ended::Unknown)]);
    assert_eq!((letters(&mut sender, 1_000), sender.waiting()), (vec![(2, "-")], (4, 1)));
    assert_eq!(hear(&mut sender, filled(2, done(""))), [], "the call itself was first, and has ended");
    assert_eq!(letters(&mut sender, 1_000), [(3, "-"), (4, "-"), (5, "e")]);
}

#[test]
fn a_full_window_takes_no_call_and_one_large_call_is_taken_alone() {
    let mut sender = led(WINDOW);
    sender.push(1, 1_000, 5_000, "large").unwrap();
    assert_eq!(
        sender.push(2, 1_000, 1, "b").unwrap_err().to_string(),
        "1 calls of 5000 bytes wait for the slot"
    );
    letters(&mut sender, 0);
    hear(&mut sender, filled(1, done("")));
    for token in 2..6 {
        sender.push(token, 1_000, 1, "b").unwrap();
    }
    assert!(sender.push(6, 1_000, 1, "b").is_err());
    // Numbers that are void take their place until the slot has filled them.
    letters(&mut sender, 0);
    sender.on_time(1_000, &mut Vec::new());
    assert_eq!(sender.waiting(), (4, 0));
    assert!(sender.push(6, 2_000, 1, "b").is_err());
}

#[test]
fn a_place_that_was_skipped_begins_anew_with_all_its_calls() {
    let mut sender = led(WINDOW);
    sender.push(1, 1_000, 1, "a").unwrap();
    sender.push(2, 1_000, 1, "b").unwrap();
    assert_eq!(letters(&mut sender, 0), [(1, "a")]);
    assert_eq!(hear(&mut sender, Answer::Skipped), []);
    assert!(sender.is_over() && letters(&mut sender, 0).is_empty());
    sender.restart();
    assert_eq!(letters(&mut sender, 0), [(1, "a")]);
}

#[test]
fn behind_the_end_of_a_stream_nothing_is_told_as_known() {
    for answer in [Answer::Gone, Answer::Skipped] {
        let mut sender = under_way();
        let ended = hear(&mut sender, answer);
        assert_eq!(ended, [(20, Ended::Unknown), (30, Ended::Unknown), (40, Ended::Unknown)]);
        assert!(sender.is_over());
    }
}

#[test]
fn a_node_that_expects_what_was_answered_was_deposed_and_is_not_believed() {
    let mut sender = under_way();
    let round = sender.next_letter(0).map_or(1, |(_, call)| call.round);
    assert_eq!(hear(&mut sender, Answer::Expected { number: 1, round }), []);
    assert!(!sender.is_over() && letters(&mut sender, 0).is_empty());
}

#[test]
fn with_the_sender_all_its_calls_end() {
    let mut sender = under_way();
    sender.push(50, 2_000, 1, "e").unwrap();
    let mut ended = Vec::new();
    sender.close(&mut ended);
    assert_eq!(ended.iter().filter(|(_, how)| *how == Ended::Unknown).count(), 3);
    assert_eq!(ended[3], (50, Ended::NotSent));
    assert_eq!((sender.waiting(), sender.next_deadline()), ((0, 0), None));
}
