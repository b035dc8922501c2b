//! Where a provider's key comes from: it is known and stays, or it is a token that is asked for, held while it lasts, and asked for anew.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use oarlock_core::ids::Timestamp;
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::model::ModelErrorKind;
use secrecy::{ExposeSecret, SecretString};

/// Where a key comes from. `Debug` shows no key.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// It is known and stays.
    Fixed(SecretString),
    /// It is asked for before requests.
    Asked(Arc<Tokens>),
    /// Requests carry a signature in its place.
    #[cfg(feature = "bedrock")]
    Signed(Arc<crate::AwsSigner>),
}

impl KeySource {
    /// The key, where it is known.
    #[must_use]
    pub fn fixed(&self) -> Option<&SecretString> {
        match self {
            Self::Fixed(key) => Some(key),
            Self::Asked(_) => None,
            #[cfg(feature = "bedrock")]
            Self::Signed(_) => None,
        }
    }
}

impl From<SecretString> for KeySource {
    fn from(key: SecretString) -> Self {
        Self::Fixed(key)
    }
}

impl From<String> for KeySource {
    fn from(key: String) -> Self {
        Self::Fixed(key.into())
    }
}

/// A key that ends. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct Token {
    /// What requests carry.
    pub secret: SecretString,
    /// From when on it is given to no further request. In the past it is given to those alone that waited for it.
    pub ends: Timestamp,
}

/// Why there is no token. The words hold none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Whoever gives it does not. Asking again is no use before a person did something.
    #[error("{0}")]
    Denied(String),
    /// It could not be asked for. Later it may be.
    #[error("{0}")]
    Unavailable(String),
}

impl KeyError {
    /// What a call that lacks its key fails with.
    pub(crate) fn kind(&self) -> ModelErrorKind {
        match self {
            Self::Denied(_) => ModelErrorKind::Auth,
            Self::Unavailable(_) => ModelErrorKind::Transport,
        }
    }
}

/// Gives tokens. Whoever holds one asks through [`Tokens`], so that it needs no memory.
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// A token, another one than `refused` if there is another. It has a deadline of its own. Dropping the future ends whatever it started.
    ///
    /// # Errors
    /// [`KeyError`].
    fn token(&self, refused: Option<SecretString>) -> BoxFuture<'static, Result<Token, KeyError>>;
}

type Asking = BoxFuture<'static, Result<Token, KeyError>>;

/// The tokens of one source: the last one is held until it ends or is refused, and however many want one, the source is asked once.
#[derive(Debug)]
pub struct Tokens {
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Token>,
    /// The token that an endpoint refused, until another one came.
    refused: Option<SecretString>,
    /// The question under way. It belongs to those who wait for it, and ends when none of them is left.
    asking: Option<WeakShared<Asking>>,
}

