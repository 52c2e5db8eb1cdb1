//! A group of one replica.

use std::sync::Arc;

use convoy_ids::{Index, NodeId, SlotId, Term};

use crate::engine::{Batch, Engine, Model};
use crate::replica::*;

const NODE: NodeId = NodeId::new(1).unwrap();
const SLOT: SlotId = SlotId(7);

#[test]
fn nothing_is_committed_before_it_is_synced() {
    let engine = Arc::new(Model::new());
    let mut driver = Driver::new(engine.clone(), NODE, Options::default());
    assert_eq!(driver.open(SLOT, &[NODE]).unwrap(), Opened { applied: Index(0), last: Index(0) });
    let (mut state, mut effects) = (Batch::new(), Effects::new());

    driver.round(&mut state, &mut effects).unwrap();
    assert!(effects.committed.is_empty());
    assert!(!driver.role(SLOT).unwrap().is_leader());
    let round = effects.sync.take().unwrap();
    engine.sync().unwrap();
    driver.synced(round, &mut effects);
    assert_eq!(driver.role(SLOT), Some(Role::Leader { term: Term(1) }));
    effects.clear();

    assert_eq!(driver.propose(SLOT, b"one".to_vec()), Ok((Term(1), Index(2))));
    driver.round(&mut state, &mut effects).unwrap();
    assert!(effects.committed.is_empty());
    let round = effects.sync.take().unwrap();
    engine.sync().unwrap();
    driver.synced(round, &mut effects);
    let data = "one".into();
    assert_eq!(effects.committed, [Committed { slot: SLOT, term: Term(1), index: Index(2), data }]);
}
