//! Google's application default credentials: which place is asked, what it is asked, and that no message tells a secret.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use oarlock::core::ports::clock::{Clock, SystemClock};
use oarlock::google_credentials::{GoogleCredentials, MetadataServer};
use oarlock::providers::waited_for;
use oarlock_models::{HttpSettings, HttpTransport, KeyError, Proxies, Token, TokenSource};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::ask;
use crate::home::Home;

/// A key pair of these tests alone.
const KEY: &str = include_str!("google.pem");
const TOKEN: &str = "canary-access-token";
const SECRETS: [&str; 3] = ["canary-client-secret", "1//canary-refresh-token", TOKEN];
const FORM: [(&str, &str); 4] = [
    ("client_id", "boat"),
    ("client_secret", SECRETS[0]),
    ("grant_type", "refresh_token"),
    ("refresh_token", SECRETS[1]),
];

/// Google on loopback: its token endpoint, its metadata server, and Vertex, for which it is a proxy.
struct Google {
    host: String,
    /// First line with the header that says what each request may do, and body.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Google {
    /// One whose token endpoint answers with this status, and quotes what it is asked where that is no success.
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            listener.incoming().for_each(|stream| serve(&stream.unwrap(), status, &kept));
        });
        Self { host, asked }
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }

    fn service(&self) -> Value {
        json!({"type": "service_account", "client_email": "row@boat", "private_key": KEY, "private_key_id": "k1",
            "token_uri": format!("http://{}/token", self.host)})
    }

    fn user(&self) -> Value {
        json!({"type": "authorized_user", "client_id": "boat", "client_secret": SECRETS[0],
            "refresh_token": SECRETS[1], "token_uri": format!("http://{}/token", self.host)})
    }
}

fn serve(mut stream: &TcpStream, status: u16, asked: &Mutex<Vec<(String, String)>>) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut right, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "authorization" | "metadata-flavor" | "x-goog-api-key" => right = format!(" {value}"),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let first = first.trim().trim_end_matches(" HTTP/1.1");
    asked.lock().unwrap().push((format!("{first}{right}"), body.clone()));
    let granted = json!({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"});
    let (status, flavor, answer) = match first {
        model if model.contains(":streamGenerateContent") => {
            let part = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "ahoy"}]}, "finishReason": "STOP"}]});
            (200, "", format!("data: {part}\n\n"))
        }
        metadata if metadata.contains("/computeMetadata/") && status == 200 => {
            (200, "metadata-flavor: Google\r\n", granted.to_string())
        }
        _ if status == 200 => (200, "", granted.to_string()),
        // Quoted as a careless endpoint would.
        _ => {
            let error =
                json!({"error": "invalid_grant", "error_description": format!("for {body}")});
            (status, "", error.to_string())
        }
    };
    let head = format!(
        "HTTP/1.1 {status} Words\r\n{flavor}content-type: text/event-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    // A client that was ended hears nothing.
    drop(stream.write_all(format!("{head}{answer}").as_bytes()));
}

fn credentials(
    named: Option<PathBuf>,
    gcloud: Option<PathBuf>,
    host: Option<&str>,
) -> GoogleCredentials {
    let settings = HttpSettings {
        connect_timeout: Duration::from_secs(10),
        proxies: Proxies::default(),
        ca_file: None,
        user_agent: "test".to_owned(),
    };
    let transport = Arc::new(HttpTransport::new(settings));
    GoogleCredentials {
        named,
        gcloud,
        metadata: host.map_or(MetadataServer::Nowhere, |host| MetadataServer::At(host.to_owned())),
        transport: Arc::clone(&transport) as _,
        direct: transport,
        clock: Arc::new(SystemClock::new()),
    }
}

fn token(credentials: &GoogleCredentials) -> Result<Token, KeyError> {
    let answer = waited_for(credentials.token(None)).unwrap();
    let told = format!("{credentials:?} {answer:?}");
    assert_tells_no_secret(&told);
    answer
}

/// Neither as it is nor as it stands in a form.
fn assert_tells_no_secret(told: &str) {
    for word in ["canary-client", "canary-refresh", "canary-access"] {
        assert!(!told.contains(word), "{told}");
    }
}

