//! A request as it is received: what cannot be read is refused without repeating what else stands in it, since clients log answers.

use agent_client_protocol::{Error, JsonRpcMessage, JsonRpcRequest, UntypedMessage};
use serde_json::Value;

use super::error::{invalid, worded};

/// The servers of tools that a client brings with a session, by the protocol's name.
const SERVERS: &str = "mcpServers";

/// A request, and how many servers of tools the client brings with it. Those are not started, so that none of them has to be understood: one of a
/// transport that is not known here keeps no session from being opened.
#[derive(Debug, Clone)]
pub(super) struct Received<R>(pub(super) R, pub(super) usize);

impl<R: JsonRpcMessage> JsonRpcMessage for Received<R> {
    fn matches_method(method: &str) -> bool {
        R::matches_method(method)
    }

    fn method(&self) -> &str {
        self.0.method()
    }

    fn to_untyped_message(&self) -> Result<UntypedMessage, Error> {
        self.0.to_untyped_message()
    }

    fn parse_message(method: &str, params: &Value) -> Result<Self, Error> {
        let brings = params.get(SERVERS).and_then(Value::as_array).map_or(0, Vec::len);
        let parsed = if brings > 0 {
            let mut params = params.clone();
            params[SERVERS] = Value::Array(Vec::new());
            R::parse_message(method, &params)
        } else {
            R::parse_message(method, params)
        };
        Ok(Self(parsed.map_err(|error| discreet(&error, method))?, brings))
    }
}

impl<R: JsonRpcRequest> JsonRpcRequest for Received<R> {
    type Response = R::Response;
}

/// The error with what its reader said of it, and without the parameters that the SDK puts into its data.
fn discreet(error: &Error, method: &str) -> Error {
    let why = error.data.as_ref().and_then(|data| data.get("error")?.as_str());
    match why {
        // What was found instead is a value of the client's.
        Some(why) => invalid(match why.rsplit_once(", expected ") {
            Some((_, expected)) => format!("{method}: expected {expected}"),
            None => format!("{method}: {why}"),
        }),
        None => worded(error, &error.message),
    }
}
