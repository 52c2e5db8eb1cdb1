//! A slot that another replica leads from now on goes on with the connections that there are: a Client does not notice which
//! node has its Session, unless that is the one that it is connected to. Each connection says how far it has come, and the
//! next leader takes it up there. Who has lost its Session meanwhile is told so.

use std::ops::ControlFlow;

use convoy_storage::engine::Error;
use convoy_wire::ReasonCode;

use super::active::{Adoption, Link, read_queue};
use super::context::work_of;
use super::{Slot, Turn};
use crate::call::{Answer, ReplyTo};
use crate::session::{self, Epoch, Home, Progress, SessionNumber, Stage};

impl Slot {
    /// A connection is there that got its Session from an earlier leader.
    pub(super) fn adopt(
        &mut self,
        session: SessionNumber,
        epoch: Epoch,
        home: Home,
        progress: Option<Box<Progress>>,
        reply: ReplyTo,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let is_left = self.left.contains(&session);
        let active = self.activate(session, turn)?;
        let Some(active) =
            active.filter(|active| active.row.epoch == epoch && active.row.home == Some(home) && !is_left)
        else {
            let is_taken = self.epoch(session).is_some_and(|of| of > epoch);
            let reason = if is_taken { ReasonCode::SessionTakenOver } else { ReasonCode::ServerUnavailable };
            turn.effects.answer(reply, Answer::Refused(reason));
            return Ok(());
        };
        match progress.filter(|_| active.queue.is_some() && active.link.is_none()) {
            Some(progress) => active.adoption = Adoption::Waits(reply, progress),
            None => {
                active.adoption = Adoption::Done;
                turn.effects.answer(reply, Answer::Done);
            }
        }
        self.pump(session, turn)
    }

    /// Whether the connection of this epoch came to this leader, and is there.
    pub(super) fn is_adopted(&self, session: SessionNumber, epoch: Epoch) -> bool {
        let active = self.active.get(&session).filter(|active| active.row.epoch == epoch);
        active.is_some_and(|active| !matches!(active.adoption, Adoption::None))
    }

    /// Goes on from where a connection has come to, whose queue can be read now.
    pub(super) fn take_up(&mut self, session: SessionNumber, turn: &mut Turn<'_>) -> Result<(), Error> {
        let Some(active) = self.active.get_mut(&session) else { return Ok(()) };
        if !matches!(active.adoption, Adoption::Waits(..)) {
            return Ok(());
        }
        let Adoption::Waits(reply, progress) = std::mem::replace(&mut active.adoption, Adoption::Done) else {
            return Ok(());
        };
        let Some(queue) = &active.queue else { return Ok(()) };
        let home = reply.home;
        let is_paused = self.pauses.hold(&active.name);
        let mut link = Link::new(home, queue, progress.receive_maximum, is_paused);
        link.cursor = progress.next.clamp(queue.floor(), queue.next());
        let (cursor, mut to_release) = (link.cursor, Vec::new());
        let work = &mut *turn.work;
        read_queue(turn.state, session, queue.floor(), &mut |seq, row| {
            if seq >= cursor {
                return ControlFlow::Break(());
            }
            *work += work_of(row.message.len());
            let bytes = row.message.len() as u32;
            let Some(stage) = progress.stage(seq) else {
                // That it was finished is not on record.
                link.finished.push((seq, bytes));
                return ControlFlow::Continue(());
            };
            link.inflight.send(seq, stage, bytes);
            match stage {
                Stage::Receiving if queue.received.contains(&seq) => to_release.push(seq),
                Stage::Receiving => link.received.push(seq),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        link.inflight.skip_to(cursor);
        for seq in to_release {
            link.inflight.released(seq);
            turn.effects.release(home, session::packet_id(seq));
        }
        if !link.finished.is_empty() || !link.received.is_empty() {
            self.unsaved.push(session);
        }
        active.link = Some(Box::new(link));
        turn.effects.answer(reply, Answer::Done);
        Ok(())
    }
}
