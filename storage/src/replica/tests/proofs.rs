//! Proof of leadership.

use convoy_ids::{Index, NodeId, SlotId, Term};

use super::fleet::Fleet;
use super::station::{SLOT, Station, first, node};
use crate::replica::*;

fn proven(station: &Station) -> Vec<(ProofId, Term)> {
    let proven = station.proofs.iter().filter_map(|proof| match proof.answer {
        Answer::Proven { term, .. } => Some((proof.id, term)),
        _ => None,
    });
    proven.collect()
}

fn refused(station: &Station) -> Vec<(ProofId, Option<NodeId>)> {
    let refused = station.proofs.iter().filter_map(|proof| match proof.answer {
        Answer::NotLeader { leader, .. } => Some((proof.id, leader)),
        _ => None,
    });
    refused.collect()
}

/// Messages until all fall silent.
fn messages(fleet: &mut Fleet) -> usize {
    let mut count = 0;
    loop {
        fleet.up().for_each(Station::settle);
        let said: usize = fleet.up().map(|station| station.outbox.len()).sum();
        if said == 0 {
            return count;
        }
        count += said;
        fleet.deliver();
    }
}

#[test]
fn a_replica_alone_answers_at_once_and_nothing_is_written_or_sent() {
    let mut station = Station::alone(Options::default());
    station.propose("one").unwrap();
    station.settle();
    let writes = station.engine.writes();
    let ids = [station.prove(), station.prove()];
    let answer = Answer::Proven { term: Term(1), index: Index(2) };
    assert_eq!(station.proofs, ids.map(|id| Proof { id, slot: SLOT, answer }));
    assert!(!station.driver.is_dirty(), "it asks for no turn");
    assert_eq!((station.engine.writes(), station.outbox.len()), (writes, 0));
}

#[test]
fn a_replica_alone_that_has_not_committed_in_its_term_answers_when_it_has() {
    let mut station = Station::new(node(1), Options::default());
    station.open(&[node(1)]);
    let early = station.prove();
    assert_eq!(refused(&station), [(early, None)], "it does not lead before its vote is synced");
    station.turn().unwrap();
    station.finish_sync();
    if station.history().is_empty() {
        let id = station.prove();
        assert!(proven(&station).is_empty());
        station.settle();
        assert_eq!(proven(&station), [(id, Term(1))]);
    } else {
        let id = station.prove();
        assert_eq!(proven(&station), [(id, Term(1))]);
    }
}

/// What a lease would do with no message at all, and ReadIndex for each question with four.
#[test]
fn what_is_asked_in_a_round_costs_one_message_to_each_and_one_back() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    messages(&mut fleet);
    for questions in [1, 1000] {
        for _ in 0..questions {
            fleet.at(leader).prove();
        }
        assert_eq!(messages(&mut fleet), 4, "{questions} questions");
        assert_eq!(proven(fleet.at(leader)).len(), questions);
        fleet.at(leader).proofs.clear();
    }
}

#[test]
fn what_is_asked_while_a_proof_is_under_way_is_answered_by_the_next() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let first = fleet.at(leader).prove();
    fleet.at(leader).settle();
    let second = fleet.at(leader).prove();
    fleet.at(leader).settle();
    assert_eq!(fleet.at(leader).outbox.len(), 2);
    // Their answers belong to what was asked first.
    fleet.deliver();
    fleet.up().for_each(Station::settle);
    fleet.deliver();
    let term = fleet.at(leader).driver.role(SLOT).unwrap().term();
    fleet.at(leader).turn().unwrap();
    assert_eq!(proven(fleet.at(leader)), [(first, term)]);
    fleet.settle();
    assert_eq!(proven(fleet.at(leader)), [(first, term), (second, term)]);
}

#[test]
fn a_proof_names_an_index_that_holds_all_that_was_promised() {
    let mut fleet = Fleet::led(&Options::default());
    let (term, index) = fleet.propose("one");
    let leader = fleet.leader().unwrap();
    let id = fleet.at(leader).prove();
    fleet.settle();
    let answer = Answer::Proven { term, index };
    assert_eq!(fleet.at(leader).proofs, [Proof { id, slot: SLOT, answer }]);
}

#[test]
fn a_stale_leader_proves_nothing_and_says_so() {
    let mut fleet = Fleet::led(&Options::default());
    let old = fleet.leader().unwrap();
    fleet.isolate(old);
    let mut asked = vec![fleet.at(old).prove()];
    // The others elect another one; the old one has not heard of it and leads on for itself.
    for _ in 0..100 {
        fleet.up().filter(|station| station.node != node(old)).for_each(|station| station.driver.tick());
        fleet.settle();
        if fleet.leader() != Some(old) {
            break;
        }
    }
    let new = fleet.leader().unwrap();
    assert_ne!(new, old);
    fleet.propose("promised by the new one");
    assert!(fleet.at(old).leads());
    asked.push(fleet.at(old).prove());
    fleet.settle();
    assert!(fleet.at(old).proofs.is_empty());

    fleet.tick(30);
    assert!(!fleet.at(old).leads());
    asked.push(fleet.at(old).prove());
    assert!(proven(fleet.at(old)).is_empty());
    let told: Vec<_> = refused(fleet.at(old)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, asked);
}

