//! A full slot holds back those who publish to it, and nobody else. Each of them has one message under way at a time (see
//! [`crate::connection::Credit`]), but there are many of them, and one message of each can be more than a whole shard may
//! have waiting. So while a slot of the node is full, those who publish to it may have so many bytes under way together, and
//! the rest stands in line, unread. Where a message will have to wait is known only once it is there: who has published
//! nothing while a slot was full is in a line of its own, until a message of its own has been taken by another slot; from
//! then on it is not concerned, until one comes to a full slot.

use std::collections::{BTreeSet, VecDeque};

use super::Edge;
use crate::connection::Standing;
use crate::dest::Dest;
use crate::session::Home;

/// Bytes that those of one line may have under way in a shard. One message may always come.
const LINE_BYTES: usize = 4 << 20;

/// Publishers that a line lets through together: all of them are looked at in each turn. As many go on in one turn when
/// there is no full slot any more.
const LINE_PUBLISHERS: usize = 4096;

/// What an edge knows of full slots, and who waits for them.
#[derive(Debug, Default)]
pub struct Shortage {
    /// Shards that have a full slot; none for this one.
    shards: BTreeSet<Option<Dest>>,
    /// Of those whose slots are not known, and of those who have met a full one.
    lines: [Line; 2],
}

#[derive(Debug, Default)]
struct Line {
    /// Bytes that these have under way, or may.
    bytes: usize,
    admitted: Vec<Home>,
    /// With the bytes of their next message.
    parked: VecDeque<(Home, usize)>,
}

impl Line {
    /// Whether a message of so many bytes may come beside those that are under way.
    fn has_room(&self, length: usize) -> bool {
        self.bytes == 0 || self.bytes + length <= LINE_BYTES && self.admitted.len() < LINE_PUBLISHERS
    }
}

impl Shortage {
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Whether a shard has a full slot; none for this one.
    pub fn is_of(&self, shard: Option<Dest>) -> bool {
        self.shards.contains(&shard)
    }

    /// Whether somebody waits for a full slot that is not full any more.
    pub fn has_more(&self) -> bool {
        !self.is_on() && self.has_parked()
    }

    pub fn has_parked(&self) -> bool {
        self.lines.iter().any(|line| !line.parked.is_empty())
    }
}

impl Edge {
    /// Whether this message of a Client is taken now, while there is a full slot. If not it is in line.
    #[cold]
    pub(crate) fn admits(&mut self, key: u32, length: usize) -> bool {
        let Self { connections, shortage, .. } = self;
        let Some(connection) = connections.get_mut(key as usize) else { return true };
        let (home, credit) = (connection.home, &mut connection.credit);
        if credit.take_ticket() {
            return true;
        }
        let line = match credit.standing {
            Standing::Clear => return true,
            Standing::Unknown => &mut shortage.lines[0],
            Standing::Behind => &mut shortage.lines[1],
        };
        if !line.parked.is_empty() || !line.has_room(length) {
            credit.park();
            line.parked.push_back((home, length));
            return false;
        }
        line.bytes += length;
        if credit.admit() {
            line.admitted.push(home);
        }
        true
    }

    /// Looks at those who were admitted, and lets as many more come as there is room for. Once a turn.
    pub(crate) fn admit_on(&mut self) {
        let mut shortage = std::mem::take(&mut self.shortage);
        let is_on = shortage.is_on();
        let mut left = LINE_PUBLISHERS;
        for line in &mut shortage.lines {
            line.bytes = 0;
            line.admitted.retain(|home| {
                let Some(connection) = self.find(home) else { return false };
                let bytes = connection.waiting_or_admitted_bytes();
                line.bytes += bytes;
                if bytes == 0 {
                    connection.credit.judge(is_on);
                }
                bytes > 0
            });
            while let Some((home, length)) = line.parked.front().copied() {
                if is_on && !line.has_room(length) || left == 0 {
                    break;
                }
                left -= 1;
                line.parked.pop_front();
                let Some(connection) = self.find(&home) else { continue };
                line.bytes += length;
                if connection.credit.unpark(length) {
                    line.admitted.push(home);
                }
                self.mark(home.key);
            }
        }
        self.shortage = shortage;
    }

    /// A shard (none for this one) has a full slot, or none any more.
    pub(crate) fn note_shortage(&mut self, shard: Option<Dest>, is: bool) {
        let known = &mut self.shortage.shards;
        match is {
            true => known.insert(shard),
            false => known.remove(&shard),
        };
        if !is {
            self.admit_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_bound_in_bytes_and_in_publishers_and_one_message_may_always_come() {
        let home = Home { node: 1, shard: 0, key: 0, serial: 0 };
        let line = |bytes, publishers| Line { bytes, admitted: vec![home; publishers], ..Line::default() };
        assert!(line(0, 0).has_room(2 * LINE_BYTES));
        assert!(line(LINE_BYTES - 1, 1).has_room(1) && !line(LINE_BYTES - 1, 1).has_room(2));
        assert!(line(10, LINE_PUBLISHERS - 1).has_room(1) && !line(10, LINE_PUBLISHERS).has_room(1));
    }
}
