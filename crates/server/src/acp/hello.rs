//! What the agent says of itself when a client greets it.

use agent_client_protocol::Error;
use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    AgentAuthCapabilities, AgentCapabilities, AuthAccount, AuthMethod, AuthMethodAgent,
    AuthMethodTerminal, AuthState, AuthStatusCapabilities, AuthStatusResponse, AuthenticateRequest,
    ClientCapabilities, Implementation, InitializeResponse, LogoutCapabilities, PromptCapabilities,
    SessionAdditionalDirectoriesCapabilities, SessionArchiveCapabilities, SessionCapabilities,
    SessionCloseCapabilities, SessionDeleteCapabilities, SessionForkCapabilities,
    SessionListCapabilities, SessionResumeCapabilities, SessionStatusCapabilities,
    SessionSystemPromptCapabilities, SessionTitleCapabilities,
};

use super::error::invalid;
use crate::host::Login;

/// The untyped authentication method: nothing but a check that models can be called.
const SETUP: &str = "setup";
/// The method that runs this program in a terminal of the client.
const LOGIN: &str = "login";

/// The answer to the greeting of a client that can do this. It speaks version 1, whatever newer one was offered.
pub(super) fn hello(client: &ClientCapabilities) -> InitializeResponse {
    let sessions = SessionCapabilities::new()
        .list(SessionListCapabilities::new())
        .resume(SessionResumeCapabilities::new())
        .close(SessionCloseCapabilities::new())
        .delete(SessionDeleteCapabilities::new())
        .fork(SessionForkCapabilities::new())
        .archive(SessionArchiveCapabilities::new())
        .status(SessionStatusCapabilities::new())
        .title(SessionTitleCapabilities::new())
        .system_prompt(SessionSystemPromptCapabilities::new())
        .additional_directories(SessionAdditionalDirectoriesCapabilities::new());
    let capabilities = AgentCapabilities::new()
        .load_session(true)
        .prompt_capabilities(PromptCapabilities::new().image(true).embedded_context(true))
        .session_capabilities(sessions)
        .auth(
            AgentAuthCapabilities::new()
                .logout(LogoutCapabilities::new())
                .status(AuthStatusCapabilities::new()),
        );
    InitializeResponse::new(ProtocolVersion::V1)
        .agent_capabilities(capabilities)
        .agent_info(Implementation::new("oarlock", env!("CARGO_PKG_VERSION")).title("Oarlock"))
        .auth_methods(methods(client))
}

fn methods(client: &ClientCapabilities) -> Vec<AuthMethod> {
    let setup = AuthMethodAgent::new(SETUP, "Use the configured provider")
        .description("Checks that the provider of your configuration has a key that it takes");
    let mut methods = vec![AuthMethod::Agent(setup)];
    if client.auth.terminal {
        let login = AuthMethodTerminal::new(LOGIN, "Log in with a provider's key")
            .description("Asks for the key in a terminal and keeps it for you")
            .args(vec!["login".to_owned()]);
        methods.push(AuthMethod::Terminal(login));
    }
    methods
}

/// Whether a client may authenticate by this method. The terminal's is not one of them: the program that runs there does all of it.
///
/// # Errors
/// Invalid parameters when it may not.
pub(super) fn is_known(request: &AuthenticateRequest) -> Result<(), Error> {
    match &*request.method_id.0 {
        SETUP => Ok(()),
        other => Err(invalid(format!("there is no authentication method `{other}`"))),
    }
}

/// Whether sessions can be had without logging in, for a client that shows it.
pub(super) fn standing(login: Login) -> AuthStatusResponse {
    match login {
        Login::In { label } => AuthStatusResponse::new(AuthState::Authenticated)
            .accounts(vec![AuthAccount::new(label).active(true)]),
        Login::Out => AuthStatusResponse::new(AuthState::Unauthenticated),
        Login::Needless => AuthStatusResponse::new(AuthState::NotRequired),
        Login::Unknown => AuthStatusResponse::new(AuthState::Unknown),
    }
}
