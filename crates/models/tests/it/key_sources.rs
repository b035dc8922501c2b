//! Keys that are asked for: which requests carry them, what a refusal does, and that no message tells them.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::clock::{Clock, SystemClock};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, Models};
use oarlock_core::spec::ModelSelection;
use oarlock_models::{
    CannedAnswer, CannedTransport, HttpRequest, HttpResponse, KeyError, KeySource, Lanes,
    ProviderConfig, Registry, Token, TokenSource, Tokens, Transport, TransportError, Wire, catalog,
    list_models,
};
use secrecy::{ExposeSecret, SecretString};

use crate::recorded::request;

const ANSWER: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ahoy\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const LIST: &str = r#"{"data":[{"id":"m"}]}"#;

/// Gives these tokens in turn and keeps what it was told of refused ones.
#[derive(Debug, Default)]
struct Given {
    tokens: Mutex<Vec<Result<&'static str, KeyError>>>,
    refused: Mutex<Vec<Option<String>>>,
}

impl TokenSource for Given {
    fn token(&self, refused: Option<SecretString>) -> BoxFuture<'static, Result<Token, KeyError>> {
        let refused = refused.map(|secret| secret.expose_secret().to_owned());
        self.refused.lock().unwrap().push(refused);
        let next = self.tokens.lock().unwrap().remove(0);
        let ends = SystemClock::new().now().after(60_000);
        let token = next.map(|secret| Token { secret: SecretString::from(secret), ends });
        Box::pin(std::future::ready(token))
    }
}

