//! Rules that are left out on purpose, to see that a check which should notice does: see [`Without`].

use convoy_storage::engine::Error;

use super::state::State;
use super::{Slot, Turn};
use crate::call::SessionCall;
use crate::message::Message;
use crate::options::Without;
use crate::retained;
use crate::session::Stage;

impl Slot {
    /// What the leader before knew is not known here.
    #[cold]
    pub fn forget_routes(&mut self) {
        self.partitions.clear();
        self.partitions_in_order.clear();
    }

    /// Whether what is kept for the topic of a Retained Message was published later, as clocks have it.
    #[cold]
    pub fn keeps_later(&self, partition: u64, message: &Message<'_>, state: &State) -> Result<bool, Error> {
        let mut kept = Vec::new();
        retained::get(&**state.engine(), self.id, partition, message.topic, &mut kept)?;
        Ok(Message::decode(&kept).is_ok_and(|kept| kept.published_at > message.published_at))
    }

    /// What a connection says that asks to be adopted, as it would have to be for a leader without the rule to take it up so.
    #[cold]
    pub fn bend(
        &mut self,
        without: Without,
        mut call: SessionCall,
        turn: &mut Turn<'_>,
    ) -> Result<SessionCall, Error> {
        let SessionCall::Adopt { session, epoch, home, progress, .. } = &mut call else { return Ok(call) };
        match without {
            Without::Owner => {
                if let Some(active) = self.activate(*session, turn)? {
                    *epoch = active.row.epoch;
                    *home = active.row.home.unwrap_or(*home);
                }
            }
            Without::Steps => {
                for (_, stage) in progress.iter_mut().flat_map(|progress| &mut progress.open) {
                    if *stage == Stage::Receiving {
                        *stage = Stage::Unreceived;
                    }
                }
            }
            _ => {}
        }
        Ok(call)
    }
}
