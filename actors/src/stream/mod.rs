//! Calls from one sender to one slot, in order, and each with an end.
//!
//! What waits for a slot must neither hang while the slot has no leader, nor act twice after it changed its leader, nor act
//! in another order than it was sent: m2 before m1, or an old Retained Message after a newer one. So the calls of one
//! sender to one slot are a numbered stream:
//!
//! - The slot takes the next number only, and what it took last is part of its replicated state ([`Receiver`]). A gap is
//!   answered with the number that is expected, and the sender goes back to it (go-back-N). A number that was taken before
//!   is answered with the result on record.
//! - The sender holds a bounded window, sends it again from the first number without an answer when there is another leader or
//!   when nobody answers, and ends every call exactly once ([`Sender`]).
//! - A number stands for one call for ever. A call has none before it is sent for the first time, so one whose time runs out
//!   before that ends as [`Ended::NotSent`] and leaves no gap. One whose time runs out later may have acted: it ends as
//!   [`Ended::Unknown`], and from then on the sender sends its number *void*. Whichever of the two the slot takes first
//!   fills the number, so the calls behind it go on and a late copy of it never acts behind them.
//!
//! This module knows numbers, deadlines and bytes. What a call is, whose tokens the sender's are, and how letters travel is
//! for others.

mod leading;
mod letter;
mod receiver;
mod row;
mod sender;
#[cfg(test)]
mod tests;

pub use leading::{Leading, Look};
pub use letter::{Answer, Call, Reply, Source};
pub use receiver::{Limits, Receiver, Verdict};
pub use row::{Key, key_of_node, key_of_stream};
pub use sender::{Ended, Sender, Window};

/// A rule that is left out, to see that the runs in `tests` would notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Without {
    #[default]
    Nothing,
    /// What is sent again goes behind what was sent since.
    TheOrderOfRetries,
    /// Any later number is taken.
    TheNextNumberOnly,
    /// The result of the last number alone is kept.
    OlderResults,
    /// A sent call whose time is over is dropped in silence.
    TheEndAtADeadline,
    /// A sent call whose time is over leaves its number to the next one.
    Voids,
    /// What was taken is known to the leader alone.
    TheRecord,
    /// A stream that was forgotten may begin again.
    ThePast,
    /// What was proposed acts when it is applied, whatever was applied meanwhile.
    TheLookAtApply,
    /// What is before the number that a slot expects is told as done.
    OutcomesByNumber,
    /// A node that expects less than was taken is believed, and the stream goes on in another place.
    TheDeposed,
}
