//! AWS's default chain: where a region and credentials come from, and the credentials that are at hand.

use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::Mutex;

use crate::key::KeyError;

/// Credentials are given to no request when they end sooner than this.
const LEFT_MIN: Duration = Duration::from_secs(60);
/// How long the chain may take: a program of a profile may ask a person.
const WITHIN: Duration = Duration::from_secs(60);
/// Of its words about a failure, so many characters are told.
const WORDS_MAX: usize = 500;

/// The chain, and what it gave. Credentials are asked for one at a time.
#[derive(Default)]
pub(super) struct Chain {
    /// Put together when it is needed first. It may hold what it read of files for ever.
    config: Mutex<Option<SdkConfig>>,
    /// Held while new ones are asked for.
    current: Mutex<Option<Credentials>>,
}

impl Chain {
    /// The region that the environment, the profile or the instance names.
    pub(super) async fn region(&self) -> Option<String> {
        self.config(None).await.region().map(ToString::to_string)
    }

    /// Credentials that last for a minute at least, where the chain has such. `region`, where it is known, is not looked for.
    ///
    /// # Errors
    /// [`KeyError`]: `Unavailable` when they do not come in time, else `Denied`.
    pub(super) async fn credentials(
        &self,
        now: SystemTime,
        region: Option<&str>,
    ) -> Result<Credentials, KeyError> {
        let mut current = self.current.lock().await;
        let lasts = |known: &&Credentials| known.expiry().is_none_or(|end| end > now + LEFT_MIN);
        if let Some(known) = current.as_ref().filter(lasts) {
            return Ok(known.clone());
        }
        let fresh = tokio::time::timeout(WITHIN, self.asked(region)).await.map_err(|_| {
            let seconds = WITHIN.as_secs();
            KeyError::Unavailable(format!("AWS gave no credentials within {seconds} s"))
        })??;
        *current = Some(fresh.clone());
        Ok(fresh)
    }

    /// These are given to nobody any more, and what the chain read is read anew.
    pub(super) async fn refused(&self, credentials: &Credentials) {
        let mut current = self.current.lock().await;
        // Others may have had them refused before, and have new ones by this time.
        if current.as_ref() == Some(credentials) {
            *current = None;
            *self.config.lock().await = None;
        }
    }

    async fn asked(&self, region: Option<&str>) -> Result<Credentials, KeyError> {
        let provider = self.config(region).await.credentials_provider();
        let provider = provider.ok_or_else(|| none("there is no chain"))?;
        provider.provide_credentials().await.map_err(|error| match &error {
            CredentialsError::ProviderTimedOut(_) => KeyError::Unavailable(explained(&error)),
            _ => none(&explained(&error)),
        })
    }

    async fn config(&self, region: Option<&str>) -> SdkConfig {
        let mut config = self.config.lock().await;
        match &*config {
            Some(known) => known.clone(),
            None => config.insert(loaded(region).await).clone(),
        }
    }
}

async fn loaded(region: Option<&str>) -> SdkConfig {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let client = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(client);
    match region {
        Some(region) => loader.region(Region::new(region.to_owned())).load().await,
        None => loader.load().await,
    }
}

fn none(why: &str) -> KeyError {
    KeyError::Denied(format!(
        "no credentials of AWS; set AWS_BEARER_TOKEN_BEDROCK, AWS_PROFILE or AWS_ACCESS_KEY_ID ({why})"
    ))
}

