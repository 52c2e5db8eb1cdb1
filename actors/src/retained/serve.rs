//! Retained Messages for a new Subscription, chunk by chunk: the connection asks for the next one when it has room for
//! it, so that a filter over a million topics costs neither memory nor a long turn.

use std::ops::ControlFlow;
use std::sync::Arc;

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error, Family};
use convoy_wire::QoS;

use super::{Cursor, Limits, Progress, Reader, key, read};
use crate::access::Access;
use crate::clock::Millis;
use crate::message::Message;
use crate::metric;
use crate::session::{Delivery, Home, Place, Subscription};

/// One chunk: enough to keep a connection busy, little enough to be held for it.
const CHUNK: Limits = Limits { messages: 256, bytes: 64 << 10, steps: 4096 };

/// One chunk of messages that go into the queue of a Session: they must not push each other out, and are sent though the
/// Client has unsubscribed meanwhile.
const KEPT: Limits = Limits { messages: 16, ..CHUNK };

/// Where a connection goes on reading Retained Messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(super) reader: Reader,
    pub(super) serial: u64,
    pub(super) filter: Arc<str>,
    pub(super) subscription: Subscription,
    /// What was decided under a number above this reaches the Subscription live.
    pub(super) until: u64,
    pub(super) scope: Scope,
    pub(super) cursor: Cursor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Partition(Place),
    /// Every partition of a slot, from this one on: the filter's first level is a wildcard.
    Slot {
        slot: u16,
        from: u64,
    },
}

/// Retained Messages for a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    pub home: Home,
    /// Of the Topic Filter, see [`super::Readings`].
    pub serial: u64,
    pub messages: Vec<(Delivery, Vec<u8>)>,
    /// Of the places that [`Request::reserved`] has taken in the queue of the Session, so many are left.
    pub unused: u32,
    /// Where to go on.
    pub next: Option<Request>,
}

/// A chunk, and what goes to the queue of the Session instead.
#[derive(Debug)]
pub struct Served {
    pub chunk: Chunk,
    pub kept: Vec<(Delivery, Vec<u8>)>,
}

