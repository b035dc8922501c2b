//! The one way out: a request becomes a status, headers and a stream of bytes.

use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// Carries requests to endpoints.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends a request and waits for the head of its answer. There is no deadline but that of connecting: whoever waits watches for silence.
    /// Dropping the future, or the body it gave, ends the request and closes its connection.
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>>;
}

/// What is asked of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read something.
    Get,
    /// Send a body.
    Post,
}

/// A request. Its headers may carry a key, so they are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// What is asked.
    pub method: Method,
    /// The absolute address.
    pub url: String,
    /// Names and values of the headers.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Bytes,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &without_query(&self.url))
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// The address without what may carry a credential.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// The head of an answer, and its body as it arrives.
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, decompressed.
    pub body: BoxStream<'static, Result<Bytes, TransportError>>,
}

impl HttpResponse {
    /// The first value of a header, whose name is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer, or no more of it. Addresses, keys and header values never appear in it.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {what}")]
    Unsendable {
        /// What is wrong with it.
        what: String,
    },
    /// The client cannot be set up.
    #[error("http cannot be set up: {what}")]
    Setup {
        /// What is wrong, and what to do.
        what: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// No connection.
    #[error("cannot connect")]
    Connect {
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Whoever waited did so for a limited time.
    #[error("{what}")]
    Late {
        /// For what, and how long.
        what: String,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("the connection broke")]
    Broken {
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TransportError {
    /// The error and its causes in one line, each once.
    pub(crate) fn explained(&self) -> String {
        let mut told = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let words = error.to_string();
            if !told.contains(&words) {
                told = format!("{told}: {words}");
            }
            cause = error.source();
        }
        told
    }
}