/// An error and its causes in one line.
fn explained(error: &CredentialsError) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !told.contains(&words) {
            told = format!("{told}: {words}");
        }
        cause = error.source();
    }
    told.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_credential_types::provider::future::ProvideCredentials as Provided;
    use tokio::sync::Semaphore;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    /// Gives `id-1`, `id-2` and so on, each when the test lets it, each for so many seconds more than the one before.
    #[derive(Debug, Clone)]
    struct Numbered {
        asked: Arc<AtomicU32>,
        gate: Arc<Semaphore>,
        lasts: Option<u64>,
    }

    impl ProvideCredentials for Numbered {
        fn provide_credentials<'a>(&'a self) -> Provided<'a>
        where
            Self: 'a,
        {
            Provided::new(async move {
                let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                self.gate.acquire().await.unwrap().forget();
                let end = |seconds| NOW + Duration::from_secs(seconds * u64::from(number));
                let end = self.lasts.map(end);
                match number {
                    9.. => Err(CredentialsError::not_loaded("nobody is\nlogged in")),
                    _ => Ok(Credentials::new(format!("id-{number}"), "secret", None, end, "test")),
                }
            })
        }
    }

    fn chain(asked: u32, gate: usize, lasts: Option<u64>) -> (Chain, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(asked));
        let gate = Arc::new(Semaphore::new(gate));
        let source = Numbered { asked: Arc::clone(&asked), gate, lasts };
        let provider = SharedCredentialsProvider::new(source);
        let config = SdkConfig::builder().credentials_provider(provider).build();
        (Chain { config: Mutex::new(Some(config)), current: Mutex::default() }, asked)
    }

    async fn id(chain: &Chain, after_seconds: u64) -> Result<String, KeyError> {
        let now = NOW + Duration::from_secs(after_seconds);
        let credentials = chain.credentials(now, None).await;
        credentials.map(|credentials| credentials.access_key_id().to_owned())
    }

    #[tokio::test]
    async fn credentials_are_kept_until_a_minute_before_they_end() {
        let (chain, asked) = chain(0, 9, Some(3600));
        assert_eq!(id(&chain, 0).await.unwrap(), "id-1");
        assert_eq!(id(&chain, 3539).await.unwrap(), "id-1");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(id(&chain, 3540).await.unwrap(), "id-2");
        let (chain, _) = self::chain(0, 9, None);
        assert_eq!(id(&chain, 0).await.unwrap(), "id-1");
        assert_eq!(id(&chain, 1 << 40).await.unwrap(), "id-1", "they do not end");
    }

    #[tokio::test]
    async fn many_who_wait_ask_once_when_there_are_none_and_when_they_have_ended() {
        let (chain, asked) = chain(0, 2, Some(3600));
        for (after_seconds, number) in [(0, 1), (3599, 2)] {
            let waiting = (0..10).map(|_| id(&chain, after_seconds));
            let all = futures::future::join_all(waiting).await;
            assert!(all.iter().all(|one| *one == Ok(format!("id-{number}"))), "{all:?}");
            assert_eq!(asked.load(Ordering::SeqCst), number);
        }
    }

    #[tokio::test]
    async fn what_is_refused_is_forgotten_with_the_chain_that_gave_it_and_once() {
        let (chain, _) = chain(0, 9, Some(3600));
        let old = chain.credentials(NOW, None).await.unwrap();
        let after = NOW + Duration::from_secs(3599);
        let new = chain.credentials(after, None).await.unwrap();
        chain.refused(&old).await;
        assert_eq!(chain.current.lock().await.as_ref(), Some(&new), "it was an earlier one");
        assert!(chain.config.lock().await.is_some());
        chain.refused(&new).await;
        assert_eq!(*chain.current.lock().await, None);
        assert!(chain.config.lock().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_names_its_cause_and_what_to_do_and_silence_ends() {
        let (denying, _) = chain(8, 9, None);
        let Err(KeyError::Denied(told)) = id(&denying, 0).await else { panic!("it is denied") };
        assert!(
            told.contains("AWS_PROFILE or AWS_ACCESS_KEY_ID (")
                && told.contains("nobody is logged in"),
            "{told}"
        );
        let (silent, _) = chain(0, 0, None);
        let told = id(&silent, 0).await;
        let words = "AWS gave no credentials within 60 s".to_owned();
        assert_eq!(told, Err(KeyError::Unavailable(words)));
    }
}
