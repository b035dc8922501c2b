//! Sessions that come from elsewhere, as the command line exports them.

use oarlock_core::new_session_id;
use oarlock_core::service::{ImportRequest, SessionError, SessionView};

use super::{Scope, Sessions};
use crate::portable::{ImportError, Landing, born, import};

impl Sessions {
    /// Takes a session over that was exported, as one of the caller's tenant that works where it did. A caller who sees all sessions gives it its id;
    /// for others it has a new one, since whether an id is taken would tell of the sessions of others.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for what is no whole export or names bodies that it does not bring, for a subagent, and for an id that is there;
    /// `FORBIDDEN` for a folder that the caller is kept out of. Nothing of it is there then.
    pub async fn import(&self, request: ImportRequest) -> Result<SessionView, SessionError> {
        self.allow(Scope::Manage)?;
        let this = self.clone();
        let work = async move { this.imported(request).await };
        self.makers.finish(work).await
    }

    async fn imported(&self, request: ImportRequest) -> Result<SessionView, SessionError> {
        let Some(spec) = born(&request.journal) else {
            return Err(SessionError::invalid(
                "`journal` does not begin as an export whose first frame says what its session is; `oarlock session export ID` writes one, `oarlock session import FILE` reads longer ones",
            ));
        };
        if spec.depth > 0 {
            return Err(SessionError::invalid(
                "`journal` is that of a subagent; import the session that it worked for",
            ));
        }
        let place = self.place(spec.cwd, spec.roots).await?;
        let id = self.caller.tenant.as_ref().map(|_| new_session_id());
        let landing = Landing { id, tenant: self.tenant(), place };
        let read = import(self.host.core(), &mut request.journal.as_bytes(), Some(landing)).await;
        let id = read.map_err(|error| match error {
            ImportError::Wrong { .. } | ImportError::Here { .. } => {
                SessionError::invalid(format!("`journal`: {error}"))
            }
            ImportError::Store { source, .. } | ImportError::Half { source } => source.into(),
        })?;
        self.view(&id).await
    }
}
