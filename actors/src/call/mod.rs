//! What connections ask of the slots of their Sessions, and what they are told. It is all that the two know of each other.

mod ask;
mod farewell;
mod reply;

pub use ask::{Ack, SessionCall};
pub use farewell::Farewell;
pub use reply::{Answer, Begun, ReplyTo, token};
