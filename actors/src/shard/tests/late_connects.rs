//! A CONNECT that comes late, behind one of the same Client that was sent after it.

use std::cell::Cell;
use std::rc::Rc;

use super::fleet::{Fleet, WELCOME, client_of, node};
use super::*;
use crate::channel::Frame;
use crate::options::Without;

#[test]
fn a_connect_that_comes_late_takes_nothing_from_a_connection_that_is_newer() {
    for (without, stays) in [(Without::Nothing, true), (Without::Late, false)] {
        let mut fleet = Fleet::new(without);
        let name = client_of(0, "rover");
        fleet.lost.insert((1, 0));
        let (old, got) = fleet.join(1, passing(&name));
        assert_eq!(got, []);
        fleet.nodes[1].cut_and_settle(old);
        fleet.settle();
        let (new, got) = fleet.join(2, passing(&name));
        assert_eq!(got, [WELCOME]);
        fleet.lost.clear();
        // The CONNECT comes, and what was said behind it does not for a while.
        let has_come = Rc::new(Cell::new(false));
        let came = Rc::clone(&has_come);
        fleet.frame_weather = Box::new(move |mut frames| {
            frames.retain(|(from, parcel)| {
                let frame = Frame::decode(&parcel.bytes.clone().into(), usize::MAX).expect("it was sent so");
                let is_of_it = *from == 1 && parcel.to == node(0) && frame.payload.is_some();
                !is_of_it || !came.replace(true)
            });
            frames
        });
        fleet.pass(200);
        assert!(has_come.get(), "it was not sent again");
        fleet.frame_weather = Box::new(|frames| frames);
        fleet.pass(1_000);
        assert_eq!(fleet.is_connected(2, new), stays, "without {without:?}");
        // Who comes back there is welcome.
        let (next, got) = fleet.join(1, passing(&name));
        assert_eq!(got, [WELCOME]);
        assert!(fleet.is_connected(1, next) && !fleet.is_connected(2, new));
    }
}
