//! Commands for the meta group, from whichever node leads it.

use convoy_actors::CommandError;
use convoy_actors::meta::{Command, Fleet, Refusal};
use convoy_ids::NodeId;
use convoy_peer::authority::{Identity, server_name};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::call::{self, Answer, Ask};
use crate::drive::ShardHandle;

/// A command that is not carried out after so long has come to nothing.
const TAKES: Duration = Duration::from_secs(10);

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(200);

/// The way to the meta group.
#[derive(Clone)]
pub struct Orders {
    pub me: NodeId,
    pub fleet_id: [u8; 16],
    pub identity: Arc<Identity>,
    /// The shard that has the meta group, if this node does.
    pub shard: ShardHandle,
    pub known: watch::Receiver<Arc<Fleet>>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Refused(String),
    #[error("the fleet did not decide within {TAKES:?}: {0}")]
    Late(String),
}

impl Orders {
    /// Gives a command, and returns when the fleet is known to be as it says.
    pub async fn carry_out(
        &self,
        command: &Command,
        is_so: impl Fn(&Fleet) -> bool,
    ) -> Result<Arc<Fleet>, Error> {
        let deadline = Instant::now() + TAKES;
        let mut why = "no node leads the meta group".to_owned();
        let mut known = self.known.clone();
        while Instant::now() < deadline {
            match self.give(command).await {
                Answer::Done => {
                    // What was on its way may have come to nothing.
                    let look = (Instant::now() + Duration::from_secs(2)).min(deadline);
                    if let Ok(Ok(fleet)) = timeout_at(look, known.wait_for(|fleet| is_so(fleet))).await {
                        return Ok(Arc::clone(&fleet));
                    }
                    why = "it was not carried out".into();
                }
                Answer::Refused(reason) => return Err(Error::Refused(reason)),
                Answer::Later(reason) => why = reason,
                _ => {}
            }
            sleep(AGAIN).await;
        }
        Err(Error::Late(why))
    }

    /// Gives it to whoever takes it: this node, or else the others one after the other.
    async fn give(&self, command: &Command) -> Answer {
        match self.give_here(command).await {
            Answer::NotLeader => {}
            answer => return answer,
        }
        let fleet = Arc::clone(&self.known.borrow());
        let mut last = Answer::NotLeader;
        for (node, member) in fleet.members().filter(|(node, _)| *node != self.me) {
            let ask = Ask::Order { command: command.encode() };
            let name = server_name(node, self.fleet_id);
            match call::call(&member.address, name, self.identity.client_config(), &ask).await {
                Ok(Answer::NotLeader) => {}
                Ok(answer) => return answer,
                Err(error) => last = Answer::Later(format!("{} does not answer: {error}", member.name)),
            }
        }
        last
    }

    /// The same, if this node leads it.
    pub async fn give_here(&self, command: &Command) -> Answer {
        match self.shard.order(command.clone()).await {
            Some(Ok(())) => Answer::Done,
            Some(Err(CommandError::NotLeader)) => Answer::NotLeader,
            // Its first node is about to found it.
            Some(Err(error @ (CommandError::Busy | CommandError::Refused(Refusal::Unborn)))) => {
                Answer::Later(error.to_string())
            }
            Some(Err(CommandError::Refused(refusal))) => Answer::Refused(refusal.to_string()),
            None => Answer::Later("the node is stopping".into()),
        }
    }
}
