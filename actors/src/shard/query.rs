//! An operator's questions. Reading is done at once, in bounded pieces; what changes anything goes the way of a Client's
//! wish, through the log.

use convoy_ids::SlotId;
use convoy_storage::engine::Error;
use convoy_storage::replica::Replica;
use convoy_wire::QoS;

use super::Shard;
use super::mail::Origin;
use crate::activity::Activity;
use crate::budget::User;
use crate::call::ReplyTo;
use crate::clock::Now;
use crate::connection::{Connection, Stage};
use crate::message::Message;
use crate::options::Options;
use crate::query::{
    Answer, ConnectionEntry, FilterCursor, Layout, Problem, Publication, Query, QueueEntry, SlotEntry,
};
use crate::session::{Epoch, Home, Place, SessionNumber, name_of};
use crate::slot::{Effects, Op, Slot};
use crate::tenant::TENANT;

/// Nodes of a partition's tree that one question may look at.
const NODES: usize = 4096;

impl Shard {
    /// An operator asks. The answer comes out of [`Shard::take_answers`] under `number`, at once for what only reads.
    pub fn query(&mut self, now: Now, number: u64, query: Query) {
        self.outlet.edge.pulse.tell(Activity::Query, 0);
        self.outlet.edge.now = now.monotonic;
        self.settle_all(now);
        let answer = match query {
            Query::Connections { homes, .. } => {
                Ok(Answer::Connections(homes.iter().map(|home| self.connection_entry(now, home)).collect()))
            }
            Query::Slots { .. } => Ok(Answer::Slots(self.slot_entries())),
            Query::Cut { access, bans, from, .. } => {
                let (clients, next) = self.would_cut(now, access.as_deref(), &bans, from);
                Ok(Answer::Cut { clients, next })
            }
            Query::Stored { user, .. } => Ok(Answer::Stored(self.budget.held(User::of(&user)))),
            Query::Publish(publication) => return self.publish_for(now, number, &publication),
            Query::DeleteRetained { topic } => return self.delete_retained(now, number, &topic),
            Query::EndSession { client_id } => return self.end_session(now, number, &client_id),
            Query::Kick { client_id } => self.kick(&client_id),
            query => self.read(query),
        };
        self.outlet.edge.operators.answer(number, answer.unwrap_or_else(Answer::Failed));
        self.settle(now);
    }

    /// Answers of [`Shard::query`] since this was asked last.
    pub fn take_answers(&mut self) -> Vec<(u64, Answer)> {
        std::mem::take(&mut self.outlet.edge.operators.answers)
    }

    pub(super) fn layout(&self) -> Layout {
        let Options { slots, partitioning, .. } = self.options;
        Layout { slots, shards: self.outlet.post.shards(), partitioning }
    }

    fn led(&mut self, slot: SlotId) -> Result<&mut Slot, Problem> {
        let slot = self.slots.get(slot).ok_or(Problem::NotLed)?;
        match &slot.failure {
            Some(failure) => Err(Problem::Storage(failure.clone())),
            None if !slot.leading => Err(Problem::NotLed),
            None => Ok(slot),
        }
    }

    fn read(&mut self, query: Query) -> Result<Answer, Problem> {
        let layout = self.layout();
        let id = match &query {
            Query::Sessions { slot, .. }
            | Query::Subscriptions { slot, .. }
            | Query::Names { slot, .. }
            | Query::Filters { slot, .. }
            | Query::Retained { slot, .. } => *slot,
            Query::Session { client_id } => layout.slot_of_client(client_id),
            Query::Receivers { topic, .. } | Query::RetainedMessage { topic } => {
                SlotId(layout.place_of_topic(topic).slot)
            }
            _ => return Err(Problem::NotFound),
        };
        self.led(id)?;
        match &query {
            Query::Filters { from, limit, .. } => return Ok(self.filters(id, *from, *limit)),
            Query::Receivers { topic, limit } => {
                return Ok(self.receivers(layout.place_of_topic(topic), topic, *limit));
            }
            _ => {}
        }
        let Self { slots, state, .. } = self;
        let slot = slots.get(id).ok_or(Problem::NotLed)?;
        match query {
            Query::Sessions { prefix, after, connected, limit, .. } => {
                slot.sessions(state, TENANT, &prefix, after.as_deref(), connected, limit)
            }
            Query::Session { client_id } => slot.session(state, TENANT, &client_id),
            Query::Subscriptions { client_id, fits, after, limit, .. } => {
                let of = client_id.as_deref().map(|client_id| (TENANT, client_id));
                slot.subscriptions(state, of, &fits, after.as_deref(), limit)
            }
            Query::Names { sessions, .. } => slot.client_ids(state, &sessions),
            Query::RetainedMessage { topic } => {
                let place = layout.place_of_topic(&topic);
                slot.retained_message(state, place.partition, &topic)
            }
            Query::Retained { filter, at, limit, .. } => {
                let places = layout.places_of_filter(&filter);
                let here = |place: &&Place| SlotId(place.slot) == slot.id;
                let partitions = match places.iter().any(Place::is_everywhere) {
                    true => None,
                    false => Some(places.iter().filter(here).map(|place| place.partition).collect()),
                };
                slot.retained_messages(state, partitions, &filter, at.as_deref(), limit)
            }
            _ => Err(Problem::NotFound),
        }
    }

