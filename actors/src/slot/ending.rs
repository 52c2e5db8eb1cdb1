//! The end of a Session in pieces. What names it goes with the record that ends it: from then on there is none, and whoever
//! connects begins anew under another number. What it had may be very much: routes in many partitions, messages that other
//! members of Shared Subscriptions get, messages that many queues hold. As much of that goes at once as fits a piece of
//! work. For the rest a row says how far it has come, and the leader proposes one piece behind the other ([`Op::EndOn`]):
//! what each of them does follows from rows and from the record.

use convoy_storage::engine::{Error, Family};
use convoy_storage::record::{Decode, Encode};
use convoy_wire::QoS;

use super::active::Active;
use super::context::{Context, UNIT_BYTES};
use super::op::{Op, RootFilter};
use super::rows::Key;
use super::state::decode;
use super::{Slot, Turn, rows};
use crate::clock::Millis;
use crate::session::{Head, Place, Queue, Seq, SessionNumber, SubscriptionRow};
use crate::topic::SHARED;

/// Units of work that one record does at once for Sessions that end in it. Replicas of all releases must agree on it: it
/// never changes.
pub(super) const AT_ONCE: u32 = 1024;

/// Bytes of a Topic Filter that goes to all slots which are as much work as one that is short.
const FILTER_BYTES: usize = 64;

/// A slot for which so many bytes wait here is behind. While most slots are no piece is proposed, for what is a row here may
/// be one in each of them; a few that have stopped keep nobody from going on.
const BEHIND_BYTES: u64 = 64 << 10;

/// Units of a piece that is proposed later, and Sessions that it may be for.
const PIECE: u32 = 256;
const SESSIONS: usize = 64;

/// The row of a Session that has ended and of which something is left.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
pub(super) struct Ending {
    /// Tenant and Client Identifier.
    name: Vec<u8>,
    stage: Stage,
    /// Rows of this stage before this one have gone; empty for none.
    from: Vec<u8>,
    /// Messages before this one have been looked at.
    looked_at: Seq,
    /// It had a queue.
    has_queue: bool,
    /// It was a member of Shared Subscriptions.
    was_member: bool,
    /// Its Client was sent messages before this one, or may have been.
    perhaps_sent: Seq,
}

/// What goes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "convoy_storage::record")]
enum Stage {
    /// With their routes, so that nothing more comes.
    Subscriptions,
    /// Those of Shared Subscriptions to other members.
    Messages,
    /// Rows of messages that other queues hold too.
    Held,
    Received,
    Unreleased,
}

impl Ending {
    pub(super) fn of(active: &Active) -> Self {
        Self {
            name: active.name.to_vec(),
            stage: Stage::Subscriptions,
            from: Vec::new(),
            looked_at: 0,
            has_queue: active.queue.is_some(),
            was_member: false,
            perhaps_sent: active.queue.as_ref().map_or(0, |queue| queue.perhaps_sent()),
        }
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.from = Vec::new();
    }

    /// The rows that go in this stage, unless they are messages.
    fn rows(&self, session: SessionNumber) -> (Key, Key) {
        match self.stage {
            Stage::Subscriptions | Stage::Messages => rows::subscriptions(session),
            Stage::Held => rows::all_held(session),
            Stage::Received => rows::all_received(session),
            Stage::Unreleased => rows::all_unreleased(session),
        }
    }
}

impl Slot {
    /// What a Session had goes that has just ended, as far as this record's work allows.
    pub(super) fn end_at_once(
        &mut self,
        session: SessionNumber,
        active: &Active,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        let mut ending = Ending::of(active);
        let mut left = self.end_work;
        let is_over = active.row.subscriptions == 0 && active.queue.is_none()
            || self.end_piece(session, &mut ending, active.queue.as_deref(), &mut left, context, turn)?;
        self.end_work = left;
        if is_over {
            return Ok(());
        }
        if let Some(queue) = &active.queue {
            turn.state.put(rows::head(session), &queue.head());
        }
        turn.state.put(rows::ending(session), &ending);
        self.ending.insert(session);
        Ok(())
    }

    /// Proposes the next piece, unless one is on its way.
    pub fn propose_ends(&mut self, at: Millis) {
        if self.ending.is_empty() || self.asked.ends || !self.is_serving() {
            return;
        }
        let behind = self.outboxes.values().filter(|outbox| outbox.waiting_bytes() > BEHIND_BYTES);
        if behind.count() > usize::from(self.slots / 2) {
            return;
        }
        let sessions = self.ending.iter().take(SESSIONS).copied().collect();
        self.pending.push(at, &Op::EndOn { sessions, work: PIECE }, None);
        self.asked.ends = true;
    }