fn written(home: &Home, name: &str, account: &Value) -> Option<PathBuf> {
    Some(home.write(name, &account.to_string()))
}

/// The pairs of a form.
fn form(body: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[test]
fn a_service_account_signs_a_claim_for_its_endpoint() {
    let (google, home) = (Google::start(200), Home::new());
    let account = written(&home, "sa.json", &google.service());
    let before = SystemClock::new().now();
    let given = token(&credentials(account, None, None)).unwrap();
    assert_eq!(given.secret.expose_secret(), TOKEN);
    let lasts_ms = given.ends.unix_ms() - before.unix_ms();
    assert!((3_539_000..3_570_000).contains(&lasts_ms), "{lasts_ms}");
    let asked = google.asked();
    assert_eq!((asked.len(), asked[0].0.as_str()), (1, "POST /token"));
    let form = form(&asked[0].1);
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let (words, signature) = form["assertion"].rsplit_once('.').unwrap();
    let der: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    public.verify(words.as_bytes(), &signature).unwrap();
    let parts = words.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let parts: Vec<Value> = parts.map(|part| serde_json::from_slice(&part).unwrap()).collect();
    assert_eq!(parts[0], json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let issued = parts[1]["iat"].as_i64().unwrap();
    assert!((0..60).contains(&(issued - before.unix_ms() / 1000)), "{issued}");
    let claims = json!({"iss": "row@boat", "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": format!("http://{}/token", google.host), "iat": issued, "exp": issued + 3600});
    assert_eq!(parts[1], claims);
}

#[test]
fn a_user_sends_the_refresh_token() {
    let (google, home) = (Google::start(200), Home::new());
    let account = written(&home, "user.json", &google.user());
    token(&credentials(None, account, None)).unwrap();
    let asked = google.asked();
    let expected = FORM.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(form(&asked[0].1), BTreeMap::from(expected));
}

#[test]
fn the_variable_goes_before_gcloud_and_gcloud_before_the_machine() {
    let (google, home) = (Google::start(200), Home::new());
    let (service, user) =
        (written(&home, "sa.json", &google.service()), written(&home, "user.json", &google.user()));
    let host = Some(google.host.as_str());
    let absent = Some(home.path("absent.json"));
    token(&credentials(service, user.clone(), host)).unwrap();
    token(&credentials(None, user.clone(), host)).unwrap();
    token(&credentials(None, absent.clone(), host)).unwrap();
    let asked = google.asked();
    let kinds: Vec<_> =
        asked[..2].iter().map(|(_, body)| form(body)["grant_type"].clone()).collect();
    assert_eq!(kinds, ["urn:ietf:params:oauth:grant-type:jwt-bearer", "refresh_token"]);
    assert_eq!(
        asked[2].0,
        "GET /computeMetadata/v1/instance/service-accounts/default/token Google"
    );
    let Err(KeyError::Denied(told)) = token(&credentials(absent, user, host)) else {
        panic!("the file that is named has to be there");
    };
    assert!(told.contains("absent.json cannot be read"), "{told}");
    assert_eq!(google.asked().len(), 3, "no later place is asked");
}

#[test]
fn whoever_is_no_metadata_server_gives_no_token() {
    let google = Google::start(404);
    let told = token(&credentials(None, None, Some(&google.host))).unwrap_err();
    assert_eq!(told, KeyError::Denied(format!("{} is no metadata server of Google", google.host)));
}

#[test]
fn a_refusal_is_told_without_the_secrets_that_it_quotes() {
    for (status, denies) in [(400, true), (401, true), (429, false), (503, false)] {
        let (google, home) = (Google::start(status), Home::new());
        for account in [google.user(), google.service()] {
            let account = written(&home, "account.json", &account);
            let error = token(&credentials(account, None, None)).unwrap_err();
            assert_eq!(matches!(error, KeyError::Denied(_)), denies, "{error:?}");
            let told = error.to_string();
            assert!(told.contains(&format!("HTTP {status}: invalid_grant")), "{told}");
            assert!(told.contains("(hidden)"), "{told}");
            let asked = google.asked().pop().unwrap().1;
            if let Some(assertion) = form(&asked).get("assertion") {
                assert!(!told.contains(&assertion[..40]), "{told}");
            }
        }
    }
}

#[test]
fn what_cannot_be_asked_for_says_what_to_do() {
    let home = Home::new();
    let table = [
        (json!({"type": "external_account"}), "`external_account`, which is not taken here"),
        (
            json!({"type": "service_account", "client_email": "e", "private_key": "canary-refresh-token"}),
            "no RSA key in PKCS #8",
        ),
    ];
    for (account, expected) in table {
        let account = written(&home, "account.json", &account);
        let Err(KeyError::Denied(told)) = token(&credentials(account, None, None)) else {
            panic!("it is denied");
        };
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn vertex_without_a_key_is_sent_the_token_of_the_credentials() {
    let google = Google::start(200);
    let home = Home::new()
        .with("http_proxy", &format!("http://{}", google.host))
        .with("OARLOCK_LOG", "trace");
    home.user(
        "model = \"vertex/gemini-3.8-flash\"\n[providers.vertex]\nwire = \"gemini\"\nbase_url = \"http://eu-aiplatform.googleapis.com/v1/p\"\n",
    );
    home.write(".config/gcloud/application_default_credentials.json", &google.user().to_string());
    let ran = ask(&home);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "ahoy"), "{}", ran.err);
    let asked = google.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].0.ends_with("/token"), "{asked:?}");
    assert!(asked[1].0.ends_with(&format!("alt=sse Bearer {TOKEN}")), "{asked:?}");
    assert_tells_no_secret(&ran.err);
}

