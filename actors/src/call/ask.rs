//! What a connection asks of its Session's slot.

use convoy_wire::PacketId;

use super::{Farewell, ReplyTo};
use crate::session::{Delivery, Epoch, Home, Place, Progress, QueueLimits, SessionNumber, Wanted, Will};

/// Which acknowledgement the Client sent for a message from its Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    Puback,
    /// `refused`: with a Reason Code of 0x80 or more.
    Pubrec {
        refused: bool,
    },
    Pubcomp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionCall {
    /// CONNECT: the answer is a [`crate::session::Grant`].
    Connect {
        name: Vec<u8>,
        clean_start: bool,
        /// See [`crate::session::SessionRow::owner`].
        owner: String,
        /// Not to be granted if it belongs to another user.
        binds: bool,
        expiry_seconds: u32,
        limits: QueueLimits,
        will: Option<Box<Will>>,
        /// Not to be granted while another connection has the Session.
        yields: bool,
        reply: ReplyTo,
    },
    /// The connection is gone that asks for a Session: where its CONNECT comes late, it must not take that from one that has
    /// come since.
    Abandon {
        name: Vec<u8>,
        home: Home,
    },
    /// CONNACK is written: delivery may begin.
    Ready {
        session: SessionNumber,
        epoch: Epoch,
        home: Home,
        receive_maximum: u16,
        /// The Client speaks 3.x, which knows of its Subscriptions their Maximum QoS only.
        is_plain: bool,
    },
    /// The slot is led anew, and the connection is there still. `progress`: where its messages come from the slot.
    Adopt {
        session: SessionNumber,
        epoch: Epoch,
        home: Home,
        progress: Option<Box<Progress>>,
        reply: ReplyTo,
    },
    Disconnect {
        session: SessionNumber,
        epoch: Epoch,
        farewell: Farewell,
        expiry_seconds: Option<u32>,
        reply: Option<ReplyTo>,
    },
    Subscribe {
        session: SessionNumber,
        epoch: Epoch,
        wanted: Vec<Wanted>,
        reply: ReplyTo,
    },
    Unsubscribe {
        session: SessionNumber,
        epoch: Epoch,
        filters: Vec<String>,
        reply: ReplyTo,
    },
    Ack {
        session: SessionNumber,
        epoch: Epoch,
        ack: Ack,
        packet_id: PacketId,
    },
    /// A QoS 2 PUBLISH.
    Accept {
        session: SessionNumber,
        epoch: Epoch,
        packet_id: PacketId,
        place: Place,
        message: Vec<u8>,
        /// The partition is asked first whether it has room for it: it is known to have little.
        asks: bool,
        reply: ReplyTo,
    },
    /// A Retained Message for a new Subscription, at QoS 1 or 2.
    Keep {
        session: SessionNumber,
        epoch: Epoch,
        delivery: Delivery,
        message: Vec<u8>,
    },
    /// PUBREL.
    Release {
        session: SessionNumber,
        epoch: Epoch,
        packet_id: PacketId,
        reply: ReplyTo,
    },
}

impl SessionCall {
    /// The slot of the Session that is meant; `None` for a CONNECT and its end, whose Session is not known yet.
    pub fn session(&self) -> Option<SessionNumber> {
        match self {
            Self::Connect { .. } | Self::Abandon { .. } => None,
            Self::Ready { session, .. }
            | Self::Adopt { session, .. }
            | Self::Disconnect { session, .. }
            | Self::Subscribe { session, .. }
            | Self::Unsubscribe { session, .. }
            | Self::Ack { session, .. }
            | Self::Accept { session, .. }
            | Self::Keep { session, .. }
            | Self::Release { session, .. } => Some(*session),
        }
    }

    /// Who is told that it cannot be done. A Session is taken leave of in any case.
    pub fn reply(&self) -> Option<ReplyTo> {
        match self {
            Self::Connect { reply, .. }
            | Self::Adopt { reply, .. }
            | Self::Subscribe { reply, .. }
            | Self::Unsubscribe { reply, .. }
            | Self::Accept { reply, .. }
            | Self::Release { reply, .. } => Some(*reply),
            Self::Abandon { .. }
            | Self::Ready { .. }
            | Self::Disconnect { .. }
            | Self::Ack { .. }
            | Self::Keep { .. } => None,
        }
    }
}
