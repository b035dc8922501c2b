//! Tasks that end with whoever spawned them, without room while there are none: thousands of idle sessions run none.

use tokio::task::{AbortHandle, JoinSet};

/// A set of tasks. Dropping it drops them.
#[derive(Debug, Default)]
pub(super) struct Spawned(Option<JoinSet<()>>);

impl Spawned {
    pub(super) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.0.get_or_insert_default().spawn(work)
    }

    /// Lets go of those that have ended.
    pub(super) fn reap(&mut self) {
        while self.0.as_mut().is_some_and(|tasks| tasks.try_join_next().is_some()) {}
        if self.0.as_ref().is_some_and(JoinSet::is_empty) {
            self.0 = None;
        }
    }

    /// Waits until all have ended. Dropping the future loses none.
    pub(super) async fn join_all(&mut self) {
        while let Some(tasks) = &mut self.0 {
            if tasks.join_next().await.is_none() {
                self.0 = None;
            }
        }
    }

    pub(super) fn abort_all(&mut self) {
        if let Some(tasks) = &mut self.0 {
            tasks.abort_all();
        }
    }
}
