//! The bytes of MQTT 3.1, 3.1.1 and 5.0.
//!
//! [`cut`] takes the first whole Control Packet off a buffer, [`decode`] reads it, every packet's `encode` writes one.
//! The protocol version is a value, so a rule stands once and not once per version. What is read borrows from the
//! buffer: nothing is allocated for bytes that a stranger sent, least of all for bytes that were only announced.
//! Input never panics; an [`Error`] names the rule that was broken and the Reason Code that tells the other side.
//!
//! The crate knows no Session, no socket, no time and no policy: what depends on earlier packets (the order of the
//! handshake, Receive Maximum, which Topic Alias is known) is checked by those who remember them.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod error;
mod header;
mod list;
pub mod packet;
mod packet_id;
mod property;
mod qos;
mod reader;
mod reason;
mod text;
pub mod topic;
mod varint;
mod version;

pub use error::{EncodeError, Error};
pub use header::{Cut, Limits, PacketType, Sender, cut};
pub use list::{Kept, List};
pub use packet::{
    Auth, Connack, Connect, Delivery, Disconnect, Packet, Placed, Puback, Pubcomp, Publish, Pubrec, Pubrel,
    RetainHandling, Suback, Subscribe, Subscription, SubscriptionOptions, Unsuback, Unsubscribe, Will,
    decode, decode_from, sole_ack,
};
pub use packet_id::PacketId;
pub use property::{
    AckProperties, AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties, Forwardable,
    MaximumQoS, PayloadFormat, PublishProperties, SubscribeProperties, SubscriptionId, SubscriptionIds,
    TopicAlias, UnsubscribeProperties, UserProperties, WillProperties,
};
pub use qos::QoS;
pub use reason::ReasonCode;
pub use topic::{SharedFilter, TopicFilter, TopicName};
pub use version::ProtocolVersion;

/// The longest Remaining Length: four bytes of seven bits [2.1.4].
pub const REMAINING_LENGTH_MAX: usize = varint::MAX as usize;
