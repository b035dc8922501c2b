//! `fetch` over other clients than our own: none at all, and that of whoever embeds the tools.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use oarlock_core::ports::clock::Cancel;
use oarlock_core::ports::http::{HttpClient, HttpError, HttpGet, HttpResponse, NoopHttpClient};
use oarlock_core::ports::tool::{Tool, ToolError};
use oarlock_tools::{FetchConfig, GuardedHttpClient, ToolsConfig, default_tools_with_http};
use serde_json::{Value, json};

use crate::kit::{Kit, text};

fn fetch(fetch: FetchConfig, http: Arc<dyn HttpClient>) -> Arc<dyn Tool> {
    let config = ToolsConfig { fetch, ..ToolsConfig::default() };
    let tools = default_tools_with_http(&config, http).unwrap();
    tools.into_iter().find(|tool| tool.schema().name == "fetch").unwrap()
}

fn url(url: &str) -> Value {
    json!({ "url": url })
}

/// Answers with more bytes than asked for, keeps what it was asked, and goes to one host alone.
#[derive(Debug, Default)]
struct Own(Mutex<Vec<HttpGet>>);

impl HttpClient for Own {
    fn check(&self, url: &str) -> Result<(), HttpError> {
        if url.starts_with("http://wiki.internal/") {
            return Ok(());
        }
        let why = "only the wiki is fetched".to_owned();
        Err(HttpError::Refused { url: url.to_owned(), why })
    }

    fn get(&self, get: HttpGet) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        let response = HttpResponse {
            status: 200,
            url: get.url.clone(),
            content_type: "text/plain".to_owned(),
            redirects: 0,
            body: b"the words of the wiki"[..].into(),
            truncated: false,
        };
        self.0.lock().unwrap().push(get);
        ready(Ok(response)).boxed()
    }
}

/// Never answers.
#[derive(Debug)]
struct Silent;

impl HttpClient for Silent {
    fn check(&self, _: &str) -> Result<(), HttpError> {
        Ok(())
    }

    fn get(&self, _: HttpGet) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        futures::future::pending().boxed()
    }
}

#[tokio::test]
async fn without_a_client_a_fetch_fails_before_anybody_is_asked_and_says_why() {
    let kit = Kit::new();
    let tool = fetch(FetchConfig::default(), Arc::new(NoopHttpClient));
    let words = "there is no HTTP client: this program was made without one, so no URL can be fetched here; go on without it";
    let page = url("https://example.com/");
    assert_eq!(tool.assess(&page, &kit.place).unwrap_err(), words);
    let error = tool.execute(page, kit.context(&Cancel::new())).await.unwrap_err();
    assert_eq!(error.to_string(), words);
}

#[tokio::test]
async fn a_client_of_ones_own_decides_where_fetch_goes_and_is_told_the_bounds() {
    let (kit, own) = (Kit::new(), Arc::new(Own::default()));
    let config =
        FetchConfig { max_response_bytes: 9, follow_redirects: false, ..FetchConfig::default() };
    let tool = fetch(config, Arc::<Own>::clone(&own));
    let refusal = tool.assess(&url("https://example.com/"), &kit.place).unwrap_err();
    assert_eq!(refusal, "only the wiki is fetched");
    let page = url("http://wiki.internal/a b");
    let page = Arc::clone(&tool).execute(page, kit.context(&Cancel::new())).await.unwrap();
    assert_eq!(text(&page), "the words\n[cut after 9 bytes]");
    assert_eq!(page.detail["truncated"], json!(true));
    let asked = own.0.lock().unwrap();
    let [get] = &asked[..] else { panic!("one request: {asked:?}") };
    assert_eq!((get.url.as_str(), get.max_bytes), ("http://wiki.internal/a%20b", 9));
    assert_eq!(get.max_redirects, None);
}

#[tokio::test]
async fn a_client_that_never_answers_is_left_when_the_call_is_cancelled_or_its_time_is_over() {
    let (kit, cancel) = (Kit::new(), Cancel::new());
    let tool = fetch(FetchConfig::default(), Arc::new(Silent));
    let page = json!({"url": "http://wiki.internal/", "timeout_secs": 1});
    let late = Arc::clone(&tool).execute(page.clone(), kit.context(&Cancel::new())).await;
    assert!(late.unwrap_err().to_string().contains("did not come within 1 seconds"));
    cancel.cancel();
    let cancelled = tool.execute(page, kit.context(&cancel)).await;
    assert!(matches!(cancelled, Err(ToolError::Cancelled)), "{cancelled:?}");
}

#[tokio::test]
async fn the_guarded_client_judges_by_itself_whoever_asks_it() {
    let client = GuardedHttpClient::new(&FetchConfig::default());
    let refused = [
        ("http://127.0.0.1:1/", "is not a public address"),
        ("http://[::ffff:169.254.169.254]/", "is not a public address"),
        ("file:///etc/passwd", "`file` URLs are not fetched"),
        ("http://user:pw@example.com/", "a URL with a user name or password"),
        ("no url", "`no url` is not a URL"),
    ];
    for (url, words) in refused {
        let get = HttpGet {
            url: url.to_owned(),
            accept: "*/*".to_owned(),
            max_redirects: None,
            max_bytes: 1,
        };
        for error in [client.check(url).unwrap_err(), client.get(get).await.unwrap_err()] {
            assert!(matches!(error, HttpError::Refused { .. }), "{url}: {error:?}");
            assert!(error.to_string().contains(words), "{url}: {error}");
        }
    }
}
