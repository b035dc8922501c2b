//! Refused requests, redirects, proxies, and what is sent to whom.

use super::*;
use crate::listing::list_models;

async fn refused(status: &str, headers: &str, body: &str) -> ModelError {
    answered(vec![answer(status, headers, body)]).await.end.unwrap_err()
}

#[tokio::test]
async fn a_refusal_names_endpoint_model_status_and_the_providers_words_but_no_key() {
    let body = format!(
        r#"{{"error":{{"message":"Incorrect API key provided: {KEY}","type":"invalid_request_error","code":"invalid_api_key"}}}}"#
    );
    let error = refused("401 Unauthorized", "", &body).await;
    assert_eq!(error.kind, ModelErrorKind::Auth);
    let expected = ", model m-1: HTTP 401: Incorrect API key provided: (hidden) (invalid_api_key); check the key of this provider";
    assert!(error.message.ends_with(expected), "{}", error.message);
}

#[tokio::test]
async fn statuses_become_kinds_and_waits() {
    let date =
        "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n";
    let overloaded =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let table = [
        ("403 Forbidden", "", "{}", ModelErrorKind::Auth, None),
        (
            "404 Not Found",
            "",
            r#"{"error":{"message":"The model x does not exist"}}"#,
            ModelErrorKind::ModelNotFound,
            None,
        ),
        ("429 Too Many", "retry-after: 7\r\n", "{}", ModelErrorKind::RateLimited, Some(7_000)),
        (
            "429 Too Many",
            "retry-after-ms: 250\r\nretry-after: 9\r\n",
            "{}",
            ModelErrorKind::RateLimited,
            Some(250),
        ),
        ("503 Busy", date, "", ModelErrorKind::Overloaded, Some(30_000)),
        ("529 Overloaded", "", overloaded, ModelErrorKind::Overloaded, None),
        ("502 Bad Gateway", "", "<html><title>502</title></html>", ModelErrorKind::Transport, None),
    ];
    for (status, headers, body, kind, wait) in table {
        let error = refused(status, headers, body).await;
        assert_eq!((error.kind, error.retry_after_ms), (kind, wait), "{status}: {}", error.message);
        assert!(error.message.contains(&format!("HTTP {}", &status[..3])), "{}", error.message);
    }
}

#[tokio::test]
async fn a_hundred_calls_after_a_refusal_wait_for_it_and_are_each_sent_once() {
    let taken = || vec![answer("200 OK", "connection: close\r\n", "{\"text\":\"hi\"}")];
    let wait = "retry-after-ms: 1500\r\nconnection: close\r\n";
    let refusal = vec![answer("429 Too Many", wait, "{}")];
    let acts = std::iter::once(refusal).chain(std::iter::repeat_with(taken).take(100));
    let server = Server::start(acts.collect());
    let model = model_with(&server.base_url, settings());
    assert_eq!(call(&*model).await.failure().0, ModelErrorKind::RateLimited);
    assert!(server.request().is_some());
    let began = tokio::time::Instant::now();
    let calls = futures::future::join_all((0..100).map(|_| call(&*model)));
    let early = tokio::time::timeout(Duration::from_millis(1_200), calls);
    assert!(early.await.is_err() && server.is_untouched(), "nothing is sent before its time");
    let called = futures::future::join_all((0..100).map(|_| call(&*model))).await;
    assert!(called.iter().all(|called| called.end.as_deref() == Ok("hi")), "{called:?}");
    assert!(began.elapsed() >= Duration::from_millis(1_400));
    for _ in 0..100 {
        assert!(server.request().is_some());
    }
    assert!(server.is_untouched(), "not one request more");
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_refused_and_the_key_stays_here() {
    let elsewhere = Server::start(vec![vec![answer("200 OK", "", "{\"text\":\"stolen\"}")]]);
    let location = format!("location: {}/chat/completions?k={KEY}\r\n", elsewhere.base_url);
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let error = refused(status, &location, "").await;
        assert_eq!(error.kind, ModelErrorKind::InvalidRequest);
        let origin = elsewhere.base_url.strip_suffix("/v1").unwrap();
        assert!(
            error.message.contains(&format!("redirects to {origin}, which")),
            "{}",
            error.message
        );
    }
    assert!(elsewhere.is_untouched());
}

