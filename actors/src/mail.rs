//! Mail between nodes: what its bytes must keep to, and why they are none. How they are written is told in `shard/mail/seal`.

pub use crate::shard::{Bounds, Mail, MailError as Error, OfOneNode};