impl Request {
    pub(super) fn new(
        reader: Reader,
        serial: u64,
        filter: Arc<str>,
        subscription: Subscription,
        until: u64,
        scope: Scope,
    ) -> Self {
        Self { reader, serial, filter, subscription, until, scope, cursor: Cursor::default() }
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    pub fn filter(&self) -> &str {
        &self.filter
    }

    pub fn subscription(&self) -> Subscription {
        self.subscription
    }

    /// The partition it is about, if it is one.
    pub fn partition(&self) -> Option<u64> {
        match self.scope {
            Scope::Partition(place) => Some(place.partition),
            Scope::Slot { .. } => None,
        }
    }

    pub fn slot(&self) -> SlotId {
        match self.scope {
            Scope::Partition(place) => SlotId(place.slot),
            Scope::Slot { slot, .. } => SlotId(slot),
        }
    }

    /// How many messages of a chunk may go to the queue of the Session.
    pub fn reserved(&self) -> u32 {
        if self.reader.lasting && self.subscription.qos > 0 { KEPT.messages as u32 } else { 0 }
    }

    /// Everything that there is for it.
    pub fn answered(&self, messages: Vec<(Delivery, Vec<u8>)>) -> Chunk {
        Chunk { home: self.reader.home, serial: self.serial, messages, unused: self.reserved(), next: None }
    }
}

/// Reads the next chunk: of as many partitions of a slot as it has room for. What its publisher may not publish any more is
/// left out.
pub fn serve(request: Request, engine: &dyn Engine, access: &Access, now: Millis) -> Result<Served, Error> {
    let slot = request.slot();
    let mut served = Served { chunk: request.answered(Vec::new()), kept: Vec::new() };
    let mut left = if request.reserved() > 0 { KEPT } else { CHUNK };
    let mut next = Some(request);
    while let Some(mut request) = next.take() {
        let partition = match request.scope {
            Scope::Partition(place) => Some(place.partition),
            Scope::Slot { from, .. } => next_partition(engine, slot, from)?,
        };
        let Some(partition) = partition else { break };
        let is_first = served.chunk.messages.is_empty() && served.kept.is_empty();
        let from = |from| match request.scope {
            Scope::Slot { slot, .. } => Scope::Slot { slot, from },
            scope => scope,
        };
        let (here, behind) = (from(partition), from(partition.saturating_add(1)));
        match read_partition(&mut request, partition, engine, (access, now), &mut left, &mut served) {
            // It may stop in the middle of a partition: the scope has to name it.
            Ok(Progress::More) => {
                served.chunk.next = Some(Request { scope: here, ..request });
                break;
            }
            Ok(Progress::Done) if matches!(here, Scope::Partition(_)) || partition == u64::MAX => break,
            Ok(Progress::Done) => {
                let request = Request { scope: behind, cursor: Cursor::default(), ..request };
                left.take_seek();
                match left.are_met() {
                    true => served.chunk.next = Some(request),
                    false => next = Some(request),
                }
            }
            Err(error) if is_first => return Err(error),
            // What was read before that is given out, and this is met again.
            Err(_) => {
                let cursor = Cursor::default();
                served.chunk.next = Some(Request { scope: here, cursor, ..request });
                break;
            }
        }
    }
    served.chunk.unused -= served.kept.len() as u32;
    Ok(served)
}

fn read_partition(
    request: &mut Request,
    partition: u64,
    engine: &dyn Engine,
    (access, now): (&Access, Millis),
    left: &mut Limits,
    served: &mut Served,
) -> Result<Progress, Error> {
    let (slot, has_queue) = (request.slot(), request.reserved() > 0);
    let (subscription, reader, mut damaged) = (request.subscription, request.reader, None);
    let Served { chunk, kept } = served;
    let Request { filter, until, cursor, .. } = request;
    let progress = read(engine, slot, partition, filter, *until, cursor, left, &mut |topic, value| {
        match Message::decode(value) {
            // [MQTT-3.8.3-3]: what the Client published itself stays away here too.
            Ok(message) if subscription.no_local && message.publisher == reader.session => {
                ControlFlow::Continue(())
            }
            Ok(message) if !access.serves_retained(message.author, message.topic, message.qos as u8) => {
                metric::denied("retained");
                ControlFlow::Continue(())
            }
            // [MQTT-3.3.2-6]
            Ok(message) if message.remaining(now).is_some() => {
                let qos = QoS::from_u8(subscription.qos).unwrap_or_default().min(message.qos);
                // [MQTT-3.3.1-8]: RETAIN is 1 on what was retained when the Subscription was made.
                let delivery = Delivery::new(qos, true, subscription.identifier);
                let to = if has_queue && qos > QoS::AtMostOnce { &mut *kept } else { &mut chunk.messages };
                to.push((delivery, value.to_vec()));
                ControlFlow::Continue(())
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                damaged = Some(Error::Damaged {
                    place: format!("Retained Message of {topic}"),
                    reason: error.to_string(),
                });
                ControlFlow::Break(())
            }
        }
    })?;
    damaged.map_or(Ok(progress), Err)
}

/// The first partition from `from` on that keeps anything.
pub(super) fn next_partition(engine: &dyn Engine, slot: SlotId, from: u64) -> Result<Option<u64>, Error> {
    let (from, _) = key::all(slot, from);
    let (_, to) = key::all(slot, u64::MAX);
    let mut found = None;
    engine.scan(Family::Retained, &from, &to, &mut |key, _| {
        found = key.get(2..10).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use convoy_storage::engine::{Batch, Model};

    use super::*;
    use crate::retained::{Everywhere, Readings};
    use crate::session::{Epoch, SessionNumber, Wanted};

    const SESSION: SessionNumber = SessionNumber(5);
    const HOME: Home = Home { node: 1, shard: 2, key: 3, serial: 4 };
    const NOW: Millis = 1_000_000;
    const SLOTS: u16 = 4;

    fn place(slot: u16, partition: u64) -> Place {
        Place { slot, partition }
    }

    fn message(topic: &str) -> Message<'_> {
        Message {
            topic,
            properties: &[],
            payload: b"payload",
            qos: QoS::AtLeastOnce,
            retain: true,
            published_at: 0,
            expires_at: None,
            publisher: SessionNumber(0),
            user: crate::budget::User::NOBODY,
            author: &[],
        }
    }

    fn keep(engine: &Model, place: Place, message: &Message<'_>) {
        let (mut batch, mut bytes) = (Batch::new(), Vec::new());
        message.encode_into(&mut bytes);
        super::super::put(&mut batch, SlotId(place.slot), place.partition, message.topic, 0, &bytes);
        engine.write(&batch).unwrap();
    }

    fn wanted(filter: &str, places: &[Place]) -> Wanted {
        let subscription =
            Subscription { qos: 2, no_local: false, retain_as_published: false, identifier: 9 };
        Wanted { filter: filter.into(), subscription, places: places.to_vec() }
    }

    fn root(filter: &str) -> Wanted {
        wanted(filter, &[place(SlotId::META.0, 0)])
    }

    fn reader(lasting: bool) -> Reader {
        Reader { home: HOME, session: SESSION, epoch: Epoch(1), lasting }
    }

    fn readings(wanted: &Wanted) -> Readings {
        let mut readings = Readings::default();
        readings.begin(wanted, &[], &Everywhere::nobody_has_told(SLOTS).into());
        readings
    }

    /// The first request.
    fn asked(wanted: &Wanted) -> Option<Request> {
        readings(wanted).ask(&reader(false))
    }

    fn topics_of(chunk: &Chunk) -> Vec<String> {
        chunk.messages.iter().map(|(_, bytes)| Message::decode(bytes).unwrap().topic.to_string()).collect()
    }

    /// The topics of all chunks, and how many these were.
    fn all(engine: &Model, wanted: &Wanted) -> (Vec<String>, usize) {
        let (mut readings, mut topics, mut chunks) = (readings(wanted), Vec::new(), 0);
        while let Some(request) = readings.ask(&reader(false)) {
            let chunk = serve(request, engine, &Access::default(), NOW).unwrap().chunk;
            topics.extend(topics_of(&chunk));
            assert!(readings.take(chunk));
            while readings.pop().is_some() {}
            chunks += 1;
        }
        assert!(readings.is_empty());
        (topics, chunks)
    }

    #[test]
    fn a_chunk_is_bounded_and_the_next_goes_on_where_it_ended() {
        let engine = Model::new();
        let topics: Vec<_> = (0..1000).map(|at| format!("a/{at:04}")).collect();
        topics.iter().for_each(|topic| keep(&engine, place(1, 7), &message(topic)));
        let mut request = asked(&wanted("a/+", &[place(1, 7)]));
        let mut found = Vec::new();
        while let Some(next) = request {
            assert_eq!((next.reader().home, next.slot()), (HOME, SlotId(1)));
            let chunk = serve(next, &engine, &Access::default(), NOW).unwrap().chunk;
            assert!(chunk.messages.len() <= CHUNK.messages);
            found.extend(topics_of(&chunk));
            request = chunk.next;
        }
        assert_eq!(found, topics);
    }

    #[test]
    fn large_messages_make_small_chunks() {
        let engine = Model::new();
        let payload = vec![0; CHUNK.bytes / 2 + 1];
        for topic in ["a/1", "a/2", "a/3"] {
            keep(&engine, place(1, 7), &Message { payload: &payload, ..message(topic) });
        }
        let request = asked(&wanted("a/#", &[place(1, 7)])).unwrap();
        assert_eq!(serve(request, &engine, &Access::default(), NOW).unwrap().chunk.messages.len(), 2);
    }

    #[test]
    fn every_place_of_a_subscription_is_read_and_no_other() {
        let engine = Model::new();
        for (slot, partition, topic) in [(1, 7, "a/1"), (1, 8, "a/2"), (2, 7, "a/3"), (2, 9, "a/4")] {
            keep(&engine, place(slot, partition), &message(topic));
        }
        let (topics, _) = all(&engine, &wanted("a/#", &[place(1, 7), place(2, 9)]));
        assert_eq!(topics, ["a/1", "a/4"]);
    }

    #[test]
    fn a_filter_that_begins_with_a_wildcard_reads_all_partitions_of_all_slots() {
        let engine = Model::new();
        let mut expected = Vec::new();
        for (slot, partition) in [(0, 0), (0, 5), (1, u64::MAX), (3, 2), (3, u64::MAX - 1), (3, u64::MAX)] {
            for at in 0..300 {
                let topic = format!("{slot}/{partition}/{at:03}");
                keep(&engine, place(slot, partition), &message(&topic));
                expected.push(topic);
            }
            keep(&engine, place(slot, partition), &message("$SYS/hidden"));
        }
        let (mut topics, chunks) = all(&engine, &root("#"));
        topics.sort();
        expected.sort();
        assert_eq!(topics, expected);
        assert!(chunks < 30, "{chunks}");
        assert_eq!(all(&engine, &root("+/2/007")).0, ["3/2/007"]);
    }

    #[test]
    fn partitions_of_few_messages_share_a_chunk() {
        let engine = Model::new();
        let topics: Vec<_> = (0..1000).map(|at| format!("{at:04}/state")).collect();
        let partitions = topics.iter().zip(0..);
        partitions.for_each(|(topic, partition)| keep(&engine, place(1, partition), &message(topic)));
        let (found, chunks) = all(&engine, &root("+/state"));
        assert_eq!(found, topics);
        assert!((4..12).contains(&chunks), "{chunks}");
        // None of them matches, and that is work as well.
        let (found, chunks) = all(&engine, &root("+/other"));
        assert!(found.is_empty() && (4..20).contains(&chunks), "{chunks}");
    }

    #[test]
    fn what_was_read_before_damage_is_given_out() {
        let engine = Model::new();
        keep(&engine, place(1, 7), &message("a/whole"));
        let mut batch = Batch::new();
        super::super::put(&mut batch, SlotId(1), 8, "b/torn", 0, b"no message");
        engine.write(&batch).unwrap();
        let mut readings = readings(&root("+/#"));
        let request = readings.ask(&reader(false)).unwrap();
        assert!(readings.take(serve(request, &engine, &Access::default(), NOW).unwrap().chunk));
        let served = serve(readings.ask(&reader(false)).unwrap(), &engine, &Access::default(), NOW).unwrap();
        assert_eq!(topics_of(&served.chunk), ["a/whole"]);
        assert!(matches!(
            serve(served.chunk.next.unwrap(), &engine, &Access::default(), NOW),
            Err(Error::Damaged { .. })
        ));
    }

    #[test]
    fn an_empty_store_is_read_in_a_chunk_a_slot() {
        assert_eq!(all(&Model::new(), &root("#")), (vec![], usize::from(SLOTS)));
    }

    #[test]
    fn a_partition_that_is_emptied_meanwhile_does_not_hide_the_next() {
        let engine = Model::new();
        for at in 0..300 {
            keep(&engine, place(0, 1), &message(&format!("a/{at:03}")));
            keep(&engine, place(0, 2), &message(&format!("a/{at:03}")));
        }
        let request = asked(&root("+/#")).unwrap();
        let chunk = serve(request, &engine, &Access::default(), NOW).unwrap().chunk;
        let mut batch = Batch::new();
        (0..300).for_each(|at| super::super::remove(&mut batch, SlotId(0), 1, &format!("a/{at:03}")));
        engine.write(&batch).unwrap();
        let (mut next, mut found) = (chunk.next, 0);
        while let Some(request) = next {
            let chunk = serve(request, &engine, &Access::default(), NOW).unwrap().chunk;
            found += chunk.messages.len();
            next = chunk.next;
        }
        assert_eq!(found, 300);
    }

    #[test]
    fn shared_subscriptions_ask_for_nothing() {
        // MQTT 5.0, 4.8.2
        assert!(asked(&wanted("$share/g/a", &[place(1, 7)])).is_none());
    }

    #[test]
    fn messages_carry_retain_the_lower_qos_and_the_identifier() {
        // [MQTT-3.3.1-8], MQTT 5.0, 3.8.4
        let engine = Model::new();
        keep(&engine, place(1, 7), &message("a"));
        for (subscribed, expected) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::AtLeastOnce)] {
            let mut wanted = wanted("a", &[place(1, 7)]);
            wanted.subscription.qos = subscribed;
            let chunk = serve(asked(&wanted).unwrap(), &engine, &Access::default(), NOW).unwrap().chunk;
            assert_eq!(chunk.messages[0].0, Delivery::new(expected, true, 9));
        }
    }

