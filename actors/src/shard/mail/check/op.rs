//! What is expected of an operation out of an outbox. It goes into the log of the slot that it is for, where one that cannot be
//! applied would stop the slot on every replica.

use convoy_ids::SlotId;
use convoy_storage::{record, sealed};

use super::{Check, check_filter, check_message, check_subscription, check_targets};
use crate::shard::mail::Error;
use crate::slot::Op;

impl Check<'_> {
    pub(super) fn op(&self, to: SlotId, bytes: &[u8]) -> Result<(), Error> {
        match record::decode(bytes).map_err(sealed::Error::from)? {
            Op::Publish { message, .. } | Op::Will { message, .. } => check_message(message),
            Op::Enqueue { message, targets } => {
                check_message(message)?;
                check_targets(to, targets, message.len())
            }
            Op::Route { subscriber, filter, route, .. } => {
                self.session(subscriber)?;
                check_filter(filter)?;
                check_subscription(&route.subscription)?;
                route.home.map_or(Ok(()), |home| self.home(home).map(drop))
            }
            Op::Unroute { subscriber, filter, .. } => {
                self.session(subscriber)?;
                check_filter(filter)
            }
            Op::Roots { subscriber, home, filters } => {
                self.session(subscriber)?;
                home.map_or(Ok(()), |home| self.home(home).map(drop))?;
                filters.iter().try_for_each(|root| {
                    check_filter(root.filter)?;
                    root.subscription.as_ref().map_or(Ok(()), check_subscription)
                })
            }
            // It takes up a number.
            Op::Expire { topics } if topics.is_empty() => Ok(()),
            // Slots send each other nothing else. What stands for a body is sent with it, and what came out of an outbox is
            // not sent on.
            Op::Connect { .. }
            | Op::Disconnect { .. }
            | Op::Subscribe { .. }
            | Op::Unsubscribe { .. }
            | Op::Finished { .. }
            | Op::Received { .. }
            | Op::Accept { .. }
            | Op::Release { .. }
            | Op::Redispatch { .. }
            | Op::Retain { .. }
            | Op::Expire { .. }
            | Op::Inbox { .. }
            | Op::Live { .. }
            | Op::Given { .. }
            | Op::GivenUp { .. }
            | Op::Trim { .. }
            | Op::Due { .. }
            | Op::End { .. }
            | Op::InLine { .. }
            | Op::EndOn { .. }
            | Op::EnqueueBody { .. }
            | Op::RootsBody { .. } => Err(Error::Impossible("operation of an outbox")),
        }
    }
}