/// What was said to a leader before it paused proves nothing of the time after.
#[test]
fn a_paused_leader_is_not_proven_by_what_was_on_its_way_to_it() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let old = fleet.leader().unwrap();
    let before = fleet.at(old).prove();
    fleet.at(old).settle();
    fleet.deliver();
    fleet.up().for_each(Station::settle);
    // The answers wait in a socket while the process is stopped, and the others elect another one.
    let mut late = Vec::new();
    for number in fleet.others(old) {
        let said = std::mem::take(&mut fleet.at(number).outbox);
        late.extend(
            said.into_iter().filter(|message| message.to == node(old)).map(|message| (number, message)),
        );
    }
    assert_eq!(late.len(), 2);
    fleet.isolate(old);
    for _ in 0..100 {
        fleet.up().filter(|station| station.node != node(old)).for_each(|station| station.driver.tick());
        fleet.settle();
    }
    let new = fleet.leader().unwrap();
    assert_ne!(new, old);
    fleet.propose("promised by the new one");

    let after = fleet.at(old).prove();
    for (from, message) in late {
        fleet.at(old).driver.step(SLOT, node(from), &message.bytes).unwrap();
    }
    fleet.at(old).settle();
    let ids: Vec<_> = proven(fleet.at(old)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [before], "which it did lead after it was asked that");
    fleet.cut.clear();
    fleet.tick(5);
    assert_eq!(proven(fleet.at(old)).len(), 1);
    assert_eq!(refused(fleet.at(old)).first().map(|(id, _)| *id), Some(after));
}

#[test]
fn a_new_leader_proves_nothing_before_it_has_committed() {
    let mut fleet = Fleet::led(&Options::default());
    let (_, promised) = fleet.propose("promised by the old one");
    let old = fleet.leader().unwrap();
    let new = fleet.others(old)[0];
    fleet.at(old).driver.transfer(SLOT, node(new));
    for _ in 0..100 {
        fleet.up().for_each(Station::settle);
        if fleet.at(new).leads() {
            break;
        }
        fleet.deliver();
    }
    assert!(fleet.at(new).leads());
    let id = fleet.at(new).prove();
    fleet.at(new).settle();
    assert!(fleet.at(new).proofs.is_empty());
    fleet.settle();
    let term = fleet.at(new).driver.role(SLOT).unwrap().term();
    match fleet.at(new).proofs[..] {
        [Proof { id: of, slot: SLOT, answer: Answer::Proven { term: in_term, index } }] => {
            assert_eq!((of, in_term), (id, term));
            assert!(index > promised);
        }
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn who_asked_a_leader_that_is_deposed_is_told() {
    let mut fleet = Fleet::led(&Options::default());
    let old = fleet.leader().unwrap();
    let new = fleet.others(old)[0];
    let begun = fleet.at(old).prove();
    fleet.at(old).settle();
    fleet.at(old).outbox.clear();
    let waits = fleet.at(old).prove();
    fleet.at(old).driver.transfer(SLOT, node(new));
    fleet.settle();
    assert_eq!(fleet.leader(), Some(new));
    assert_eq!(fleet.at(old).proofs.len(), 2);
    assert!(proven(fleet.at(old)).is_empty());
    let told: Vec<_> = refused(fleet.at(old)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, [begun, waits]);
    // And a follower names who leads.
    let asked = fleet.at(old).prove();
    assert_eq!(refused(fleet.at(old)).last(), Some(&(asked, Some(node(new)))));
}

#[test]
fn a_lost_question_is_asked_again_with_the_next_heartbeat() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let id = fleet.at(leader).prove();
    fleet.at(leader).settle();
    fleet.at(leader).outbox.clear();
    fleet.settle();
    assert!(fleet.at(leader).proofs.is_empty());
    fleet.tick(3);
    assert_eq!(proven(fleet.at(leader)).first().map(|(of, _)| *of), Some(id));
}

#[test]
fn followers_answer_while_their_disks_work() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    fleet.at(leader).propose("one").unwrap();
    fleet.at(leader).settle();
    fleet.deliver();
    for other in fleet.others(leader) {
        fleet.at(other).turn().unwrap();
        assert!(fleet.at(other).sync.is_some());
    }
    fleet.at(leader).prove();
    fleet.at(leader).settle();
    fleet.deliver();
    for other in fleet.others(leader) {
        fleet.at(other).turn().unwrap();
    }
    fleet.deliver();
    fleet.at(leader).settle();
    assert_eq!(proven(fleet.at(leader)).len(), 1);
    assert!(fleet.records(leader).is_empty(), "what they have not synced is not committed");
}

#[test]
fn too_many_questions_are_refused_until_some_are_answered() {
    let mut fleet = Fleet::led(&Options { proofs_limit: 2, ..Options::default() });
    let leader = fleet.leader().unwrap();
    let ids: Vec<_> = (0..3).map(|_| fleet.at(leader).prove()).collect();
    assert_eq!(fleet.at(leader).proofs, [Proof { id: ids[2], slot: SLOT, answer: Answer::Busy }]);
    fleet.settle();
    assert_eq!(proven(fleet.at(leader)).len(), 2);
    fleet.at(leader).prove();
    fleet.settle();
    assert_eq!(proven(fleet.at(leader)).len(), 3);
}

#[test]
fn one_question_about_several_slots_is_answered_for_each() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let alone = SlotId(9);
    fleet.at(leader).driver.open(alone, first(leader).id, &[first(leader)]).unwrap();
    fleet.settle();
    let station = fleet.at(leader);
    let id = station.driver.prove(&[SLOT, alone, SlotId(10)], &mut station.effects);
    fleet.settle();
    let answered: Vec<_> = fleet.at(leader).proofs.iter().map(|proof| (proof.id, proof.slot)).collect();
    assert_eq!(answered, [(id, alone), (id, SlotId(10)), (id, SLOT)]);
}

#[test]
fn who_asked_a_slot_that_is_closed_is_told() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let id = fleet.at(leader).prove();
    fleet.at(leader).driver.close(SLOT);
    assert!(fleet.at(leader).driver.is_dirty());
    fleet.at(leader).settle();
    assert_eq!(refused(fleet.at(leader)), [(id, None)]);
}
