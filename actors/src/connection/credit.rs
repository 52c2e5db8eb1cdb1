//! What a connection has caused and others still hold for it: messages that wait for a record, and mail that another shard
//! has not opened. So many bytes of it may be under way; then nothing is read from the Client until some of it is taken, and
//! others go on. One packet more may always come on top.
//!
//! Messages of QoS 1 and 2 are counted by [`super::Inbound`], from PUBLISH to acknowledgement. Here is what nobody would
//! tell of: messages of QoS 0 that go by a log, and mail. Of mail the shards it went to are asked once half of the credit
//! is used up, so that who sends little asks nobody.

/// Counts in plain numbers of bytes.
#[derive(Debug, Default)]
pub struct Credit {
    /// Messages of QoS 0 whose records are not applied.
    in_log: usize,
    /// Mail since the other shards were asked last.
    mailed: usize,
    /// The shards that it went to, as bits.
    mailed_to: u64,
    /// Mail before that.
    asked: usize,
    /// Shards that have yet to say that they opened it.
    unheard: u32,
    /// A slot that the Client publishes to is full: it goes on when nothing of its own waits for a record.
    is_tight: bool,
    /// How the Client stands to slots that are full.
    pub standing: Standing,
    /// It has met a full slot since it was admitted to a line.
    has_met: bool,
    is_admitted: bool,
    /// Bytes of a message that may come, though it stood in line.
    ticket: u32,
    is_parked: bool,
}

/// How a publisher stands to the slots that are full: `edge/shortage.rs` says what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has published nothing while one was.
    #[default]
    Unknown,
    /// A message of its own was taken by another slot.
    Clear,
    /// One came to a full slot.
    Behind,
}

impl Credit {
    /// A message of QoS 0 waits for its record.
    pub fn enter_log(&mut self, bytes: usize) {
        self.in_log += bytes;
    }

    /// It waits no more.
    pub fn leave_log(&mut self, bytes: usize) {
        self.in_log = self.in_log.saturating_sub(bytes);
    }

    /// A slot is full.
    pub fn tighten(&mut self) {
        self.is_tight = true;
        self.has_met = true;
        self.standing = Standing::Behind;
    }

    /// It is counted in a line, whether it was not before.
    pub fn admit(&mut self) -> bool {
        self.has_met &= self.is_admitted;
        !std::mem::replace(&mut self.is_admitted, true)
    }

    /// Nothing is read until it is its turn in line.
    pub fn park(&mut self) {
        self.is_parked = true;
    }

    /// It is its turn: as [`Credit::admit`].
    pub fn unpark(&mut self, ticket: usize) -> bool {
        (self.is_parked, self.ticket) = (false, ticket as u32);
        self.admit()
    }

    /// Whether it has stood in line for the message that comes.
    pub fn take_ticket(&mut self) -> bool {
        std::mem::take(&mut self.ticket) > 0
    }

    pub fn ticket(&self) -> usize {
        self.ticket as usize
    }

    /// All that it was admitted with is done; whether some slot is full still.
    pub fn judge(&mut self, is_on: bool) {
        self.is_admitted = false;
        if is_on && !self.has_met {
            self.standing = Standing::Clear;
        }
    }

    /// Bytes that wait for records; `waiting` are those of messages without their acknowledgement.
    pub fn in_records(&self, waiting: usize) -> usize {
        waiting + self.in_log
    }

    /// Mail was sent to these shards. Whom to ask whether they have opened it, if it is time for that.
    #[inline]
    pub fn mail(&mut self, bytes: usize, shards: u64, limit: usize) -> Option<u64> {
        self.mailed += bytes;
        self.mailed_to |= shards;
        (self.mailed >= limit / 2 && self.unheard == 0).then(|| {
            (self.asked, self.mailed) = (self.mailed, 0);
            std::mem::take(&mut self.mailed_to)
        })
    }

    /// So many shards were asked.
    pub fn ask(&mut self, shards: u32) {
        self.unheard += shards;
    }

    /// One of them has opened what it was sent.
    pub fn hear(&mut self) {
        self.unheard = self.unheard.saturating_sub(1);
        if self.unheard == 0 {
            self.asked = 0;
        }
    }

    /// A shard is not heard any more: what was sent there is on its way nowhere, and nobody answers for it.
    pub fn forget_asked(&mut self) {
        (self.unheard, self.asked) = (0, 0);
    }

    /// Bytes under way; `waiting` are those of messages without their acknowledgement.
    pub fn used(&self, waiting: usize) -> usize {
        waiting + self.in_log + self.mailed + self.asked
    }

    /// Whether nothing more may come.
    #[inline]
    pub fn is_used_up(&self, waiting: usize, limit: usize) -> bool {
        self.is_parked || self.used(waiting) >= limit || self.is_tight && waiting + self.in_log > 0
    }

    /// The slot is forgotten with the last message that waited.
    pub fn loosen(&mut self, waiting: usize) {
        self.is_tight &= waiting + self.in_log > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_under_way_until_all_it_went_to_have_opened_it() {
        let mut credit = Credit::default();
        assert_eq!(credit.mail(40, 1, 100), None);
        assert_eq!(credit.mail(20, 4, 100), Some(5));
        credit.ask(2);
        assert_eq!(credit.mail(39, 1, 100), None);
        assert!(!credit.is_used_up(0, 100));
        assert_eq!(credit.mail(30, 2, 100), None);
        assert!(credit.is_used_up(0, 100));
        credit.hear();
        assert!(credit.is_used_up(0, 100));
        credit.hear();
        assert!(!credit.is_used_up(0, 100));
        // What came meanwhile is asked for with the next.
        assert_eq!(credit.mail(1, 1, 100), Some(3));
    }

    #[test]
    fn behind_a_full_slot_there_is_one_message_at_a_time() {
        let mut credit = Credit::default();
        credit.enter_log(10);
        assert!(!credit.is_used_up(0, 100));
        credit.tighten();
        assert!(credit.is_used_up(0, 100));
        credit.leave_log(10);
        assert!(credit.is_used_up(1, 100) && !credit.is_used_up(0, 100));
        credit.loosen(0);
        credit.enter_log(10);
        assert!(!credit.is_used_up(0, 100));
    }
}
