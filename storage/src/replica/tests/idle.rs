//! What costs nothing.

use convoy_ids::SlotId;

use super::station::{Station, first, node};
use crate::replica::*;

#[test]
fn a_replica_alone_has_no_timers_to_run() {
    let mut station = Station::new(node(1), Options::default());
    for slot in 0..64 {
        station.driver.open(SlotId(slot), first(1).id, &[first(1)]).unwrap();
    }
    station.settle();
    let writes = station.engine.writes();
    for _ in 0..1000 {
        station.driver.tick();
        assert!(!station.driver.is_dirty());
    }
    station.settle();
    assert_eq!(station.engine.writes(), writes);
}
