//! What a refused request means: from status, headers and body to a kind and words. Pure.

use oarlock_core::ports::model::ModelErrorKind as Kind;
use serde_json::Value;

use crate::codec::Fault;
use crate::spent::spent_ms;

/// Characters of a provider's own words that are kept.
const WORDS_CHARS_MAX: usize = 600;
/// A wait longer than this is not a wait.
const RETRY_AFTER_MS_MAX: u64 = 24 * 3_600_000;

/// An answer that is no success.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// Names in lower case, with their values.
    pub(crate) headers: &'a [(String, String)],
    /// The beginning of the body.
    pub(crate) body: &'a [u8],
}

/// What a refusal means. The message has the status and the provider's own words.
pub(crate) fn refusal(refusal: Refusal<'_>) -> Fault {
    let Refusal { status, headers, body } = refusal;
    let retry_after_ms = retry_after_ms(headers);
    if (300..400).contains(&status) {
        return redirect(status, header(headers, "location"));
    }
    if is_html(body) {
        return Fault { kind: of_page(status), message: page(status, body), retry_after_ms };
    }
    let mut said = said(body);
    if said.code.is_empty() && said.kind.is_empty() {
        said.kind = header(headers, "x-amzn-errortype").map(bare).unwrap_or_default();
    }
    let kind = kind(status, &said);
    let spent_ms = || spent_ms(headers).filter(|_| kind == Kind::RateLimited);
    let retry_after_ms = retry_after_ms.or(said.detail.wait_ms).or_else(spent_ms);
    let message = match said.words() {
        Some(words) => format!("HTTP {status}: {words}"),
        None => format!("HTTP {status} without an explanation"),
    };
    Fault { kind, message, retry_after_ms }
}

/// What an error object inside a success means. A number as its code is the status that it would have had; without any hint the
/// failure is on the provider's side and may pass.
pub(crate) fn inside(error: &Value) -> Fault {
    let said = said(serde_json::json!({ "error": error }).to_string().as_bytes());
    let status = match (said.code.parse::<u16>(), said.kind.as_str()) {
        (Ok(status), _) => status,
        (Err(_), "invalid_request_error" | "BadRequestError") => 400,
        (Err(_), _) if said.detail.status == "INVALID_ARGUMENT" => 400,
        (Err(_), _) => phrase(&said.message).map_or(500, |_| 400),
    };
    let message = said
        .words()
        .unwrap_or_else(|| "the provider reported an error without a reason".to_owned());
    Fault { kind: kind(status, &said), message, retry_after_ms: said.detail.wait_ms }
}

/// What an exception inside a stream of AWS means: its name, and a body with words or the words themselves.
pub(crate) fn exception(name: &str, body: &str) -> Fault {
    let mut said = said(body.as_bytes());
    said.kind = bare(name);
    let status = match (said.kind.to_lowercase().as_str(), phrase(&said.message)) {
        ("validationexception", _) | (_, Some(_)) => 400,
        (_, None) => 500,
    };
    let message =
        said.words().unwrap_or_else(|| "the stream broke off without a reason".to_owned());
    Fault { kind: kind(status, &said), message, retry_after_ms: None }
}

/// The name of an error of AWS without its namespace and without the address behind it.
fn bare(name: &str) -> String {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim().to_owned()
}

/// What a success that is a web page means.
pub(crate) fn page_instead_of_answer(status: u16, body: &[u8]) -> Fault {
    Fault { kind: Kind::Transport, message: page(status, body), retry_after_ms: None }
}

/// Whether this is the beginning of a web page.
pub(crate) fn is_html(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    body.trim_ascii_start().starts_with(b"<")
}

fn page(status: u16, body: &[u8]) -> String {
    let title = title(body).map(|title| format!(" titled \"{title}\"")).unwrap_or_default();
    format!(
        "HTTP {status} with a web page{title} instead of an answer: something between here and the provider answered, or `base_url` is wrong"
    )
}

fn title(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(cleaned(&text[start..end])).filter(|title| !title.is_empty())
}

/// A page says nothing about the request: proxies write them. Only what waiting cannot help is told apart.
fn of_page(status: u16) -> Kind {
    match status {
        401 | 403 | 407 => Kind::Auth,
        429 => Kind::RateLimited,
        400 | 404 | 405 | 413 => Kind::InvalidRequest,
        _ => Kind::Transport,
    }
}

