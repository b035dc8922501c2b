//! Where a provider's requests go, what they carry, and how its failures are told without its key.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use oarlock_core::ports::model::{ModelError, ModelErrorKind};
use secrecy::{ExposeSecret, SecretString};

use crate::bedrock_converse::address;
use crate::classify::{self, Refusal};
use crate::codec::Fault;
use crate::key::KeySource;
use crate::lane::{Lane, Lanes};
use crate::provider::{ProviderConfig, Wire};
use crate::quirks::{HostedCalls, Quirks};
use crate::secrets::without_secrets;
use crate::transport::{HttpRequest, HttpResponse, Method, TransportError};

/// How much of a refusal's body is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How long a refusal's body is waited for; its status says most.
const REFUSAL_BODY_WITHIN: Duration = Duration::from_secs(5);
/// Of the tokens that ended requests carried, so many are known by their words: some hours' worth.
const TOKENS_MAX: usize = 64;
/// Version of Anthropic's protocol.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A provider's endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) config: ProviderConfig,
    /// The tokens of requests under way, and the last of those that ended: an answer may quote one that was replaced since.
    tokens: Mutex<VecDeque<Arc<SecretString>>>,
    pub(crate) lane: Arc<Lane>,
}

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// Without secrets.
    pub(crate) body: String,
}

impl Endpoint {
    pub(crate) fn new(config: ProviderConfig, lanes: &Lanes) -> Self {
        Self { lane: lanes.of(&config), config, tokens: Mutex::default() }
    }

    /// A call of a model, without its key.
    pub(crate) fn call(&self, model: &str, body: Vec<u8>) -> HttpRequest {
        let url = match self.config.wire {
            Wire::AnthropicMessages => self.address("/v1/messages", ""),
            Wire::OpenAiChat => self.address("/chat/completions", ""),
            Wire::OpenAiResponses => self.address("/responses", ""),
            Wire::Gemini => {
                let name = in_path(model.trim_start_matches("models/"), b"@");
                self.address(&format!("/models/{name}:streamGenerateContent"), "alt=sse")
            }
            Wire::BedrockConverse => {
                self.address(&format!("/model/{}/converse-stream", in_path(model, b"")), "")
            }
        };
        let mut headers = self.headers();
        headers.push(("content-type".into(), "application/json".into()));
        let stream = match self.config.wire {
            Wire::BedrockConverse => "application/vnd.amazon.eventstream",
            Wire::AnthropicMessages | Wire::OpenAiChat | Wire::OpenAiResponses | Wire::Gemini => {
                "text/event-stream"
            }
        };
        headers.push(("accept".into(), format!("{stream}, application/json")));
        HttpRequest { method: Method::Post, url, headers, body: Bytes::from(body) }
    }

    /// The question for the list of models, without its key.
    pub(crate) fn listing(&self) -> HttpRequest {
        let url = match self.config.wire {
            Wire::AnthropicMessages => self.address("/v1/models", "limit=1000"),
            Wire::OpenAiChat | Wire::OpenAiResponses => self.address("/models", ""),
            Wire::Gemini => self.address("/models", "pageSize=1000"),
            Wire::BedrockConverse => {
                let base = address::listing_base(&self.config.base_url);
                self.address_at(&base, "/foundation-models", "byOutputModality=TEXT")
            }
        };
        HttpRequest { method: Method::Get, url, headers: self.headers(), body: Bytes::new() }
    }

    /// The base with a path.
    fn address(&self, path: &str, query: &str) -> String {
        self.address_at(&self.config.base_url, path, query)
    }

    /// A base with a path. A `/v1` that both have stands once; a base of Google's wire without a path means `/v1beta`; the base's query comes
    /// last.
    fn address_at(&self, base: &str, path: &str, query: &str) -> String {
        let base = base.split('#').next().unwrap_or_default();
        let (base, own_query) = base.split_once('?').unwrap_or((base, ""));
        let base = base.trim_end_matches('/');
        let base = match path.starts_with("/v1/") {
            true => base.strip_suffix("/v1").unwrap_or(base),
            false => base,
        };
        let is_bare = base.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
        let version = if is_bare && self.config.wire == Wire::Gemini { "/v1beta" } else { "" };
        let queries: Vec<&str> = [query, own_query].into_iter().filter(|q| !q.is_empty()).collect();
        match queries.is_empty() {
            true => format!("{base}{version}{path}"),
            false => format!("{base}{version}{path}?{}", queries.join("&")),
        }
    }

