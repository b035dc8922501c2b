//! What a client is asked for a session's tools: each question with a deadline, and paths by the names that the client knows.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::v1::schema::{ErrorCode, SessionId};
use agent_client_protocol::{Error, JsonRpcRequest, is_incoming_transport_closed};
use oarlock_core::ports::tool::Place;

use super::outbound::Outbound;

/// How long a client may take to answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The client as a session's tools see it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) out: Arc<Outbound>,
    /// The session, as it is named towards the client.
    pub(super) session: SessionId,
    folders: Vec<Named>,
}

/// One of a session's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Without links.
    pub(super) real: PathBuf,
    /// As the client named it.
    pub(super) given: PathBuf,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// The client was asked for too long.
    #[error("the editor did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Silent,
    /// The connection has ended.
    #[error("the editor has gone")]
    Gone,
    /// The client says that it cannot.
    #[error("the editor says: {}", .0.message)]
    Refused(Error),
}

impl Unanswered {
    /// Whether the client says that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code == ErrorCode::ResourceNotFound)
    }
}

impl Client {
    /// The client of a session in these folders. `given` are their names as the client wrote them, in the order of the place's; where they are
    /// missing, a folder is named by its real path.
    pub(super) fn new(
        out: Arc<Outbound>,
        session: SessionId,
        place: &Place,
        given: &[PathBuf],
    ) -> Self {
        let real = std::iter::once(&place.cwd).chain(&place.roots);
        let folders = real.enumerate().map(|(at, real)| {
            let given = given.get(at).unwrap_or(real);
            Named { real: real.clone(), given: tidy(given) }
        });
        Self { out, session, folders: folders.collect() }
    }

    /// Whether the connection has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.out.gauge.is_closed()
    }

    /// Asks, and waits for the answer until the deadline. Dropping the future withdraws the question.
    pub(super) async fn ask<R: JsonRpcRequest>(
        &self,
        request: R,
    ) -> Result<R::Response, Unanswered> {
        let asked = self.ask_at_length(request);
        tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or(Err(Unanswered::Silent))
    }

    /// Asks, and waits for as long as the connection lasts. Dropping the future withdraws the question.
    pub(super) fn ask_at_length<R: JsonRpcRequest>(
        &self,
        request: R,
    ) -> impl Future<Output = Result<R::Response, Unanswered>> + Send + 'static + use<R> {
        let gauge = Arc::clone(&self.out.gauge);
        let asked = self.out.connection.send_request(request).block_task();
        async move {
            asked.await.map_err(|error| {
                match gauge.is_closed() || is_incoming_transport_closed(&error) {
                    true => Unanswered::Gone,
                    false => Unanswered::Refused(error),
                }
            })
        }
    }

    /// The path as the client names it, when it is in the session's folders; `None` when it is elsewhere or no text.
    pub(super) fn path(&self, path: &Path) -> Option<PathBuf> {
        named(&self.folders, path)
    }
}

fn named(folders: &[Named], path: &Path) -> Option<PathBuf> {
    let path = tidy(path);
    path.to_str()?;
    let by_real = folders.iter().find_map(|folder| {
        let rest = path.strip_prefix(&folder.real).ok()?;
        Some(match rest.as_os_str().is_empty() {
            true => folder.given.clone(),
            false => folder.given.join(rest),
        })
    });
    by_real.or_else(|| {
        let is_given = folders.iter().any(|folder| path.starts_with(&folder.given));
        is_given.then_some(path)
    })
}

/// The path with `.` and `..` taken out by name alone.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                tidy.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                tidy.push(component);
            }
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_to_the_client_by_the_names_that_it_gave_its_folders() {
        let named_as = |real: &str, given: &str| Named { real: real.into(), given: given.into() };
        let folders = [named_as("/data/project", "/home/me/link"), named_as("/lib", "/lib")];
        let cases = [
            ("/data/project/src/a.rs", Some("/home/me/link/src/a.rs")),
            ("/data/project/src/../b", Some("/home/me/link/b")),
            ("/data/project", Some("/home/me/link")),
            ("/home/me/link/c", Some("/home/me/link/c")),
            ("/lib/d", Some("/lib/d")),
            ("/data/project/../secret", None),
            ("/data/projects/e", None),
            ("/etc/passwd", None),
        ];
        for (path, expected) in cases {
            assert_eq!(
                named(&folders, Path::new(path)).as_deref(),
                expected.map(Path::new),
                "{path}"
            );
        }
    }
}