fn redirect(status: u16, location: Option<&str>) -> Fault {
    let origin = location.and_then(|location| {
        let (scheme, rest) = location.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
        Some(format!("{}://{}", cleaned(scheme), cleaned(host)))
    });
    let to = origin.unwrap_or_else(|| "another address".into());
    Fault {
        kind: Kind::InvalidRequest,
        message: format!(
            "HTTP {status} redirects to {to}, which is not followed so that no key goes astray: correct `base_url`"
        ),
        retry_after_ms: None,
    }
}

/// What the body says, whatever its shape.
#[derive(Debug, Default)]
struct Said {
    code: String,
    kind: String,
    message: String,
    detail: Detail,
}

/// What Google says beside code and message.
#[derive(Debug, Default)]
struct Detail {
    /// The name of the code, such as `UNAVAILABLE`.
    status: String,
    /// What is wrong, such as `API_KEY_INVALID`.
    reason: String,
    /// Which of its quotas are used up.
    quotas: Vec<String>,
    /// How long to wait.
    wait_ms: Option<u64>,
}

impl Detail {
    fn of(error: &Value) -> Self {
        let list = error.get("details").and_then(Value::as_array);
        let details = || list.into_iter().flatten();
        let word = |value: &Value, key| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let violations = details().filter_map(|detail| detail.get("violations")?.as_array());
        let delay = details().find_map(|detail| word(detail, "retryDelay"));
        let seconds = delay.and_then(|delay| delay.strip_suffix('s')?.parse::<f64>().ok());
        Self {
            status: word(error, "status").unwrap_or_default(),
            reason: details().find_map(|detail| word(detail, "reason")).unwrap_or_default(),
            quotas: violations.flatten().filter_map(|quota| word(quota, "quotaId")).collect(),
            wait_ms: seconds.and_then(|seconds| wait_ms(seconds * 1_000.0)),
        }
    }

    /// What it means that a quota is used up: one of a day comes back too late to wait for, whatever wait is named beside it.
    fn quota(&self) -> Option<Kind> {
        let is_daily = self.quotas.iter().any(|quota| quota.contains("PerDay"));
        let passes = !self.quotas.is_empty() || self.wait_ms.is_some();
        let is_quota = self.status == "RESOURCE_EXHAUSTED" && passes;
        is_quota.then_some(if is_daily { Kind::QuotaExhausted } else { Kind::RateLimited })
    }
}

impl Said {
    fn words(&self) -> Option<String> {
        let label = if self.code.is_empty() { &self.kind } else { &self.code };
        let message = cleaned(&self.message);
        match (message.is_empty(), label.is_empty() || label.bytes().all(|b| b.is_ascii_digit())) {
            (true, true) => None,
            (true, false) => Some(cleaned(label)),
            (false, true) => Some(message),
            (false, false) => Some(format!("{message} ({})", cleaned(label))),
        }
    }
}

