//! Bedrock with signatures: an endpoint that works each one out from what it was sent and takes no other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ring::{digest, hmac};
use serde_json::json;

use super::ask;
use crate::home::Home;

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "canary-secret-access-key";
const SESSION: &str = "canary-session-token";

/// A request as it came.
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn received(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Request { method, path, headers, body }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes))
}

fn keyed(key: &[u8], words: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, words.as_bytes()).as_ref().to_vec()
}

/// The header that this request should carry, worked out as AWS describes it ("Create a signed AWS API request"): each segment of the path, which
/// is encoded as it comes, is encoded once more.
fn expected(request: &Request, region: &str) -> String {
    let given = &request.headers["authorization"];
    let signed = given.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let header = |name: &str| format!("{name}:{}\n", request.headers[name].trim());
    let headers: String = signed.split(';').map(header).collect();
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let path = path.replace('%', "%25");
    let body = sha256(&request.body);
    let canonical = format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{body}", request.method);
    let time = &request.headers["x-amz-date"];
    let scope = format!("{}/{region}/bedrock/aws4_request", &time[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let key = format!("AWS4{SECRET}").into_bytes();
    let key = scope.split('/').fold(key, |key, word| keyed(&key, word));
    let signature = hex(keyed(&key, &to_sign));
    format!(
        "AWS4-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
}

/// Bedrock on loopback. It also gives credentials of a container.
struct Bedrock {
    address: String,
    /// What was wrong with each request, or nothing.
    verdicts: Arc<Mutex<Vec<Option<String>>>>,
    /// A file that is written before the next refusal, and its text.
    renewed: Arc<Mutex<Option<(PathBuf, String)>>>,
}

impl Bedrock {
    /// One that takes the bearer key `key`, and signatures for this region with this session token.
    fn start(region: &'static str, session: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let verdicts: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let renewed: Arc<Mutex<Option<(PathBuf, String)>>> = Arc::default();
        let (kept, renewal) = (Arc::clone(&verdicts), Arc::clone(&renewed));
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                let request = received(&stream);
                let verdict = match request.path.as_str() {
                    "/credentials" => None,
                    _ => {
                        let verdict = wrong(&request, region, session);
                        kept.lock().unwrap().push(verdict.clone());
                        verdict
                    }
                };
                let renewed = verdict.as_ref().and_then(|_| renewal.lock().unwrap().take());
                renewed.into_iter().for_each(|(path, text)| std::fs::write(path, text).unwrap());
                answer(stream, &request.path, verdict.as_deref());
            }
        });
        Self { address, verdicts, renewed }
    }

    fn home(&self) -> Home {
        let home = Home::new().with("AWS_EC2_METADATA_DISABLED", "true");
        home.user(&format!(
            "model = \"bedrock/eu.m:0\"\n[providers.bedrock]\nbase_url = \"{}\"\n",
            self.address
        ));
        home
    }

    fn verdicts(&self) -> Vec<Option<String>> {
        self.verdicts.lock().unwrap().clone()
    }
}

fn wrong(request: &Request, region: &str, session: Option<&str>) -> Option<String> {
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    match header("authorization") {
        None => return Some("it is not signed".to_owned()),
        Some("Bearer key") if header("x-amz-date").is_none() => return None,
        Some(given) if !given.starts_with("AWS4-HMAC-SHA256 ") => {
            return Some(format!("it carries {given}"));
        }
        Some(given) => {
            let expected = expected(request, region);
            if given != expected {
                return Some(format!("it carries {given}, expected {expected}"));
            }
            let names = ["content-type", "host", "x-amz-date"].into_iter();
            for name in names.chain(session.map(|_| "x-amz-security-token")) {
                let signed =
                    given.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
                if !signed.split(';').any(|other| other == name) {
                    return Some(format!("{name} is not signed"));
                }
            }
        }
    }
    let carried = header("x-amz-security-token");
    (carried != session).then(|| format!("its session token is {carried:?}"))
}

fn answer(mut stream: TcpStream, path: &str, wrong: Option<&str>) {
    let (status, body) = match (path, wrong) {
        ("/credentials", _) => (
            "200 OK",
            json!({"AccessKeyId": ID, "SecretAccessKey": SECRET, "Token": SESSION, "Expiration": "2099-01-01T00:00:00Z"}),
        ),
        (_, None) => (
            "200 OK",
            json!({"output": {"message": {"role": "assistant", "content": [{"text": "ahoy"}]}},
                "stopReason": "end_turn", "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}}),
        ),
        // Quoted as a careless endpoint would.
        (_, Some(wrong)) => {
            ("403 Forbidden", json!({"message": format!("{wrong}, with {SESSION}")}))
        }
    };
    let text = body.to_string();
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    // A client that was ended hears nothing.
    drop(stream.write_all(format!("{head}{text}").as_bytes()));
}

fn with_keys(home: Home) -> Home {
    home.with("AWS_ACCESS_KEY_ID", ID)
        .with("AWS_SECRET_ACCESS_KEY", SECRET)
        .with("AWS_SESSION_TOKEN", SESSION)
}

fn assert_tells_no_secret(told: &str) {
    assert!(!told.contains(SECRET) && !told.contains(SESSION), "{told}");
}

#[test]
fn a_run_is_signed_with_the_credentials_of_the_environment() {
    let bedrock = Bedrock::start("eu-west-1", Some(SESSION));
    let home =
        with_keys(bedrock.home()).with("AWS_REGION", "eu-west-1").with("OARLOCK_LOG", "trace");
    let ran = ask(&home);
    assert_eq!(bedrock.verdicts(), [None], "{}", ran.err);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "ahoy"), "{}", ran.err);
    assert_tells_no_secret(&ran.err);
}

