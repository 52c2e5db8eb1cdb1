use std::ops::ControlFlow;
use std::sync::Arc;

use convoy_ids::{Index, SlotId};
use proptest::prelude::*;

use super::*;
use crate::engine::{Batch, Engine, Family, Generations, Model};
use crate::replica::tests::fleet::Fleet;
use crate::replica::tests::station::{SLOT, Station, node};
use crate::replica::*;

const COPY: CopyId = CopyId(77);

/// A replica with some records, that leads alone.
fn source(records: usize) -> Station {
    let mut station = Station::alone(Options::default());
    for number in 0..records {
        station.propose(&format!("record {number}")).unwrap();
        station.settle();
    }
    station
}

fn sender(station: &Station) -> Sender {
    let base = station.driver.base(SLOT).unwrap();
    Sender::new(station.rows.clone().view(), SLOT, base, COPY).unwrap()
}

fn pieces(sender: &mut Sender, limit: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| sender.next_piece(limit).unwrap()).collect()
}

/// Takes all of these pieces into a node that is new.
fn receive(station: &Station, pieces: &[Vec<u8>]) -> Receiver {
    let (mut receiver, mut taken) = Receiver::begin(&station.rows, &pieces[0]).unwrap();
    for (number, piece) in pieces.iter().enumerate().skip(1) {
        assert_eq!(taken, Taken::More { next: number as u32 });
        taken = receiver.take(&station.rows, piece).unwrap();
    }
    assert_eq!(taken, Taken::Whole);
    receiver
}

fn install(station: &mut Station, receiver: Receiver) -> bool {
    let installed = receiver.install(&station.rows, &mut station.driver).unwrap();
    if !installed {
        receiver.abandon(&station.rows).unwrap();
    }
    installed
}

#[test]
fn a_replica_goes_on_behind_a_copy_in_pieces_of_any_size() {
    let from = source(20);
    for limit in [1, 40, 1 << 20] {
        let mut to = Station::new(node(2), Options::default());
        let pieces = pieces(&mut sender(&from), limit);
        assert_eq!(pieces.len() > 5, limit < 1 << 20, "pieces of {limit} bytes: {}", pieces.len());
        let receiver = receive(&to, &pieces);
        assert!(to.saved().is_empty(), "nothing is in force yet");
        assert!(install(&mut to, receiver));
        to.rows.sync().unwrap();
        assert_eq!(to.open(&[]).applied, Index(21));
        assert_eq!(to.saved(), from.saved());
    }
}

#[test]
fn a_copy_is_of_one_moment_whatever_is_applied_meanwhile() {
    let mut from = source(10);
    let (expected, mut sender) = (from.saved(), sender(&from));
    let mut pieces = vec![sender.next_piece(60).unwrap().unwrap()];
    while let Some(piece) = sender.next_piece(60).unwrap() {
        from.propose("later").unwrap();
        from.settle();
        pieces.push(piece);
    }
    assert!(pieces.len() > 3);
    let mut to = Station::new(node(2), Options::default());
    let receiver = receive(&to, &pieces);
    install(&mut to, receiver);
    to.open(&[]);
    assert_eq!(to.saved(), expected);
}

#[test]
fn a_base_of_another_moment_is_refused() {
    let mut from = source(3);
    let view = from.rows.clone().view();
    from.propose("later").unwrap();
    from.settle();
    let base = from.driver.base(SLOT).unwrap();
    let error = Sender::new(view, SLOT, base, COPY).err().unwrap();
    assert_eq!(error, SenderError::Torn { slot: SLOT, applied: Index(4), base: Index(5) });
}

#[test]
fn after_a_break_the_sender_goes_back_to_what_was_not_taken() {
    let (from, mut to) = (source(20), Station::new(node(2), Options::default()));
    let mut sender = sender(&from);
    let mut sent: Vec<_> = (0..5).map(|_| sender.next_piece(60).unwrap().unwrap()).collect();
    let (mut receiver, _) = Receiver::begin(&to.rows, &sent[0]).unwrap();
    receiver.take(&to.rows, &sent[1]).unwrap();
    // Pieces 2 to 4 were lost; 1 comes twice.
    assert!(matches!(receiver.take(&to.rows, &sent[1]), Err(Refused::NotNext { next: 2, found: 1 })));
    assert!(matches!(receiver.take(&to.rows, &sent[4]), Err(Refused::NotNext { next: 2, found: 4 })));
    sender.taken(2);
    assert!(!sender.go_back(1), "what was taken is not kept");
    assert!(!sender.go_back(9));
    assert!(sender.go_back(2));
    assert_eq!(sender.number(), 2);
    sent.truncate(2);
    while let Some(piece) = sender.next_piece(60).unwrap() {
        receiver.take(&to.rows, &piece).unwrap();
    }
    assert!(sender.go_back(sender.number()));
    assert!(install(&mut to, receiver));
    to.open(&[]);
    assert_eq!(to.saved(), from.saved());
}

