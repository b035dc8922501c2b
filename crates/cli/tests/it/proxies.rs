//! Providers behind a proxy and an authority of one's own: a real proxy that tunnels, and a real TLS server, on 127.0.0.1.
//!
//! `tls/ca.pem` has signed `tls/server.pem` (provider.test, localhost, 127.0.0.1; valid until 2126). Its own key is thrown away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::home::{Home, Ran, ran};

const LIST: &str = r#"{"data":[{"id":"m"}]}"#;
const ANSWER: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ahoy\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/ca.pem");
const KEY: &str = "sk-canary-proxied";

/// Calls a function for each connection, on a thread of its own, and gives the port.
fn listening(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, stream) = (Arc::clone(&serve), stream.unwrap());
            // A client that refuses the certificate goes away.
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    port
}

/// A head: its first line, and the values of a header.
fn head(reader: &mut impl BufRead) -> std::io::Result<(String, Vec<(String, String)>)> {
    let (mut first, mut headers) = (String::new(), Vec::new());
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    Ok((first.trim().to_owned(), headers))
}

/// A provider over TLS that takes the key and nothing else.
fn provider() -> u16 {
    let certificates = CertificateDer::pem_slice_iter(include_bytes!("tls/server.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let made =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let made = made.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = made.with_single_cert(certificates.map(Result::unwrap).collect(), key).unwrap();
    let config = Arc::new(config);
    listening(move |stream| {
        let tls = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut reader = BufReader::new(StreamOwned::new(tls, stream));
        let (first, headers) = head(&mut reader)?;
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| &**value);
        let length = value("content-length").map_or(0, |length| length.parse().unwrap());
        reader.read_exact(&mut vec![0; length])?;
        let (status, body) = match value("authorization") == Some(&format!("Bearer {KEY}")) {
            false => (401, "{}"),
            true if first.contains("/models") => (200, LIST),
            true => (200, ANSWER),
        };
        let stream = reader.get_mut();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        stream.conn.send_close_notify();
        stream.flush()
    })
}

type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A proxy that tunnels to this port whatever it is asked for, and keeps what that was, and as whom.
fn proxy(to: u16) -> (u16, Asked) {
    let asked = Asked::default();
    let kept = Arc::clone(&asked);
    let port = listening(move |stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (first, headers) = head(&mut reader)?;
        let by = headers.into_iter().find(|(name, _)| name == "proxy-authorization");
        kept.lock().unwrap().push((first, by.map(|(_, value)| value)));
        let (mut client, mut server) = (stream, TcpStream::connect(("127.0.0.1", to))?);
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
        let back = std::thread::spawn(move || {
            let copied = std::io::copy(&mut from_server, &mut to_client);
            to_client.shutdown(std::net::Shutdown::Write).and(copied)
        });
        std::io::copy(&mut client, &mut server)?;
        server.shutdown(std::net::Shutdown::Write)?;
        back.join().unwrap().map(drop)
    });
    (port, asked)
}

/// A home whose provider is at this address.
fn home(address: &str, more: &str) -> Home {
    let home = Home::new().with("THE_KEY", KEY);
    home.user(&format!(
        "model = \"far/m\"\n[providers.far]\nwire = \"openai-chat\"\nbase_url = \"{address}/v1\"\napi_key_env = \"THE_KEY\"\n{more}"
    ));
    home
}

fn login(home: &Home) -> Ran {
    let mut command = home.command();
    command.args(["login", "far"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(KEY.as_bytes()).unwrap();
    ran(&child.wait_with_output().unwrap())
}

/// Calls the model, asks for its list and checks a key.
fn all_ways(home: &Home) {
    let called = home.run(&["run", "--quiet", "hello"]);
    assert_eq!((called.code, called.out.trim()), (Some(0), "ahoy"), "{}", called.err);
    let listed = home.run(&["doctor"]);
    assert!(listed.out.contains("far answers and has 1 models"), "{}", listed.out);
    let checked = login(home);
    assert!(checked.out.contains("far takes it and has 1 models"), "{}", checked.err);
}

#[test]
fn calls_lists_and_checks_of_keys_go_through_the_proxy_that_is_named() {
    let (port, asked) = proxy(provider());
    let address = format!("http://127.0.0.1:{port}");
    let authority = format!("[http]\nca_file = \"{AUTHORITY}\"\n");
    let by_configuration = format!("{authority}proxy = \"{address}\"\n");
    let far = "https://provider.test:4430";
    let ways = [
        home(far, &authority).with("HTTPS_PROXY", &address),
        home(far, &authority).with("https_proxy", &address),
        home(far, &authority).with("ALL_PROXY", &address),
        home(far, &by_configuration),
        // The configuration counts before the environment.
        home(far, &by_configuration).with("HTTPS_PROXY", "http://127.0.0.1:9"),
        // Exceptions of other hosts are none of this one.
        home(far, &authority)
            .with("HTTPS_PROXY", &address)
            .with("NO_PROXY", "127.0.0.1,example.com"),
    ];
    for way in ways {
        asked.lock().unwrap().clear();
        all_ways(&way);
        let asked = asked.lock().unwrap().clone();
        let tunnel = ("CONNECT provider.test:4430 HTTP/1.1".to_owned(), None);
        // One for the call, one for the list, two for the key: with it and without.
        assert_eq!(asked, vec![tunnel; 4]);
    }
}

#[test]
fn a_proxy_is_told_who_asks_and_no_message_tells_it() {
    let (port, asked) = proxy(provider());
    let address = format!("http://me:proxy-canary@127.0.0.1:{port}");
    let authority = format!("[http]\nca_file = \"{AUTHORITY}\"\n");
    all_ways(&home("https://provider.test", &authority).with("HTTPS_PROXY", &address));
    let basic = Some("Basic bWU6cHJveHktY2FuYXJ5".to_owned());
    assert!(asked.lock().unwrap().iter().all(|(_, by)| *by == basic));
    // A tunnel that does not come about is told without it.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://me:proxy-canary@{closed}");
    let home = home("https://provider.test", &authority).with("HTTPS_PROXY", &gone);
    let ran = home.run(&["doctor"]);
    assert!(ran.out.contains("cannot connect"), "{}", ran.out);
    assert!(!ran.out.contains("canary") && !ran.err.contains("canary"), "{} {}", ran.out, ran.err);
}

#[test]
fn an_exception_is_reached_directly() {
    let port = provider();
    let more = format!("[http]\nca_file = \"{AUTHORITY}\"\nproxy = \"http://127.0.0.1:9\"\n");
    for exceptions in ["127.0.0.1", "example.com, 127.0.0.0/8", "*"] {
        all_ways(&home(&format!("https://127.0.0.1:{port}"), &more).with("NO_PROXY", exceptions));
    }
}

#[test]
fn an_authority_is_trusted_when_it_is_named_and_only_then() {
    let address = format!("https://localhost:{}", provider());
    all_ways(&home(&address, "").with("SSL_CERT_FILE", AUTHORITY));
    all_ways(&home(&address, &format!("[http]\nca_file = \"{AUTHORITY}\"\n")));
    let stranger = home(&address, "");
    let ran = stranger.run(&["doctor"]);
    assert!(ran.out.contains("certificate"), "{}", ran.out);
    assert!(!ran.out.contains("far answers"), "{}", ran.out);
}
