//! What an operator asks, and what follows from an order.

use super::*;
use crate::query::{Answer, FilterCursor, Problem, Publication, Query, SessionEntry, SubscriptionFilter};
use crate::session::Home;

impl World {
    fn layout(&self) -> crate::query::Layout {
        self.shards[0].layout()
    }

    /// Asks, and lets everything happen that follows from it.
    pub(super) fn query(&mut self, query: Query) -> Answer {
        self.begin_query(query);
        self.settle();
        self.answer().expect("every question is answered")
    }

    fn begin_query(&mut self, query: Query) {
        let shard = usize::from(self.layout().shard_for(&query));
        self.shards[shard].query(self.now, 7, query);
    }

    fn answer(&mut self) -> Option<Answer> {
        let mut answers: Vec<_> = self.shards.iter_mut().flat_map(Shard::take_answers).collect();
        assert!(answers.len() <= 1, "{answers:?}");
        answers.pop().map(|(number, answer)| {
            assert_eq!(number, 7);
            answer
        })
    }

    fn session(&mut self, client_id: &str) -> Option<SessionEntry> {
        match self.query(Query::Session { client_id: client_id.into() }) {
            Answer::Sessions { mut sessions, .. } => sessions.pop(),
            Answer::Failed(Problem::NotFound) => None,
            other => panic!("{other:?}"),
        }
    }

