//! Pages of other machines, by HTTP: one GET within bounds.

use std::error::Error;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

/// Gets what a URL names.
///
/// Which hosts may be reached is the client's business alone: whoever holds one can ask it for less than it allows, never for more.
pub trait HttpClient: Send + Sync + std::fmt::Debug {
    /// Whether this client would go to `url` at all, as far as that can be said without I/O. Pure: the same answer every time.
    ///
    /// # Errors
    /// [`HttpError::Refused`] or [`HttpError::Unavailable`]; [`HttpClient::get`] fails alike.
    fn check(&self, url: &str) -> Result<(), HttpError>;

    /// Gets `get.url` and follows redirects; each target is checked like the first URL. A status that tells of an error is a response.
    ///
    /// There is no deadline of its own: whoever waits drops the future when the time is over or the call is cancelled, which ends the
    /// connection.
    ///
    /// # Errors
    /// [`HttpError`] when there is no response, or its body breaks off.
    fn get(&self, get: HttpGet) -> BoxFuture<'_, Result<HttpResponse, HttpError>>;
}

/// What to get, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// The URL.
    pub url: String,
    /// Media types that are welcome, as in the header `accept`.
    pub accept: String,
    /// Redirects that are followed; one more is [`HttpError::Redirects`]. `None` gives the redirect itself as the response.
    pub max_redirects: Option<u32>,
    /// Bytes of the body, unpacked, after which it is cut.
    pub max_bytes: usize,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status, for example 404.
    pub status: u16,
    /// The URL that answered, after all redirects.
    pub url: String,
    /// The header `content-type`; empty without one.
    pub content_type: String,
    /// Redirects that were followed.
    pub redirects: u32,
    /// The body, unpacked, at most [`HttpGet::max_bytes`].
    pub body: Bytes,
    /// Whether there was more.
    pub truncated: bool,
}

/// Why there is no response. The words go to the model.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing can be fetched at all.
    #[error("there is no HTTP client: {why}")]
    Unavailable {
        /// Why not.
        why: String,
    },
    /// The client does not go there.
    #[error("{why}")]
    Refused {
        /// The URL, perhaps the target of a redirect.
        url: String,
        /// Why not, in words that name what is wrong with it.
        why: String,
    },
    /// There are more redirects than are followed.
    #[error("more than {most} redirects, the last to {url}")]
    Redirects {
        /// How many are followed.
        most: u32,
        /// The target of the last one that was followed.
        url: String,
    },
    /// The connection or the body failed.
    #[error("{url} could not be fetched: {}", with_root(source.as_ref()))]
    Failed {
        /// The URL.
        url: String,
        /// What failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The error with the first of its causes, which is what tells a refused connection from a wrong certificate.
#[must_use]
pub fn with_root(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let (outer, inner) = (error.to_string(), root.to_string());
    if outer == inner { outer } else { format!("{outer}: {inner}") }
}

/// Fetches nothing; whoever tries is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoopHttpClient;

fn nothing() -> HttpError {
    let why = "this program was made without one, so no URL can be fetched here; go on without it";
    HttpError::Unavailable { why: why.to_owned() }
}

impl HttpClient for NoopHttpClient {
    fn check(&self, _: &str) -> Result<(), HttpError> {
        Err(nothing())
    }

    fn get(&self, _: HttpGet) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        ready(Err(nothing())).boxed()
    }
}
