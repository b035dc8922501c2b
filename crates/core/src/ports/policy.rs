//! What people granted once for all later sessions of a folder.

use std::path::Path;

use futures::future::BoxFuture;

use crate::spec::Rules;
use crate::spec::rule::{InvalidRule, check_rules};

/// The most grants that a folder may have.
pub const GRANTS_MAX: usize = 1_000;

/// Keeps grants by folder. A session begins with those of its folder, and adds to them only what a person chose to save.
pub trait Grants: Send + Sync + std::fmt::Debug {
    /// The grants of sessions that work in the absolute folder, in the order in which they were saved.
    fn load<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Vec<String>, GrantsError>>;

    /// Adds grants; those that are there stay where they are. All or none. After it returned they are there for every later session.
    fn save<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<(), GrantsError>>;

    /// Takes grants back, and gives those that were there. Sessions that began with them keep them.
    fn forget<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, GrantsError>>;
}

/// Why grants could not be read or changed; they are as they were.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// Not a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidRule),
    /// The folder has as many as it may.
    #[error(
        "a folder may have {GRANTS_MAX} saved grants; take some back with `oarlock policy forget`"
    )]
    Full,
    /// Whatever keeps them.
    #[error("the saved grants cannot be used: {why}")]
    Unavailable {
        /// In words.
        why: String,
    },
}

/// The grants of a folder with `more` added.
///
/// # Errors
/// When one of them is not a rule, or there are too many.
pub fn joined(kept: &[String], more: &[String]) -> Result<Vec<String>, GrantsError> {
    check_rules(&Rules { grants: more.to_vec(), ..Rules::default() })?;
    let mut all = kept.to_vec();
    for rule in more {
        if !all.contains(rule) {
            all.push(rule.clone());
        }
    }
    if all.len() > GRANTS_MAX { Err(GrantsError::Full) } else { Ok(all) }
}
