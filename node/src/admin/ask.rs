//! How the API asks shards: by their mailboxes, one bounded question at a time. It waits for them, and they never for it.

use convoy_actors::query::{Answer, Layout, Query};
use std::sync::Arc;
use std::time::Duration;

use super::Problem;
use crate::drive::ShardHandle;

/// A shard that has not answered by then has a great deal to do, or is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shards of this node.
#[derive(Clone)]
pub struct Shards {
    pub layout: Layout,
    handles: Arc<[ShardHandle]>,
}

impl Shards {
    pub fn new(layout: Layout, handles: Arc<[ShardHandle]>) -> Self {
        Self { layout, handles }
    }

    /// Slots in the order in which listings go through them.
    pub fn slots(&self) -> u16 {
        self.layout.slots
    }

    /// Asks the shard that knows; `subject` is what the question is about, as an error names it.
    pub async fn ask(&self, query: Query, subject: &str) -> Result<Answer, Problem> {
        let shard = usize::from(self.layout.shard_for(&query));
        let handle = self.handles.get(shard).ok_or_else(Problem::no_answer)?;
        match tokio::time::timeout(PATIENCE, handle.ask(query)).await {
            Ok(Some(Answer::Failed(problem))) => Err(Problem::of(problem, subject)),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(Problem::no_answer()),
        }
    }
}
