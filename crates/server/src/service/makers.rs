//! What is carried to its end though nobody may wait for it any more: a session is not made and left without its first prompt.

use std::sync::{Mutex, PoisonError};

use oarlock_core::service::{ErrorCode, SessionError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Sessions that are made at a time; one more is refused.
const MAKING_MAX: usize = 4096;

/// Owns the work. It ends with the runtime.
#[derive(Debug, Default)]
pub(super) struct Makers(Mutex<JoinSet<()>>);

impl Makers {
    /// Waits for work that is done, whether the returned future is dropped or not.
    ///
    /// # Errors
    /// What the work says, and `OVERLOADED`.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SessionError>> + Send + 'static,
    ) -> Result<T, SessionError> {
        let answered = {
            let mut making = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            while making.try_join_next().is_some() {}
            if making.len() >= MAKING_MAX {
                let words = format!("{MAKING_MAX} sessions are being made, as many as may be");
                let error = SessionError::new(ErrorCode::Overloaded, words);
                return Err(SessionError { retry_after_ms: Some(1_000), ..error });
            }
            let (answer, answered) = oneshot::channel();
            // Whoever asked may have gone.
            making.spawn(async { drop(answer.send(work.await)) });
            answered
        };
        let died = |_| SessionError::new(ErrorCode::AgentError, "the session was not made");
        answered.await.map_err(died)?
    }
}