    #[test]
    fn no_local_leaves_out_what_the_session_published() {
        // [MQTT-3.8.3-3]
        let engine = Model::new();
        for (topic, publisher) in [("a/own", SESSION), ("a/other", SessionNumber(6))] {
            keep(&engine, place(1, 7), &Message { publisher, ..message(topic) });
        }
        let mut wanted = wanted("a/+", &[place(1, 7)]);
        assert_eq!(all(&engine, &wanted).0, ["a/other", "a/own"]);
        wanted.subscription.no_local = true;
        assert_eq!(all(&engine, &wanted).0, ["a/other"]);
    }

    #[test]
    fn what_has_expired_is_not_served() {
        // [MQTT-3.3.2-6]
        let engine = Model::new();
        for (topic, expires_at) in [("a/gone", Some(NOW)), ("a/lasts", None), ("a/left", Some(NOW + 1))] {
            keep(&engine, place(1, 7), &Message { expires_at, ..message(topic) });
        }
        assert_eq!(all(&engine, &wanted("a/+", &[place(1, 7)])).0, ["a/lasts", "a/left"]);
    }

    #[test]
    fn a_damaged_value_is_named_and_not_served() {
        let engine = Model::new();
        keep(&engine, place(1, 7), &message("a/whole"));
        let mut batch = Batch::new();
        super::super::put(&mut batch, SlotId(1), 7, "a/torn", 0, b"no message");
        engine.write(&batch).unwrap();
        let request = asked(&wanted("a/+", &[place(1, 7)])).unwrap();
        match serve(request, &engine, &Access::default(), NOW) {
            Err(Error::Damaged { place, .. }) => assert_eq!(place, "Retained Message of a/torn"),
            other => panic!("{other:?}"),
        }
    }
}