#[test]
fn what_is_not_a_piece_of_this_copy_is_refused_and_stages_nothing() {
    let (from, to) = (source(5), Station::new(node(2), Options::default()));
    let pieces = pieces(&mut sender(&from), 60);
    let (mut receiver, _) = Receiver::begin(&to.rows, &pieces[0]).unwrap();
    let writes = to.engine.writes();
    for at in 0..pieces[1].len() {
        let mut changed = pieces[1].clone();
        changed[at] ^= 0x20;
        assert!(matches!(receiver.take(&to.rows, &changed), Err(Refused::Malformed(_))), "byte {at}");
    }
    for length in 0..pieces[1].len() {
        let cut = receiver.take(&to.rows, &pieces[1][..length]);
        assert!(matches!(cut, Err(Refused::Malformed(_))), "{length} bytes");
    }
    let base = from.driver.base(SLOT).unwrap();
    let mut other = Sender::new(from.rows.clone().view(), SLOT, base, CopyId(78)).unwrap();
    let other = super::tests::pieces(&mut other, 60);
    assert!(matches!(receiver.take(&to.rows, &other[1]), Err(Refused::OtherCopy)));
    assert!(matches!(Receiver::begin(&to.rows, &pieces[1]), Err(Refused::NotNext { next: 0, found: 1 })));
    assert_eq!(to.engine.writes(), writes);
}

#[test]
fn a_sender_that_leaves_rows_out_is_found_at_once() {
    let (from, to) = (source(9), Station::new(node(2), Options::default()));
    let whole = pieces(&mut sender(&from), 60);
    let (mut receiver, _) = Receiver::begin(&to.rows, &whole[0]).unwrap();
    let mut lies = piece::Piece::decode(&whole[1]).unwrap();
    lies.rows = &[];
    let refused = receiver.take(&to.rows, &lies.encode()).unwrap_err();
    assert_eq!(refused.to_string(), "not a piece of a copy: rows are missing, or there are too many");
    lies.rows = &[Family::Log as u8, 0, 0, 0, 0, 0, 0, 0, 0];
    let refused = receiver.take(&to.rows, &lies.encode()).unwrap_err();
    assert_eq!(refused.to_string(), "not a piece of a copy: its rows are not rows of a slot");
}

#[test]
fn a_full_disk_loses_no_piece() {
    let (from, mut to) = (source(9), Station::new(node(2), Options::default()));
    let pieces = pieces(&mut sender(&from), 60);
    let (mut receiver, _) = Receiver::begin(&to.rows, &pieces[0]).unwrap();
    for piece in &pieces[1..] {
        to.engine.set_full(true);
        let full = receiver.take(&to.rows, piece);
        assert!(matches!(full, Err(Refused::Engine(crate::engine::Error::Full { .. }))));
        to.engine.set_full(false);
        receiver.take(&to.rows, piece).unwrap();
    }
    to.engine.set_full(true);
    let full = receiver.install(&to.rows, &mut to.driver);
    assert!(matches!(full, Err(Refused::Engine(crate::engine::Error::Full { .. }))));
    to.engine.set_full(false);
    assert!(install(&mut to, receiver));
    to.open(&[]);
    assert_eq!(to.saved(), from.saved());
}

/// A replica with a state of its own gets a copy of a longer one, and the power goes at each write of it.
#[test]
fn a_crash_leaves_the_old_state_or_the_new_one_with_the_log_that_goes_on_behind_it() {
    let from = source(12);
    let pieces = pieces(&mut sender(&from), 60);
    let mut outcomes = [0, 0];
    for keep in 0.. {
        let mut to = source(2);
        to.rows.sync().unwrap();
        let old = to.saved();
        let receiver = receive(&to, &pieces);
        assert!(install(&mut to, receiver));
        let batches = to.engine.unsynced();
        if keep > batches {
            break;
        }
        let mut after = to.crash(keep);
        let opened = after.open(&[node(1)]);
        let is_new = opened.applied == Index(13);
        outcomes[usize::from(is_new)] += 1;
        assert_eq!(is_new, keep == batches, "the switch is the last batch");
        assert_eq!(after.saved(), if is_new { from.saved() } else { old });
        after.settle();
        after.propose("on it goes").unwrap();
        after.settle();
        assert_eq!(after.records().last(), Some(&"on it goes"));
        // Of what was staged in vain nothing is left.
        let spare = after.engine.last(Family::Session, &[0x80], &[0xff, 0xff]).unwrap();
        assert_eq!(spare.is_some(), is_new);
    }
    assert!(outcomes[0] > 5 && outcomes[1] == 1, "{outcomes:?}");
}

