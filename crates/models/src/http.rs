//! The transport over the network: reqwest with rustls on ring, made when the first request is sent.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use reqwest::{Certificate, Client, NoProxy, Proxy, redirect};
use tokio::sync::OnceCell;

use crate::transport::{HttpRequest, HttpResponse, Method, Transport, TransportError};

/// Redirects within one origin that are followed.
const REDIRECTS_MAX: usize = 5;
/// A file of certificate authorities may have this many bytes.
const CA_BYTES_MAX: u64 = 8 << 20;

/// How endpoints are reached. Nothing is read from the environment but, by the system's certificate store, `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// How long connecting may take, name lookup and TLS included.
    pub connect_timeout: Duration,
    /// Which requests go through a proxy.
    pub proxies: Proxies,
    /// A PEM file of certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How the client names itself.
    pub user_agent: String,
}

/// Proxies by the scheme of the request. An address may hold a password, so `Debug` shows only which are set.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Of `http` addresses.
    pub http: Option<String>,
    /// Of `https` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly, written as in `NO_PROXY`.
    pub bypass: Option<String>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("bypass", &self.bypass)
            .finish()
    }
}

/// HTTP/1.1 and HTTP/2 with shared connections. Making one costs nothing; the first request reads the certificates.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    settings: Arc<HttpSettings>,
    client: Arc<OnceCell<Client>>,
}

impl HttpTransport {
    /// A transport; nothing is opened or read yet.
    #[must_use]
    pub fn new(settings: HttpSettings) -> Self {
        Self { settings: Arc::new(settings), client: Arc::default() }
    }

    async fn client(&self) -> Result<Client, TransportError> {
        let settings = Arc::clone(&self.settings);
        let made = self.client.get_or_try_init(|| async move {
            // Reading certificates is blocking work.
            let made = tokio::task::spawn_blocking(move || client(&settings)).await;
            made.map_err(|error| setup("setting it up was interrupted", Some(Box::new(error))))?
        });
        made.await.cloned()
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let this = self.clone();
        async move {
            let client = this.client().await?;
            let method = match request.method {
                Method::Get => reqwest::Method::GET,
                Method::Post => reqwest::Method::POST,
            };
            let mut building = client.request(method, &request.url);
            for (name, value) in &request.headers {
                building = building.header(name, sensitive(name, value)?);
            }
            if !request.body.is_empty() {
                building = building.body(request.body);
            }
            Ok(answer(building.send().await.map_err(failure)?))
        }
        .boxed()
    }
}

/// A header value that HTTP/2 does not index and `Debug` does not show.
fn sensitive(name: &str, value: &str) -> Result<reqwest::header::HeaderValue, TransportError> {
    let mut value =
        reqwest::header::HeaderValue::from_str(value).map_err(|_| TransportError::Unsendable {
            what: format!("the value of the header `{name}` holds characters that no header may"),
        })?;
    value.set_sensitive(true);
    Ok(value)
}

fn answer(response: reqwest::Response) -> HttpResponse {
    let headers = response.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    HttpResponse {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: response.bytes_stream().map_err(failure).boxed(),
    }
}

fn failure(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_builder() {
        return TransportError::Unsendable { what: causes(&error) };
    }
    if error.is_connect() {
        return TransportError::Connect { source: Box::new(error) };
    }
    TransportError::Broken { source: Box::new(error) }
}

fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn client(settings: &HttpSettings) -> Result<Client, TransportError> {
    // Fails only when the program has chosen a provider already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    // `no_proxy` first: the client would read the environment by itself otherwise.
    let mut building = Client::builder()
        .no_proxy()
        .connect_timeout(settings.connect_timeout)
        .redirect(redirect::Policy::custom(within_one_origin))
        .referer(false)
        .user_agent(&settings.user_agent);
    for proxy in proxies(&settings.proxies)? {
        building = building.proxy(proxy);
    }
    if let Some(path) = &settings.ca_file {
        building = building.tls_certs_merge(authorities(path)?);
    }
    building.build().map_err(|error| setup("the client cannot be made", Some(Box::new(error))))
}

/// Follows what keeps method and origin; everything else becomes the answer, so that no key goes elsewhere.
fn within_one_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let keeps_method = matches!(attempt.status().as_u16(), 307 | 308);
    let same_origin =
        attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
    if keeps_method && same_origin && attempt.previous().len() <= REDIRECTS_MAX {
        return attempt.follow();
    }
    attempt.stop()
}

fn proxies(settings: &Proxies) -> Result<Vec<Proxy>, TransportError> {
    // `*` stands for every host. The client takes it for names, and would ask the proxy for addresses.
    let mut exceptions = settings.bypass.as_deref().into_iter().flat_map(|list| list.split(','));
    if exceptions.any(|entry| entry.trim() == "*") {
        return Ok(Vec::new());
    }
    let bypass = || settings.bypass.as_deref().and_then(NoProxy::from_string);
    let parsed = |made: Result<Proxy, reqwest::Error>, scheme: &str| match made {
        Ok(proxy) => Ok(proxy.no_proxy(bypass())),
        Err(_) => Err(setup(
            &format!("the proxy for {scheme} is no address; write for example `http://host:3128`"),
            None,
        )),
    };
    let http = settings.http.as_ref().map(|url| parsed(Proxy::http(url), "http"));
    let https = settings.https.as_ref().map(|url| parsed(Proxy::https(url), "https"));
    http.into_iter().chain(https).collect()
}

fn authorities(path: &std::path::Path) -> Result<Vec<Certificate>, TransportError> {
    use std::io::Read;
    let named = |what: &str| format!("the certificate file {} {what}", path.display());
    let read = || {
        let mut pem = Vec::new();
        std::fs::File::open(path)?.take(CA_BYTES_MAX + 1).read_to_end(&mut pem)?;
        Ok::<_, std::io::Error>(pem)
    };
    let pem = read().map_err(|e| setup(&named("cannot be read"), Some(Box::new(e))))?;
    if pem.len() as u64 > CA_BYTES_MAX {
        return Err(setup(&named("is larger than 8 MiB"), None));
    }
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|e| setup(&named("is not in PEM form"), Some(Box::new(e))))?;
    if found.is_empty() {
        return Err(setup(&named("holds no certificate"), None));
    }
    Ok(found)
}

fn setup(what: &str, source: Option<Box<dyn std::error::Error + Send + Sync>>) -> TransportError {
    TransportError::Setup { what: what.to_owned(), source }
}
