//! Sends a request with the provider's key: one that is asked for is asked for before the request, and once more where the endpoint refuses it.

use std::sync::Arc;

use futures::StreamExt;
use oarlock_core::ports::model::ModelError;
use secrecy::SecretString;

use crate::codec::Fault;
use crate::endpoint::{Endpoint, Refused};
use crate::key::{KeyError, KeySource};
use crate::provider::Wire;
use crate::transport::{HttpRequest, HttpResponse, Transport};

/// The status of a request whose key is not taken.
const UNAUTHORIZED: u16 = 401;
/// The status of one whose key may not do what is asked, and of some whose key has ended.
const FORBIDDEN: u16 = 403;

/// A request that carries all that its endpoint wants.
pub(crate) struct Authorized {
    /// Without what stands for its sender.
    bare: HttpRequest,
    carried: Carried,
}

/// What stands for the sender of a request.
enum Carried {
    Nothing,
    Key(Arc<SecretString>),
    #[cfg(feature = "bedrock")]
    Signature(Box<crate::aws::Signed>),
}

impl Carried {
    /// What no message of the call may tell.
    fn secret(&self) -> Option<Arc<SecretString>> {
        match self {
            Self::Nothing => None,
            Self::Key(key) => Some(Arc::clone(key)),
            #[cfg(feature = "bedrock")]
            Self::Signature(signed) => signed.session_token.clone(),
        }
    }

    /// Whether the other one would be refused as this one was, for all that can be told.
    fn proves_as(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(feature = "bedrock")]
            (Self::Signature(one), Self::Signature(other)) => one.credentials == other.credentials,
            // A command is believed when it prints the same key again: the endpoint may know of it by now.
            _ => false,
        }
    }
}

impl Endpoint {
    /// Gives a request its key or its signature. May take as long as the source of it takes.
    ///
    /// # Errors
    /// [`ModelError`]: there is none to be had.
    pub(crate) async fn authorized(
        &self,
        model: Option<&str>,
        bare: HttpRequest,
    ) -> Result<Authorized, ModelError> {
        let carried = match &self.config.key {
            // A configured header stands in its place.
            _ if self.replaces_key() => Carried::Nothing,
            None => Carried::Nothing,
            Some(KeySource::Fixed(key)) => Carried::Key(Arc::new(key.clone())),
            Some(KeySource::Asked(tokens)) => {
                let token = tokens.token().await.map_err(|error| self.keyless(model, &error))?;
                Carried::Key(self.seen(token))
            }
            #[cfg(feature = "bedrock")]
            Some(KeySource::Signed(signer)) => {
                let signed = signer.signed(&self.config.base_url, bare.clone()).await;
                let mut signed = signed.map_err(|error| self.keyless(model, &error))?;
                let seen = |token: Arc<SecretString>| self.seen(SecretString::clone(&token));
                signed.session_token = signed.session_token.map(seen);
                Carried::Signature(Box::new(signed))
            }
        };
        Ok(Authorized { bare, carried })
    }

    fn keyless(&self, model: Option<&str>, error: &KeyError) -> ModelError {
        let (kind, message) = (error.kind(), error.to_string());
        self.error(model, &Fault { kind, message, retry_after_ms: None })
    }

    /// Sends it and gives the head of a success. A key that was asked for and is refused is replaced by another one, once, before anything of an
    /// answer was given to anybody; so are credentials that sign.
    ///
    /// # Errors
    /// [`ModelError`]: the endpoint is not reached, or refuses.
    pub(crate) async fn send(
        &self,
        transport: &dyn Transport,
        model: Option<&str>,
        request: Authorized,
    ) -> Result<HttpResponse, ModelError> {
        let Authorized { bare, carried } = request;
        let whole = self.whole(bare.clone(), &carried);
        let refusal = match self.asked(transport, model, whole).await? {
            Ok(answer) => return Ok(holding(answer, [carried.secret(), None])),
            Err(refusal) => refusal,
        };
        if !self.is_of_key(&refusal) || !self.forgets(&carried).await {
            return Err(self.refused(model, &refusal));
        }
        let again = self.authorized(model, bare).await?;
        if carried.proves_as(&again.carried) {
            return Err(self.refused(model, &refusal));
        }
        let whole = self.whole(again.bare, &again.carried);
        let refusal = match self.asked(transport, model, whole).await? {
            Ok(answer) => return Ok(holding(answer, [carried.secret(), again.carried.secret()])),
            Err(refusal) => refusal,
        };
        if self.is_of_key(&refusal) {
            // Not for this request any more, but the next one begins with another.
            self.forgets(&again.carried).await;
        }
        Err(self.refused(model, &refusal))
    }

    /// The request with what stands for its sender.
    fn whole(&self, bare: HttpRequest, carried: &Carried) -> HttpRequest {
        match carried {
            Carried::Nothing => bare,
            Carried::Key(key) => self.with_key(bare, Some(key.as_ref())),
            #[cfg(feature = "bedrock")]
            Carried::Signature(signed) => signed.request.clone(),
        }
    }

    /// Gives to no further request what was refused; whether there may be another.
    async fn forgets(&self, refused: &Carried) -> bool {
        match (&self.config.key, refused) {
            (Some(KeySource::Asked(tokens)), Carried::Key(key)) => {
                tokens.refused(key);
                true
            }
            #[cfg(feature = "bedrock")]
            (Some(KeySource::Signed(signer)), Carried::Signature(signed)) => {
                signer.refused(&signed.credentials).await;
                true
            }
            _ => false,
        }
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