    fn headers(&self) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = Vec::new();
        if self.config.wire == Wire::AnthropicMessages {
            headers.push(("anthropic-version".into(), ANTHROPIC_VERSION.into()));
        }
        let own = &self.config.headers;
        headers.retain(|(name, _)| !own.keys().any(|other| other.eq_ignore_ascii_case(name)));
        headers.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers
    }

    /// What is special about it, by what is configured and by its address. Vertex knows neither the field that asks for the calls of the provider
    /// (`includeServerSideToolInvocations`) nor the parts that tell them (Vertex AI API, `ToolConfig`; googleapis/python-genai, `_ToolConfig_to_vertex`).
    pub(crate) fn quirks(&self) -> Quirks {
        let quirks = self.config.quirks;
        let is_vertex = self.config.wire == Wire::Gemini && is_vertex(&self.config.base_url);
        match is_vertex {
            true => Quirks { hosted_calls: HostedCalls::Untold, ..quirks },
            false => quirks,
        }
    }

    /// The header that carries the key.
    fn key_header(&self) -> &str {
        match (&self.config.auth_header, self.config.wire) {
            (Some(name), _) => name,
            (None, Wire::OpenAiChat | Wire::OpenAiResponses | Wire::BedrockConverse) => {
                "authorization"
            }
            (None, Wire::AnthropicMessages) => "x-api-key",
            (None, Wire::Gemini) if is_vertex(&self.config.base_url) => "authorization",
            (None, Wire::Gemini) => "x-goog-api-key",
        }
    }

    /// Whether a configured header stands in the place of the key.
    pub(crate) fn replaces_key(&self) -> bool {
        let header = self.key_header();
        self.config.headers.keys().any(|name| name.eq_ignore_ascii_case(header))
    }

    /// The request with this key.
    pub(crate) fn with_key(
        &self,
        mut bare: HttpRequest,
        key: Option<&SecretString>,
    ) -> HttpRequest {
        if let Some(key) = key.map(ExposeSecret::expose_secret) {
            let header = self.key_header();
            bare.headers.push(match header.eq_ignore_ascii_case("authorization") {
                true => ("authorization".to_owned(), format!("Bearer {key}")),
                false => (header.to_owned(), key.to_owned()),
            });
        }
        bare
    }

    /// Remembers a token that a request carries, so that no message tells it: for as long as what is given is held, however many come after it,
    /// and a while longer.
    pub(crate) fn seen(&self, token: SecretString) -> Arc<SecretString> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |other: &&Arc<SecretString>| other.expose_secret() == token.expose_secret();
        if let Some(known) = tokens.iter().find(is_it) {
            return Arc::clone(known);
        }
        let token = Arc::new(token);
        tokens.push_back(Arc::clone(&token));
        let mut surplus = tokens.len().saturating_sub(TOKENS_MAX);
        tokens.retain(|token| {
            let goes = surplus > 0 && Arc::strong_count(token) == 1;
            surplus -= usize::from(goes);
            !goes
        });
        token
    }

    /// `provider at host`.
    fn name(&self) -> String {
        #[cfg(feature = "bedrock")]
        if let Some(KeySource::Signed(signer)) = &self.config.key
            && let Some(region) = signer.moved_to()
        {
            return format!("{} in {region}", self.config.name);
        }
        format!("{} at {}", self.config.name, self.host())
    }

    fn host(&self) -> &str {
        host(&self.config.base_url)
    }

    /// Words about waiting for this endpoint.
    pub(crate) fn waits(&self, why: &str) -> String {
        format!("waiting for {}: {why}", self.name())
    }

    /// A fault, told with endpoint and model.
    pub(crate) fn error(&self, model: Option<&str>, fault: &Fault) -> ModelError {
        let model = model.map(|model| format!(", model {model}")).unwrap_or_default();
        let said = self.scrubbed(&fault.message);
        let remedy = match fault.kind {
            ModelErrorKind::Auth => "; check the key of this provider",
            ModelErrorKind::ModelNotFound => "; see `oarlock models --live`",
            ModelErrorKind::RateLimited
            | ModelErrorKind::Overloaded
            | ModelErrorKind::ContextOverflow
            | ModelErrorKind::QuotaExhausted
            | ModelErrorKind::InvalidRequest
            | ModelErrorKind::ContentFilter
            | ModelErrorKind::Transport
            | ModelErrorKind::Truncated
            | ModelErrorKind::Timeout => "",
        };
        ModelError {
            kind: fault.kind,
            message: format!("{}{model}: {said}{remedy}", self.name()),
            retry_after_ms: fault.retry_after_ms,
        }
    }

    /// A failure of the transport.
    pub(crate) fn unreached(&self, model: Option<&str>, error: &TransportError) -> ModelError {
        let kind = match error {
            TransportError::Unsendable { .. } | TransportError::Setup { .. } => {
                ModelErrorKind::InvalidRequest
            }
            TransportError::Connect { .. } | TransportError::Broken { .. } => {
                ModelErrorKind::Transport
            }
            TransportError::Late { .. } => ModelErrorKind::Timeout,
        };
        self.error(model, &Fault { kind, message: error.explained(), retry_after_ms: None })
    }

    /// Reads what it takes to tell why an answer is no success. What does not come in time is left out.
    pub(crate) async fn refusal(&self, answer: HttpResponse) -> Refused {
        let HttpResponse { status, headers, body: mut stream } = answer;
        let mut body = Vec::new();
        let reading = async {
            while let Some(Ok(chunk)) = stream.next().await {
                let room = REFUSAL_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == REFUSAL_BYTES_MAX {
                    break;
                }
            }
        };
        // On time-out the status and what has come already are told.
        drop(tokio::time::timeout(REFUSAL_BODY_WITHIN, reading).await);
        // Before classification, which cuts long words and could cut a key in two.
        Refused { status, headers, body: self.scrubbed(&String::from_utf8_lossy(&body)) }
    }

    /// A refusal, told with endpoint and model.
    pub(crate) fn refused(&self, model: Option<&str>, refused: &Refused) -> ModelError {
        let Refused { status, headers, body } = refused;
        let refusal = Refusal { status: *status, headers, body: body.as_bytes() };
        self.error(model, &classify::refusal(refusal))
    }

    /// Takes keys, header values and the address's query out of words that came from outside.
    fn scrubbed(&self, words: &str) -> String {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed = self.config.key.as_ref().and_then(KeySource::fixed);
        let seen = tokens.iter().map(AsRef::as_ref);
        let keys = fixed.into_iter().chain(seen).map(ExposeSecret::expose_secret);
        let values = self.config.headers.values().flat_map(|value| value.split_whitespace());
        let query = self.config.base_url.split_once('?').map_or("", |(_, query)| query);
        let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, v)| v);
        without_secrets(words, keys.chain(values).chain(query))
    }
}