impl Tokens {
    /// The tokens of this source; it is not asked yet.
    #[must_use]
    pub fn new(source: Arc<dyn TokenSource>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, state: Arc::default() }
    }

    /// The token for a request that is sent at this moment.
    ///
    /// # Errors
    /// Those of the source, for all who waited for the same answer. The next one asks again.
    pub async fn token(&self) -> Result<SecretString, KeyError> {
        let asking = {
            let mut state = locked(&self.state);
            let now = self.clock.now();
            match &state.held {
                Some(token) if token.ends > now => return Ok(token.secret.clone()),
                Some(_) | None => {}
            }
            let under_way = state.asking.as_ref().and_then(WeakShared::upgrade);
            under_way.unwrap_or_else(|| {
                let asking = self.ask(state.refused.clone());
                state.asking = asking.downgrade();
                asking
            })
        };
        asking.await.map(|token| token.secret)
    }

    /// An endpoint refused this token: it is given to nobody any more, unless the source gives it once more.
    pub fn refused(&self, secret: &SecretString) {
        let mut state = locked(&self.state);
        // Others may have had it refused before, and have another by this time.
        let held = state.held.as_ref().map(|token| token.secret.expose_secret());
        if held == Some(secret.expose_secret()) {
            state.held = None;
            state.refused = Some(secret.clone());
        }
    }

    fn ask(&self, refused: Option<SecretString>) -> Shared<Asking> {
        let (source, state) = (Arc::clone(&self.source), Arc::clone(&self.state));
        let answered = async move {
            let asked = AssertUnwindSafe(async { source.token(refused).await }).catch_unwind();
            // Those who share a future that panics would wait for ever.
            let answer = asked.await.unwrap_or_else(|_| {
                Err(KeyError::Unavailable("what gives the key broke off with a panic".into()))
            });
            let mut state = locked(&state);
            state.asking = None;
            if let Ok(token) = &answer {
                state.held = Some(token.clone());
                state.refused = None;
            }
            answer
        };
        answered.boxed().shared()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use oarlock_core::ports::clock::SystemClock;
    use tokio::sync::Semaphore;

    use super::*;

    /// Gives `t1`, `t2` and so on, each when the test lets it, for so many milliseconds.
    #[derive(Debug)]
    struct Numbered {
        asked: Arc<AtomicU32>,
        gate: Arc<Semaphore>,
        clock: Arc<SystemClock>,
        holds_ms: u64,
        denies: bool,
    }

    impl TokenSource for Numbered {
        fn token(
            &self,
            refused: Option<SecretString>,
        ) -> BoxFuture<'static, Result<Token, KeyError>> {
            let (asked, gate) = (Arc::clone(&self.asked), Arc::clone(&self.gate));
            let (clock, holds_ms, denies) = (Arc::clone(&self.clock), self.holds_ms, self.denies);
            async move {
                let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
                gate.acquire().await.unwrap().forget();
                if denies {
                    return Err(KeyError::Denied(format!("no {number}")));
                }
                let but =
                    refused.map_or_else(String::new, |s| format!(" not {}", s.expose_secret()));
                let ends = clock.now().after(holds_ms);
                Ok(Token { secret: format!("t{number}{but}").into(), ends })
            }
            .boxed()
        }
    }

    fn tokens(holds_ms: u64, denies: bool) -> (Arc<Tokens>, Arc<Semaphore>, Arc<AtomicU32>) {
        let (asked, gate) = (Arc::<AtomicU32>::default(), Arc::new(Semaphore::new(0)));
        let clock = Arc::new(SystemClock::new());
        let source = Numbered {
            asked: Arc::clone(&asked),
            gate: Arc::clone(&gate),
            clock: Arc::clone(&clock),
            holds_ms,
            denies,
        };
        (Arc::new(Tokens::new(Arc::new(source), clock)), gate, asked)
    }

    async fn told(tokens: &Tokens) -> Result<String, KeyError> {
        tokens.token().await.map(|secret| secret.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn many_who_wait_ask_once_and_the_token_is_held() {
        let (tokens, gate, asked) = tokens(60_000, false);
        let waiting = futures::future::join_all((0..10).map(|_| told(&tokens)));
        // The gate opens when all of them wait.
        let (all, ()) = tokio::join!(waiting, async { gate.add_permits(1) });
        assert!(all.iter().all(|one| *one == Ok("t1".to_owned())), "{all:?}");
        assert_eq!(told(&tokens).await, Ok("t1".to_owned()));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_refusal_is_told_to_all_who_wait_and_the_next_one_asks_again() {
        let (tokens, gate, asked) = tokens(60_000, true);
        let waiting = futures::future::join_all((0..3).map(|_| told(&tokens)));
        // The gate opens when all of them wait.
        let (all, ()) = tokio::join!(waiting, async { gate.add_permits(1) });
        assert!(all.iter().all(|one| *one == Err(KeyError::Denied("no 1".to_owned()))), "{all:?}");
        gate.add_permits(1);
        assert_eq!(told(&tokens).await, Err(KeyError::Denied("no 2".to_owned())));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_ended_or_refused_token_is_given_to_nobody() {
        let (ending, gate, _) = tokens(0, false);
        gate.add_permits(2);
        assert_eq!(told(&ending).await, Ok("t1".to_owned()));
        assert_eq!(told(&ending).await, Ok("t2".to_owned()), "the first one has ended");
        let (tokens, gate, _) = tokens(60_000, false);
        gate.add_permits(2);
        assert_eq!(told(&tokens).await, Ok("t1".to_owned()));
        tokens.refused(&SecretString::from("t0"));
        assert_eq!(told(&tokens).await, Ok("t1".to_owned()), "it was an earlier one");
        tokens.refused(&SecretString::from("t1"));
        assert_eq!(told(&tokens).await, Ok("t2 not t1".to_owned()));
    }

    #[tokio::test]
    async fn a_question_ends_with_the_last_one_who_waits() {
        let (tokens, gate, asked) = tokens(60_000, false);
        let (mut first, mut second) = (Box::pin(tokens.token()), Box::pin(tokens.token()));
        assert!(
            futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending()
        );
        drop(first);
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(asked.load(Ordering::SeqCst), 1, "the other one waits for it still");
        drop(second);
        gate.add_permits(1);
        assert_eq!(told(&tokens).await, Ok("t2".to_owned()));
    }

    #[derive(Debug)]
    struct Panicking;

    impl TokenSource for Panicking {
        fn token(&self, _: Option<SecretString>) -> BoxFuture<'static, Result<Token, KeyError>> {
            async { panic!("on purpose") }.boxed()
        }
    }

    #[tokio::test]
    async fn a_source_that_panics_is_told_to_all_who_wait() {
        let tokens = Tokens::new(Arc::new(Panicking), Arc::new(SystemClock::new()));
        let all = futures::future::join_all((0..3).map(|_| told(&tokens))).await;
        let why = "what gives the key broke off with a panic".to_owned();
        assert_eq!(all, vec![Err(KeyError::Unavailable(why)); 3]);
    }

    #[test]
    fn debug_shows_no_key() {
        let (tokens, gate, _) = tokens(60_000, false);
        gate.add_permits(1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(told(&tokens)).unwrap();
        let told =
            format!("{:?} {:?}", KeySource::Asked(tokens), KeySource::from("fixed".to_owned()));
        assert!(
            told.contains("Tokens") && !told.contains("t1") && !told.contains("fixed"),
            "{told}"
        );
    }
}
