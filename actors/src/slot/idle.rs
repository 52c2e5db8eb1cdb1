//! Active Sessions that nobody is connected to. Some stay in memory, where a message for one of them finds it; the longest
//! idle go first, and with them the Wills that they hold.

use std::collections::VecDeque;

use crate::session::{SessionNumber, SessionRow};

/// Sessions of a slot that stay.
const SESSIONS: usize = 256;

/// Bytes of their Wills.
const WILL_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub struct Idle {
    /// In the order they fell idle, each with the bytes of its Will. One that was there twice is here twice.
    order: VecDeque<(SessionNumber, usize)>,
    will_bytes: usize,
}

impl Idle {
    pub fn push(&mut self, row: &SessionRow) {
        let bytes = row.will.as_ref().map_or(0, |will| will.message.len());
        self.put(row.number, bytes);
    }

    /// The longest idle one, if more are here than may stay. It is not here any more.
    pub fn pop_beyond(&mut self) -> Option<(SessionNumber, usize)> {
        if self.order.len() <= SESSIONS && self.will_bytes <= WILL_BYTES {
            return None;
        }
        let (session, bytes) = self.order.pop_front()?;
        self.will_bytes -= bytes;
        Some((session, bytes))
    }

    /// It cannot go yet.
    pub fn put(&mut self, session: SessionNumber, will_bytes: usize) {
        self.order.push_back((session, will_bytes));
        self.will_bytes += will_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_many_sessions_nor_large_wills_stay() {
        let mut idle = Idle::default();
        for (will_bytes, stay) in [(0, SESSIONS), (WILL_BYTES / 4, 4), (2 * WILL_BYTES, 0)] {
            for number in 0..2 * SESSIONS as u64 {
                idle.put(SessionNumber(number), will_bytes);
            }
            while idle.pop_beyond().is_some() {}
            assert_eq!(idle.order.len(), stay);
            assert_eq!(idle.will_bytes, stay * will_bytes);
        }
    }
}
