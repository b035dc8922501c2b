//! What a model is shown, for programs that read or change it: detached in memory, or that of a session, through its journal.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::agent::error::SessionError;
use crate::agent::handle::DefaultSession;
use crate::command::{Command, END, Rejection};
use crate::message::Message;
use crate::session::context::message_tokens;
use crate::session::conversation::{Conversation, Counted};

/// What a model is shown: messages by the rules of [`Message`], and how many tokens they come to. It calls no model. What changes more than the
/// end makes the count an estimate again.
pub trait History: Send + Sync + fmt::Debug {
    /// Adds a message at the end.
    ///
    /// # Errors
    /// [`HistoryError`]; nothing changed then. So for all that change something.
    fn append(&self, message: Message) -> BoxFuture<'_, Result<(), HistoryError>>;

    /// All messages. Later changes do not show in it.
    ///
    /// # Errors
    /// When they cannot be read.
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<Vec<Message>>, HistoryError>>;

    /// Puts these messages in the place of all.
    ///
    /// # Errors
    /// As [`History::append`].
    fn replace(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), HistoryError>>;

    /// Puts `summary` in the place of the first `dropped` messages.
    ///
    /// # Errors
    /// As [`History::append`].
    fn splice_prefix(
        &self,
        dropped: usize,
        summary: Message,
    ) -> BoxFuture<'_, Result<(), HistoryError>>;

    /// Drops all messages after the first `length`; does nothing when there are no more.
    ///
    /// # Errors
    /// As [`History::append`].
    fn truncate(&self, length: usize) -> BoxFuture<'_, Result<(), HistoryError>>;

    /// Takes down what a provider counted for all messages.
    ///
    /// # Errors
    /// [`HistoryError::CountedByTurns`] for a session's own: there, what its turns were told counts.
    fn record_input_tokens(&self, tokens: u64) -> BoxFuture<'_, Result<(), HistoryError>>;

    /// Tokens of the next request: what was counted last, and an estimate of what came since. Absent when there is no message. That of a session
    /// includes its system prompt.
    ///
    /// # Errors
    /// When it cannot be read.
    fn token_estimate(&self) -> BoxFuture<'_, Result<Option<u64>, HistoryError>>;

    /// How many messages there are.
    ///
    /// # Errors
    /// When they cannot be read.
    fn len(&self) -> BoxFuture<'_, Result<usize, HistoryError>> {
        async { Ok(self.snapshot().await?.len()) }.boxed()
    }

    /// Whether there is no message.
    ///
    /// # Errors
    /// When they cannot be read.
    fn is_empty(&self) -> BoxFuture<'_, Result<bool, HistoryError>> {
        async { Ok(self.snapshot().await?.is_empty()) }.boxed()
    }
}

/// Why a history was not changed or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A turn runs in its session.
    #[error("a turn is running in the session of this history; wait for its end or cancel it")]
    Busy,
    /// What would come out breaks a rule of conversations.
    #[error("the history stays as it is: {why}")]
    Broken {
        /// The rule.
        why: String,
    },
    /// Only the session's own turns count its tokens.
    #[error("the tokens of a session's history are counted by its turns and cannot be set")]
    CountedByTurns,
    /// The session.
    #[error(transparent)]
    Session(SessionError),
}

/// A history in memory that belongs to nobody. The last answer may have calls whose results are yet to be appended.
#[derive(Debug, Default)]
pub struct VecHistory {
    conversation: Mutex<Conversation>,
}

impl VecHistory {
    /// A history of these messages.
    ///
    /// # Errors
    /// [`HistoryError::Broken`] when they break a rule of conversations.
    pub fn from_messages(
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Self, HistoryError> {
        Ok(Self { conversation: Mutex::new(conversation(messages)?) })
    }

    fn lock(&self) -> MutexGuard<'_, Conversation> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Conversation> for VecHistory {
    fn from(conversation: Conversation) -> Self {
        Self { conversation: Mutex::new(conversation) }
    }
}

fn conversation(messages: impl IntoIterator<Item = Message>) -> Result<Conversation, HistoryError> {
    let mut all = Conversation::default();
    for message in messages {
        all.append(message).map_err(broken)?;
    }
    Ok(all)
}

fn broken(why: &'static str) -> HistoryError {
    HistoryError::Broken { why: why.to_owned() }
}

impl History for VecHistory {
    fn append(&self, message: Message) -> BoxFuture<'_, Result<(), HistoryError>> {
        ready(self.lock().append(message).map_err(broken)).boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<Vec<Message>>, HistoryError>> {
        ready(Ok(Arc::clone(&self.lock().messages))).boxed()
    }

