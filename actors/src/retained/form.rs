//! Version 1 of a [`Request`], field by field, as letters between nodes carry it.

use convoy_storage::record::{BorrowDecode, Encode};
use convoy_wire::{SharedFilter, TopicFilter};

use super::serve::{Request, Scope};
use super::{Cursor, Reader, key};
use crate::session::{Epoch, Home, Place, SessionNumber, Subscription};

/// More than the key of any topic has.
const KEY_BYTES: usize = 2 * u16::MAX as usize;

#[derive(Debug, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
pub struct RequestForm<'a> {
    pub home: Home,
    pub session: SessionNumber,
    epoch: Epoch,
    lasting: bool,
    serial: u64,
    filter: &'a str,
    pub subscription: Subscription,
    until: u64,
    slot: u16,
    scope: ScopeForm,
    /// The key at which reading goes on.
    cursor: Option<&'a [u8]>,
}

#[derive(Debug, Encode, BorrowDecode)]
#[bincode(crate = "convoy_storage::record")]
enum ScopeForm {
    Partition(u64),
    From(u64),
}

impl<'a> From<&'a Request> for RequestForm<'a> {
    fn from(request: &'a Request) -> Self {
        let Reader { home, session, epoch, lasting } = request.reader;
        let (slot, scope) = match request.scope {
            Scope::Partition(place) => (place.slot, ScopeForm::Partition(place.partition)),
            Scope::Slot { slot, from } => (slot, ScopeForm::From(from)),
        };
        Self {
            home,
            session,
            epoch,
            lasting,
            serial: request.serial,
            filter: &request.filter,
            subscription: request.subscription,
            until: request.until,
            slot,
            scope,
            // What has been read to its end is not asked for.
            cursor: request.cursor.key(),
        }
    }
}

impl RequestForm<'_> {
    /// The request, if its Topic Filter is one that Retained Messages are read for, and if it goes on within the partition
    /// that it names: nothing else may be read by it. Home, Session and Subscription are for the caller to judge.
    pub fn request(self, slots: u16) -> Option<Request> {
        let partition = match self.scope {
            ScopeForm::Partition(partition) | ScopeForm::From(partition) => partition,
        };
        let cursor = match self.cursor {
            None => Cursor::default(),
            Some(key) if key.len() > KEY_BYTES => return None,
            Some(key) => {
                key.strip_prefix(&key::front(convoy_ids::SlotId(self.slot), partition)[..])?;
                Cursor::at(key.to_vec())
            }
        };
        let is_plain = matches!(SharedFilter::parse(self.filter), Ok(None));
        if self.slot >= slots || !is_plain || TopicFilter::new(self.filter).is_err() {
            return None;
        }
        let scope = match self.scope {
            ScopeForm::Partition(partition) => Scope::Partition(Place { slot: self.slot, partition }),
            ScopeForm::From(from) => Scope::Slot { slot: self.slot, from },
        };
        let reader =
            Reader { home: self.home, session: self.session, epoch: self.epoch, lasting: self.lasting };
        let filter = self.filter.into();
        Some(Request {
            cursor,
            ..Request::new(reader, self.serial, filter, self.subscription, self.until, scope)
        })
    }
}