#[tokio::test]
async fn a_redirect_within_the_origin_that_keeps_the_method_is_followed() {
    let away = answer("307 Temporary Redirect", "location: /v2/chat\r\nconnection: close\r\n", "");
    let server =
        Server::start(vec![vec![away], vec![answer("200 OK", "", "{\"text\":\"there\"}")]]);
    let called = call(&*model_with(&server.base_url, settings())).await;
    assert_eq!(called.end, Ok("there".into()));
    let (first, second) = (server.request().unwrap(), server.request().unwrap());
    assert!(
        first.starts_with("POST /v1/chat/completions ") && second.starts_with("POST /v2/chat ")
    );
    assert!(second.ends_with(r#"{"model":"m-1"}"#), "{second}");
}

#[tokio::test]
async fn a_request_carries_the_key_and_the_headers() {
    let server = Server::start(vec![vec![answer("200 OK", "", "{\"text\":\"x\"}")]]);
    call(&*model_with(&server.base_url, settings())).await;
    let request = server.request().unwrap();
    for line in [
        format!("authorization: Bearer {KEY}"),
        format!("x-gateway: {HEADER_SECRET}"),
        "user-agent: oarlock-test".into(),
    ] {
        assert!(request.lines().any(|l| l == line), "{line} in {request}");
    }
}

#[tokio::test]
async fn a_proxy_is_used_when_the_settings_name_it_and_bypassed_for_its_exceptions() {
    let proxy = Server::start(vec![vec![answer("200 OK", "", "{\"text\":\"by proxy\"}")]]);
    let address = proxy.base_url.strip_suffix("/v1").unwrap().to_owned();
    let proxies = Proxies { http: Some(address), https: None, bypass: Some("127.0.0.1".into()) };
    let with_proxy = HttpSettings { proxies, ..settings() };
    let called = call(&*model_with("http://provider.invalid/v1", with_proxy.clone())).await;
    assert_eq!(called.end, Ok("by proxy".into()));
    assert!(
        proxy.request().unwrap().starts_with("POST http://provider.invalid/v1/chat/completions ")
    );
    let direct = Server::start(vec![vec![answer("200 OK", "", "{\"text\":\"direct\"}")]]);
    let called = call(&*model_with(&direct.base_url, with_proxy)).await;
    assert_eq!(called.end, Ok("direct".into()));
}

#[tokio::test]
async fn an_unusable_setting_is_named() {
    let proxies = Proxies { http: Some("::".into()), ..Proxies::default() };
    let bad_proxy =
        call(&*model_with("http://h.invalid", HttpSettings { proxies, ..settings() })).await;
    assert!(bad_proxy.failure().1.contains("proxy for http"), "{bad_proxy:?}");
    let ca_file = Some("/nowhere/ca.pem".into());
    let bad_ca =
        call(&*model_with("http://h.invalid", HttpSettings { ca_file, ..settings() })).await;
    assert!(bad_ca.failure().1.contains("/nowhere/ca.pem cannot be read"), "{bad_ca:?}");
    assert_eq!(bad_ca.failure().0, ModelErrorKind::InvalidRequest);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_failure_to_connect() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let called = call(&*model_with(&base_url, settings())).await;
    assert_eq!(called.failure().0, ModelErrorKind::Transport);
    assert!(called.failure().1.contains("cannot connect"), "{called:?}");
}

#[tokio::test]
async fn models_are_listed_within_a_deadline() {
    let server = Server::start(vec![
        vec![answer("200 OK", "", r#"{"data":[{"id":"a"}]}"#)],
        vec![Act::Hold],
    ]);
    let transport = HttpTransport::new(settings());
    let within = Duration::from_secs(5);
    let list = list_models(&config(&server.base_url), &transport, within).await.unwrap();
    assert_eq!(list[0].selection.to_string(), "here/a");
    assert!(server.request().unwrap().starts_with("GET /v1/models "));
    let silent = Server::start(vec![vec![Act::Hold]]);
    let within = Duration::from_millis(100);
    let error = list_models(&config(&silent.base_url), &transport, within).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Timeout);
}

#[test]
fn a_registry_tells_what_it_lacks_and_allows_models_it_does_not_know() {
    let transport: Arc<dyn Transport> = Arc::new(HttpTransport::new(settings()));
    let bare = ProviderConfig::well_known(&crate::catalog::WELL_KNOWN[0], None);
    let registry = registry(vec![config("http://h"), bare], Arc::clone(&transport));
    let resolve = |provider: &str, model: &str| {
        let selection = ModelSelection { provider: provider.into(), model: model.into() };
        registry
            .resolve(&selection)
            .map(|m| m.info().selection.to_string())
            .map_err(|e| (e.kind, e.message))
    };
    assert_eq!(resolve("here", "anything/at-all"), Ok("here/anything/at-all".into()));
    let table = [
        (
            "heer",
            "m",
            ModelErrorKind::ModelNotFound,
            "unknown provider `heer`; did you mean `here`?",
        ),
        (
            "zzzzzzzz",
            "m",
            ModelErrorKind::ModelNotFound,
            "unknown provider `zzzzzzzz`; configure it under [providers.zzzzzzzz] or see `oarlock models`",
        ),
        (
            "openai",
            "m",
            ModelErrorKind::Auth,
            "provider `openai` is not configured; set OPENAI_API_KEY or run `oarlock login openai`",
        ),
        (
            "ollama",
            "m",
            ModelErrorKind::Auth,
            "provider `ollama` is not configured; add [providers.ollama] to the configuration",
        ),
        (
            "anthropic",
            "m",
            ModelErrorKind::Auth,
            "no key for provider `anthropic`; set ANTHROPIC_API_KEY or run `oarlock login anthropic`",
        ),
        (
            "here",
            "",
            ModelErrorKind::ModelNotFound,
            "no model of provider `here` is named; write here/MODEL",
        ),
    ];
    for (provider, model, kind, message) in table {
        assert_eq!(resolve(provider, model), Err((kind, message.to_owned())));
    }
}
