//! What applying an operation knows of it beside its fields, and how much work it is.

use crate::call::ReplyTo;
use crate::clock::Millis;

/// Bytes of a record that are as much work as one small operation.
pub const UNIT_BYTES: usize = 512;

/// Bytes of a message or an operation, copied once, that are as much work as a small one.
const COPIED_BYTES: usize = 2048;

/// Units of work of a message or an operation of so many bytes that is read and passed on.
pub fn work_of(bytes: usize) -> u64 {
    1 + (bytes / COPIED_BYTES) as u64
}

/// What is known of the operation being applied.
#[derive(Clone, Copy)]
pub struct Context {
    pub at: Millis,
    /// A number that every replica knows, and the one that gave the operation out: of a message that came out of an
    /// outbox its number there, of any other operation the place of its record.
    pub agreed: u64,
    pub reply: Option<ReplyTo>,
    /// It came out of an outbox.
    pub is_forwarded: bool,
}

impl Context {
    /// Of something that follows from the operation and that nobody waits for.
    pub fn unanswered(self) -> Self {
        Self { reply: None, ..self }
    }
}
