//! The metadata server of a machine in Google's cloud, which gives tokens of the machine's account.

use std::time::Duration;

use bytes::Bytes;
use oarlock_core::ports::clock::Clock;
use oarlock_models::{HttpRequest, KeyError, Method, Token, Transport};

use super::grant;

/// Where it is, on every such machine.
pub(super) const HOST: &str = "169.254.169.254";
/// How long it may take.
const WITHIN: Duration = Duration::from_secs(3);
/// What the firmware says such a machine is.
const PRODUCT: &str = "/sys/class/dmi/id/product_name";

/// Whether this machine says that it is one of Google's: its firmware does ("Google Compute Engine").
pub(super) fn is_google() -> bool {
    std::fs::read_to_string(PRODUCT).is_ok_and(|name| name.trim().starts_with("Google"))
}

/// The token of the machine's account.
///
/// # Errors
/// [`KeyError`], `Denied` when whoever answers is no metadata server.
pub(super) async fn token(
    host: &str,
    transport: &dyn Transport,
    clock: &dyn Clock,
) -> Result<Token, KeyError> {
    let flavor = ("metadata-flavor".to_owned(), "Google".to_owned());
    let request = HttpRequest {
        method: Method::Get,
        url: format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token"),
        headers: vec![flavor],
        body: Bytes::new(),
    };
    let now = clock.now();
    let asking = async {
        let answer = transport.send(request).await.map_err(|error| grant::unreached(&error))?;
        // Google, "About VM metadata": its answers say who it is.
        if answer.header("metadata-flavor") != Some("Google") {
            return Err(KeyError::Denied(format!("{host} is no metadata server of Google")));
        }
        grant::granted(answer, "Google's metadata server", now, &[]).await
    };
    tokio::time::timeout(WITHIN, asking)
        .await
        .map_err(|_| KeyError::Unavailable("Google's metadata server does not answer".to_owned()))?
}
