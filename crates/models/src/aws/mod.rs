//! Requests to AWS that carry a signature in the place of a key, by the credentials of AWS's default chain: environment, profile, SSO, web identity,
//! container, instance.

mod chain;
mod signature;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use oarlock_core::ports::clock::{Clock, SystemClock};
use secrecy::SecretString;

use crate::bedrock_converse::address;
use crate::key::KeyError;
use crate::transport::HttpRequest;
use chain::Chain;
use signature::Scope;

/// The name of the service in a signature.
const SERVICE: &str = "bedrock";

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwsRegion {
    /// To their address, whose region counts. The chain names it where the address does not.
    OfAddress,
    /// To the region that the chain names, and to their address where it names none.
    OfChain,
}

/// Signs requests to Amazon Bedrock. Credentials are looked for when the first request is sent, kept until a minute before they end, and then asked for
/// once, however many requests wait for them. `Debug` shows none.
///
/// The chain reads the process's environment and the files of AWS in the home folder. It reaches its own endpoints directly, without the proxies and
/// authorities of [`crate::HttpSettings`].
pub struct AwsSigner {
    region: AwsRegion,
    chain: Chain,
    /// The region that requests go to, other than their address says.
    moved: OnceLock<String>,
}

/// A request with its signature, and what made it.
pub(crate) struct Signed {
    pub(crate) request: HttpRequest,
    pub(crate) credentials: Credentials,
    /// What of the request no message may tell.
    pub(crate) session_token: Option<Arc<SecretString>>,
}

impl AwsSigner {
    /// A signer; nothing is read or asked yet.
    #[must_use]
    pub fn new(region: AwsRegion) -> Self {
        Self { region, chain: Chain::default(), moved: OnceLock::new() }
    }

    /// The region that requests go to, other than their address says, as far as it is known.
    pub(crate) fn moved_to(&self) -> Option<&str> {
        self.moved.get().map(String::as_str)
    }

    /// The request with the headers that sign it, good for five minutes. `base_url` is what its address was made from.
    ///
    /// # Errors
    /// [`KeyError`]: region or credentials are not to be had.
    pub(crate) async fn signed(
        &self,
        base_url: &str,
        mut request: HttpRequest,
    ) -> Result<Signed, KeyError> {
        let here = address::region(base_url);
        let known = here.filter(|_| self.region == AwsRegion::OfAddress);
        let told = match known {
            Some(_) => None,
            None => self.chain.region().await,
        };
        let region = match (here, told) {
            (Some(here), Some(told)) if here != told => {
                request.url = address::moved(&request.url, here, &told).ok_or_else(|| {
                    KeyError::Denied(format!("`{told}` is no region of AWS; correct AWS_REGION"))
                })?;
                self.moved.get_or_init(|| told.clone());
                told
            }
            (Some(here), _) => here.to_owned(),
            (None, Some(told)) => told,
            (None, None) => {
                return Err(KeyError::Denied(
                    "no region of AWS is known; set AWS_REGION".to_owned(),
                ));
            }
        };
        let now = now();
        let credentials = self.chain.credentials(now, known).await?;
        let session_token = credentials.session_token().map(|token| Arc::new(token.into()));
        let scope = Scope { region: &region, service: SERVICE, now };
        let headers = signature::headers(&request, credentials.clone(), &scope)?;
        request.headers.extend(headers);
        Ok(Signed { request, credentials, session_token })
    }

    /// An endpoint refused these credentials: the chain is put together anew before it is asked again, unless others have been given meanwhile.
    pub(crate) async fn refused(&self, credentials: &Credentials) {
        self.chain.refused(credentials).await;
    }
}

impl fmt::Debug for AwsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSigner").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The wall clock, read anew: AWS refuses what is five minutes off, and a clock that began before the machine slept can be.
fn now() -> SystemTime {
    let ms = u64::try_from(SystemClock::new().now().unix_ms()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}
