//! Peers that send what no replica would.

use convoy_ids::Index;
use proptest::prelude::*;
use raft::eraftpb::{Message, MessageType};

use super::fleet::Fleet;
use super::station::{SLOT, Station, node, replica};
use crate::replica::row::EntryKind;
use crate::replica::{Error, Options, StepError, transport};

const TYPES: [MessageType; 9] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
    MessageType::MsgTimeoutNow,
];

prop_compose! {
    fn number()(small in 0_u64..12, near in prop::bool::weighted(0.95), any in any::<u64>()) -> u64 {
        if near { small } else { any }
    }
}

/// Whatever a replica or a stranger could say, and the node that it comes from.
fn said(changes: bool) -> impl Strategy<Value = (Message, u64)> {
    (message(changes), prop::option::weighted(0.1, 1_u64..7)).prop_map(|(message, elsewhere)| {
        let at = elsewhere.unwrap_or(message.from.max(1));
        (message, at)
    })
}

prop_compose! {
    fn message(changes: bool)(
        kind in prop::sample::select(&TYPES[..]),
        numbers in prop::array::uniform6(number()),
        reject in any::<bool>(),
        terms in prop::collection::vec(0_u64..12, 0..4),
        from in 0_u64..7,
        to in prop::option::weighted(0.05, 0_u64..7),
        context in prop::collection::vec(any::<u8>(), 0..10),
    ) -> Message {
        let mut message = Message::default();
        message.set_msg_type(kind);
        (message.from, message.to, message.reject) = (from, to.unwrap_or(1), reject);
        let [term, log_term, index, commit, commit_term, reject_hint] = numbers;
        (message.term, message.log_term, message.index) = (term, log_term, index);
        (message.commit, message.commit_term, message.reject_hint) = (commit, commit_term, reject_hint);
        message.context = context;
        if kind == MessageType::MsgAppend {
            // Indexes follow from the message's: others cannot be said.
            message.index = index % (u64::MAX - 10);
            let first = message.index + 1;
            let kind = |term| if changes && term % 2 == 0 { EntryKind::Change } else { EntryKind::Record };
            let entries =
                (first..).zip(terms).map(|(index, term)| transport::shadow(kind(term), term, index));
            message.set_entries(entries.collect());
        }
        message
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_message_makes_a_replica_panic(
        messages in prop::collection::vec(said(false), 1..60),
        leads in any::<bool>(),
        slow_disk in any::<bool>(),
        records in 0..5,
    ) {
        let mut fleet = Fleet::led(&Options { seed: 5, ..Options::default() });
        let leader = fleet.leader().unwrap();
        if (leader == 1) != leads {
            let to = if leads { 1 } else { 2 };
            fleet.at(leader).driver.transfer(SLOT, node(to));
            fleet.settle();
        }
        for number in 0..records {
            fleet.propose(&format!("record {number}"));
        }
        let committed = fleet.at(1).history().to_vec();
        for (message, at) in messages {
            let bytes = transport::encode(&message, |_, _| Some("payload".into()));
            let _ = fleet.at(1).driver.step(SLOT, node(at), &bytes.unwrap());
            fleet.at(1).driver.tick();
            if slow_disk {
                fleet.at(1).turn().unwrap();
            } else {
                fleet.at(1).settle();
            }
        }
        fleet.at(1).settle();
        prop_assert_eq!(&fleet.at(1).history()[..committed.len()], committed);
    }

    #[test]
    fn no_message_makes_a_newcomer_panic(messages in prop::collection::vec(said(true), 1..60)) {
        let mut newcomer = Station::new(node(6), Options::default());
        newcomer.me = replica(1, 6).id;
        newcomer.open(&[node(2), node(3), node(4)]);
        for (message, at) in messages {
            let change = |index: u64, term: u64| {
                let steps = [term % 7, index % 3].map(u64::to_le_bytes).concat();
                Some([&[2, 0, 0, 0][..], &steps].concat().into())
            };
            let bytes = transport::encode(&message, change);
            let _ = newcomer.driver.step(SLOT, node(at), &bytes.unwrap());
            newcomer.driver.tick();
            newcomer.settle();
            if !newcomer.failures.is_empty() {
                break;
            }
        }
    }
}

/// What a follower could answer the leader, without its numbers.
fn append_response(fleet: &mut Fleet) -> (u64, u64, Message) {
    let leader = fleet.leader().unwrap();
    let peer = if leader == 2 { 3 } else { 2 };
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppendResponse);
    (message.from, message.to) = (peer, leader);
    message.term = fleet.at(leader).driver.role(SLOT).unwrap().term().0;
    (leader, peer, message)
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_refused() {
    let mut fleet = Fleet::led(&Options::default());
    let (leader, peer, mut message) = append_response(&mut fleet);
    message.index = 100;
    let bytes = transport::encode(&message, |_, _| None).unwrap();
    let refused = fleet.at(leader).driver.step(SLOT, node(peer), &bytes);
    assert_eq!(refused, Err(StepError::Malformed("acknowledges what was not sent")));
}

#[test]
fn a_late_refusal_does_not_set_a_follower_back() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let (leader, peer, mut message) = append_response(&mut fleet);
    (message.reject, message.index, message.reject_hint) = (true, 2, 0);
    let bytes = transport::encode(&message, |_, _| None).unwrap();
    fleet.at(leader).driver.step(SLOT, node(peer), &bytes).unwrap();
    fleet.settle();
    assert_eq!(fleet.at(leader).driver.last(SLOT), Some(Index(2)));
    assert!(fleet.at(leader).snapshots.is_empty());
    fleet.propose("two");
    assert_eq!(fleet.records(leader), ["one", "two"]);
}

#[test]
fn a_change_of_the_group_that_cannot_be_read_stops_the_replica() {
    let mut station = Station::new(node(1), Options::default());
    station.open(&[node(1), node(2), node(3)]);
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppend);
    (message.from, message.to, message.term, message.commit) = (2, 1, 1, 1);
    message.set_entries(vec![transport::shadow(EntryKind::Change, 1, 1)]);
    let bytes = transport::encode(&message, |_, _| Some("of a later release".into())).unwrap();
    station.driver.step(SLOT, node(2), &bytes).unwrap();
    station.settle();
    let errors: Vec<_> = station.failures.iter().map(|failure| &failure.error).collect();
    assert!(matches!(errors[..], [Error::Damaged { index: Index(1), .. }]), "{errors:?}");
    assert!(station.history().is_empty());
}
