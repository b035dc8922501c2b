//! `fetch` against a server on 127.0.0.1, and the offer of all tools.

use std::time::{Duration, Instant};

use oarlock_core::event::Effect;
use oarlock_core::ports::tool::Runs;
use oarlock_tools::{BashConfig, ConfigError, FetchConfig, ToolsConfig, default_tools};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::{Kit, text};

/// The word `zipped`, packed.
const GZIPPED: [u8; 26] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 202, 44, 40, 72, 77, 1, 0, 87, 104, 194, 226, 6, 0, 0, 0,
];

async fn answer(mut stream: TcpStream, port: u16) -> std::io::Result<()> {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head =
        |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n");
    let (head, body): (String, Vec<u8>) = match path {
        "/page" => {
            let page = "<html><head><title>T</title></head><body><h1>Head</h1><p>Some <b>bold</b> words.</p></body></html>";
            (head("200 OK", "content-type: text/html\r\n"), page.into())
        }
        "/latin" => (
            head("200 OK", "content-type: text/plain; charset=iso-8859-1\r\n"),
            b"caf\xe9".to_vec(),
        ),
        "/gone" => {
            (head("404 Not Found", "content-type: text/plain\r\n"), b"no such page".to_vec())
        }
        "/picture" => (head("200 OK", "content-type: image/png\r\n"), b"\x89PNG".to_vec()),
        "/loop" => (head("302 Found", "location: /loop\r\n"), Vec::new()),
        "/relative" => (head("302 Found", "location: latin\r\n"), Vec::new()),
        "/file" => (head("302 Found", "location: file:///etc/passwd\r\n"), Vec::new()),
        "/inwards" => (
            head("302 Found", &format!("location: http://user:pw@127.0.0.1:{port}/page\r\n")),
            Vec::new(),
        ),
        "/endless" => {
            stream.write_all(head("200 OK", "content-type: text/plain\r\n").as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 8192]).await?;
            }
        }
        "/drip" => {
            stream.write_all(head("200 OK", "content-type: text/plain\r\n").as_bytes()).await?;
            stream.write_all(b"a").await?;
            std::future::pending::<()>().await;
            return Ok(());
        }
        _ => (
            head("200 OK", "content-type: text/plain\r\ncontent-encoding: gzip\r\n"),
            GZIPPED.to_vec(),
        ),
    };
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the server and ends it")]
/// Answers until the test's runtime ends. Gives the address to begin URLs with.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn(answer(stream, port));
        }
    });
    format!("http://127.0.0.1:{port}")
}

fn open_kit() -> Kit {
    let fetch = FetchConfig {
        allow_private_hosts: true,
        max_response_bytes: 100_000,
        ..FetchConfig::default()
    };
    Kit::with(&ToolsConfig { fetch, ..ToolsConfig::default() })
}

#[tokio::test]
async fn pages_become_text() {
    let (kit, server) = (open_kit(), server().await);
    let get = |path: &str| json!({"url": format!("{server}{path}")});
    let page = kit.done("fetch", get("/page")).await;
    assert!(text(&page).contains("Some **bold** words."), "{}", text(&page));
    let html = kit.done("fetch", json!({"url": format!("{server}/page"), "format": "html"})).await;
    assert!(text(&html).starts_with("<html>"));
    assert_eq!(text(&kit.done("fetch", get("/latin")).await), "café");
    assert_eq!(text(&kit.done("fetch", get("/gone")).await), "no such page\n[HTTP status 404]");
    assert_eq!(text(&kit.done("fetch", get("/zipped")).await), "zipped");
    let moved = kit.done("fetch", get("/relative")).await;
    assert_eq!((text(&moved), &moved.detail["redirects"]), ("café", &json!(1)));
    assert_eq!(moved.detail["final_url"], json!(format!("{server}/latin")));
}

#[tokio::test]
async fn what_should_not_be_fetched_is_refused() {
    let (kit, server) = (open_kit(), server().await);
    let cases = [
        ("/loop", "more than 10 redirects"),
        ("/file", "`file` URLs are not fetched"),
        ("/inwards", "a URL with a user name or password in it is not fetched"),
        ("/picture", "is `image/png`, which is not text"),
    ];
    for (path, words) in cases {
        let refusal = kit.refused("fetch", json!({"url": format!("{server}{path}")})).await;
        assert!(refusal.contains(words), "{path}: {refusal}");
    }
    let closed = Kit::new();
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254"] {
        let port = server.rsplit(':').next().unwrap();
        let refusal =
            closed.refused("fetch", json!({"url": format!("http://{host}:{port}/latin")})).await;
        assert!(refusal.contains("is not a public address"), "{host}: {refusal}");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test measures the machine's time")]
async fn a_body_that_never_ends_is_cut_and_one_that_never_comes_is_given_up() {
    let (kit, server) = (open_kit(), server().await);
    let endless = kit.done("fetch", json!({"url": format!("{server}/endless")})).await;
    assert_eq!(
        (&endless.detail["bytes_received"], &endless.detail["truncated"]),
        (&json!(100_000), &json!(true))
    );
    let started = Instant::now();
    let refusal =
        kit.refused("fetch", json!({"url": format!("{server}/drip"), "timeout_secs": 1})).await;
    assert!(refusal.contains("did not come within 1 seconds"), "{refusal}");
    assert!(started.elapsed() < Duration::from_millis(1500));
}

#[test]
fn the_offer_is_always_the_same_and_in_the_same_order() {
    let kit = Kit::new();
    assert_eq!(
        kit.names(),
        [
            "bash",
            "read_file",
            "write_file",
            "edit_file",
            "search",
            "fetch",
            "inspect_background_task",
            "cancel_background_task",
            "send_background_input",
            "ask_user",
            "update_plan",
            "goal_done"
        ]
    );
    let effect =
        |tool: &str, arguments| kit.tool(tool).assess(&arguments, &kit.place).unwrap().effect;
    assert_eq!(effect("read_file", json!({"path": "a"})), Effect::Pure);
    assert_eq!(effect("search", json!({"pattern": "a"})), Effect::Pure);
    assert_eq!(effect("write_file", json!({"path": "a", "content": ""})), Effect::Mutating);
    assert_eq!(effect("fetch", json!({"url": "https://example.com"})), Effect::Network);
    assert_eq!(effect("ask_user", json!({"question": "?"})), Effect::Pure);
    assert_eq!(kit.tool("ask_user").schema().runs, Runs::Client);
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let bash = BashConfig { default_timeout_ms: 2, max_timeout_ms: 1, ..BashConfig::default() };
    let error = default_tools(&ToolsConfig { bash, ..ToolsConfig::default() }).unwrap_err();
    assert!(matches!(error, ConfigError::DefaultAboveMax { .. }), "{error}");
    let unknown = serde_json::from_value::<ToolsConfig>(json!({"bash": {"timeout": 1}}));
    assert!(unknown.is_err());
}
