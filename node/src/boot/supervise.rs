//! The parts of a node and what the death of each one means. The supervisor is an actor; a part runs on a thread of its
//! own and is watched by a guard that reports its end, however it came.

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

/// A part of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Connections and slots of one core.
    Shard,
    /// Syncs what was written.
    LogCommit,
    /// Shakes hands with new Clients.
    Handshakes,
    /// Verifies passwords.
    Authentication,
    /// Speaks with the other nodes of the fleet.
    Peers,
}

/// What the end of a part means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// Nothing that is acknowledged would be durable, or a share of the Clients could not be served: the node stops,
    /// so that another one or its next start takes over.
    StopNode,
}

impl TaskKind {
    pub fn on_end(self) -> OnEnd {
        match self {
            Self::Shard | Self::LogCommit | Self::Handshakes | Self::Authentication | Self::Peers => {
                OnEnd::StopNode
            }
        }
    }
}

#[derive(Debug)]
struct Ended {
    kind: TaskKind,
    thread: String,
}

/// Reports the end of a part when it is dropped, by a panic or otherwise.
pub struct Watch {
    kind: TaskKind,
    ended: std::sync::mpsc::Sender<Ended>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        // Nobody listens any more once the node is stopping: then every part ends.
        let _ = self.ended.send(Ended { kind: self.kind, thread });
    }
}

pub struct Supervisor {
    ended: std::sync::mpsc::Sender<Ended>,
    ends: std::sync::mpsc::Receiver<Ended>,
}

struct Node;

struct NodeState {
    stop: Option<oneshot::Sender<anyhow::Error>>,
}

impl Actor for Node {
    type Msg = Ended;
    type State = NodeState;
    type Arguments = oneshot::Sender<anyhow::Error>;

    async fn pre_start(
        &self,
        _: ActorRef<Ended>,
        stop: oneshot::Sender<anyhow::Error>,
    ) -> Result<NodeState, ActorProcessingErr> {
        Ok(NodeState { stop: Some(stop) })
    }

    async fn handle(
        &self,
        _: ActorRef<Ended>,
        Ended { kind, thread }: Ended,
        state: &mut NodeState,
    ) -> Result<(), ActorProcessingErr> {
        match kind.on_end() {
            OnEnd::StopNode => {
                if let Some(stop) = state.stop.take() {
                    let _ = stop.send(anyhow::anyhow!("{thread} has died: see the log before this line"));
                }
            }
        }
        Ok(())
    }
}

impl Supervisor {
    pub fn new() -> Self {
        let (ended, ends) = std::sync::mpsc::channel();
        Self { ended, ends }
    }

    /// A guard for a part, to be kept by its thread.
    pub fn watch(&self, kind: TaskKind) -> Watch {
        Watch { kind, ended: self.ended.clone() }
    }

    /// Runs `work` until the operator asks for an end or a part dies that the node cannot do without.
    pub fn run(self, work: impl Future<Output = ()>) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Self { ended, ends } = self;
        drop(ended);
        runtime.block_on(async {
            let (stop, stopped) = oneshot::channel();
            let (node, _) = Actor::spawn(Some("node".to_owned()), Node, stop).await?;
            std::thread::Builder::new().name("convoy-watch".to_owned()).spawn(move || {
                for end in ends {
                    let _ = node.cast(end);
                }
            })?;
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                () = work => Ok(()),
                _ = tokio::signal::ctrl_c() => Ok(()),
                _ = terminate.recv() => Ok(()),
                Ok(error) = stopped => Err(error),
            }
        })
    }
}