/// Reads OpenAI's, Anthropic's and Google's `error` objects and what gateways make of them: a bare text, `detail`, `errors`, a list around it all.
fn said(body: &[u8]) -> Said {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Said { message: String::from_utf8_lossy(body).into_owned(), ..Said::default() };
    };
    let outer = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    let inner = ["error", "errors", "detail", "message"].iter().find_map(|key| outer.get(key));
    let inner = inner.unwrap_or(outer);
    let inner = inner.as_array().and_then(|list| list.first()).unwrap_or(inner);
    let field = |names: &[&str]| {
        let of = |value: &Value| names.iter().find_map(|name| text(value.get(name)?));
        of(inner).or_else(|| of(outer)).unwrap_or_default()
    };
    let own = text(inner);
    let upstream = inner.pointer("/metadata/raw").and_then(text);
    let message = own.unwrap_or_else(|| field(&["message", "msg", "detail", "error"]));
    Said {
        code: field(&["code"]),
        kind: Some(field(&["type"]))
            .filter(|kind| !kind.is_empty())
            .unwrap_or_else(|| bare(&field(&["__type"]))),
        message: match upstream {
            Some(raw) => format!("{message}: {raw}"),
            None if message.is_empty() => value.to_string(),
            None => message,
        },
        detail: Detail::of(inner),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// One line without control characters, cut.
fn cleaned(words: &str) -> String {
    let joined = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut kept: String = joined.chars().filter(|c| !c.is_control()).collect();
    if let Some((cut, _)) = kept.char_indices().nth(WORDS_CHARS_MAX) {
        kept.truncate(cut);
        kept.push('…');
    }
    kept
}

/// Codes and types, as their providers write them. They say more than a status.
const CODES: &[(&str, Kind)] = &[
    ("context_length_exceeded", Kind::ContextOverflow),
    ("exceed_context_size_error", Kind::ContextOverflow),
    ("model_max_prompt_tokens_exceeded", Kind::ContextOverflow),
    ("insufficient_quota", Kind::QuotaExhausted),
    ("billing_hard_limit_reached", Kind::QuotaExhausted),
    ("billing_not_active", Kind::QuotaExhausted),
    ("billing_error", Kind::QuotaExhausted),
    ("usage_limit_reached", Kind::QuotaExhausted),
    ("usage_not_included", Kind::QuotaExhausted),
    ("invalid_api_key", Kind::Auth),
    ("authentication_error", Kind::Auth),
    ("permission_error", Kind::Auth),
    ("content_filter", Kind::ContentFilter),
    ("content_policy_violation", Kind::ContentFilter),
    ("data_inspection_failed", Kind::ContentFilter),
    ("model_not_found", Kind::ModelNotFound),
    ("model_decommissioned", Kind::ModelNotFound),
    ("DeploymentNotFound", Kind::ModelNotFound),
    ("invalid_model", Kind::ModelNotFound),
    ("rate_limit_exceeded", Kind::RateLimited),
    ("rate_limit_error", Kind::RateLimited),
    ("overloaded_error", Kind::Overloaded),
    ("timeout_error", Kind::Overloaded),
    ("API_KEY_INVALID", Kind::Auth),
    ("ACCESS_TOKEN_EXPIRED", Kind::Auth),
    ("BILLING_DISABLED", Kind::QuotaExhausted),
    ("UNAUTHENTICATED", Kind::Auth),
    ("PERMISSION_DENIED", Kind::Auth),
    ("RESOURCE_EXHAUSTED", Kind::RateLimited),
    ("UNAVAILABLE", Kind::Overloaded),
    ("CANCELLED", Kind::Overloaded),
    // Of AWS; inside a stream they begin with a small letter.
    ("AccessDeniedException", Kind::Auth),
    ("ExpiredTokenException", Kind::Auth),
    ("IncompleteSignatureException", Kind::Auth),
    ("InvalidSignatureException", Kind::Auth),
    ("MissingAuthenticationTokenException", Kind::Auth),
    ("UnrecognizedClientException", Kind::Auth),
    ("InternalServerException", Kind::Overloaded),
    ("ModelErrorException", Kind::Overloaded),
    ("ModelNotReadyException", Kind::Overloaded),
    ("ModelStreamErrorException", Kind::Overloaded),
    ("ServiceUnavailableException", Kind::Overloaded),
    ("ModelTimeoutException", Kind::Timeout),
    ("ResourceNotFoundException", Kind::ModelNotFound),
    ("ServiceQuotaExceededException", Kind::QuotaExhausted),
    ("ThrottlingException", Kind::RateLimited),
];

/// Phrases in lower case, in the order in which they are looked for. Used only for 4xx, where a status alone is too coarse.
const PHRASES: &[(&str, Kind)] = &[
    ("prompt is too long", Kind::ContextOverflow),
    ("maximum context length", Kind::ContextOverflow),
    ("exceeded max context length", Kind::ContextOverflow),
    ("exceed context limit", Kind::ContextOverflow),
    ("exceeds the available context size", Kind::ContextOverflow),
    ("exceeds the context window", Kind::ContextOverflow),
    ("context window exceed", Kind::ContextOverflow),
    ("maximum prompt length", Kind::ContextOverflow),
    ("greater than the context length", Kind::ContextOverflow),
    ("request too large for model", Kind::ContextOverflow),
    ("input is too long", Kind::ContextOverflow),
    ("exceeds the maximum number of tokens", Kind::ContextOverflow),
    ("input tokens exceed", Kind::ContextOverflow),
    ("credit balance is too low", Kind::QuotaExhausted),
    ("insufficient balance", Kind::QuotaExhausted),
    ("insufficient credits", Kind::QuotaExhausted),
    ("exceeded your current quota", Kind::QuotaExhausted),
    ("out of credits", Kind::QuotaExhausted),
    ("too many tokens per day", Kind::QuotaExhausted),
    ("api key", Kind::Auth),
    ("content management policy", Kind::ContentFilter),
    ("content filter", Kind::ContentFilter),
    ("model not found", Kind::ModelNotFound),
    ("unknown model", Kind::ModelNotFound),
    ("model identifier is invalid", Kind::ModelNotFound),
    ("not a valid model", Kind::ModelNotFound),
];

fn kind(status: u16, said: &Said) -> Kind {
    let named = |label: &str| {
        CODES.iter().find(|(code, _)| code.eq_ignore_ascii_case(label)).map(|(_, kind)| *kind)
    };
    if let Some(kind) = said.detail.quota() {
        return kind;
    }
    let labels = [&said.code, &said.kind, &said.detail.reason, &said.detail.status];
    if let Some(kind) = labels.into_iter().find_map(|label| named(label)) {
        // A code for lack of rate beside a phrase for lack of money or window means the phrase: waiting would not help.
        return match (kind, phrase(&said.message)) {
            (Kind::RateLimited, Some(more @ (Kind::QuotaExhausted | Kind::ContextOverflow))) => {
                more
            }
            (kind, _) => kind,
        };
    }
    if (400..500).contains(&status)
        && !matches!(status, 401 | 402 | 408)
        && let Some(kind) = phrase(&said.message)
    {
        return kind;
    }
    match status {
        401 | 403 | 407 => Kind::Auth,
        402 => Kind::QuotaExhausted,
        404 if names_a_model(said) => Kind::ModelNotFound,
        408 | 504 => Kind::Timeout,
        413 => Kind::ContextOverflow,
        // The provider gave up the request.
        499 => Kind::Overloaded,
        429 => Kind::RateLimited,
        400..500 => Kind::InvalidRequest,
        500..600 => Kind::Overloaded,
        _ => Kind::Transport,
    }
}

fn phrase(message: &str) -> Option<Kind> {
    let lower = message.to_lowercase();
    PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, kind)| *kind)
}