    fn replace(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), HistoryError>> {
        ready(conversation(messages).map(|all| *self.lock() = all)).boxed()
    }

    fn splice_prefix(
        &self,
        dropped: usize,
        summary: Message,
    ) -> BoxFuture<'_, Result<(), HistoryError>> {
        ready(self.lock().splice(0, dropped, vec![summary]).map_err(broken)).boxed()
    }

    fn truncate(&self, length: usize) -> BoxFuture<'_, Result<(), HistoryError>> {
        let mut all = self.lock();
        let end = all.messages.len();
        let cut = match length < end {
            true => all.splice(length, end, Vec::new()).map_err(broken),
            false => Ok(()),
        };
        ready(cut).boxed()
    }

    fn record_input_tokens(&self, tokens: u64) -> BoxFuture<'_, Result<(), HistoryError>> {
        let mut all = self.lock();
        all.counted = Some(Counted { tokens, messages: all.messages.len() });
        ready(Ok(())).boxed()
    }

    fn token_estimate(&self) -> BoxFuture<'_, Result<Option<u64>, HistoryError>> {
        let all = self.lock();
        let counted = all.counted.unwrap_or(Counted { tokens: 0, messages: 0 });
        let since = all.messages.iter().skip(counted.messages).map(message_tokens);
        let tokens = since.fold(counted.tokens, u64::saturating_add);
        ready(Ok((!all.messages.is_empty()).then_some(tokens))).boxed()
    }
}

/// The history of a session. It is read from the journal, and a change returns after its entry is committed; while a turn runs it is refused. A
/// change wakes the session, reading does not.
#[derive(Debug, Clone)]
pub struct LiveHistory {
    session: DefaultSession,
}

impl LiveHistory {
    pub(crate) fn new(session: DefaultSession) -> Self {
        Self { session }
    }

    /// Puts `messages` in the place of those from `from` to before `to`.
    fn edit(
        &self,
        from: usize,
        to: u32,
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<(), HistoryError>> {
        // A place that no history has is refused as such.
        let from = u32::try_from(from).map_or(END - 1, |from| from.min(END - 1));
        self.put((from, to), messages)
    }

    fn put(
        &self,
        (from, to): (u32, u32),
        messages: Vec<Message>,
    ) -> BoxFuture<'_, Result<(), HistoryError>> {
        async move {
            match self.session.tell(Command::Edit { from, to, messages }).await {
                Ok(_) => Ok(()),
                Err(SessionError::Rejected(Rejection::Busy)) => Err(HistoryError::Busy),
                Err(SessionError::Rejected(
                    Rejection::Invalid { what } | Rejection::TooLarge { what },
                )) => Err(HistoryError::Broken { why: what }),
                Err(error) => Err(HistoryError::Session(error)),
            }
        }
        .boxed()
    }
}

impl History for LiveHistory {
    fn append(&self, message: Message) -> BoxFuture<'_, Result<(), HistoryError>> {
        self.put((END, END), vec![message])
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<Vec<Message>>, HistoryError>> {
        async {
            let state = self.session.state().await.map_err(HistoryError::Session)?;
            Ok(state.conversation.messages)
        }
        .boxed()
    }

    fn replace(&self, messages: Vec<Message>) -> BoxFuture<'_, Result<(), HistoryError>> {
        self.edit(0, END, messages)
    }

    fn splice_prefix(
        &self,
        dropped: usize,
        summary: Message,
    ) -> BoxFuture<'_, Result<(), HistoryError>> {
        let dropped = u32::try_from(dropped).map_or(END - 1, |dropped| dropped.min(END - 1));
        self.edit(0, dropped, vec![summary])
    }

    fn truncate(&self, length: usize) -> BoxFuture<'_, Result<(), HistoryError>> {
        async move {
            match self.len().await? <= length {
                true => Ok(()),
                false => self.edit(length, END, Vec::new()).await,
            }
        }
        .boxed()
    }

    fn record_input_tokens(&self, _: u64) -> BoxFuture<'_, Result<(), HistoryError>> {
        ready(Err(HistoryError::CountedByTurns)).boxed()
    }

    fn token_estimate(&self) -> BoxFuture<'_, Result<Option<u64>, HistoryError>> {
        async {
            let empty = self.is_empty().await?;
            let status = self.session.status().await.map_err(HistoryError::Session)?;
            Ok((!empty).then_some(status.context.used_tokens))
        }
        .boxed()
    }
}
