//! Rules of adoption that are left out on purpose, to see that a check which should notice does: see [`Without`].

use convoy_storage::engine::Error;

use super::{Slot, Turn};
use crate::call::SessionCall;
use crate::options::Without;
use crate::session::Stage;

impl Slot {
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
