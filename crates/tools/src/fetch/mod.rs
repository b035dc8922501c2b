//! `fetch`: one GET of a public page, within a time and a size.

mod page;

use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::message::Part;
use oarlock_core::ports::http::{HttpClient, HttpError, HttpGet, HttpResponse};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::config::{FetchConfig, PageFormat};
use crate::http::Url;
use page::{Kind, convert, decode};

const ACCEPT: &str = "text/html,text/*;q=0.9,*/*;q=0.8";
const REDIRECTS_MAX: u32 = 10;
const SLACK_MS: u64 = 5_000;
const URL_BYTES_MAX: usize = 8 * 1024;

#[derive(Debug)]
pub(crate) struct Fetch {
    schema: ToolSchema,
    config: FetchConfig,
    /// The only way out: what it refuses is not fetched.
    http: Arc<dyn HttpClient>,
}

/// A call, read from its arguments.
struct Call {
    url: Url,
    format: PageFormat,
    timeout_ms: u64,
}

impl Fetch {
    pub(crate) fn new(config: &FetchConfig, http: Arc<dyn HttpClient>) -> Self {
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
        Self { schema, config: config.clone(), http }
    }

    fn call(&self, arguments: &Value) -> Result<Call, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let text = arguments.text("url")?;
        if text.len() > URL_BYTES_MAX {
            return Err(format!("`url` is longer than {URL_BYTES_MAX} bytes"));
        }
        let url = Url::parse(text).map_err(|error| format!("`url`: {error}"))?;
        self.http.check(url.as_str()).map_err(|error| error.to_string())?;
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

    async fn receive(&self, url: &Url) -> Result<HttpResponse, HttpError> {
        let max_bytes = self.config.max_response_bytes;
        let get = HttpGet {
            url: url.to_string(),
            accept: ACCEPT.to_owned(),
            max_redirects: self.config.follow_redirects.then_some(REDIRECTS_MAX),
            max_bytes,
        };
        let mut response = self.http.get(get).await?;
        // A client that keeps no bound must not fill the session.
        response.truncated |= response.body.len() > max_bytes;
        response.body.truncate(max_bytes);
        Ok(response)
    }

    async fn run(&self, call: &Call) -> Result<(HttpResponse, String), ToolError> {
        let received =
            self.receive(&call.url).await.map_err(|error| ToolError::failed(error.to_string()))?;
        let kind = Kind::of(&received.content_type, &received.body);
        if kind == Kind::Other && !received.body.is_empty() {
            let (url, content_type) = (&received.url, &received.content_type);
            return Err(ToolError::failed(format!("{url} is `{content_type}`, which is not text")));
        }
        let body = decode(&received.content_type, kind, &received.body);
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

fn report(received: &HttpResponse, mut text: String, elapsed_ms: u64) -> ToolOutput {
    if received.truncated {
        text.push_str(&format!("\n[cut after {} bytes]", received.body.len()));
    }
    if received.status >= 400 {
        text.push_str(&format!("\n[HTTP status {}]", received.status));
    }
    let figures = [
        ("status", json!(received.status)),
        ("content_type", json!(received.content_type)),
        ("bytes_received", json!(received.body.len())),
        ("bytes_returned", json!(text.len())),
        ("truncated", json!(received.truncated)),
        ("redirects", json!(received.redirects)),
        ("elapsed_ms", json!(elapsed_ms)),
        ("final_url", json!(received.url)),
    ];
    let detail: Map<String, Value> =
        figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    ToolOutput { content: vec![Part::text(text)], detail, ..ToolOutput::default() }
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
