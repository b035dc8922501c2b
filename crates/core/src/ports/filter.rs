//! Which sessions are meant: the filter that lists, searches and sums share, and the place in a list from which a reader goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ids::{SessionId, Tenant, Timestamp};
use crate::ports::journal::{Activity, Listed};

/// Words that a query may have; a catalogue does not look at further ones.
pub const QUERY_WORDS_MAX: usize = 32;

/// Why words are no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// There is none: letters and digits make words.
    #[error("a query has words, of letters and digits")]
    NoWords,
    /// There are too many.
    #[error("a query has {QUERY_WORDS_MAX} words at most, and this has {0}")]
    TooManyWords(usize),
}

/// The words of a query as they are written. Only letters and digits make words.
pub fn query_words(query: &str) -> impl Iterator<Item = &str> {
    query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether all of a query is looked at, and there is something to look at.
///
/// # Errors
/// [`InvalidQuery`].
pub fn check_query(query: &str) -> Result<(), InvalidQuery> {
    match query_words(query).count() {
        0 => Err(InvalidQuery::NoWords),
        1..=QUERY_WORDS_MAX => Ok(()),
        many => Err(InvalidQuery::TooManyWords(many)),
    }
}

/// Which sessions are meant: those to which all of it applies. The default means all that are neither archived nor subagents.
///
/// Of a session whose summary was not stored yet nothing is known but its id: it is let through by a filter that asks for nothing else, as not archived
/// and nobody's subagent, and comes last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only this one.
    pub id: Option<SessionId>,
    /// Only those of this working folder.
    pub cwd: Option<PathBuf>,
    /// Only those of a tenant, or of none; of all when absent.
    pub tenant: Option<TenantFilter>,
    /// Only those that have a name, or this one. It is known from the moment on when they are made, whatever was stored of them since.
    pub name: Option<NameFilter>,
    /// Only those that have each of these labels with this value.
    pub labels: BTreeMap<String, String>,
    /// Only those that are doing this, by what was stored last: one whose process died is still doing what it was.
    pub activity: Option<Activity>,
    /// What of archived ones.
    pub archived: ArchivedFilter,
    /// Only those that have each of these words in their title or in a text that searches look at. [`check_query`] says what a person may ask for: the first
    /// [`QUERY_WORDS_MAX`] count, and no word is the same as absent.
    pub text: Option<String>,
    /// Only those that were used later than this.
    pub updated_after: Option<Timestamp>,
    /// Only those that were used before this.
    pub updated_before: Option<Timestamp>,
    /// Only those that were made later than this.
    pub created_after: Option<Timestamp>,
    /// Only those that were made before this.
    pub created_before: Option<Timestamp>,
    /// Subagents too.
    pub children: bool,
    /// Only those that stand behind this place.
    pub after: Option<ListCursor>,
    /// At most so many rows, hits or, for sums, sessions, the first ones; all when absent.
    pub limit: Option<u32>,
}

impl Filter {
    /// This session, whatever it is.
    #[must_use]
    pub fn of(id: SessionId) -> Self {
        Self { id: Some(id), archived: ArchivedFilter::With, children: true, ..Self::default() }
    }
}

/// Whose sessions are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantFilter {
    /// Those of no tenant.
    Nobody,
    /// Those of this one.
    Of(Tenant),
}

/// Which names are meant. A session that is archived has given its back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFilter {
    /// The tenant within which they are names; absent for sessions of nobody.
    pub tenant: Option<Tenant>,
    /// This name; any when absent.
    pub name: Option<String>,
}

/// What of archived sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchivedFilter {
    /// They are left out.
    #[default]
    Without,
    /// They count as any other.
    With,
    /// They alone.
    Only,
}

/// A place in a list: that of a session as it stood when it was shown.
///
/// A list goes from the session that was used last backwards, those of one millisecond by id. A session that is used moves to the front: who reads on behind a
/// cursor does not meet it again, and whatever was not used meanwhile stays where it was, so none of it is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListCursor {
    /// When its last entry was written.
    pub updated: Timestamp,
    /// The session.
    pub id: SessionId,
}

/// A text that is no cursor of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is none that a list gave out; leave it out to begin at the front")]
pub struct InvalidListCursor;

impl ListCursor {
    /// The place of a row.
    #[must_use]
    pub fn of(row: &Listed) -> Self {
        Self { updated: row.updated, id: row.id.clone() }
    }

    /// Reads what [`ListCursor`] shows as.
    ///
    /// # Errors
    /// [`InvalidListCursor`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidListCursor> {
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let (updated_ms, id) = text.split_once(' ')?;
            let updated = Timestamp::from_unix_ms(updated_ms.parse().ok()?);
            Some(Self { updated, id: SessionId::parse(id).ok()? })
        };
        read().ok_or(InvalidListCursor)
    }
}

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = format!("{} {}", self.updated.unix_ms(), self.id);
        f.write_str(&URL_SAFE_NO_PAD.encode(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_words_and_no_more_than_are_looked_at() {
        let many = |words: usize| "heron ".repeat(words);
        for (query, checked) in [
            ("", Err(InvalidQuery::NoWords)),
            ("?! -- …", Err(InvalidQuery::NoWords)),
            ("Ibis", Ok(())),
            ("日本 a-b", Ok(())),
            (&*many(QUERY_WORDS_MAX), Ok(())),
            (&*many(QUERY_WORDS_MAX + 1), Err(InvalidQuery::TooManyWords(QUERY_WORDS_MAX + 1))),
        ] {
            assert_eq!(check_query(query), checked, "{query}");
        }
        assert_eq!(query_words("what's up, doc?").collect::<Vec<_>>(), ["what", "s", "up", "doc"]);
    }

    #[test]
    fn a_cursor_is_read_as_it_was_given_and_nothing_else_is_one() {
        let id = SessionId::parse("01a1ffa1-0c86-70c2-afd9-4e292c035691").unwrap();
        let cursor = ListCursor { updated: Timestamp::from_unix_ms(1_700_000_000_000), id };
        assert_eq!(ListCursor::parse(&cursor.to_string()).unwrap(), cursor);
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for wrong in ["", "x", "%%%", &encoded("17"), &encoded("x y"), &encoded("17 ../../etc")] {
            assert_eq!(ListCursor::parse(wrong), Err(InvalidListCursor), "{wrong}");
        }
    }
}