#[test]
fn a_copy_that_is_not_needed_any_more_changes_nothing() {
    let mut station = source(5);
    let pieces = pieces(&mut sender(&station), 60);
    let receiver = receive(&station, &pieces);
    assert!(!install(&mut station, receiver), "the log reaches that point");
    assert!(station.leads());
    assert_eq!(station.engine.last(Family::Session, &[0x80], &[0xff, 0xff]).unwrap(), None);
}

#[test]
fn a_follower_behind_the_leaders_log_goes_on_from_a_copy_of_the_state() {
    let options = Options { kept_log_bytes: 200, segment_entries: 8, ..Options::default() };
    let (mut fleet, leader, away, down) = Fleet::led_without_one(&options, 100);
    assert!(fleet.at(leader).driver.log_entries(SLOT).unwrap() <= 24);
    fleet.restart(&down, 0);
    fleet.tick(5);
    assert!(fleet.at(leader).snapshots.contains(&SnapshotWanted { slot: SLOT, to: node(away) }));
    assert!(fleet.records(away).is_empty());

    let pieces = pieces(&mut sender(fleet.at(leader)), 500);
    let follower = fleet.at(away);
    let receiver = receive(follower, &pieces);
    assert!(install(follower, receiver));
    follower.rows.sync().unwrap();
    let applied = follower.open(&[]).applied;
    assert!(applied > Index(100));

    assert_eq!(fleet.at(leader).snapshots.len(), 1, "asked for once");
    fleet.at(leader).driver.snapshot_ended(SLOT, node(away), false);
    fleet.tick(5);
    assert_eq!(fleet.at(leader).snapshots.len(), 2, "asked for again if it failed");
    fleet.at(leader).driver.snapshot_ended(SLOT, node(away), true);
    fleet.propose("after");
    fleet.tick(5);
    let expected = fleet.records(leader);
    assert_eq!(expected.len(), 101);
    assert_eq!(fleet.records(away), expected);
    fleet.at(leader).snapshots.clear();
    fleet.tick(5);
    assert!(fleet.at(leader).snapshots.is_empty());
    // And over again, from the rows that stand under another number now.
    let down = fleet.take_down(away);
    fleet.restart(&down, 0);
    fleet.propose("again");
    fleet.tick(5);
    assert_eq!(fleet.records(away).len(), 102);
}

/// A piece as the first release writes it.
#[test]
fn the_form_is_frozen() {
    let mut rows = Vec::new();
    piece::push_row(&mut rows, Family::Queue, &[0, 7, b'k'], b"v");
    let digest = piece::digest(0, &rows);
    let piece = piece::Piece {
        copy: 1,
        slot: 7,
        number: 2,
        base: None,
        rows: &rows,
        count: 3,
        digest,
        is_last: true,
    };
    let bytes = piece.encode();
    let body = b"\x01\x07\x02\x00\x0b\x03\x01\0\0\0k\x01\0\0\0v\x03";
    assert_eq!(&bytes[crate::envelope::HEADER..][..body.len()], body, "{bytes:02x?}");
    assert_eq!(piece::Piece::decode(&bytes), Ok(piece));
}

proptest! {
    /// All families and any keys arrive as they were.
    #[test]
    fn any_state_arrives_as_it_was(
        rows in prop::collection::btree_map((0..4_usize, prop::collection::vec(any::<u8>(), 0..6)), prop::collection::vec(any::<u8>(), 0..40), 0..40),
        limit in 1..300_usize,
    ) {
        let mut from = source(1);
        let mut batch = Batch::new();
        for ((family, rest), value) in &rows {
            let key = [&SLOT.0.to_be_bytes()[..], b"\xfe", rest].concat();
            batch.put(piece::FAMILIES[*family], &key, value);
        }
        from.driver.write_applied(&mut batch).unwrap();
        let mut to = Station::new(node(2), Options::default());
        let receiver = receive(&to, &pieces(&mut sender(&from), limit));
        install(&mut to, receiver);
        let all = |rows: &Arc<Generations>| {
            let mut found = Vec::new();
            for family in piece::FAMILIES {
                let (low, high) = (SLOT.0.to_be_bytes(), (SLOT.0 + 1).to_be_bytes());
                rows.scan(family, &low, &high, &mut |key, value| {
                    found.push((family, key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                }).unwrap();
            }
            found
        };
        prop_assert_eq!(all(&to.rows), all(&from.rows));
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = Vec::new();
        crate::envelope::seal(0x23, 1, &mut bytes, |into| into.extend_from_slice(&body));
        let rows = Generations::open(Arc::new(Model::new())).unwrap();
        let _ = Receiver::begin(&rows, &bytes);
        let _ = piece::read_rows(&body, SlotId(1), &mut Batch::new());
    }
}
