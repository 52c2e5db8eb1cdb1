//! Retained Messages for a new Subscription, chunk by chunk: the connection asks for the next one when it has room for
//! it, so that a filter over a million topics costs neither memory nor a long turn.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use convoy_ids::SlotId;
use convoy_storage::engine::{Engine, Error, Family};
use convoy_wire::{QoS, SharedFilter};

use super::{Cursor, Limits, Progress, key, read};
use crate::clock::Millis;
use crate::message::Message;
use crate::session::{Home, Place, Subscription};
use crate::slot::{Delivery, Wanted};

/// One chunk: enough to keep a connection busy, little enough to be held for it.
const CHUNK: Limits = Limits { messages: 256, bytes: 64 << 10, steps: 4096 };

/// Where a connection goes on reading Retained Messages.
#[derive(Clone, Debug)]
pub struct Request {
    home: Home,
    filter: String,
    subscription: Subscription,
    scope: Scope,
    cursor: Cursor,
}

#[derive(Clone, Copy, Debug)]
enum Scope {
    Partition(Place),
    /// Every partition of a slot, from this one on: the filter's first level is a wildcard.
    Slot { slot: u16, from: u64 },
}

/// Retained Messages for a connection.
#[derive(Debug)]
pub struct Chunk {
    pub home: Home,
    pub messages: Vec<(Delivery, Vec<u8>)>,
    /// Where to go on.
    pub next: Option<Request>,
}

impl Request {
    pub fn home(&self) -> Home {
        self.home
    }

    pub fn slot(&self) -> SlotId {
        match self.scope {
            Scope::Partition(place) => SlotId(place.slot),
            Scope::Slot { slot, .. } => SlotId(slot),
        }
    }
}

/// What is to be read for a Subscription in a fleet of so many slots.
pub fn requests(wanted: &Wanted, home: Home, slots: u16, into: &mut VecDeque<Request>) {
    if !matches!(SharedFilter::parse(&wanted.filter), Ok(None)) {
        return;
    }
    let request = |scope| Request {
        home,
        filter: wanted.filter.clone(),
        subscription: wanted.subscription,
        scope,
        cursor: Cursor::default(),
    };
    for place in &wanted.places {
        if SlotId(place.slot).is_meta() {
            into.extend((0..slots).map(|slot| request(Scope::Slot { slot, from: 0 })));
        } else {
            into.push_back(request(Scope::Partition(*place)));
        }
    }
}

/// Reads the next chunk.
pub fn serve(mut request: Request, engine: &dyn Engine, now: Millis) -> Result<Chunk, Error> {
    let home = request.home;
    let slot = request.slot();
    let partition = match request.scope {
        Scope::Partition(place) => Some(place.partition),
        Scope::Slot { from, .. } => next_partition(engine, slot, from)?,
    };
    let mut messages = Vec::new();
    let Some(partition) = partition else { return Ok(Chunk { home, messages, next: None }) };
    let (subscription, mut damaged) = (request.subscription, None);
    let Request { filter, cursor, .. } = &mut request;
    let progress = read(engine, slot, partition, filter, cursor, &CHUNK, &mut |topic, value| {
        match Message::decode(value) {
            // [MQTT-3.3.2-6]
            Ok(message) if message.remaining(now).is_some() => {
                let qos = QoS::from_u8(subscription.qos).unwrap_or_default().min(message.qos);
                // [MQTT-3.3.1-8]: RETAIN is 1 on what was retained when the Subscription was made.
                messages.push((Delivery::new(qos, true, subscription.identifier), value.to_vec()));
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
    if let Some(error) = damaged {
        return Err(error);
    }
    let next = match (progress, request.scope) {
        (Progress::More, _) => Some(request),
        (Progress::Done, Scope::Slot { slot, .. }) if partition < u64::MAX => {
            let scope = Scope::Slot { slot, from: partition + 1 };
            Some(Request { scope, cursor: Cursor::default(), ..request })
        }
        (Progress::Done, _) => None,
    };
    // A chunk may stop in the middle of a partition: the scope has to name it.
    let next = next.map(|request| match request.scope {
        Scope::Slot { slot, from } if from < partition => {
            Request { scope: Scope::Slot { slot, from: partition }, ..request }
        }
        _ => request,
    });
    Ok(Chunk { home, messages, next })
}

/// The first partition from `from` on that keeps anything.
fn next_partition(engine: &dyn Engine, slot: SlotId, from: u64) -> Result<Option<u64>, Error> {
    let (from, _) = key::all(slot, from);
    let (_, to) = key::all(slot, u64::MAX);
    let mut found = None;
    engine.scan(Family::Retained, &from, &to, &mut |key, _| {
        found = key.get(2..10).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
        ControlFlow::Break(())
    })?;
    Ok(found)
}
