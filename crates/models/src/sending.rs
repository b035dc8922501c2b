//! Sends a request with the provider's key: one that is asked for is asked for before the request, and once more where the endpoint refuses it.

use oarlock_core::ports::model::ModelError;
use secrecy::SecretString;

use crate::codec::Fault;
use crate::endpoint::Endpoint;
use crate::key::KeySource;
use crate::transport::{HttpRequest, HttpResponse, Transport};

/// The status of a request whose key is not taken.
const UNAUTHORIZED: u16 = 401;

/// A request that carries all that its endpoint wants.
pub(crate) struct Authorized {
    /// Without the key.
    bare: HttpRequest,
    key: Option<SecretString>,
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
            Some(KeySource::Fixed(key)) => Some(key.clone()),
            Some(KeySource::Asked(tokens)) => {
                let token = tokens.token().await.map_err(|error| {
                    let (kind, message) = (error.kind(), error.to_string());
                    self.error(model, &Fault { kind, message, retry_after_ms: None })
                })?;
                self.seen(&token);
                Some(token)
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
        let unreached = |error| self.unreached(model, &error);
        let Authorized { bare, key } = request;
        let keyed = self.with_key(bare.clone(), key.as_ref());
        let answer = transport.send(keyed).await.map_err(unreached)?;
        if answer.status == UNAUTHORIZED
            && let (Some(KeySource::Asked(tokens)), Some(refused)) = (&self.config.key, &key)
        {
            tokens.refused(refused);
            let again = self.authorized(model, bare).await?;
            let keyed = self.with_key(again.bare, again.key.as_ref());
            let answer = transport.send(keyed).await.map_err(unreached)?;
            if answer.status == UNAUTHORIZED
                && let Some(refused) = &again.key
            {
                // Not for this request any more, but the next one begins with another.
                tokens.refused(refused);
            }
            return self.taken(model, answer).await;
        }
        self.taken(model, answer).await
    }

    async fn taken(
        &self,
        model: Option<&str>,
        answer: HttpResponse,
    ) -> Result<HttpResponse, ModelError> {
        match answer.status {
            200..300 => Ok(answer),
            _ => Err(self.refused(model, answer).await),
        }
    }
}
