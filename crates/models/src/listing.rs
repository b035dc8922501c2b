//! Asking an endpoint which models it has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelInfo, Price};
use serde_json::Value;
use tokio::time::Instant;

use crate::classify;
use crate::codec::Fault;
use crate::endpoint::Endpoint;
use crate::lane::Lanes;
use crate::provider::ProviderConfig;
use crate::transport::{HttpRequest, HttpResponse, Transport, TransportError};

/// A list may have this many bytes.
const LIST_BYTES_MAX: usize = 16 << 20;
/// Models of a list that are read.
const LIST_MODELS_MAX: usize = 5_000;

/// The models that an endpoint says it has, in its order, with what it says about them and, where it says nothing, what is configured. At
/// most 5,000. Dropping the future ends the request. A key that has to be asked for is asked for first, and has a deadline of its own.
///
/// # Errors
/// [`ModelError`] when there is no key to be had, the endpoint cannot be reached, refuses, or does not answer with a list; `Timeout` when the endpoint
/// takes longer than `within`, all its answers together.
pub async fn list_models(
    config: &ProviderConfig,
    transport: &dyn Transport,
    within: Duration,
) -> Result<Vec<ModelInfo>, ModelError> {
    let endpoint = Endpoint::new(config.clone(), &Lanes::default());
    let question = endpoint.authorized(None, endpoint.listing()).await?;
    let patience = Patience { within, left: Arc::new(Mutex::new(within)) };
    let transport = Patient { transport, patience: patience.clone() };
    let unreached = |error| endpoint.unreached(None, &error);
    let HttpResponse { status, body: stream, .. } =
        endpoint.send(&transport, None, question).await?;
    let body = patience.spent(whole(stream)).await.map_err(unreached)?;
    let Some(body) = body else {
        let words = "the list of models is larger than 16 MiB".into();
        return Err(endpoint.error(None, &fault(ModelErrorKind::Transport, words)));
    };
    if classify::is_html(&body) {
        return Err(endpoint.error(None, &classify::page_instead_of_answer(status, &body)));
    }
    parse(&endpoint.config, &body).ok_or_else(|| {
        let words = "the answer is no list of models; `base_url` may be wrong".into();
        endpoint.error(None, &fault(ModelErrorKind::Transport, words))
    })
}

/// All of a body; nothing when it is too long for a list.
async fn whole(
    mut stream: BoxStream<'static, Result<Bytes, TransportError>>,
) -> Result<Option<Vec<u8>>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > LIST_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

/// How long the endpoint is waited for, and what is left of that. The time in which a key is asked for does not count.
#[derive(Debug, Clone)]
struct Patience {
    within: Duration,
    left: Arc<Mutex<Duration>>,
}

impl Patience {
    async fn spent<T>(
        &self,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let begun = Instant::now();
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let done = tokio::time::timeout(left, work).await;
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) =
            left.saturating_sub(begun.elapsed());
        let what = format!("no list of models within {} ms", self.within.as_millis());
        done.unwrap_or(Err(TransportError::Late { what }))
    }
}

/// A transport whose answers are waited for as long as there is patience.
#[derive(Debug)]
struct Patient<'a> {
    transport: &'a dyn Transport,
    patience: Patience,
}

impl Transport for Patient<'_> {
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let (sent, patience) = (self.transport.send(request), self.patience.clone());
        async move { patience.spent(sent).await }.boxed()
    }
}

fn fault(kind: ModelErrorKind, message: String) -> Fault {
    Fault { kind, message, retry_after_ms: None }
}

/// `{"data": […]}`, `{"models": […]}`, `{"modelSummaries": […]}` or the list itself; its items are objects with an `id`, a `modelId` or a `name`.
fn parse(config: &ProviderConfig, body: &[u8]) -> Option<Vec<ModelInfo>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let list = ["data", "models", "modelSummaries"].iter().find_map(|key| value.get(key));
    let list = list.unwrap_or(&value).as_array()?;
    Some(list.iter().filter_map(|item| model(config, item)).take(LIST_MODELS_MAX).collect())
}