#[test]
fn a_refused_signature_ends_the_run_and_its_words_tell_no_secret() {
    let bedrock = Bedrock::start("us-west-2", Some(SESSION));
    let home = with_keys(bedrock.home()).with("AWS_REGION", "eu-west-1");
    let ran = ask(&home);
    assert_eq!(bedrock.verdicts().len(), 1, "{}", ran.err);
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("(hidden)"), "{}", ran.err);
    assert_tells_no_secret(&ran.err);
}

#[test]
fn a_bearer_key_wins_over_credentials() {
    let bedrock = Bedrock::start("eu-west-1", Some(SESSION));
    let home = with_keys(bedrock.home()).with("AWS_BEARER_TOKEN_BEDROCK", "key");
    let ran = ask(&home);
    assert_eq!((ran.code, bedrock.verdicts()), (Some(0), vec![None]), "{}", ran.err);
}

#[test]
fn a_profile_has_credentials_and_region() {
    let bedrock = Bedrock::start("ap-south-1", None);
    let home = bedrock.home().with("AWS_PROFILE", "boat");
    home.write(".aws/config", "[profile boat]\nregion = ap-south-1\n");
    home.write(
        ".aws/credentials",
        &format!("[boat]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n"),
    );
    let ran = ask(&home);
    assert_eq!((ran.code, bedrock.verdicts()), (Some(0), vec![None]), "{}", ran.err);
}

/// A file of credentials with this session token.
fn profile(session: &str) -> String {
    format!(
        "[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\naws_session_token = {session}\n"
    )
}

#[test]
fn refused_credentials_are_read_anew_and_the_request_is_sent_once_more() {
    let bedrock = Bedrock::start("eu-west-1", Some(SESSION));
    let home = bedrock.home().with("AWS_REGION", "eu-west-1").with("OARLOCK_LOG", "trace");
    let path = home.write(".aws/credentials", &profile("canary-ended-token"));
    *bedrock.renewed.lock().unwrap() = Some((path, profile(SESSION)));
    let ran = ask(&home);
    let verdicts = bedrock.verdicts();
    assert_eq!((ran.code, verdicts.len()), (Some(0), 2), "{verdicts:?} {}", ran.err);
    assert!(verdicts[0].as_ref().unwrap().contains("canary-ended-token"), "{verdicts:?}");
    assert_eq!(verdicts[1], None);
    assert_tells_no_secret(&ran.err);
    assert!(!ran.err.contains("canary-ended-token"), "{}", ran.err);
}

#[test]
fn credentials_that_are_refused_twice_end_the_run() {
    let bedrock = Bedrock::start("eu-west-1", Some(SESSION));
    let home = bedrock.home().with("AWS_REGION", "eu-west-1");
    let path = home.write(".aws/credentials", &profile("canary-ended-token"));
    *bedrock.renewed.lock().unwrap() = Some((path, profile("canary-other-token")));
    let ran = ask(&home);
    assert_ne!(ran.code, Some(0));
    assert_eq!(bedrock.verdicts().len(), 2, "{}", ran.err);
    assert!(!ran.err.contains("canary-ended") && !ran.err.contains("canary-other"), "{}", ran.err);
}

#[test]
fn a_file_that_cannot_be_read_is_told_without_what_stands_in_it() {
    let bedrock = Bedrock::start("eu-west-1", None);
    let home = bedrock.home().with("AWS_REGION", "eu-west-1").with("OARLOCK_LOG", "trace");
    home.write(".aws/credentials", &format!("[default]\naws_secret_access_key {SECRET}\n"));
    let ran = ask(&home);
    assert!(ran.err.contains("no credentials of AWS"), "{}", ran.err);
    assert_tells_no_secret(&ran.err);
    assert_eq!(bedrock.verdicts(), []);
}

#[test]
fn a_container_is_asked_for_its_credentials() {
    let bedrock = Bedrock::start("eu-west-1", Some(SESSION));
    let at = format!("{}/credentials", bedrock.address);
    let home = bedrock
        .home()
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &at)
        .with("AWS_REGION", "eu-west-1")
        .with("OARLOCK_LOG", "trace");
    let ran = ask(&home);
    assert_eq!((ran.code, bedrock.verdicts()), (Some(0), vec![None]), "{}", ran.err);
    assert_tells_no_secret(&ran.err);
}

#[test]
fn without_credentials_nothing_is_sent_and_the_words_say_what_to_set() {
    let bedrock = Bedrock::start("eu-west-1", None);
    let ran = ask(&bedrock.home().with("AWS_REGION", "eu-west-1"));
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("no credentials of AWS"), "{}", ran.err);
    assert!(ran.err.contains("set AWS_BEARER_TOKEN_BEDROCK, AWS_PROFILE"), "{}", ran.err);
    assert_eq!(bedrock.verdicts(), []);
}
