//! Many Sessions, listed page by page.

use super::*;
use crate::query::{Answer, Query};

#[test]
fn a_hundred_thousand_sessions_are_listed_page_by_page() {
    const SESSIONS: usize = 100_000;
    // Rows as CONNECT leaves them: one is made by the machine, and written under all the other names.
    let mut world = World::new();
    let client = world.connect(lasting("model"));
    world.send_and_settle(client, goodbye());
    let layout = world.shards[0].layout();
    let model = layout.slot_of_client("model");
    world.engine = Arc::new({
        let key = crate::slot::client_key(model, "model");
        let mut row = Vec::new();
        let family = convoy_storage::engine::Family::Session;
        assert!(world.engine.get(family, &key, &mut row).unwrap());
        let mut batch = Batch::new();
        for number in 0..SESSIONS - 1 {
            let name = format!("car-{number:06}");
            batch.put(family, &crate::slot::client_key(layout.slot_of_client(&name), &name), &row);
        }
        world.engine.write(&batch).unwrap();
        world.engine.sync().unwrap();
        world.engine.restart()
    });
    world.restart();

    let (mut found, mut questions) = (std::collections::BTreeSet::new(), 0);
    for slot in (0..layout.slots).map(SlotId) {
        let mut after: Option<String> = None;
        loop {
            let shard = usize::from(layout.shard_of(slot));
            let query = Query::Sessions {
                slot,
                prefix: String::new(),
                after: after.take(),
                connected: None,
                limit: 200,
            };
            world.shards[shard].query(world.now, 7, query);
            questions += 1;
            let mut answers = world.shards[shard].take_answers();
            let Some((7, Answer::Sessions { sessions, next })) = answers.pop() else { panic!("no sessions") };
            assert!(sessions.len() <= 200);
            for session in sessions {
                assert!(found.insert(session.client_id), "each is listed once");
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    assert_eq!(found.len(), SESSIONS);
    // A page costs what is in it: as many questions as pages, and one more for the end of each slot.
    assert!(questions <= SESSIONS / 200 + 2 * usize::from(layout.slots), "{questions}");
}