/// Whether this address is in Google's cloud, which takes a token of its own instead of a key.
#[must_use]
pub fn is_vertex(base_url: &str) -> bool {
    let host = host(base_url);
    let region = host.strip_suffix("aiplatform.googleapis.com");
    let is_multi = ["aiplatform.us.rep.googleapis.com", "aiplatform.eu.rep.googleapis.com"];
    is_multi.contains(&host)
        || region.is_some_and(|region| region.is_empty() || region.ends_with(['-', '.']))
}

fn host(base_url: &str) -> &str {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    // A backslash is a slash to those who read addresses of the web.
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// A name as one segment of a path, where it can be nothing else than that. Of dots alone it would lead elsewhere, also when they are encoded
/// once (WHATWG, "URL": double-dot path segment), so they are encoded twice.
fn in_path(name: &str, kept: &[u8]) -> String {
    if matches!(name, "." | "..") {
        return name.replace('.', "%252E");
    }
    let stays =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || kept.contains(byte);
    let written = |byte: u8| match stays(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(written).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::provider::RequestBounds;

    fn endpoint(wire: Wire, base_url: &str, headers: &[(&str, &str)]) -> Endpoint {
        let headers: BTreeMap<String, String> =
            headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = ProviderConfig {
            name: "p".into(),
            display_name: "Test".to_owned(),
            wire,
            base_url: base_url.into(),
            key: Some("canary-key-0123456789".to_owned().into()),
            auth_header: None,
            headers,
            quirks: Quirks::PLAIN,
            bounds: RequestBounds::NONE,
            models: Vec::new(),
        };
        Endpoint::new(config, &Lanes::default())
    }

    #[test]
    fn addresses_are_made_from_any_spelling_of_the_base() {
        let table = [
            (Wire::AnthropicMessages, "https://h", "https://h/v1/messages"),
            (Wire::AnthropicMessages, "https://h/v1/", "https://h/v1/messages"),
            (Wire::AnthropicMessages, "https://h/x/v1", "https://h/x/v1/messages"),
            (Wire::OpenAiChat, "https://h/v1", "https://h/v1/chat/completions"),
            (Wire::OpenAiResponses, "https://h/openai/v1/", "https://h/openai/v1/responses"),
            (Wire::OpenAiChat, "https://h/v1//?a=b#c", "https://h/v1/chat/completions?a=b"),
        ];
        for (wire, base, expected) in table {
            assert_eq!(endpoint(wire, base, &[]).call("m", Vec::new()).url, expected);
        }
        let place =
            "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/eu/publishers/google";
        let google = [
            (
                "https://h",
                "m",
                "https://h/v1beta/models/m:streamGenerateContent?alt=sse".to_owned(),
            ),
            (
                "https://h/v1beta/",
                "models/m",
                "https://h/v1beta/models/m:streamGenerateContent?alt=sse".to_owned(),
            ),
            (
                "https://h/x?k=v",
                "a?b#c",
                "https://h/x/models/a%3Fb%23c:streamGenerateContent?alt=sse&k=v".to_owned(),
            ),
            (place, "m", format!("{place}/models/m:streamGenerateContent?alt=sse")),
        ];
        for (base, model, expected) in google {
            assert_eq!(endpoint(Wire::Gemini, base, &[]).call(model, Vec::new()).url, expected);
        }
        let listed = endpoint(Wire::Gemini, "https://h", &[]).listing();
        assert_eq!(listed.url, "https://h/v1beta/models?pageSize=1000");
        let aws = endpoint(
            Wire::BedrockConverse,
            "https://bedrock-runtime.us-east-1.amazonaws.com/",
            &[],
        );
        let called = aws.call("us.amazon.nova-lite-v1:0", Vec::new());
        assert_eq!(
            called.url,
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.amazon.nova-lite-v1%3A0/converse-stream"
        );
        assert_eq!(aws.key_header(), "authorization");
        let resource = aws.call("arn:aws:x/é", Vec::new()).url;
        assert!(resource.ends_with(".com/model/arn%3Aaws%3Ax%2F%C3%A9/converse-stream"));
        assert_eq!(
            aws.listing().url,
            "https://bedrock.us-east-1.amazonaws.com/foundation-models?byOutputModality=TEXT"
        );
        let gateway = endpoint(Wire::BedrockConverse, "https://h/bedrock?k=v", &[]);
        assert_eq!(
            gateway.listing().url,
            "https://h/bedrock/foundation-models?byOutputModality=TEXT&k=v"
        );
        let listed = endpoint(Wire::AnthropicMessages, "https://h?k=v", &[]).listing();
        assert_eq!(listed.url, "https://h/v1/models?limit=1000&k=v");
    }

    #[test]
    fn no_name_of_a_model_leads_to_another_path() {
        let escaping =
            ["..", "../../evil", "a/../../../b", "..\\..\\b", "%2e%2e", "a?b#c", "x:y@z/"];
        let place =
            "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/eu/publishers/google";
        let aws = "https://bedrock-runtime.us-east-1.amazonaws.com";
        for (wire, base) in [(Wire::Gemini, place), (Wire::BedrockConverse, aws)] {
            for model in escaping {
                let url = endpoint(wire, base, &[]).call(model, Vec::new()).url;
                let read = reqwest::Url::parse(&url).unwrap();
                let segments = |url: &str| url.split('?').next().unwrap().split('/').count();
                let plain = endpoint(wire, base, &[]).call("m", Vec::new()).url;
                assert!(read.as_str().starts_with(base), "{model}: {read}");
                assert_eq!(segments(read.as_str()), segments(&plain), "{model}: {read}");
            }
        }
    }

    #[test]
    fn google_is_given_a_key_and_its_cloud_a_token() {
        let header = |base: &str, name: Option<&str>| {
            let mut endpoint = endpoint(Wire::Gemini, base, &[]);
            endpoint.config.auth_header = name.map(str::to_owned);
            let key = SecretString::from("canary-key-0123456789");
            let (name, value) = endpoint.with_key(endpoint.listing(), Some(&key)).headers.remove(0);
            format!("{name}: {}", value.replace("canary-key-0123456789", "KEY"))
        };
        let table = [
            ("https://generativelanguage.googleapis.com/v1beta", None, "x-goog-api-key: KEY"),
            (
                "https://aiplatform.googleapis.com/v1/publishers/google",
                None,
                "authorization: Bearer KEY",
            ),
            ("https://us-aiplatform.googleapis.com/v1", None, "authorization: Bearer KEY"),
            ("https://aiplatform.eu.rep.googleapis.com/v1", None, "authorization: Bearer KEY"),
            ("https://aiplatform.eu.rep.googleapis.com.example", None, "x-goog-api-key: KEY"),
            ("https://us-aiplatform.googleapis.com/v1", Some("x-key"), "x-key: KEY"),
            ("https://evilaiplatform.googleapis.com.example", None, "x-goog-api-key: KEY"),
            ("https://evil.example\\@aiplatform.googleapis.com", None, "x-goog-api-key: KEY"),
            ("https://gate/v1", Some("Authorization"), "authorization: Bearer KEY"),
        ];
        for (base, name, expected) in table {
            assert_eq!(header(base, name), expected, "{base}");
        }
    }

    #[test]
    fn configured_headers_replace_those_of_the_wire() {
        let given = [("X-Api-Key", "another"), ("anthropic-version", "2099-01-01")];
        let endpoint = endpoint(Wire::AnthropicMessages, "https://h", &given);
        let given = given.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(endpoint.listing().headers, given);
        assert!(endpoint.replaces_key());
    }

    #[test]
    fn a_key_is_carried_by_the_header_of_its_wire_or_the_one_that_is_named() {
        let table = [
            (Wire::AnthropicMessages, None, ("x-api-key", "k")),
            (Wire::OpenAiChat, None, ("authorization", "Bearer k")),
            (Wire::OpenAiResponses, None, ("authorization", "Bearer k")),
            (Wire::AnthropicMessages, Some("Authorization"), ("authorization", "Bearer k")),
            (Wire::OpenAiChat, Some("api-key"), ("api-key", "k")),
        ];
        for (wire, auth_header, (name, value)) in table {
            let mut endpoint = endpoint(wire, "https://h", &[]);
            endpoint.config.auth_header = auth_header.map(str::to_owned);
            let bare = endpoint.listing();
            let carried = endpoint.with_key(bare.clone(), Some(&SecretString::from("k")));
            assert_eq!(carried.headers.last(), Some(&(name.to_owned(), value.to_owned())));
            assert_eq!(endpoint.with_key(bare.clone(), None), bare);
        }
    }

    #[test]
    fn secrets_leave_words_whole_or_cut() {
        let endpoint = endpoint(
            Wire::OpenAiChat,
            "https://h/v1?sig=query-signature",
            &[("authorization", "Bearer header-canary")],
        );
        let token = |n: usize| endpoint.seen(SecretString::from(format!("token-canary-{n:02}")));
        let under_way = token(0);
        for n in 1..=TOKENS_MAX + 1 {
            drop(token(n));
        }
        let table = [
            ("not token-canary-65 nor token-canary-03", "not (hidden) nor (hidden)"),
            ("not token-canary-00 of a long call", "not (hidden) of a long call"),
            ("not token-canary-01, long ago", "not token-canary-01, long ago"),
            ("bad key canary-key-0123456789!", "bad key (hidden)!"),
            ("bad key canary-key-01…", "bad key (hidden)…"),
            ("header-canary at ?sig=query-signature", "(hidden) at ?sig=(hidden)"),
            ("nothing", "nothing"),
        ];
        for (words, expected) in table {
            assert_eq!(endpoint.scrubbed(words), expected);
        }
        drop(under_way);
    }
}
