//! Google's application default credentials, in Google's order: the file that a variable names, the file of `gcloud auth application-default login`, the
//! metadata server of a machine in Google's cloud.

mod account;
mod grant;
mod metadata;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ports::clock::{Clock, SystemClock};
use oarlock_models::{HttpSettings, HttpTransport, KeyError, KeySource, Proxies, Token};
use oarlock_models::{TokenSource, Tokens, Transport};
use secrecy::SecretString;

use crate::config::{ConfigError, Environment, Loaded};
use crate::providers::http_settings;
use account::Account;

/// A file of credentials may have this many bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// How long a token may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Where application default credentials are looked for. `Debug` shows no secret, and there is none in it before a token is asked for.
#[derive(Clone)]
pub struct GoogleCredentials {
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names. It must be there.
    pub named: Option<PathBuf>,
    /// The file of `gcloud`, there or not.
    pub gcloud: Option<PathBuf>,
    /// The metadata server.
    pub metadata: MetadataServer,
    /// Reaches token endpoints.
    pub transport: Arc<dyn Transport>,
    /// Reaches the metadata server, by no proxy.
    pub direct: Arc<dyn Transport>,
    /// Tells when tokens end.
    pub clock: Arc<dyn Clock>,
}

/// Which metadata server is asked when no file is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataServer {
    /// The one at this host, whatever the machine is.
    At(String),
    /// Google's own, where the machine says that it is Google's.
    OfMachine,
    /// None.
    Nowhere,
}

impl fmt::Debug for GoogleCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleCredentials")
            .field("named", &self.named)
            .field("gcloud", &self.gcloud)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// The credentials that this environment leads to; nothing is read or asked yet.
///
/// # Errors
/// [`ConfigError`]: how the network is reached cannot be told.
pub(crate) fn source(loaded: &Loaded) -> Result<KeySource, ConfigError> {
    let environment = &loaded.environment;
    let settings = http_settings(loaded)?;
    let direct = HttpSettings { proxies: Proxies::default(), ..settings.clone() };
    let clock = Arc::new(SystemClock::new());
    let credentials = GoogleCredentials {
        named: named(environment),
        gcloud: gcloud(environment),
        metadata: metadata_server(environment),
        transport: Arc::new(HttpTransport::new(settings)),
        direct: Arc::new(HttpTransport::new(direct)),
        clock: Arc::clone(&clock) as _,
    };
    Ok(KeySource::Asked(Arc::new(Tokens::new(Arc::new(credentials), clock))))
}

/// The files that may hold credentials, there or not.
pub(crate) fn files(environment: &Environment) -> impl Iterator<Item = PathBuf> {
    named(environment).into_iter().chain(gcloud(environment))
}

/// Google's own libraries know both variables (google-auth-library-java, `NO_GCE_CHECK`; google.auth.environment_vars, `GCE_METADATA_HOST`).
fn metadata_server(environment: &Environment) -> MetadataServer {
    let is_off = |value: &str| value.eq_ignore_ascii_case("true") || value == "1";
    match environment.text("GCE_METADATA_HOST").filter(|host| !host.is_empty()) {
        _ if environment.text("NO_GCE_CHECK").is_some_and(is_off) => MetadataServer::Nowhere,
        Some(host) => MetadataServer::At(host.to_owned()),
        None => MetadataServer::OfMachine,
    }
}

fn named(environment: &Environment) -> Option<PathBuf> {
    environment
        .text("GOOGLE_APPLICATION_CREDENTIALS")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn gcloud(environment: &Environment) -> Option<PathBuf> {
    let config = environment
        .folder("CLOUDSDK_CONFIG")
        .or_else(|| Some(environment.folder("HOME")?.join(".config/gcloud")));
    Some(config?.join("application_default_credentials.json"))
}

impl GoogleCredentials {
    async fn ask(self) -> Result<Token, KeyError> {
        let asked = tokio::time::timeout(WITHIN, self.first_found()).await;
        asked.map_err(|_| {
            let seconds = WITHIN.as_secs();
            KeyError::Unavailable(format!("Google gave no token within {seconds} s"))
        })?
    }

    /// The token of the first place that is there. What is there and does not work is told, and no later place is asked.
    async fn first_found(&self) -> Result<Token, KeyError> {
        let this = self.clone();
        let found = tokio::task::spawn_blocking(move || this.account()).await;
        let found = found.map_err(|_| {
            KeyError::Unavailable("reading Google's credentials was interrupted".to_owned())
        })?;
        if let Some(account) = found? {
            return grant::token(&account, &*self.transport, &*self.clock).await;
        }
        let host = match &self.metadata {
            MetadataServer::At(host) => Some(host.as_str()),
            MetadataServer::OfMachine => {
                let machine = tokio::task::spawn_blocking(metadata::is_google).await;
                machine.is_ok_and(|is_google| is_google).then_some(metadata::HOST)
            }
            MetadataServer::Nowhere => None,
        };
        if let Some(host) = host {
            return metadata::token(host, &*self.direct, &*self.clock).await;
        }
        Err(KeyError::Denied(
            "no credentials of Google; set GOOGLE_APPLICATION_CREDENTIALS or run `gcloud auth application-default login`"
                .to_owned(),
        ))
    }

    fn account(&self) -> Result<Option<Account>, KeyError> {
        let there = self.gcloud.as_ref().filter(|path| path.exists());
        let Some(path) = self.named.as_ref().or(there) else { return Ok(None) };
        let told = |why: String| {
            KeyError::Denied(format!("Google's credentials in {} {why}", path.display()))
        };
        let text = read(path).map_err(told)?;
        account::parse(&text).map(Some).map_err(told)
    }
}

/// The text of a file, or why there is none.
fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("are not in a regular file".to_owned());
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err("are longer than 64 KiB".to_owned()),
        false => Ok(text),
    }
}

impl TokenSource for GoogleCredentials {
    /// Each call asks for a token of its own, so that a refused one does not come back; the metadata server gives its own again until it nearly ends.
    fn token(&self, _: Option<SecretString>) -> BoxFuture<'static, Result<Token, KeyError>> {
        self.clone().ask().boxed()
    }
}