fn given(tokens: &[Result<&'static str, KeyError>]) -> Arc<Given> {
    Arc::new(Given { tokens: Mutex::new(tokens.to_vec()), refused: Mutex::default() })
}

fn answers(all: &[(u16, &str)]) -> Arc<CannedTransport> {
    let answer = |(status, body): &(u16, &str)| CannedAnswer {
        status: *status,
        headers: Vec::new(),
        chunks: vec![Bytes::copy_from_slice(body.as_bytes())],
    };
    Arc::new(CannedTransport::new(all.iter().map(answer)))
}

fn config(source: &Arc<Given>) -> ProviderConfig {
    let clock = Arc::new(SystemClock::new());
    let tokens = Tokens::new(Arc::clone(source) as Arc<dyn TokenSource>, clock);
    let known = catalog::find("openai").unwrap();
    ProviderConfig::well_known(known, Some(KeySource::Asked(Arc::new(tokens))))
}

async fn call(config: ProviderConfig, transport: &Arc<CannedTransport>) -> Result<(), ModelError> {
    let selection = ModelSelection { provider: config.name.clone(), model: "m".to_owned() };
    let registry =
        Registry::new(vec![config], Arc::clone(transport) as Arc<dyn Transport>, &Lanes::default());
    let model = registry.resolve(&selection)?;
    let asked = request(vec![Message::User { parts: vec![Part::text("hello")] }]);
    let events: Vec<_> = model.call(asked).collect().await;
    let last = events.into_iter().last().unwrap()?;
    assert!(matches!(last, ModelEvent::Reply(_)));
    Ok(())
}

/// What the header of the key said in each request.
fn carried(transport: &CannedTransport) -> Vec<Option<String>> {
    let keys = transport.requests().into_iter().map(|request| {
        let mut of_key = request.headers.into_iter().filter(|(name, _)| name == "authorization");
        let key = of_key.next().map(|(_, value)| value);
        assert_eq!(of_key.next(), None);
        key
    });
    keys.collect()
}

fn bearer(tokens: &[&str]) -> Vec<Option<String>> {
    tokens.iter().map(|token| Some(format!("Bearer {token}"))).collect()
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_the_same_request_sent_again() {
    let source = given(&[Ok("token-1"), Ok("token-2")]);
    let transport = answers(&[(401, "{}"), (200, ANSWER), (200, ANSWER)]);
    let config = config(&source);
    call(config.clone(), &transport).await.unwrap();
    assert_eq!(carried(&transport), bearer(&["token-1", "token-2"]));
    let sent = transport.requests();
    assert_eq!(sent[0].body, sent[1].body);
    assert_eq!(*source.refused.lock().unwrap(), [None, Some("token-1".to_owned())]);
    call(config, &transport).await.unwrap();
    assert_eq!(carried(&transport)[2..], bearer(&["token-2"]), "it is held");
}

#[tokio::test]
async fn a_second_refusal_ends_the_call_and_its_words_tell_no_token() {
    let source = given(&[Ok("token-1"), Ok("token-2"), Ok("token-3")]);
    let quoting = r#"{"error":{"message":"neither token-1 nor token-2"}}"#;
    let transport = answers(&[(401, quoting), (401, quoting), (200, ANSWER)]);
    let config = config(&source);
    let error = call(config.clone(), &transport).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Auth);
    assert!(error.message.contains("neither (hidden) nor (hidden)"), "{error:?}");
    call(config, &transport).await.unwrap();
    assert_eq!(carried(&transport), bearer(&["token-1", "token-2", "token-3"]));
}

#[tokio::test]
async fn only_what_says_that_the_key_is_wrong_asks_for_another() {
    for status in [400, 403, 404, 429, 500, 503] {
        let source = given(&[Ok("token-1")]);
        let transport = answers(&[(status, "{}")]);
        call(config(&source), &transport).await.unwrap_err();
        assert_eq!(carried(&transport), bearer(&["token-1"]), "{status}");
    }
    // Words about tokens that are no key.
    let source = given(&[Ok("token-1")]);
    let transport = answers(&[(403, r#"{"message":"invalid max_tokens"}"#)]);
    call(config(&source), &transport).await.unwrap_err();
    assert_eq!(carried(&transport).len(), 1);
    // A key that is known is none that could be replaced.
    let known = catalog::find("openai").unwrap();
    let transport = answers(&[(401, "{}")]);
    let fixed = ProviderConfig::well_known(known, Some("fixed".to_owned().into()));
    assert_eq!(call(fixed, &transport).await.unwrap_err().kind, ModelErrorKind::Auth);
    assert_eq!(carried(&transport), bearer(&["fixed"]));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_reason_is_told() {
    let table = [
        (KeyError::Denied("the vault is closed".into()), ModelErrorKind::Auth),
        (KeyError::Unavailable("the vault is gone".into()), ModelErrorKind::Transport),
    ];
    for (error, kind) in table {
        let (source, transport) = (given(&[Err(error.clone())]), answers(&[]));
        let told = call(config(&source), &transport).await.unwrap_err();
        assert_eq!(told.kind, kind);
        assert!(told.message.contains(&error.to_string()), "{told:?}");
        assert!(transport.requests().is_empty());
    }
    // After a refusal, too: the reason is why there is no other one.
    let source = given(&[Ok("token-1"), Err(KeyError::Denied("no more".into()))]);
    let transport = answers(&[(401, "{}")]);
    let told = call(config(&source), &transport).await.unwrap_err();
    assert!(told.message.contains("no more"), "{told:?}");
}

#[tokio::test]
async fn a_configured_header_stands_in_the_place_of_the_token() {
    let (source, transport) = (given(&[]), answers(&[(200, ANSWER)]));
    let headers = [("Authorization".to_owned(), "Basic x".to_owned())].into();
    call(ProviderConfig { headers, ..config(&source) }, &transport).await.unwrap();
    assert!(source.refused.lock().unwrap().is_empty(), "nobody asked");
}

#[tokio::test]
async fn lists_of_models_carry_it_over_every_wire() {
    for wire in Wire::ALL {
        let source = given(&[Ok("token-1"), Ok("token-2")]);
        let transport = answers(&[(401, "{}"), (200, LIST)]);
        let config =
            ProviderConfig { wire, auth_header: Some("authorization".into()), ..config(&source) };
        let found = list_models(&config, &*transport, Duration::from_secs(20)).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(carried(&transport), bearer(&["token-1", "token-2"]), "{wire}");
    }
}

#[tokio::test]
async fn configured_headers_go_with_every_request() {
    for wire in Wire::ALL {
        let source = given(&[Ok("token-1"), Ok("token-2"), Ok("token-3")]);
        let transport = answers(&[(401, "{}"), (200, ""), (401, "{}"), (200, LIST)]);
        let headers = [("x-team".to_owned(), "boats".to_owned())].into();
        let config = ProviderConfig { wire, headers, ..config(&source) };
        // What the wire makes of an empty answer is no matter of this test.
        drop(call(config.clone(), &transport).await);
        list_models(&config, &*transport, Duration::from_secs(20)).await.unwrap();
        let requests = transport.requests();
        assert_eq!(requests.len(), 4, "{wire}");
        for request in requests {
            let team = request.headers.iter().filter(|(name, _)| name == "x-team");
            assert!(team.map(|(_, value)| value).eq(["boats"]), "{wire}: {request:?}");
        }
    }
}

#[tokio::test]
async fn a_403_that_is_about_the_token_is_a_refusal_of_it() {
    let ended = r#"{"message":"The security token included in the request is expired"}"#;
    let table = [
        (Wire::BedrockConverse, "{}"),
        (Wire::OpenAiChat, ended),
        (Wire::OpenAiChat, r#"{"__type":"com.amazon#ExpiredTokenException"}"#),
        (Wire::OpenAiChat, r#"{"error":{"code":"invalid_token"}}"#),
    ];
    for (wire, body) in table {
        let source = given(&[Ok("token-1"), Ok("token-2"), Ok("token-3")]);
        let transport = answers(&[(403, body), (200, LIST), (403, body), (403, body)]);
        let config = ProviderConfig { wire, ..config(&source) };
        list_models(&config, &*transport, Duration::from_secs(20)).await.unwrap();
        assert_eq!(carried(&transport), bearer(&["token-1", "token-2"]), "{body}");
        // Once for each call.
        let refused = list_models(&config, &*transport, Duration::from_secs(20)).await;
        assert_eq!(refused.unwrap_err().kind, ModelErrorKind::Auth, "{body}");
        assert_eq!(carried(&transport)[2..], bearer(&["token-2", "token-3"]), "{body}");
    }
}

/// Gives a token after a minute, another one each time.
#[derive(Debug, Default)]
struct Slow(Mutex<u32>);

impl TokenSource for Slow {
    fn token(&self, _: Option<SecretString>) -> BoxFuture<'static, Result<Token, KeyError>> {
        let mut asked = self.0.lock().unwrap();
        *asked += 1;
        let clock = SystemClock::new();
        let (secret, ends) = (format!("token-{asked}").into(), clock.now().after(600_000));
        Box::pin(async move {
            clock.sleep_until(clock.now().after(60_000)).await;
            Ok(Token { secret, ends })
        })
    }
}

/// Answers after six seconds.
#[derive(Debug)]
struct Far(Arc<CannedTransport>);

impl Transport for Far {
    fn send(
        &self,
        request: HttpRequest,
    ) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let (clock, answered) = (SystemClock::new(), self.0.send(request));
        Box::pin(async move {
            clock.sleep_until(clock.now().after(6_000)).await;
            answered.await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_list_is_the_endpoints_alone() {
    for (within_s, is_enough) in [(10, false), (20, true)] {
        let tokens = Tokens::new(Arc::new(Slow::default()), Arc::new(SystemClock::new()));
        let key = Some(KeySource::Asked(Arc::new(tokens)));
        let config = ProviderConfig::well_known(catalog::find("openai").unwrap(), key);
        let transport = Far(answers(&[(401, "{}"), (200, LIST)]));
        let listed = list_models(&config, &transport, Duration::from_secs(within_s)).await;
        match is_enough {
            true => assert_eq!(listed.unwrap().len(), 1),
            false => {
                let error = listed.unwrap_err();
                assert_eq!(error.kind, ModelErrorKind::Timeout);
                assert!(error.message.contains("no list of models within 10000 ms"), "{error:?}");
            }
        }
        assert_eq!(carried(&transport.0), bearer(&["token-1", "token-2"]));
    }
}
