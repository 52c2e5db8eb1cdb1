//! Batches between one shard of this process and one of another node: in order, exactly once, over links that lose, double,
//! delay and reorder; and how long each end may rely on the other.
//!
//! A connection of a Client acts for a Session that another node leads. It may do so while it *relies* on the leader's node,
//! and the leader's node may give the Session to somebody else once nobody relies on it any more. Neither needs the other's
//! clock:
//!
//! - Each frame says when it was sent, by its sender's clock, and that time comes back. An end relies until
//!   [`Times::relies`] after it *sent* the newest frame that the other is known to have heard. Whoever has heard that frame
//!   counts the same time from when it *came*, and what clocks drift apart is added: then the other end is gone.
//! - At the end of its reliance an end *lapses*: it drops what waits, raises its epoch and is told so, before it does anything
//!   else. It may have been paused and find frames that came meanwhile, and these are of the past.
//! - A *pair* is what both ends are called, each by its start and its epoch. A frame counts in the pair that it names, and in no
//!   other. Payload numbers begin at 1 in each pair, so nothing of an old pair can pass for something of a new one.
//! - An end is open once a frame names it as it is called now. Until then it tells its name and no more: it says nothing about
//!   what it has heard. So whoever relies on an end relies on one that is open and that tells when it lapses; and an end
//!   that is heard but hears nothing itself does not keep the other from saying that it is gone.
//! - Whoever names itself anew, or names us as we are called since a lapse, has left the pair before, and relies on nothing
//!   that was said in it.
//!
//! Payloads go back to the first one that is not acknowledged (go-back-N), and the receiver keeps nothing that comes out of
//! order. Links are TCP: what is lost is lost to the end of its link, so that a store of later payloads would be filled by
//! hostile peers alone. See [`Outbound`](outbound::Outbound) for what keeps a slow link from being sent everything twice.
//!
//! The clock is one that goes on while the machine sleeps (CLOCK_BOOTTIME), in milliseconds. `now` is to be read after a frame was
//! taken from its link and before one is put on it: a `now` that is older than the frame makes the other end gone too early.
//! Starts of a node are numbered in ascending order, and one process of a node is over before the next begins.
//!
//! [`Channel`] knows neither what payloads are nor which links there are.

mod end;
mod form;
mod frame;
mod outbound;
mod pair;
mod side;
#[cfg(test)]
mod tests;
mod times;

pub use end::{Channel, Event};
pub use form::Error;
pub use frame::{Frame, Payload};
pub use outbound::{Limits, Refused};
pub use side::{End, Process, Side};
pub use times::Times;

/// A rule that is left out, to see that the runs in `tests` would notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Without {
    #[default]
    Nothing,
    /// The other end is gone after what it relies for, by our clock.
    TheMargin,
    /// Reliance counts from when an answer came.
    TheTimeOfSending,
    /// Frames of earlier pairs count.
    ThePair,
    /// A frame is handled before the lapse is judged.
    TheLapseFirst,
    /// A payload that is not acknowledged is not sent again, the next ones are.
    TheFirstUnacknowledged,
    /// A lapse leaves the epoch as it is.
    TheEpoch,
    /// An end that is not open says what it has heard.
    TheSilenceBeforeOpening,
    /// A frame counts however long it was on its way.
    TheAge,
    /// Nobody is taken to rely on an earlier start of this node.
    ThePast,
    /// Any later payload is taken.
    TheNextNumberOnly,
}
