//! How the task of a session ends, for all who wait for it. A channel of tokio takes four hundred bytes, and there is one for each session that is awake.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::ports::journal::JournalError;

/// The end of a session's task.
#[derive(Debug, Clone)]
pub(crate) struct Ending(Arc<Shared>);

/// Tells how a task ended. Dropped without a word, it tells that the task died.
#[derive(Debug)]
pub(super) struct Teller(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    how: OnceLock<Result<(), Box<JournalError>>>,
    told: Notify,
}

/// The end of a task that has not begun, and who is to tell it.
pub(super) fn ending() -> (Teller, Ending) {
    let shared = Arc::new(Shared::default());
    (Teller(Arc::clone(&shared)), Ending(shared))
}

impl Teller {
    pub(super) fn tell(self, how: Result<(), JournalError>) {
        // Nobody else tells it.
        drop(self.0.how.set(how.map_err(Box::new)));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let died = || JournalError::Unavailable {
            why: "the task of the session died; this is a defect of Oarlock".to_owned(),
        };
        _ = self.0.how.get_or_init(|| Err(Box::new(died())));
        self.0.told.notify_waiters();
    }
}

impl Ending {
    /// Whether it has not come.
    pub(super) fn is_to_come(&self) -> bool {
        self.0.how.get().is_none()
    }

    /// Waits for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the task ended with.
    pub(super) async fn wait(&self) -> Result<(), JournalError> {
        loop {
            let told = self.0.told.notified();
            if let Some(how) = self.0.how.get() {
                return how.clone().map_err(|error| *error);
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_and_who_come_later_are_told_how_it_ended() {
        let (teller, ending) = ending();
        let other = ending.clone();
        let (mut first, mut second) = (pin!(ending.wait()), pin!(other.wait()));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        assert!(ending.is_to_come());
        teller.tell(Ok(()));
        assert!(first.await.is_ok() && second.await.is_ok());
        assert!(!ending.is_to_come() && ending.wait().await.is_ok());
    }

    #[tokio::test]
    async fn a_task_that_died_tells_so() {
        let (teller, ending) = ending();
        let mut waits = pin!(ending.wait());
        assert!(poll!(waits.as_mut()).is_pending());
        drop(teller);
        assert!(waits.await.unwrap_err().to_string().contains("died"));
    }
}
