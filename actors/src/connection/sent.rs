//! What a Client was sent out of its Session's queue over this connection. The slot's leader counts that for itself; here it
//! is kept for the next one.

use convoy_wire::{PacketId, QoS};

use crate::call::Ack;
use crate::session::{Inflight, Progress, Seq, Stage};

#[derive(Debug)]
pub struct Sent {
    window: Inflight,
    /// Behind the last one.
    next: Seq,
}

impl Default for Sent {
    fn default() -> Self {
        Self { window: Inflight::new(0, u16::MAX), next: 0 }
    }
}

impl Sent {
    /// Whether message `seq` may come now: behind all that came, and so that no identifier is there twice.
    pub fn may_send(&self, seq: Seq) -> bool {
        seq >= self.next && self.window.reaches(seq)
    }

    /// It comes, and reaches the Client or (`qos` is none) is not for it.
    pub fn send(&mut self, seq: Seq, qos: Option<QoS>) {
        self.next = seq + 1;
        match qos {
            Some(QoS::ExactlyOnce) => self.window.send(seq, Stage::Unreceived, 0),
            Some(_) => self.window.send(seq, Stage::Published, 0),
            None => return,
        };
    }

    /// PUBREL is sent.
    pub fn release(&mut self, packet_id: PacketId) {
        self.window.release(packet_id);
    }

    pub fn on_ack(&mut self, ack: Ack, packet_id: PacketId) {
        match ack {
            Ack::Puback => self.window.on_puback(packet_id),
            Ack::Pubrec { refused } => self.window.on_pubrec(packet_id, refused),
            Ack::Pubcomp => self.window.on_pubcomp(packet_id),
        };
    }

    pub fn progress(&self, receive_maximum: u16) -> Progress {
        Progress { receive_maximum, next: self.next, open: self.window.open().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::packet_id;

    #[test]
    fn what_is_open_is_told_with_how_far_it_has_come() {
        let mut sent = Sent::default();
        for (seq, qos) in [(5, 1), (6, 1), (7, 2), (8, 2), (9, 2), (10, 1)] {
            assert!(sent.may_send(seq));
            sent.send(seq, QoS::from_u8(qos));
        }
        sent.send(12, None);
        assert!(!sent.may_send(12) && sent.may_send(13) && !sent.may_send(5 + 65_534));
        sent.on_ack(Ack::Puback, packet_id(6));
        for seq in [8, 9] {
            sent.on_ack(Ack::Pubrec { refused: false }, packet_id(seq));
        }
        sent.release(packet_id(9));
        let open = vec![
            (5, Stage::Published),
            (7, Stage::Unreceived),
            (8, Stage::Receiving),
            (9, Stage::Released),
            (10, Stage::Published),
        ];
        assert_eq!(sent.progress(20), Progress { receive_maximum: 20, next: 13, open });
        sent.on_ack(Ack::Pubcomp, packet_id(9));
        assert_eq!(sent.progress(20).open.len(), 4);
    }
}
