//! Queues of Sessions: what comes in, and what their Clients have finished.

use convoy_storage::engine::Error;

use super::context::Context;
use super::stored::Body;
use super::{Slot, Turn, rows, stored};
use crate::session::{Seq, SessionNumber, Target};

impl Slot {
    /// A message for as many Sessions as are named.
    #[inline(always)] // It has one caller.
    pub(super) fn enqueue_for_all(
        &mut self,
        message: &[u8],
        targets: &[u8],
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        // A record holds many messages: none may go out in the encoding of the one before it.
        turn.effects.begin_message();
        let body = self.begin_body(message, targets, turn);
        for target in Target::all(targets) {
            self.enqueue(target, message, body, context, turn)?;
        }
        if let Some(body) = body {
            turn.state.release_body(rows::nobody(self.id), body.number)?;
        }
        Ok(())
    }

    fn enqueue(
        &mut self,
        target: Target,
        message: &[u8],
        body: Option<Body>,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        *turn.work += 1;
        let leading = self.leading;
        let Some(active) = self.activate(target.session, turn)? else {
            return self.send_on_late(&target, message, context, turn);
        };
        let Some(queue) = &mut active.queue else { return Ok(()) };
        let (seq, came) = queue.push(message.len() as u32);
        active.weigh(turn.budget);
        let Some(queue) = &active.queue else { return Ok(()) };
        let over = leading && turn.budget.is_over(active.counted.user);
        let fits = !over && active.overflow.is_none() && active.row.limits.hold(queue.len(), queue.bytes());
        let inline = if body.is_some() { &[][..] } else { message };
        let row = stored::Stored { came, delivery: target.delivery, message: inline, body };
        turn.state.put_queued(target.session, seq, &row);
        if let Some(body) = body {
            turn.state.hold_body(target.session, seq, body)?;
        }
        if leading {
            self.deliver_fresh(target.session, seq, target.delivery, message, turn);
            if over {
                self.owe(target.session, message.len());
            }
            if !fits {
                self.watch_overflow(target.session, message);
            }
        }
        Ok(())
    }

    pub(super) fn finished(
        &mut self,
        session: SessionNumber,
        messages: &[(Seq, u32)],
        sent: Seq,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        *turn.work += messages.len() as u64;
        let Some(queue) = self.activate(session, turn)?.and_then(|active| active.queue.as_mut()) else {
            return Ok(());
        };
        for &(seq, bytes) in messages {
            if queue.received.contains(&seq) {
                turn.state.delete(rows::received(session, seq));
            }
            if queue.remove(seq, bytes) {
                turn.state.remove_queued(session, seq, bytes)?;
            }
        }
        queue.note_sent(sent);
        turn.state.put(rows::head(session), &queue.head());
        self.weigh(session, turn);
        self.relieved(session);
        Ok(())
    }

    pub(super) fn received(
        &mut self,
        session: SessionNumber,
        seqs: &[Seq],
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let Some(active) = self.activate(session, turn)? else { return Ok(()) };
        let Some(queue) = &mut active.queue else { return Ok(()) };
        for &seq in seqs {
            if queue.holds(seq) {
                queue.received.insert(seq);
                turn.state.put_bytes(rows::received(session, seq), &[]);
            }
        }
        if self.leading {
            self.release(session, seqs, turn);
        }
        Ok(())
    }
}
