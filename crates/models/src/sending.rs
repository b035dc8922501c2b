//! Sends a request with the provider's key: one that is asked for is asked for before the request, and once more where the endpoint refuses it.

use std::sync::Arc;

use futures::StreamExt;
use oarlock_core::ports::model::ModelError;
use secrecy::SecretString;

use crate::codec::Fault;
use crate::endpoint::{Endpoint, Refused};
use crate::key::KeySource;
use crate::provider::Wire;
use crate::transport::{HttpRequest, HttpResponse, Transport};

/// The status of a request whose key is not taken.
const UNAUTHORIZED: u16 = 401;
/// The status of one whose key may not do what is asked, and of some whose key has ended.
const FORBIDDEN: u16 = 403;

/// A request that carries all that its endpoint wants.
pub(crate) struct Authorized {
    /// Without the key.
    bare: HttpRequest,
    key: Option<Arc<SecretString>>,
}

impl Endpoint {
    /// Gives a request its key. May take as long as its source takes.
    ///
    /// # Errors
    /// [`ModelError`]: there is no key to be had.
    pub(crate) async fn authorized(
        &self,
        model: Option<&str>,
        bare: HttpRequest,
    ) -> Result<Authorized, ModelError> {
        let key = match &self.config.key {
            // A configured header stands in its place.
            _ if self.replaces_key() => None,
            None => None,
            Some(KeySource::Fixed(key)) => Some(Arc::new(key.clone())),
            Some(KeySource::Asked(tokens)) => {
                let token = tokens.token().await.map_err(|error| {
                    let (kind, message) = (error.kind(), error.to_string());
                    self.error(model, &Fault { kind, message, retry_after_ms: None })
                })?;
                Some(self.seen(token))
            }
        };
        Ok(Authorized { bare, key })
    }

    /// Sends it and gives the head of a success. A key that was asked for and is refused is replaced by another one, once, before anything of an
    /// answer was given to anybody.
    ///
    /// # Errors
    /// [`ModelError`]: the endpoint is not reached, or refuses.
    pub(crate) async fn send(
        &self,
        transport: &dyn Transport,
        model: Option<&str>,
        request: Authorized,
    ) -> Result<HttpResponse, ModelError> {
        let Authorized { bare, key } = request;
        let keyed = self.with_key(bare.clone(), key.as_deref());
        let refusal = match self.asked(transport, model, keyed).await? {
            Ok(answer) => return Ok(holding(answer, [key, None])),
            Err(refusal) => refusal,
        };
        let (Some(KeySource::Asked(tokens)), Some(refused)) = (&self.config.key, &key) else {
            return Err(self.refused(model, &refusal));
        };
        if !self.is_of_key(&refusal) {
            return Err(self.refused(model, &refusal));
        }
        tokens.refused(refused);
        let again = self.authorized(model, bare).await?;
        let keyed = self.with_key(again.bare, again.key.as_deref());
        let refusal = match self.asked(transport, model, keyed).await? {
            Ok(answer) => return Ok(holding(answer, [key, again.key])),
            Err(refusal) => refusal,
        };
        if let Some(refused) = &again.key
            && self.is_of_key(&refusal)
        {
            // Not for this request any more, but the next one begins with another.
            tokens.refused(refused);
        }
        Err(self.refused(model, &refusal))
    }

    /// The answer, or all that matters of a refusal, whose connection is let go.
    async fn asked(
        &self,
        transport: &dyn Transport,
        model: Option<&str>,
        keyed: HttpRequest,
    ) -> Result<Result<HttpResponse, Refused>, ModelError> {
        let answer = transport.send(keyed).await.map_err(|error| self.unreached(model, &error))?;
        match answer.status {
            200..300 => Ok(Ok(answer)),
            _ => Ok(Err(self.refusal(answer).await)),
        }
    }

    /// Whether another key may be taken where this answer was given. AWS answers a token that has ended with the status of one without rights
    /// (Amazon Bedrock API reference, common errors: `ExpiredTokenException`, `UnrecognizedClientException`).
    fn is_of_key(&self, refused: &Refused) -> bool {
        match refused.status {
            UNAUTHORIZED => true,
            FORBIDDEN => self.config.wire == Wire::BedrockConverse || names_token(&refused.body),
            _ => false,
        }
    }
}

/// Whether words say of a token that it has ended or is none. Of tokens, which limits are about, they may say anything.
fn names_token(words: &str) -> bool {
    let words = words.to_lowercase();
    let is_one = |(at, token): (usize, &str)| !words[at + token.len()..].starts_with('s');
    words.match_indices("token").any(is_one)
        && ["expired", "invalid"].iter().any(|word| words.contains(word))
}

/// The answer, which holds the keys of its call until its body is dropped: no message of this call tells one.
fn holding(answer: HttpResponse, keys: [Option<Arc<SecretString>>; 2]) -> HttpResponse {
    let body = answer.body.inspect(move |_| {
        let _held = &keys;
    });
    HttpResponse { body: body.boxed(), ..answer }
}