    /// Goes on with the end of these Sessions.
    pub(super) fn end_on(
        &mut self,
        sessions: &[SessionNumber],
        mut left: u32,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<(), Error> {
        self.asked.ends = false;
        for &session in sessions {
            if left == 0 {
                break;
            }
            let key = rows::ending(session);
            let Some(mut ending) = turn.state.get::<Ending>(&key)? else { continue };
            let head: Option<Head> = match ending.stage {
                Stage::Subscriptions | Stage::Messages if ending.has_queue => {
                    turn.state.get(&rows::head(session))?
                }
                _ => None,
            };
            let queue = head.map(|head| Queue::recover(head, None, Default::default()));
            match self.end_piece(session, &mut ending, queue.as_ref(), &mut left, context, turn)? {
                true => {
                    turn.state.delete(key);
                    self.ending.remove(&session);
                }
                false => turn.state.put(key, &ending),
            }
        }
        Ok(())
    }

    /// Does so much work of the end of a Session. True when nothing is left of it.
    fn end_piece(
        &mut self,
        session: SessionNumber,
        ending: &mut Ending,
        queue: Option<&Queue>,
        left: &mut u32,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        loop {
            let done = match ending.stage {
                Stage::Messages => self.end_messages(session, ending, queue, left, context, turn)?,
                _ => self.end_rows(session, ending, left, context, turn)?,
            };
            if !done {
                return Ok(false);
            }
            match ending.stage {
                Stage::Subscriptions if ending.has_queue => ending.enter(Stage::Messages),
                Stage::Messages => ending.enter(Stage::Held),
                Stage::Held => ending.enter(Stage::Received),
                Stage::Received => ending.enter(Stage::Unreleased),
                Stage::Subscriptions | Stage::Unreleased => return Ok(true),
            }
        }
    }

    fn end_rows(
        &mut self,
        session: SessionNumber,
        ending: &mut Ending,
        left: &mut u32,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let (first, to) = ending.rows(session);
        let from = if ending.from.is_empty() { first } else { ending.from.clone() };
        let (mut roots, mut is_over) = (Vec::new(), true);
        // One more than there is work for: it tells whether something is left.
        for (key, value) in turn.state.scan_some(&from, &to, *left as usize + 1)? {
            if *left == 0 {
                (ending.from, is_over) = (key, false);
                break;
            }
            let mut work = 1;
            match ending.stage {
                Stage::Subscriptions => {
                    let row: SubscriptionRow = decode(&key, &value)?;
                    if let Some(filter) = rows::filter_of_subscription(&key) {
                        ending.was_member |= filter.starts_with(SHARED);
                        self.count_subscription(filter, false);
                        if row.places.iter().any(Place::is_everywhere) {
                            // For all slots together below, and of each slot for itself where it comes.
                            roots.push(filter.to_owned());
                            work = 1 + filter.len() / FILTER_BYTES;
                        } else {
                            self.unroute(session, filter, &row.places, context.unanswered(), turn);
                            work = row.places.len().max(1);
                        }
                    }
                }
                Stage::Held => {
                    turn.state.release_body(session, decode(&key, &value)?)?;
                    *turn.work += 1;
                }
                Stage::Messages | Stage::Received | Stage::Unreleased => *turn.work += 1,
            }
            turn.state.delete(key);
            *left = left.saturating_sub(work as u32);
        }
        let roots: Vec<_> = roots.iter().map(|filter| RootFilter { filter, subscription: None }).collect();
        let work = self.emit_roots(session, None, &roots, context.unanswered(), turn);
        *left = left.saturating_sub(work);
        Ok(is_over)
    }

    /// Messages that came by a Shared Subscription go to other members; then all of them go.
    fn end_messages(
        &mut self,
        session: SessionNumber,
        ending: &mut Ending,
        queue: Option<&Queue>,
        left: &mut u32,
        context: Context,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Error> {
        let Some(queue) = queue else { return Ok(true) };
        for seq in queue.held_from(ending.looked_at.max(queue.floor())).take_while(|_| ending.was_member) {
            if *left == 0 {
                ending.looked_at = seq;
                return Ok(false);
            }
            let (delivery, message) = turn.state.queued_message(session, seq)?;
            // A QoS 2 message that was sent goes with its Session [MQTT-4.8.2-5].
            let may_go = delivery.qos != QoS::ExactlyOnce
                || seq >= ending.perhaps_sent && !turn.state.contains(&rows::received(session, seq))?;
            let mut work = 1 + message.len() / UNIT_BYTES;
            if delivery.group().is_some() && may_go {
                self.send_on(session, &ending.name, true, &delivery, &message, context, turn)?;
                work *= 2;
            }
            *turn.work += work as u64;
            *left = left.saturating_sub(work as u32);
        }
        if queue.next() > 0 {
            let (from, to) = (rows::queued(session, queue.floor()), rows::queued(session, Seq::MAX));
            turn.state.batch().delete_range(Family::Queue, &from, &to);
        }
        // A queue that nothing came into has a head too, once a connection ended.
        turn.state.delete(rows::head(session));
        Ok(true)
    }
}