fn model(config: &ProviderConfig, item: &Value) -> Option<ModelInfo> {
    let id = ["id", "modelId", "name"].iter().find_map(|key| item.get(key))?.as_str()?;
    let id = id.trim_start_matches("models/");
    let methods = item.get("supportedGenerationMethods").and_then(Value::as_array);
    if methods.is_some_and(|methods| methods.iter().all(|method| method != "generateContent")) {
        return None;
    }
    let first = |pointers: &[&str]| {
        let said = pointers.iter().find_map(|pointer| item.pointer(pointer)?.as_u64());
        said.filter(|tokens| *tokens > 0)
    };
    let known = config.info(id);
    let windows = [
        "/context_window",
        "/context_length",
        "/max_context_length",
        "/max_model_len",
        "/max_input_tokens",
        "/inputTokenLimit",
    ];
    let outputs = [
        "/max_completion_tokens",
        "/top_provider/max_completion_tokens",
        "/max_tokens",
        "/outputTokenLimit",
    ];
    Some(ModelInfo {
        context_window: known.context_window.or_else(|| first(&windows)),
        output_max: known.output_max.or_else(|| first(&outputs)),
        price: known.price.or_else(|| price(item.get("pricing")?)),
        ..known
    })
}

/// Prices as texts in dollars a token.
fn price(pricing: &Value) -> Option<Price> {
    let field = |name: &str| {
        let dollars = pricing.get(name)?.as_str()?.parse::<f64>().ok()?;
        let micros = (dollars * 1e12).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and the cast saturates"
        )]
        let whole = micros as u64;
        (micros >= 0.0).then_some(whole)
    };
    let (input, output) = (field("prompt")?, field("completion")?);
    Some(Price {
        input,
        output,
        cache_read: field("input_cache_read").unwrap_or(input),
        cache_write: field("input_cache_write").unwrap_or(input),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn lists_of_every_shape_give_their_models() {
        let table = [
            (r#"{"object":"list","data":[{"id":"a"},{"id":"b"}]}"#, Some(vec!["a", "b"])),
            (r#"[{"id":"a"}]"#, Some(vec!["a"])),
            (r#"{"models":[{"name":"a"}]}"#, Some(vec!["a"])),
            (r#"{"modelSummaries":[{"modelId":"a","modelName":"A"}]}"#, Some(vec!["a"])),
            (r#"{"data":[]}"#, Some(vec![])),
            (r#"{"data":[{"nothing":1}, 7]}"#, Some(vec![])),
            (r#"{"error":"no"}"#, None),
            ("not json", None),
        ];
        let config = ProviderConfig::well_known(&catalog::WELL_KNOWN[0], None);
        for (body, expected) in table {
            let parsed = parse(&config, body.as_bytes());
            let ids =
                parsed.map(|list| list.into_iter().map(|info| info.selection.model).collect());
            assert_eq!(
                ids,
                expected.map(|ids| ids.into_iter().map(str::to_owned).collect::<Vec<_>>())
            );
        }
    }

    #[test]
    fn a_list_of_google_has_the_models_that_answer_under_their_own_names() {
        let config = ProviderConfig::well_known(catalog::find("google").unwrap(), None);
        let body = br#"{"models":[{"name":"models/g","inputTokenLimit":100,"outputTokenLimit":10,
            "supportedGenerationMethods":["generateContent","countTokens"]},
            {"name":"models/e","supportedGenerationMethods":["embedContent"]},{"name":"models/u"}]}"#;
        let list = parse(&config, body).unwrap();
        let told =
            |info: &ModelInfo| (info.selection.model.clone(), info.context_window, info.output_max);
        let wanted = [("g".to_owned(), Some(100), Some(10)), ("u".to_owned(), None, None)];
        assert_eq!(list.iter().map(told).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_an_endpoint_says_about_its_models_is_taken() {
        let config = ProviderConfig::well_known(catalog::find("openrouter").unwrap(), None);
        let body =
            br#"[{"id":"x/y","context_length":8000,"top_provider":{"max_completion_tokens":1000},
            "pricing":{"prompt":"0.0000025","completion":"0.00001","input_cache_read":"0.000001"}},
            {"id":"free","pricing":{"prompt":"-1","completion":"-1"}}]"#;
        let list = parse(&config, body).unwrap();
        assert_eq!((list[0].context_window, list[0].output_max), (Some(8_000), Some(1_000)));
        let price = Price {
            input: 2_500_000,
            output: 10_000_000,
            cache_read: 1_000_000,
            cache_write: 2_500_000,
        };
        assert_eq!((list[0].price, list[1].price), (Some(price), None));
    }
}
