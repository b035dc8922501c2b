//! The requests of a client, each handed on at once: while one is looked at, the next one waits.

use std::sync::Arc;

use agent_client_protocol::v1::schema::{
    ArchiveSessionRequest, AuthStatusRequest, AuthenticateRequest, CancelNotification,
    CloseSessionRequest, DeleteSessionRequest, ForkSessionRequest, InitializeRequest,
    InitializeResponse, ListSessionsRequest, LoadSessionRequest, LogoutRequest, NewSessionRequest,
    PromptRequest, ResumeSessionRequest, SessionStatusRequest, SetSessionConfigOptionRequest,
    SetSessionModeRequest, SetSessionTitleRequest, UnarchiveSessionRequest,
};
use agent_client_protocol::v1::{Builder, ConnectionTo, Responder};
use agent_client_protocol::{
    Agent, Client, HandleDispatchFrom, on_receive_notification, on_receive_request,
};
use oarlock_core::new_session_id;

use super::connection::{Editor, gone};
use super::lane::Order;
use super::opening::{Answer, Brought};
use super::options::Setting;
use super::received::Received;
use super::{hello, listing};

/// A handler of one kind of request, which answers by itself.
macro_rules! request {
    ($owner:expr, |$editor:ident, Received($request:pat_param, $servers:pat_param): $type:ty, $to:ident, $cx:pat_param| $answer:expr) => {{
        let $editor = Arc::clone($owner);
        async move |Received($request, $servers): Received<$type>,
                    $to,
                    $cx: ConnectionTo<Client>| {
            $answer;
            Ok(())
        }
    }};
}

/// What a request to open a session says of it.
macro_rules! brought {
    ($request:ident, $servers:ident) => {
        Brought {
            cwd: $request.cwd,
            roots: $request.additional_directories,
            servers: $servers,
            system: $request.system_prompt,
        }
    };
}

/// Sessions that are to be opened and left.
pub(super) fn of_sessions(editor: &Arc<Editor>) -> Builder<Agent, impl HandleDispatchFrom<Client>> {
    let create = request!(editor, |editor, Received(r, servers): NewSessionRequest, to, cx| {
        editor.open(&cx, new_session_id(), brought!(r, servers), Answer::New(to));
    });
    let load = request!(editor, |editor, Received(r, servers): LoadSessionRequest, to, cx| {
        editor.reopen(&cx, &r.session_id, brought!(r, servers), Answer::Load(to));
    });
    let resume = request!(editor, |editor, Received(r, servers): ResumeSessionRequest, to, cx| {
        editor.reopen(&cx, &r.session_id, brought!(r, servers), Answer::Resume(to));
    });
    let fork = request!(editor, |editor, Received(r, servers): ForkSessionRequest, to, cx| {
        editor.fork(&cx, &r.session_id, brought!(r, servers), to);
    });
    let close = request!(editor, |editor, Received(r, _): CloseSessionRequest, to, _| {
        editor.close(&r.session_id, to);
    });
    let delete = request!(editor, |editor, Received(r, _): DeleteSessionRequest, to, _| editor
        .delete(r, to));
    Agent
        .v1()
        .on_receive_request(create, on_receive_request!())
        .on_receive_request(fork, on_receive_request!())
        .on_receive_request(load, on_receive_request!())
        .on_receive_request(resume, on_receive_request!())
        .on_receive_request(close, on_receive_request!())
        .on_receive_request(delete, on_receive_request!())
}

/// Sessions in the list: put away and taken back, named, asked after. None of it opens a session for the client.
pub(super) fn of_the_list(editor: &Arc<Editor>) -> Builder<Agent, impl HandleDispatchFrom<Client>> {
    let list = request!(editor, |editor, Received(r, _): ListSessionsRequest, to, _| {
        let host = editor.host();
        editor.answer(to, async move { listing::list(&*host, r).await });
    });
    let archive = request!(editor, |editor, Received(r, _): ArchiveSessionRequest, to, _| {
        editor.archive(r, to);
    });
    let unarchive = request!(editor, |editor, Received(r, _): UnarchiveSessionRequest, to, _| {
        let host = editor.host();
        editor.answer(to, async move { listing::unarchive(&*host, &r.session_id).await });
    });
    let title = request!(editor, |editor, Received(r, _): SetSessionTitleRequest, to, _| {
        let host = editor.host();
        editor.answer(to, async move { listing::set_title(&*host, &r.session_id, &r.title).await });
    });
    let status = request!(editor, |editor, Received(r, _): SessionStatusRequest, to, _| {
        let host = editor.host();
        editor.answer(to, async move { listing::status(&*host, &r.session_id).await });
    });
    Agent
        .v1()
        .on_receive_request(list, on_receive_request!())
        .on_receive_request(archive, on_receive_request!())
        .on_receive_request(unarchive, on_receive_request!())
        .on_receive_request(title, on_receive_request!())
        .on_receive_request(status, on_receive_request!())
}

/// What a session is to do.
pub(super) fn of_prompts(editor: &Arc<Editor>) -> Builder<Agent, impl HandleDispatchFrom<Client>> {
    let prompt =
        request!(editor, |editor, Received(r, _): PromptRequest, to, _| editor.prompt(r, to));
    let owner = Arc::clone(editor);
    let cancel = async move |told: CancelNotification, _: ConnectionTo<Client>| {
        owner.order(&told.session_id, Order::Cancel);
        Ok(())
    };
    let mode = request!(editor, |editor, Received(r, _): SetSessionModeRequest, to, _| {
        let session = r.session_id.clone();
        editor.order(&session, Order::Set(Setting::Mode(r, to)));
    });
    let option =
        request!(editor, |editor, Received(r, _): SetSessionConfigOptionRequest, to, _| {
            let session = r.session_id.clone();
            editor.order(&session, Order::Set(Setting::Option(r, to)));
        });
    Agent
        .v1()
        .on_receive_request(prompt, on_receive_request!())
        .on_receive_request(mode, on_receive_request!())
        .on_receive_request(option, on_receive_request!())
        .on_receive_notification(cancel, on_receive_notification!())
}

/// What concerns no session.
pub(super) fn of_everything_else(
    editor: &Arc<Editor>,
) -> Builder<Agent, impl HandleDispatchFrom<Client>> {
    let hello = request!(editor, |editor, Received(r, _): InitializeRequest, to, cx| {
        let to: Responder<InitializeResponse> = to;
        gone(to.respond(hello::hello(&editor.greeted_by(cx, r.client_capabilities).client)));
    });
    let authenticate =
        request!(editor, |editor, Received(r, _): AuthenticateRequest, to, _| editor
            .authenticate(&r, to));
    let status = request!(editor, |editor, Received(_, _): AuthStatusRequest, to, _| {
        let host = editor.host();
        editor.answer(to, async move { Ok(hello::standing(host.login().await)) });
    });
    let logout = request!(editor, |editor, Received(_, _): LogoutRequest, to, _| editor.logout(to));
    Agent
        .v1()
        .on_receive_request(hello, on_receive_request!())
        .on_receive_request(authenticate, on_receive_request!())
        .on_receive_request(status, on_receive_request!())
        .on_receive_request(logout, on_receive_request!())
}