#[test]
fn without_credentials_nothing_is_sent_to_vertex_and_the_words_say_what_to_do() {
    let google = Google::start(200);
    let home = Home::new()
        .with("http_proxy", &format!("http://{}", google.host))
        .with("GCE_METADATA_HOST", &google.host)
        .with("NO_GCE_CHECK", "true");
    home.user(
        "model = \"vertex/gemini-3.8-flash\"\n[providers.vertex]\nwire = \"gemini\"\nbase_url = \"http://eu-aiplatform.googleapis.com/v1/p\"\n",
    );
    let ran = ask(&home);
    assert_ne!(ran.code, Some(0));
    let words = "no credentials of Google; set GOOGLE_APPLICATION_CREDENTIALS or run `gcloud auth application-default login`";
    assert!(ran.err.contains(words), "{}", ran.err);
    assert_eq!(google.asked(), []);
}

#[test]
fn the_key_of_google_is_in_either_of_its_variables_and_the_first_one_counts() {
    let google = Google::start(200);
    let home = || {
        let home = Home::new();
        home.user(&format!(
            "model = \"google/gemini-3.8-flash\"\n[providers.google]\nbase_url = \"http://{}\"\n",
            google.host
        ));
        home.with("GOOGLE_API_KEY", "other-key")
    };
    let first = home().with("GEMINI_API_KEY", "first-key");
    for (home, key) in [(home(), "other-key"), (first, "first-key")] {
        let ran = ask(&home);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let asked = google.asked().pop().unwrap().0;
        assert!(asked.ends_with(&format!("alt=sse {key}")), "{asked}");
    }
}

#[test]
fn a_configured_key_of_vertex_is_taken_or_missed_but_not_replaced() {
    let google = Google::start(200);
    let home = Home::new().with("http_proxy", &format!("http://{}", google.host));
    home.user(
        "model = \"vertex/gemini-3.8-flash\"\n[providers.vertex]\nwire = \"gemini\"\nbase_url = \"http://eu-aiplatform.googleapis.com/v1/p\"\napi_key_env = \"VERTEX_TOKEN\"\n",
    );
    home.write(".config/gcloud/application_default_credentials.json", &google.user().to_string());
    assert!(ask(&home).err.contains("no key for provider `vertex`; set VERTEX_TOKEN"));
    assert_eq!(google.asked(), []);
    let ran = ask(&home.with("VERTEX_TOKEN", "own"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let asked = google.asked();
    assert!(asked.len() == 1 && asked[0].0.ends_with(" Bearer own"), "{asked:?}");
}
