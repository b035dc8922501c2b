//! Saved grants: a new session is given those of its folder, and what a person saves is handed to whoever keeps them.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};

use crate::ids::{SessionId, Timestamp};
use crate::ports::clock::Clock;
use crate::ports::policy::{Grants, GrantsError};

/// The grants of a folder. Where they cannot be had, questions are asked as if there were none.
pub(crate) async fn load(
    grants: &dyn Grants,
    folder: &Path,
    clock: &dyn Clock,
    until: Timestamp,
) -> Vec<String> {
    let found = match select(pin!(grants.load(folder)), clock.sleep_until(until)).await {
        Either::Left((found, _)) => found,
        Either::Right(((), _)) => Err(late()),
    };
    found.unwrap_or_else(|error| {
        tracing::warn!(folder = %folder.display(), %error, "a session begins without its saved grants");
        Vec::new()
    })
}

/// Keeps what a person saved. Where that fails it holds for this session all the same, since it is in its journal.
pub(crate) async fn save(
    grants: Arc<dyn Grants>,
    (session, folder): (SessionId, PathBuf),
    rules: Vec<String>,
    clock: Arc<dyn Clock>,
    until: Timestamp,
) {
    let saved = match select(pin!(grants.save(&folder, &rules)), clock.sleep_until(until)).await {
        Either::Left((saved, _)) => saved,
        Either::Right(((), _)) => Err(late()),
    };
    if let Err(error) = saved {
        tracing::warn!(
            %session, folder = %folder.display(), %error,
            "a grant was not saved: it holds for this session, and later ones will ask again"
        );
    }
}

fn late() -> GrantsError {
    GrantsError::Unavailable { why: "they do not answer in time".to_owned() }
}