    fn filters(&mut self, id: SlotId, from: FilterCursor, limit: usize) -> Answer {
        let layout = self.layout();
        let mut filters = Vec::new();
        let mut at = from;
        let mut nodes = NODES;
        let next = loop {
            let partition = match id.is_meta() {
                // What is everywhere is of no partition, and told of once.
                true => Some((0, None)).filter(|_| at.partition == 0),
                false => {
                    let routes = self.slots.get(id).and_then(|slot| slot.routes_from(at.partition));
                    routes.map(|(partition, routes)| (partition, Some(routes)))
                }
            };
            let Some((partition, routes)) = partition else { break None };
            let node = if partition == at.partition { at.node } else { 0 };
            let mut visit = |filter: &str, subscribers, shares| {
                // A filter that touches several partitions is told of once, where its first one is.
                let places = layout.places_of_filter(filter);
                let place = places[0];
                if SlotId(place.slot) == id && (place.is_everywhere() || place.partition == partition) {
                    filters.push(crate::query::FilterEntry {
                        filter: filter.to_owned(),
                        place,
                        subscribers,
                        shares,
                    });
                }
                filters.len() < limit
            };
            let stopped = match routes {
                Some(routes) => routes.filters(node, &mut nodes, &mut visit),
                None => self.roots.filters(node, &mut nodes, &mut visit),
            };
            match stopped {
                Some(node) => break Some(FilterCursor { partition, node }),
                None => match partition.checked_add(1) {
                    Some(partition) => at = FilterCursor { partition, node: 0 },
                    None => break None,
                },
            }
            if nodes == 0 {
                break Some(at);
            }
        };
        Answer::Filters { filters, next }
    }

    fn receivers(&mut self, place: Place, topic: &str, limit: usize) -> Answer {
        let (mut receivers, mut total) = (Vec::new(), 0);
        let mut add = |receiver: crate::query::Receiver| {
            total += 1;
            if receivers.len() < limit {
                receivers.push(receiver);
            }
        };
        if let Some(routes) = self.slots.get(SlotId(place.slot)).and_then(|slot| slot.routes(place.partition))
        {
            routes.receivers(topic, &mut add);
        }
        self.roots.receivers(SlotId(place.slot), topic, &mut add);
        Answer::Receivers { place, receivers, total }
    }

    fn connection_entry(&self, now: Now, home: &Home) -> Option<ConnectionEntry> {
        let connection = self.outlet.edge.connections.get(home.key as usize)?;
        let found = connection.home.serial == home.serial
            && connection.owns_session
            && !matches!(connection.stage, Stage::Closing | Stage::Gone);
        found.then(|| connection.entry(now))
    }

    fn slot_entries(&self) -> Vec<SlotEntry> {
        let shard = self.outlet.post.here();
        let entry = |slot: &Slot| SlotEntry {
            slot: slot.id,
            shard,
            leading: slot.leading,
            voters: self.driver.members(slot.id).map_or(0, |members| members.voters.len() as u64),
            current: self.current_voters(slot.id),
            term: self.driver.role(slot.id).map_or(0, |role| role.term().0),
            last: self.driver.last(slot.id).map_or(0, |index| index.0),
            applied: self.driver.base(slot.id).map_or(0, |base| base.index.0),
            log_entries: self.driver.log_entries(slot.id).unwrap_or(0),
            sessions_active: slot.active() as u64,
            partitions: slot.partitions(),
            retained_messages: slot.retained().messages,
            retained_bytes: slot.retained().bytes,
            failure: slot.failure.clone().or_else(|| self.failure.clone()),
        };
        self.slots.iter().map(entry).collect()
    }

    /// Voters that have all of the log of a slot that is led here, the leader among them.
    fn current_voters(&self, slot: SlotId) -> u64 {
        let Some(members) =
            self.driver.members(slot).filter(|_| self.driver.role(slot).is_some_and(|role| role.is_leader()))
        else {
            return 0;
        };
        let followers = self.driver.followers(slot);
        let is_current = |voter: &Replica| {
            self.driver.replica(slot) == Some(voter.id)
                || followers.iter().any(|follower| {
                    follower.replica.id == voter.id && follower.is_current && follower.is_heard
                })
        };
        members.voters.iter().filter(|voter| is_current(voter)).count() as u64
    }

