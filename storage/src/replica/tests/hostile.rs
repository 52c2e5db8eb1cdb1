//! Peers that send what no replica would.

use convoy_ids::Index;
use proptest::prelude::*;
use raft::eraftpb::{Message, MessageType};

use super::fleet::Fleet;
use super::station::{SLOT, node};
use crate::replica::row::EntryKind;
use crate::replica::{Options, StepError, transport};

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

prop_compose! {
    fn message()(
        kind in prop::sample::select(&TYPES[..]),
        numbers in prop::array::uniform6(number()),
        reject in any::<bool>(),
        terms in prop::collection::vec(0_u64..12, 0..4),
        from in 2_u64..5,
        context in prop::collection::vec(any::<u8>(), 0..10),
    ) -> Message {
        let mut message = Message::default();
        message.set_msg_type(kind);
        (message.from, message.to, message.reject) = (from, 1, reject);
        let [term, log_term, index, commit, commit_term, reject_hint] = numbers;
        (message.term, message.log_term, message.index) = (term, log_term, index);
        (message.commit, message.commit_term, message.reject_hint) = (commit, commit_term, reject_hint);
        message.context = context;
        if kind == MessageType::MsgAppend {
            // Indexes follow from the message's: others cannot be said.
            message.index = index % (u64::MAX - 10);
            let first = message.index + 1;
            let entries =
                (first..).zip(terms).map(|(index, term)| transport::shadow(EntryKind::Record, term, index));
            message.set_entries(entries.collect());
        }
        message
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_message_makes_a_replica_panic(
        messages in prop::collection::vec(message(), 1..60),
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
        for message in messages {
            let bytes = transport::encode(&message, |_, _| Some("payload".into()));
            let _ = fleet.at(1).driver.step(SLOT, node(message.from), &bytes.unwrap());
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
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_refused() {
    let mut fleet = Fleet::led(&Options::default());
    let leader = fleet.leader().unwrap();
    let peer = if leader == 2 { 3 } else { 2 };
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppendResponse);
    (message.from, message.to) = (peer, leader);
    message.term = fleet.at(leader).driver.role(SLOT).unwrap().term().0;
    message.index = 100;
    let bytes = transport::encode(&message, |_, _| None).unwrap();
    let refused = fleet.at(leader).driver.step(SLOT, node(peer), &bytes);
    assert_eq!(refused, Err(StepError::Malformed("acknowledges what was not sent")));
}

#[test]
fn a_late_refusal_does_not_set_a_follower_back() {
    let mut fleet = Fleet::led(&Options::default());
    fleet.propose("one");
    let leader = fleet.leader().unwrap();
    let peer = if leader == 2 { 3 } else { 2 };
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppendResponse);
    (message.from, message.to) = (peer, leader);
    message.term = fleet.at(leader).driver.role(SLOT).unwrap().term().0;
    (message.reject, message.index, message.reject_hint) = (true, 2, 0);
    let bytes = transport::encode(&message, |_, _| None).unwrap();
    fleet.at(leader).driver.step(SLOT, node(peer), &bytes).unwrap();
    fleet.settle();
    assert_eq!(fleet.at(leader).driver.last(SLOT), Some(Index(2)));
    assert!(fleet.at(leader).snapshots.is_empty());
    fleet.propose("two");
    assert_eq!(fleet.records(leader), ["one", "two"]);
}
