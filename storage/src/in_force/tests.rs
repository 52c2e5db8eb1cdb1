use super::*;
use crate::engine::Batch;
use crate::replica::tests::station::{SLOT, Station, node};
use crate::snapshot::{CopyId, Receiver, Sender};

/// A slot with some records, and a copy of it that is staged on the same node, with so many of its pieces.
fn staged(pieces: usize) -> (Station, Receiver) {
    let mut station = Station::alone(crate::replica::Options::default());
    for number in 0..20 {
        station.propose(&format!("record {number}")).unwrap();
    }
    station.settle();
    let view = station.rows.clone().view();
    let base = station.driver.base(SLOT).unwrap();
    let mut sender = Sender::new(view, SLOT, base, CopyId(1)).unwrap();
    let (mut receiver, _) = Receiver::begin(&station.rows, &sender.next_piece(50).unwrap().unwrap()).unwrap();
    for _ in 1..pieces {
        let Some(piece) = sender.next_piece(50).unwrap() else { break };
        receiver.take(&station.rows, &piece).unwrap();
    }
    (station, receiver)
}

/// A slot that was replaced. Its own log would reach as far as the copy: it is taken away before.
fn switched() -> Station {
    let (mut station, receiver) = staged(usize::MAX);
    let mut batch = Batch::new();
    let log = (SLOT.0.to_be_bytes(), (SLOT.0 + 1).to_be_bytes());
    batch.delete_range(Family::Log, &log.0, &log.1);
    station.engine.write(&batch).unwrap();
    assert!(receiver.install(&station.rows, &mut station.driver).unwrap());
    station
}

fn find(station: &Station) -> InForce {
    InForce::find(station.engine.clone()).unwrap()
}

/// All rows of the database, by what they belong to.
fn count(station: &Station, found: &InForce) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for family in Family::ALL {
        station
            .engine
            .scan(family, b"", &[0xff; 12], &mut |key, _| {
                *counts.entry(format!("{:?}", found.of(family, key))).or_insert(0) += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    counts
}

fn state(engine: &dyn Engine) -> usize {
    let mut rows = 0;
    let (from, to) = (SLOT.0.to_be_bytes(), (SLOT.0 + 1).to_be_bytes());
    engine
        .scan(Family::Session, &from, &to, &mut |_, _| {
            rows += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

#[test]
fn a_slot_that_was_never_replaced_has_its_own_number() {
    let station = Station::alone(crate::replica::Options::default());
    let found = find(&station);
    assert_eq!(found.damage(), [""; 0]);
    assert_eq!(found.number_of(SLOT), SLOT.0);
    assert_eq!(count(&station, &found).into_keys().collect::<Vec<_>>(), ["Slot(SlotId(7))"]);
}

#[test]
fn what_is_staged_is_in_force_nowhere() {
    let (station, _) = staged(5);
    let found = find(&station);
    assert_eq!(found.damage(), [""; 0]);
    let counts = count(&station, &found);
    assert!(counts["Nothing(32768)"] >= 5, "{counts:?}");
    assert_eq!(state(&found.rows()), 21);
}

#[test]
fn a_slot_that_was_replaced_has_the_rows_of_the_switch() {
    let station = switched();
    let found = find(&station);
    assert_eq!((found.damage(), found.number_of(SLOT)), (&[][..], 0x8000));
    assert_eq!((found.slot_under(0x8000), found.slot_under(SLOT.0)), (Some(SLOT), None));
    let counts = count(&station, &found);
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["Generation", "Slot(SlotId(7))"]);
    assert_eq!(state(&found.rows()), 21);
}

#[test]
fn rows_of_before_the_switch_that_are_back_are_in_force_nowhere() {
    let station = switched();
    let mut batch = Batch::new();
    batch.put(Family::Session, &[&SLOT.0.to_be_bytes()[..], b"old"].concat(), b"1");
    station.engine.write(&batch).unwrap();
    let found = find(&station);
    assert_eq!(count(&station, &found)["Nothing(7)"], 1);
    assert_eq!(state(&found.rows()), 21);
}

/// Without its row the start would take the slot for one that was never replaced, and delete what it has.
#[test]
fn the_log_tells_the_number_where_its_row_is_damaged_or_gone() {
    for is_gone in [true, false] {
        let station = switched();
        let row = [&b"\xff\xffgeneration"[..], &SLOT.0.to_be_bytes()].concat();
        let mut batch = Batch::new();
        match is_gone {
            true => batch.delete(Family::Meta, &row),
            false => batch.put(Family::Meta, &row, b"anything"),
        }
        station.engine.write(&batch).unwrap();
        let found = find(&station);
        assert_eq!(found.number_of(SLOT), 0x8000);
        let told = "nothing says where the rows of slot 7 lie; by its log they are those under 0x8000";
        assert_eq!(found.damage().last().unwrap(), told);
        assert_eq!(found.damage().len(), if is_gone { 1 } else { 2 });
        assert_eq!(state(&found.rows()), 21);
    }
}

#[test]
fn a_slot_that_has_more_under_its_own_number_has_not_moved() {
    let mut station = switched();
    // As if the switch had been of an older copy.
    let mut batch = Batch::new();
    batch.delete(Family::Meta, &[&b"\xff\xffgeneration"[..], &SLOT.0.to_be_bytes()].concat());
    crate::replica::Driver::put_applied(SLOT, convoy_ids::Index(99), &mut batch);
    station.engine.write(&batch).unwrap();
    station.node = node(1);
    let found = find(&station);
    assert_eq!((found.number_of(SLOT), found.damage()), (SLOT.0, &[][..]));
}