    /// The Client Identifiers of all Sessions, read in pages of so many.
    fn client_ids(&mut self, prefix: &str, connected: Option<bool>, limit: usize) -> Vec<String> {
        let mut found = Vec::new();
        for slot in 0..self.options.slots {
            let mut after = None;
            loop {
                let prefix = prefix.to_owned();
                let query = Query::Sessions { slot: SlotId(slot), prefix, after, connected, limit };
                let Answer::Sessions { sessions, next } = self.query(query) else { panic!("no sessions") };
                assert!(sessions.len() <= limit);
                found.extend(sessions.into_iter().map(|session| session.client_id));
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        found
    }
}

#[test]
fn sessions_are_listed_once_whatever_the_page() {
    let mut world = World::new();
    let names: Vec<String> = (0..40).map(|number| format!("car-{number:02}")).collect();
    for (number, name) in names.iter().enumerate() {
        let client = world.connect(lasting(name));
        if number % 2 == 0 {
            world.send_and_settle(client, goodbye());
        }
    }
    world.connect(passing("other"));
    for limit in [1, 3, 100] {
        let mut found = world.client_ids("car-", None, limit);
        found.sort();
        assert_eq!(found, names);
    }
    assert_eq!(world.client_ids("car-", Some(true), 5).len(), 20);
    assert_eq!(world.client_ids("car-1", Some(false), 5).len(), 5);
    assert_eq!(world.client_ids("nobody", None, 5), Vec::<String>::new());
    assert_eq!(world.client_ids("", None, 5).len(), 41);
}

#[test]
fn a_cursor_stays_right_while_sessions_come_and_go() {
    let mut world = World::new();
    let slot = world.layout().slot_of_client("a-00");
    let in_slot = |world: &World, letter: char| -> Vec<String> {
        let names = (0..400).map(|number| format!("{letter}-{number:02}"));
        names.filter(|name| world.layout().slot_of_client(name) == slot).take(4).collect()
    };
    let (early, late) = (in_slot(&world, 'a'), in_slot(&world, 'c'));
    for name in early.iter().chain(&late) {
        world.connect(lasting(name));
    }
    let sessions = |after| Query::Sessions { slot, prefix: String::new(), after, connected: None, limit: 4 };
    let Answer::Sessions { next, .. } = world.query(sessions(None)) else { panic!("no sessions") };
    assert_eq!(next.as_ref(), early.iter().max());

    // Those that were seen go, the one at the cursor too, and others come in front of it and behind it.
    for name in &early {
        let ended = world.query(Query::EndSession { client_id: name.clone() });
        assert!(matches!(ended, Answer::Done), "{ended:?}");
    }
    let between = in_slot(&world, 'b').remove(0);
    world.connect(lasting(&between));
    let Answer::Sessions { sessions: page, .. } = world.query(sessions(next)) else { panic!("no sessions") };
    let mut expected = [vec![between], late].concat();
    expected.sort();
    let found: Vec<_> = page.iter().map(|session| session.client_id.clone()).collect();
    assert_eq!(found, expected[..4]);
}

#[test]
fn a_session_tells_what_waits_for_it() {
    let mut world = World::new();
    let away = world.subscriber(lasting("away"), &["a/#", "b"]);
    let created_at = world.now.wall;
    world.send_and_settle(away, goodbye());
    world.pass(1000);
    let publisher = world.connect(passing("publisher"));
    for packet_id in 1..=3 {
        world.publish(publisher, publish("a/b", "payload", packet_id));
    }
    let session = world.session("away").expect("it lasts");
    let queue = session.queue.expect("its messages wait on disk");
    assert_eq!((session.home, session.subscriptions, queue.messages, queue.inflight), (None, 2, 3, 0));
    assert!(queue.bytes > 3 * 7);
    assert!(session.created_at <= created_at && session.disconnected_at.is_some());

    // The same after a restart, when nothing of it is in memory.
    world.restart();
    let again = world.session("away").expect("it lasts");
    assert_eq!((again.queue, again.created_at), (Some(queue), session.created_at));
    assert_eq!(world.session("publisher"), None);
    assert_eq!(world.session("nobody"), None);
}

#[test]
fn a_connection_tells_what_has_gone_over_it() {
    let mut world = World::new();
    let mut connect = passing("car");
    connect.keep_alive = 30;
    let car = world.subscriber(connect, &["a"]);
    world.publish(car, publish("a", "payload", 1));
    let home = world.session("car").and_then(|session| session.home).expect("it is connected");
    let query = Query::Connections { shard: home.shard, homes: vec![home, Home { serial: 1, ..home }] };
    let Answer::Connections(mut found) = world.query(query) else { panic!("no connections") };
    assert!(found.pop().is_some_and(|gone| gone.is_none()));
    let connection = found.pop().flatten().expect("it is there");
    assert_eq!((connection.version, connection.keep_alive_seconds, connection.clean_start), (V5, 30, true));
    assert_eq!((connection.traffic.messages_received, connection.traffic.messages_sent), (1, 1));
    assert!(connection.traffic.bytes_received > 30 && connection.traffic.bytes_sent > 20);
    let queue = connection.queue.expect("its messages wait with the connection");
    assert_eq!((queue.messages, queue.inflight), (1, 1));
    assert_eq!(connection.peer.listener.name, "test");
}

#[test]
fn a_kicked_client_is_told_and_its_session_stays() {
    let mut world = World::new();
    let car = world.connect(lasting("car"));
    let old = world.connect(Connect { clean_start: false, ..Connect::new(V311, "old") });
    for (client, name) in [(car, "car"), (old, "old")] {
        let done = world.query(Query::Kick { client_id: name.into() });
        assert!(matches!(done, Answer::Done), "{done:?}");
        let last = world.lines[client.0].got.pop();
        assert_eq!(last, Some(Got::Closed));
        let session = world.session(name).expect("the Session lasts");
        assert_eq!(session.home, None);
        let again = world.query(Query::Kick { client_id: name.into() });
        assert!(matches!(again, Answer::Failed(Problem::NotConnected)), "{again:?}");
    }
    assert_eq!(world.lines[car.0].got, [Got::Disconnect(ReasonCode::AdministrativeAction)]);
    assert_eq!(world.lines[old.0].got, []);
    let nobody = world.query(Query::Kick { client_id: "nobody".into() });
    assert!(matches!(nobody, Answer::Failed(Problem::NotFound)), "{nobody:?}");
}

#[test]
fn an_ended_session_is_gone_once_that_is_on_record() {
    let mut world = World::new();
    let car = world.subscriber(lasting("car"), &["a/#", "+/b", "$share/g/c"]);
    world.begin_query(Query::EndSession { client_id: "car".into() });
    world.flow();
    assert!(world.answer().is_none() && world.lines[car.0].key.is_some());
    world.settle();
    assert!(matches!(world.answer(), Some(Answer::Done)));
    assert_eq!(
        world.lines[car.0].got.split_off(0),
        [Got::Disconnect(ReasonCode::AdministrativeAction), Got::Closed]
    );
    world.restart();
    assert_eq!(world.session("car"), None);
    let publisher = world.connect(passing("publisher"));
    world.publish(publisher, publish("a/b", "for nobody", 1));
    let car = world.join(lasting("car"));
    assert_eq!(world.lines[car.0].got, [Got::Connack(ReasonCode::Success, false)]);

    // One that is away ends as well.
    world.send_and_settle(car, goodbye());
    let done = world.query(Query::EndSession { client_id: "car".into() });
    assert!(matches!(done, Answer::Done), "{done:?}");
    assert_eq!(world.session("car"), None);
    world.pass(2 * HOUR);
    let gone = world.query(Query::EndSession { client_id: "car".into() });
    assert!(matches!(gone, Answer::Failed(Problem::NotFound)), "{gone:?}");
}

#[test]
fn subscriptions_are_listed_with_their_clients() {
    let mut world = World::new();
    for number in 0..10 {
        let name = format!("car-{number}");
        world.subscriber(lasting(&name), &["a/b", "+/x", "$share/g/a"]);
    }
    let (mut found, layout) = (Vec::new(), world.layout());
    for slot in (0..layout.slots).map(SlotId) {
        let mut after = None;
        loop {
            let query =
                Query::Subscriptions { slot, client_id: None, fits: Default::default(), after, limit: 2 };
            let Answer::Subscriptions { subscriptions, next } = world.query(query) else { panic!() };
            found.extend(subscriptions.into_iter().map(|entry| (entry.client_id, entry.filter)));
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    found.sort();
    let filters = ["$share/g/a", "+/x", "a/b"];
    let expected: Vec<_> = (0..10)
        .flat_map(|number| filters.map(|filter| (format!("car-{number}"), filter.to_owned())))
        .collect();
    assert_eq!(found, expected);

    let slot = layout.slot_of_client("car-3");
    let mut of_one = |filter: Option<&str>, topic: Option<&str>| {
        let fits = SubscriptionFilter { filter: filter.map(str::to_owned), topic: topic.map(str::to_owned) };
        let client_id = Some("car-3".to_owned());
        let query = Query::Subscriptions { slot, client_id, fits, after: None, limit: 100 };
        let Answer::Subscriptions { subscriptions, next } = world.query(query) else { panic!() };
        assert_eq!(next, None);
        assert!(subscriptions.iter().all(|entry| entry.client_id == "car-3" && entry.subscription.qos == 2));
        subscriptions.into_iter().map(|entry| entry.filter).collect::<Vec<_>>()
    };
    assert_eq!(of_one(None, None), filters);
    assert_eq!(of_one(Some("a/b"), None), ["a/b"]);
    assert_eq!(of_one(None, Some("a")), ["$share/g/a"]);
    assert_eq!(of_one(Some("a/b"), Some("a")), [""; 0]);
}

#[test]
fn topic_filters_are_listed_with_their_subscribers() {
    let mut world = World::new();
    world.subscriber(lasting("one"), &["a/b/c", "a/#", "+/x", "$share/g/a/b/c", "d"]);
    world.subscriber(passing("two"), &["a/b/c", "$share/g/a/b/c", "$share/h/a/b/c", "#"]);
    let mut found = Vec::new();
    for slot in (0..world.options.slots).map(SlotId).chain([SlotId::META]) {
        let mut from = FilterCursor::default();
        loop {
            let Answer::Filters { filters, next } = world.query(Query::Filters { slot, from, limit: 1 })
            else {
                panic!("no filters");
            };
            found.extend(filters.into_iter().map(|entry| (entry.filter, entry.subscribers, entry.shares)));
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
    }
    found.sort();
    let shares = vec![("g".to_owned(), 2), ("h".to_owned(), 1)];
    let alone = |filter: &str| (filter.to_owned(), 1, Vec::new());
    let both = ("a/b/c".to_owned(), 2, shares);
    assert_eq!(found, [alone("#"), alone("+/x"), alone("a/#"), both, alone("d")]);

    let receivers = Query::Receivers { topic: "a/b/c".into(), limit: 3 };
    let Answer::Receivers { receivers, total, place } = world.query(receivers) else { panic!() };
    assert_eq!((receivers.len(), total), (3, 7));
    assert_eq!(place, world.layout().place_of_topic("a/b/c"));
    let query = Query::Names { slot: receivers[0].session.slot(), sessions: vec![receivers[0].session] };
    let Answer::Names(names) = world.query(query) else { panic!() };
    assert!(matches!(names[0].as_deref(), Some("one" | "two")));
}

#[test]
fn what_an_operator_publishes_is_acknowledged_when_it_is_safe() {
    let mut world = World::new();
    let away = world.subscriber(lasting("away"), &["a/#"]);
    let here = world.subscriber(passing("here"), &["a/#"]);
    world.send_and_settle(away, goodbye());
    let publication = Publication {
        topic: "a/b".into(),
        payload: b"news".into(),
        qos: 1,
        retain: true,
        properties: vec![],
    };
    world.begin_query(Query::Publish(Box::new(publication.clone())));
    world.flow();
    assert!(world.answer().is_none());
    world.settle();
    assert!(matches!(world.answer(), Some(Answer::Done)));
    assert_eq!(world.lines[here.0].got, [received("a/b", "news").at(1, 1).got()]);
    assert_eq!(world.session("away").and_then(|session| session.queue).map(|queue| queue.messages), Some(1));

    let done = world.query(Query::Publish(Box::new(Publication { qos: 0, retain: false, ..publication })));
    assert!(matches!(done, Answer::Done), "{done:?}");
    let topic = String::from("a/b");
    let found = world.query(Query::RetainedMessage { topic: topic.clone() });
    let Answer::Retained { messages, .. } = found else { panic!("{found:?}") };
    assert_eq!((&messages[0].payload[..], messages[0].qos), (&b"news"[..], 1));

    let deleted = world.query(Query::DeleteRetained { topic: topic.clone() });
    assert!(matches!(deleted, Answer::Done), "{deleted:?}");
    world.power_cut();
    let gone = world.query(Query::RetainedMessage { topic: topic.clone() });
    assert!(matches!(gone, Answer::Failed(Problem::NotFound)), "{gone:?}");
    let again = world.query(Query::DeleteRetained { topic });
    assert!(matches!(again, Answer::Failed(Problem::NotFound)), "{again:?}");
}

#[test]
fn retained_messages_are_listed_by_filter() {
    let mut world = World::new();
    let publisher = world.connect(passing("publisher"));
    let topics = ["a", "a/b", "a/c/d", "b/x", "c"];
    for topic in topics {
        let retained = Publish { retain: true, ..publish(topic, "kept", 0) };
        world.publish(publisher, retained);
    }
    let mut all = |filter: &str| {
        let mut found = Vec::new();
        for slot in (0..world.options.slots).map(SlotId) {
            let mut at = None;
            loop {
                let query = Query::Retained { slot, filter: filter.into(), at, limit: 1 };
                let Answer::Retained { messages, next } = world.query(query) else { panic!() };
                found.extend(messages.into_iter().map(|entry| (entry.topic, entry.payload_bytes)));
                at = next;
                if at.is_none() {
                    break;
                }
            }
        }
        found.sort();
        found.into_iter().map(|(topic, bytes)| format!("{topic} {bytes}")).collect::<Vec<_>>()
    };
    assert_eq!(all("#"), ["a 4", "a/b 4", "a/c/d 4", "b/x 4", "c 4"]);
    assert_eq!(all("a/#"), ["a 4", "a/b 4", "a/c/d 4"]);
    assert_eq!(all("+/x"), ["b/x 4"]);
    assert_eq!(all("c"), ["c 4"]);
    assert_eq!(all("none/+"), [""; 0]);
}

#[test]
fn slots_tell_how_they_are() {
    let mut world = World::new();
    let mut slots = Vec::new();
    for shard in 0..world.shards.len() as u16 {
        let Answer::Slots(found) = world.query(Query::Slots { shard }) else { panic!("no slots") };
        slots.extend(found);
    }
    slots.sort_by_key(|slot| slot.slot);
    let numbers: Vec<_> = slots.iter().map(|slot| slot.slot).collect();
    assert_eq!(numbers, (0..8).map(SlotId).chain([SlotId::META]).collect::<Vec<_>>());
    assert!(
        slots.iter().all(|slot| slot.leading && slot.term > 0 && slot.applied > 0 && slot.failure.is_none())
    );
}
