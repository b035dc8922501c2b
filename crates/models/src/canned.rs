//! A transport that answers from memory: for tests of whatever stands on models, without a network.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use oarlock_core::ports::model::{Model, Models};
use oarlock_core::spec::ModelSelection;

use crate::lane::Lanes;
use crate::provider::{ProviderConfig, RequestBounds, Wire};
use crate::quirks::Quirks;
use crate::registry::Registry;
use crate::transport::{HttpRequest, HttpResponse, Transport, TransportError};

/// An answer that is kept ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannedAnswer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, chunk by chunk.
    pub chunks: Vec<Bytes>,
}

impl CannedAnswer {
    /// A success with this body, without headers.
    #[must_use]
    pub fn ok(chunks: Vec<Bytes>) -> Self {
        Self { status: 200, headers: Vec::new(), chunks }
    }

    /// A model of this wire, named `test` at the provider `test`, whose first call is answered so.
    #[must_use]
    pub fn model(self, wire: Wire) -> Arc<dyn Model> {
        let provider = ProviderConfig {
            name: "test".to_owned(),
            display_name: "Test".to_owned(),
            wire,
            base_url: "http://127.0.0.1:9".to_owned(),
            key: None,
            auth_header: None,
            headers: BTreeMap::new(),
            quirks: Quirks::PLAIN,
            bounds: RequestBounds::NONE,
            models: Vec::new(),
        };
        let transport = Arc::new(CannedTransport::new([self]));
        let registry = Registry::new(vec![provider], transport, &Lanes::default());
        let selection = ModelSelection { provider: "test".to_owned(), model: "test".to_owned() };
        registry.resolve(&selection).expect("the registry has this provider")
    }
}

/// Gives its answers in order, one a request, and keeps the requests.
#[derive(Debug, Default)]
pub struct CannedTransport {
    answers: Mutex<VecDeque<CannedAnswer>>,
    requests: Mutex<Vec<HttpRequest>>,
}

impl CannedTransport {
    /// A transport with these answers.
    #[must_use]
    pub fn new(answers: impl IntoIterator<Item = CannedAnswer>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), requests: Mutex::default() }
    }

    /// What was sent so far.
    #[must_use]
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Transport for CannedTransport {
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let next = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let made = match next {
            None => Err(TransportError::Unsendable { what: "no answer is left".into() }),
            Some(CannedAnswer { status, headers, chunks }) => Ok(HttpResponse {
                status,
                headers,
                body: stream::iter(chunks.into_iter().map(Ok)).boxed(),
            }),
        };
        async move { made }.boxed()
    }
}
