//! The way to the web: a client that judges every address before it connects to it. No other file of this crate connects to anything.

mod guard;

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ports::http::{HttpClient, HttpError, HttpGet, HttpResponse, with_root};
pub(crate) use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response};

use crate::config::FetchConfig;
use guard::{Hosts, Resolver};

/// Goes to http and https URLs of public hosts: not to this machine, its network or a cloud's metadata service, by no name and no redirect.
#[derive(Debug)]
pub struct GuardedHttpClient {
    hosts: Hosts,
    /// Made for the first request: reading the machine's certificates takes a while.
    client: OnceLock<Result<Client, String>>,
}

impl GuardedHttpClient {
    /// A client that also reaches hosts that are not public if [`FetchConfig::allow_private_hosts`] says so.
    #[must_use]
    pub fn new(config: &FetchConfig) -> Self {
        let hosts = if config.allow_private_hosts { Hosts::All } else { Hosts::Public };
        Self { hosts, client: OnceLock::new() }
    }

    fn client(&self) -> Result<&Client, HttpError> {
        let client = self.client.get_or_init(|| {
            // Another part of the process may have chosen first, which is as good.
            rustls::crypto::ring::default_provider().install_default().ok();
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .dns_resolver(Arc::new(Resolver(self.hosts)))
                // A proxy would resolve names itself, past the resolver that judges addresses.
                .no_proxy()
                .user_agent(concat!("oarlock/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| with_root(&error))
        });
        client.as_ref().map_err(|why| HttpError::Unavailable { why: why.clone() })
    }

    fn judge(&self, url: &Url) -> Result<(), HttpError> {
        self.hosts.check(url).map_err(|why| HttpError::Refused { url: url.to_string(), why })
    }

    async fn receive(&self, get: HttpGet) -> Result<HttpResponse, HttpError> {
        let (mut url, mut redirects) = (parse(&get.url)?, 0);
        loop {
            self.judge(&url)?;
            let request = self.client()?.get(url.clone()).header(ACCEPT, &get.accept);
            let response = request.send().await.map_err(|error| failed(&url, error))?;
            let target = redirect(&response, &url);
            match target.and_then(|target| Some((target, get.max_redirects?))) {
                Some((_, most)) if redirects == most => {
                    return Err(HttpError::Redirects { most, url: url.to_string() });
                }
                Some((target, _)) => {
                    redirects += 1;
                    url = target;
                }
                None => return whole(response, url, redirects, get.max_bytes).await,
            }
        }
    }
}

impl HttpClient for GuardedHttpClient {
    fn check(&self, url: &str) -> Result<(), HttpError> {
        self.judge(&parse(url)?)
    }

    fn get(&self, get: HttpGet) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        self.receive(get).boxed()
    }
}

fn parse(url: &str) -> Result<Url, HttpError> {
    Url::parse(url).map_err(|error| HttpError::Refused {
        url: url.to_owned(),
        why: format!("`{url}` is not a URL: {error}"),
    })
}

async fn whole(
    mut response: Response,
    url: Url,
    redirects: u32,
    max_bytes: usize,
) -> Result<HttpResponse, HttpError> {
    let status = response.status().as_u16();
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = header.unwrap_or_default().to_owned();
    let (mut bytes, mut truncated) = (BytesMut::new(), false);
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&url, error))? {
        let room = max_bytes - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            truncated = true;
            break;
        }
    }
    let (url, body) = (url.to_string(), Bytes::from(bytes));
    Ok(HttpResponse { status, url, content_type, redirects, body, truncated })
}

fn redirect(response: &Response, url: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    url.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

fn failed(url: &Url, error: reqwest::Error) -> HttpError {
    HttpError::Failed { url: url.to_string(), source: Box::new(error) }
}
