//! What an operator sees of a slot: its rows, read in bounded pieces and without activating anything.

use std::ops::ControlFlow;

use convoy_storage::engine::{Error, Family};

use super::state::{State, decode};
use super::{Slot, active, rows};
use crate::message::Message;
use crate::query::{
    Answer, Problem, QueueEntry, ROWS, RetainedEntry, SessionEntry, SubscriptionEntry, SubscriptionFilter,
};
use crate::retained;
use crate::session::{SessionNumber, SessionRow, SubscriptionRow, name_of, split_name};
use crate::topic::Routes;

type Outcome = Result<Answer, Problem>;

impl Slot {
    /// Sessions in the order of their Client Identifiers, with the one to go on behind.
    pub fn sessions(
        &self,
        state: &mut State,
        tenant: &str,
        prefix: &str,
        after: Option<&str>,
        connected: Option<bool>,
        limit: usize,
    ) -> Outcome {
        let (first, to) = rows::clients(self.id, &name_of(tenant, prefix));
        let from = after.map_or(first.clone(), |after| {
            let mut key = rows::client(self.id, &name_of(tenant, after));
            key.push(0);
            key.max(first.clone())
        });
        let (mut found, mut looked_at, mut next, mut broken) = (Vec::new(), 0, None, None);
        if from >= to {
            return Ok(Answer::Sessions { sessions: Vec::new(), next });
        }
        let scanned = state.engine().scan(Family::Session, &from, &to, &mut |key, value| {
            let Some(name) = rows::name_of_client(key) else { return ControlFlow::Continue(()) };
            let row: SessionRow = match decode(key, value) {
                Ok(row) => row,
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            };
            looked_at += 1;
            if connected.is_none_or(|connected| connected == row.home.is_some()) {
                found.push((name.to_vec(), row));
            }
            if looked_at == ROWS || found.len() == limit {
                next = client_id_of(name);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        scanned.and(broken.map_or(Ok(()), Err)).map_err(unreadable)?;
        let entries = found.into_iter().map(|(name, row)| self.entry(state, &name, row));
        let sessions = entries.collect::<Result<_, _>>().map_err(unreadable)?;
        Ok(Answer::Sessions { sessions, next })
    }

    /// The Session of one Client Identifier.
    pub fn session(&self, state: &mut State, tenant: &str, client_id: &str) -> Outcome {
        let row = self.session_row(state, tenant, client_id).map_err(unreadable)?;
        let row = row.ok_or(Problem::NotFound)?;
        let entry = self.entry(state, &name_of(tenant, client_id), row).map_err(unreadable)?;
        Ok(Answer::Sessions { sessions: vec![entry], next: None })
    }

    pub fn session_row(
        &self,
        state: &mut State,
        tenant: &str,
        client_id: &str,
    ) -> Result<Option<SessionRow>, Error> {
        state.get(&rows::client(self.id, &name_of(tenant, client_id)))
    }

    fn entry(&self, state: &mut State, name: &[u8], row: SessionRow) -> Result<SessionEntry, Error> {
        let queue = match self.active.get(&row.number) {
            Some(active) => active.queue.as_ref().map(|queue| QueueEntry {
                messages: queue.len(),
                bytes: queue.bytes(),
                inflight: active.link.as_ref().map_or(0, |link| u64::from(link.inflight.used())),
            }),
            None if row.has_queue => {
                let queue = active::queue(state, row.number)?;
                Some(QueueEntry { messages: queue.len(), bytes: queue.bytes(), inflight: 0 })
            }
            None => None,
        };
        Ok(SessionEntry {
            client_id: client_id_of(name).unwrap_or_default(),
            owner: (!row.owner.is_empty()).then_some(row.owner),
            number: row.number,
            home: row.home,
            created_at: row.created_at,
            disconnected_at: row.home.is_none().then_some(row.disconnected_at),
            expiry_seconds: row.expiry_seconds,
            subscriptions: row.subscriptions,
            has_will: row.will.is_some(),
            queue,
        })
    }

    /// Subscriptions in the order of their keys, with the key to go on behind.
    pub fn subscriptions(
        &self,
        state: &mut State,
        of: Option<(&str, &str)>,
        fits: &SubscriptionFilter,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Outcome {
        let (mut from, to) = match of {
            None => rows::all_subscriptions(self.id),
            Some((tenant, client_id)) => {
                let row = self.session_row(state, tenant, client_id).map_err(unreadable)?;
                rows::subscriptions(row.ok_or(Problem::NotFound)?.number)
            }
        };
        if let Some(after) = after {
            from = from.max([after, &[0]].concat());
        }
        let (mut found, mut looked_at, mut next, mut broken) = (Vec::new(), 0, None, None);
        if from < to {
            let scanned = state.engine().scan(Family::Session, &from, &to, &mut |key, value| {
                let row: SubscriptionRow = match decode(key, value) {
                    Ok(row) => row,
                    Err(error) => {
                        broken = Some(error);
                        return ControlFlow::Break(());
                    }
                };
                if let (Some(session), Some(filter)) =
                    (rows::session_of(key), rows::filter_of_subscription(key))
                    && fits.fits(filter)
                {
                    found.push((session, filter.to_owned(), row));
                }
                looked_at += 1;
                if looked_at == ROWS || found.len() == limit {
                    next = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            scanned.and(broken.map_or(Ok(()), Err)).map_err(unreadable)?;
        }
        let (mut of, mut client_id, mut subscriptions) = (None, None, Vec::new());
        for (session, filter, row) in found {
            if of != Some(session) {
                (of, client_id) = (Some(session), self.client_id(state, session).map_err(unreadable)?);
            }
            let Some(client_id) = client_id.clone() else { continue };
            let SubscriptionRow { subscription, places } = row;
            subscriptions.push(SubscriptionEntry { client_id, filter, subscription, places });
        }
        Ok(Answer::Subscriptions { subscriptions, next })
    }

    pub fn client_ids(&self, state: &mut State, sessions: &[SessionNumber]) -> Outcome {
        let names = sessions.iter().map(|session| self.client_id(state, *session));
        Ok(Answer::Names(names.collect::<Result<_, _>>().map_err(unreadable)?))
    }

    fn client_id(&self, state: &mut State, session: SessionNumber) -> Result<Option<String>, Error> {
        Ok(state.get_bytes(&rows::name(session))?.and_then(|name| client_id_of(&name)))
    }

    /// Retained Messages of these partitions, or of all, in the order of their keys, with the key to go on at.
    pub fn retained_messages(
        &self,
        state: &mut State,
        partitions: Option<Vec<u64>>,
        filter: &str,
        at: Option<&[u8]>,
        limit: usize,
    ) -> Outcome {
        let mut messages = Vec::new();
        let mut broken = None;
        let engine = &**state.engine();
        let limits = retained::Limits { messages: limit.min(ROWS), bytes: 1 << 20, steps: 4096 };
        let next = retained::browse(engine, self.id, partitions, filter, at, limits, &mut |topic, value| {
            match Message::decode(value) {
                Ok(message) => messages.push(retained_entry(topic, &message, false)),
                Err(error) => broken = Some(damaged(topic, &error)),
            }
        });
        let next = next.map_err(unreadable)?;
        match broken {
            Some(error) => Err(unreadable(error)),
            None => Ok(Answer::Retained { messages, next }),
        }
    }

    /// The Retained Message of a topic, whole.
    pub fn retained_message(&self, state: &mut State, partition: u64, topic: &str) -> Outcome {
        let mut value = Vec::new();
        let found = retained::get(&**state.engine(), self.id, partition, topic, &mut value);
        if !found.map_err(unreadable)? {
            return Err(Problem::NotFound);
        }
        let message = Message::decode(&value).map_err(|error| unreadable(damaged(topic, &error)))?;
        let messages = vec![retained_entry(topic, &message, true)];
        Ok(Answer::Retained { messages, next: None })
    }

    /// The first partition with subscribers from `from` on, in the order of their numbers.
    pub fn routes_from(&self, from: u64) -> Option<(u64, &Routes)> {
        let partition = *self.partitions_in_order.range(from..).next()?;
        self.partitions.get(&partition).map(|routes| (partition, routes))
    }

    /// Partitions with subscribers.
    pub fn partitions(&self) -> u64 {
        self.partitions.len() as u64
    }
}

fn retained_entry(topic: &str, message: &Message<'_>, whole: bool) -> RetainedEntry {
    let bytes = |bytes: &[u8]| if whole { bytes.to_vec() } else { Vec::new() };
    RetainedEntry {
        topic: topic.to_owned(),
        qos: message.qos as u8,
        published_at: message.published_at,
        expires_at: message.expires_at,
        payload_bytes: message.payload.len() as u64,
        payload: bytes(message.payload),
        properties: bytes(message.properties),
    }
}

fn damaged(topic: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Damaged { place: format!("Retained Message of {topic}"), reason: error.to_string() }
}

fn client_id_of(name: &[u8]) -> Option<String> {
    split_name(name).map(|(_, client_id)| client_id.to_owned())
}

fn unreadable(error: Error) -> Problem {
    Problem::Storage(error.to_string())
}