    /// Closes the connection of a Session, wherever it is.
    fn kick(&mut self, client_id: &str) -> Result<Answer, Problem> {
        let id = self.layout().slot_of_client(client_id);
        self.led(id)?;
        let Self { slots, state, outlet, .. } = self;
        let slot = slots.get(id).ok_or(Problem::NotLed)?;
        let row = slot.session_row(state, TENANT, client_id).map_err(storage)?.ok_or(Problem::NotFound)?;
        let home = row.home.ok_or(Problem::NotConnected)?;
        outlet.evict(home, false);
        Ok(Answer::Done)
    }

    fn end_session(&mut self, now: Now, number: u64, client_id: &str) {
        let id = self.layout().slot_of_client(client_id);
        let reply = self.reply_to(number);
        let ends = self.led(id).map(|_| ()).and_then(|()| {
            let Self { slots, state, .. } = self;
            let slot = slots.get(id).ok_or(Problem::NotLed)?;
            let row =
                slot.session_row(state, TENANT, client_id).map_err(storage)?.ok_or(Problem::NotFound)?;
            slot.end_session(now.wall, &name_of(TENANT, client_id), &row, reply);
            Ok(())
        });
        match ends {
            Ok(()) => self.outlet.edge.operators.begin(number, Some(1)),
            Err(problem) => self.outlet.edge.operators.answer(number, Answer::Failed(problem)),
        }
    }

    fn delete_retained(&mut self, now: Now, number: u64, topic: &str) {
        let place = self.layout().place_of_topic(topic);
        let found = match self.led(SlotId(place.slot)) {
            Err(problem) => Err(problem),
            Ok(_) => self
                .state
                .retained(SlotId(place.slot), place.partition, topic)
                .map_err(storage)
                .and_then(|found| found.ok_or(Problem::NotFound)),
        };
        if let Err(problem) = found {
            return self.outlet.edge.operators.answer(number, Answer::Failed(problem));
        }
        let mut bytes = Vec::new();
        // [MQTT-3.3.1-6]: no payload, no Retained Message.
        message(topic, &Publication { retain: true, ..Publication::default() }, now).encode_into(&mut bytes);
        let op = Op::Retain { partition: place.partition, message: &bytes };
        self.order(now, number, SlotId(place.slot), &op);
    }

    /// Puts an operation into the next record of a slot; the operator is told when it is applied.
    fn order(&mut self, now: Now, number: u64, slot: SlotId, op: &Op<'_>) {
        let reply = self.reply_to(number);
        self.outlet.edge.operators.begin(number, Some(1));
        match self.slots.get(slot) {
            Some(slot) => slot.pending.push(now.wall, op, Some(reply)),
            None => self.outlet.edge.operators.answer(number, Answer::Failed(Problem::NotLed)),
        }
    }

    fn publish_for(&mut self, now: Now, number: u64, publication: &Publication) {
        let place = self.layout().place_of_topic(&publication.topic);
        let message = message(&publication.topic, publication, now);
        let reply = self.reply_to(number);
        self.outlet.edge.operators.begin(number, None);
        let origin = Origin { client: 0, epoch: Epoch(0), again: None };
        let published = self.publish(now, place, &message, origin, Some(reply));
        match published {
            // The partition's shard will tell.
            Ok(None) => {}
            Ok(Some(begun)) => self.outlet.edge.operators.parts_begun(number, begun.parts),
            Err(reason) => {
                let refused = Answer::Failed(Problem::Refused(reason));
                self.outlet.edge.operators.answer(number, refused);
            }
        }
        self.settle(now);
    }

    fn reply_to(&self, number: u64) -> ReplyTo {
        ReplyTo { home: self.outlet.edge.operators_home(), token: number }
    }
}

fn storage(error: Error) -> Problem {
    Problem::Storage(error.to_string())
}

fn message<'a>(topic: &'a str, publication: &'a Publication, now: Now) -> Message<'a> {
    let interval = convoy_wire::Forwardable::from_put(&publication.properties).message_expiry_interval();
    Message {
        topic,
        properties: &publication.properties,
        payload: &publication.payload,
        qos: QoS::from_u8(publication.qos.min(1)).unwrap_or_default(),
        retain: publication.retain,
        published_at: now.wall,
        expires_at: interval.map(|seconds| now.wall + u64::from(seconds) * 1000),
        publisher: SessionNumber(0),
        user: User::NOBODY,
        author: &[],
    }
}

impl Connection {
    fn entry(&self, now: Now) -> ConnectionEntry {
        let silent = now.monotonic.saturating_sub(self.last_seen);
        ConnectionEntry {
            peer: self.peer.clone(),
            version: self.version,
            keep_alive_seconds: self.keep_alive.seconds(),
            clean_start: self.clean_start,
            connected_at: self.connected_at,
            last_packet_at: now.wall.saturating_sub(silent),
            traffic: self.traffic,
            queue: self.outbound.as_ref().map(|outbound| QueueEntry {
                messages: outbound.waiting() + u64::from(outbound.underway()),
                bytes: outbound.waiting_bytes(),
                inflight: u64::from(outbound.underway()),
            }),
            receive_maximum: self.receive_maximum,
            user: self.principal.user.as_deref().map(str::to_owned),
        }
    }
}
