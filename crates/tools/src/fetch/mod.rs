//! `fetch`: one GET of a public page, within a time and a size.

mod guard;
mod page;

use std::error::Error;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, Url};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::config::{FetchConfig, PageFormat};
use guard::{Hosts, Resolver};
use page::{Kind, convert, decode};

const REDIRECTS_MAX: u32 = 10;
const SLACK_MS: u64 = 5_000;
const URL_BYTES_MAX: usize = 8 * 1024;

#[derive(Debug)]
pub(crate) struct Fetch {
    schema: ToolSchema,
    config: FetchConfig,
    hosts: Hosts,
    /// Made for the first call: reading the machine's certificates takes a while.
    client: OnceLock<Result<Client, String>>,
}

/// A call, read from its arguments.
struct Call {
    url: Url,
    format: PageFormat,
    timeout_ms: u64,
}

/// A body as it was received.
struct Received {
    status: u16,
    content_type: String,
    url: Url,
    redirects: u32,
    bytes: Vec<u8>,
    truncated: bool,
}

impl Fetch {
    pub(crate) fn new(config: &FetchConfig) -> Self {
        let (default, max) = (config.default_timeout_secs, config.max_timeout_secs);
        let description = "GET a public http or https page and return its main content as Markdown (or as html or text). For text only; 5 MiB at most.";
        let input = json!({
            "type": "object",
            "properties": {
                "url": {"type": "string"},
                "format": {"type": "string", "enum": ["markdown", "html", "text"]},
                "timeout_secs": {"type": "integer", "minimum": 1, "maximum": max, "description": format!("default {default}")}
            },
            "required": ["url"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        let schema = ToolSchema { name: "fetch".to_owned(), description, input, runs: Runs::Here };
        let hosts = if config.allow_private_hosts { Hosts::All } else { Hosts::Public };
        Self { schema, config: config.clone(), hosts, client: OnceLock::new() }
    }

    fn call(&self, arguments: &Value) -> Result<Call, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let text = arguments.text("url")?;
        if text.len() > URL_BYTES_MAX {
            return Err(format!("`url` is longer than {URL_BYTES_MAX} bytes"));
        }
        let url = Url::parse(text).map_err(|error| format!("`url`: {error}"))?;
        self.hosts.check(&url)?;
        let format = match arguments.choice("format", &["markdown", "html", "text"])? {
            Some("markdown") => PageFormat::Markdown,
            Some("html") => PageFormat::Html,
            Some(_) => PageFormat::Text,
            None => self.config.default_format,
        };
        let range = (1, self.config.max_timeout_secs);
        let seconds = arguments.number("timeout_secs", range, self.config.default_timeout_secs)?;
        Ok(Call { url, format, timeout_ms: seconds * 1000 })
    }

    fn client(&self) -> Result<&Client, ToolError> {
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
                .map_err(|error| with_causes(&error))
        });
        client
            .as_ref()
            .map_err(|error| ToolError::failed(format!("there is no HTTP client: {error}")))
    }

    async fn receive(&self, url: Url) -> Result<Received, ToolError> {
        let (mut url, mut redirects) = (url, 0);
        loop {
            self.hosts.check(&url).map_err(ToolError::failed)?;
            let request =
                self.client()?.get(url.clone()).header(ACCEPT, "text/html,text/*;q=0.9,*/*;q=0.8");
            let response = request.send().await.map_err(|error| unreachable(&url, &error))?;
            match redirect(&response, &url).filter(|_| self.config.follow_redirects) {
                Some(_) if redirects == REDIRECTS_MAX => {
                    return Err(ToolError::failed(format!(
                        "more than {REDIRECTS_MAX} redirects, the last to {url}"
                    )));
                }
                Some(target) => {
                    redirects += 1;
                    url = target;
                }
                None => return self.body(response, url, redirects).await,
            }
        }
    }

    async fn body(
        &self,
        mut response: Response,
        url: Url,
        redirects: u32,
    ) -> Result<Received, ToolError> {
        let status = response.status().as_u16();
        let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = header.unwrap_or_default().to_owned();
        let limit = self.config.max_response_bytes;
        let (mut bytes, mut truncated) = (Vec::new(), false);
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, &error))? {
            let room = limit - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                truncated = true;
                break;
            }
        }
        Ok(Received { status, content_type, url, redirects, bytes, truncated })
    }

    async fn run(&self, call: &Call) -> Result<(Received, String), ToolError> {
        let received = self.receive(call.url.clone()).await?;
        let kind = Kind::of(&received.content_type, &received.bytes);
        if kind == Kind::Other && !received.bytes.is_empty() {
            let (url, content_type) = (&received.url, &received.content_type);
            return Err(ToolError::failed(format!("{url} is `{content_type}`, which is not text")));
        }
        let body = decode(&received.content_type, kind, &received.bytes);
        let plain = call.format == PageFormat::Markdown && !self.config.html_to_markdown;
        let text = match kind {
            Kind::Html if !plain => match convert(body.clone(), call.format).await {
                Some(text) => text,
                None => {
                    format!("{body}\n[the page could not be converted and is shown as it was sent]")
                }
            },
            _ => body,
        };
        Ok((received, text))
    }
}

fn redirect(response: &Response, url: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    url.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

fn unreachable(url: &Url, error: &reqwest::Error) -> ToolError {
    ToolError::failed(format!("{url} could not be fetched: {}", with_causes(error)))
}

fn with_causes(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let (outer, inner) = (error.to_string(), root.to_string());
    if outer == inner { outer } else { format!("{outer}: {inner}") }
}

fn report(received: &Received, mut text: String, elapsed_ms: u64) -> ToolOutput {
    if received.truncated {
        text.push_str(&format!("\n[cut after {} bytes]", received.bytes.len()));
    }
    if received.status >= 400 {
        text.push_str(&format!("\n[HTTP status {}]", received.status));
    }
    let figures = [
        ("status", json!(received.status)),
        ("content_type", json!(received.content_type)),
        ("bytes_received", json!(received.bytes.len())),
        ("bytes_returned", json!(text.len())),
        ("truncated", json!(received.truncated)),
        ("redirects", json!(received.redirects)),
        ("elapsed_ms", json!(elapsed_ms)),
        ("final_url", json!(received.url.as_str())),
    ];
    let detail: Map<String, Value> =
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    ToolOutput { content: vec![Part::text(text)], blobs: Vec::new(), detail }
}

impl Tool for Fetch {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _place: &Place) -> Result<Assessment, String> {
        let call = self.call(arguments)?;
        Ok(Assessment {
            effect: Effect::Network,
            title: crate::text::title("fetch", call.url.as_str()),
            subject: Subject { parts: vec![call.url.to_string()], complete: true },
            timeout_ms: call.timeout_ms + SLACK_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let words =
            self.call(arguments).map_or_else(|error| error, |call| format!("GET {}", call.url));
        Box::pin(std::future::ready(words))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let call = self.call(&arguments).map_err(ToolError::Arguments)?;
            let started = cx.clock.now();
            let done = tokio::select! {
                biased;
                () = cx.cancel.cancelled() => return Err(ToolError::Cancelled),
                () = cx.clock.sleep_until(started.after(call.timeout_ms)) => None,
                done = self.run(&call) => Some(done?),
            };
            let Some((received, text)) = done else {
                let words =
                    format!("{} did not come within {} seconds", call.url, call.timeout_ms / 1000);
                return Err(ToolError::failed(words));
            };
            Ok(report(&received, text, cx.clock.now().ms_since(started)))
        })
    }
}