/// `not_found_error` with `model: name`, or words about a model; a wrong path says neither.
fn names_a_model(said: &Said) -> bool {
    said.message.to_lowercase().contains("model")
}

/// How long to wait: `retry-after-ms`, or `retry-after` in seconds or as a date, which is compared with the answer's own `date`.
pub(crate) fn retry_after_ms(headers: &[(String, String)]) -> Option<u64> {
    let number = |text: &str| text.parse::<f64>().ok();
    if let Some(ms) = header(headers, "retry-after-ms").and_then(number).and_then(wait_ms) {
        return Some(ms);
    }
    let after = header(headers, "retry-after")?;
    if let Some(ms) = number(after).and_then(|seconds| wait_ms(seconds * 1_000.0)) {
        return Some(ms);
    }
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let wait = date(after)?.duration_since(date(header(headers, "date")?)?);
    Some(u64::try_from(wait.as_millis()).unwrap_or(0).min(RETRY_AFTER_MS_MAX))
}

/// A wait in whole milliseconds, at most a day; none when the number is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and the cast saturates"
)]
pub(crate) fn wait_ms(ms: f64) -> Option<u64> {
    (ms.is_finite() && ms >= 0.0).then(|| (ms.ceil() as u64).min(RETRY_AFTER_MS_MAX))
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn bodies_of_every_shape_become_kinds_and_words() {
        let table = [
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                Kind::ContextOverflow,
                "HTTP 400: This model's maximum context length is 8192 tokens (context_length_exceeded)",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 213462 tokens > 200000 maximum"}}"#,
                Kind::ContextOverflow,
                "HTTP 400: prompt is too long: 213462 tokens > 200000 maximum (invalid_request_error)",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
                Kind::ContextOverflow,
                "HTTP 400: the request exceeds the available context size",
            ),
            (
                413,
                r#"{"error":{"message":"Request too large for model `x` on tokens per minute (TPM)","type":"tokens","code":"rate_limit_exceeded"}}"#,
                Kind::ContextOverflow,
                "HTTP 413: Request too large for model `x` on tokens per minute (TPM) (rate_limit_exceeded)",
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Kind::QuotaExhausted,
                "HTTP 429: You exceeded your current quota (insufficient_quota)",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                Kind::QuotaExhausted,
                "HTTP 400: Your credit balance is too low (invalid_request_error)",
            ),
            (
                402,
                r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
                Kind::QuotaExhausted,
                "HTTP 402: Insufficient Balance (invalid_request_error)",
            ),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#,
                Kind::ModelNotFound,
                "HTTP 404: model: claude-x (not_found_error)",
            ),
            (404, r#"{"detail":"Not Found"}"#, Kind::InvalidRequest, "HTTP 404: Not Found"),
            (
                400,
                r#"{"error":{"code":"content_filter","message":"The response was filtered","status":400}}"#,
                Kind::ContentFilter,
                "HTTP 400: The response was filtered (content_filter)",
            ),
            (401, r#"{"message":"Unauthorized"}"#, Kind::Auth, "HTTP 401: Unauthorized"),
            (
                400,
                r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided"}"#,
                Kind::Auth,
                "HTTP 400: Incorrect API key provided (Client specified an invalid argument)",
            ),
            (
                429,
                r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"x is rate-limited upstream"}}}"#,
                Kind::RateLimited,
                "HTTP 429: Provider returned error: x is rate-limited upstream",
            ),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"extra fields not permitted","type":"value_error.extra"}]}"#,
                Kind::InvalidRequest,
                "HTTP 422: extra fields not permitted (value_error.extra)",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]"#,
                Kind::Auth,
                "HTTP 400: API key not valid",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"Denied.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                Kind::Auth,
                "HTTP 400: Denied.",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
                Kind::ContextOverflow,
                "HTTP 400: The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).",
            ),
            (
                429,
                r#"{"error":{"code":429,"message":"Resource exhausted. Please try again later.","status":"RESOURCE_EXHAUSTED"}}"#,
                Kind::RateLimited,
                "HTTP 429: Resource exhausted. Please try again later.",
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"Off.","status":"PERMISSION_DENIED","details":[{"reason":"BILLING_DISABLED"}]}}"#,
                Kind::QuotaExhausted,
                "HTTP 403: Off.",
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Kind::Overloaded,
                "HTTP 529: Overloaded (overloaded_error)",
            ),
            (
                500,
                "upstream\u{1b}[31m\r\nfell over",
                Kind::Overloaded,
                "HTTP 500: upstream[31m fell over",
            ),
            (
                499,
                r#"{"error":{"code":499,"message":"The operation was cancelled.","status":"CANCELLED"}}"#,
                Kind::Overloaded,
                "HTTP 499: The operation was cancelled.",
            ),
            (499, "", Kind::Overloaded, "HTTP 499 without an explanation"),
            (504, "", Kind::Timeout, "HTTP 504 without an explanation"),
            (
                403,
                "<html><title>Attention</title></html>",
                Kind::Auth,
                "HTTP 403 with a web page titled \"Attention\" instead of an answer: something between here and the provider answered, or `base_url` is wrong",
            ),
        ];
        for (status, body, kind, message) in table {
            let fault = refusal(Refusal { status, headers: &[], body: body.as_bytes() });
            assert_eq!((fault.kind, fault.message.as_str()), (kind, message), "{body}");
        }
    }

    #[test]
    fn a_quota_of_google_is_waited_for_unless_it_is_one_of_a_day() {
        let body = |quotas: &[&str], delay: Option<&str>| {
            let violations: Vec<Value> =
                quotas.iter().map(|quota| serde_json::json!({ "quotaId": quota })).collect();
            serde_json::json!({"code": 429, "message": "You exceeded your current quota",
                "status": "RESOURCE_EXHAUSTED",
                "details": [{ "violations": violations }, { "retryDelay": delay }]})
        };
        let (minute, day) = ("InputTokensPerModelPerMinute", "GenerateRequestsPerDayPerProject");
        let table = [
            (body(&[minute], Some("48s")), Kind::RateLimited, Some(48_000)),
            (body(&[minute], None), Kind::RateLimited, None),
            (body(&[], Some("0.25s")), Kind::RateLimited, Some(250)),
            (body(&[minute, day], Some("48s")), Kind::QuotaExhausted, Some(48_000)),
            (body(&[], None), Kind::QuotaExhausted, None),
            (body(&[], Some("soon")), Kind::QuotaExhausted, None),
        ];
        for (error, kind, wait) in table {
            let whole = serde_json::json!({ "error": error }).to_string();
            let told = refusal(Refusal { status: 429, headers: &[], body: whole.as_bytes() });
            assert_eq!((told.kind, told.retry_after_ms), (kind, wait), "{whole}");
            let inside = inside(&error);
            assert_eq!((inside.kind, inside.retry_after_ms), (kind, wait), "{whole}");
            let headers = [("retry-after".to_owned(), "7".to_owned())];
            let told = refusal(Refusal { status: 429, headers: &headers, body: whole.as_bytes() });
            assert_eq!(told.retry_after_ms, Some(7_000), "{whole}");
        }
    }

    #[test]
    fn waits_are_read_in_every_form_and_bounded() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<u64>);
        let table: [Case<'_>; 9] = [
            (&[("retry-after", "1.5")], Some(1_500)),
            (&[("retry-after-ms", "12.1")], Some(13)),
            (&[("retry-after", "1e300")], Some(RETRY_AFTER_MS_MAX)),
            (&[("retry-after", "-3")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), date], Some(10_000)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT"), date], Some(0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], None),
            (&[], None),
        ];
        for (headers, expected) in table {
            let headers: Vec<(String, String)> =
                headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(retry_after_ms(&headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let body = "é".repeat(5_000);
        let fault = refusal(Refusal { status: 400, headers: &[], body: body.as_bytes() });
        assert_eq!(fault.message.chars().count(), "HTTP 400: ".len() + WORDS_CHARS_MAX + 1);
    }
}
