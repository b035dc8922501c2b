//! How a fork says where it comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Seq, SessionId};

/// Where a session was forked from. Its journal has the entries of that session from 2 to `at`, under their numbers and with their times, then
/// what ends that was open there, and `session_forked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForkPoint {
    /// The session. It may be gone since.
    pub session: SessionId,
    /// The last of its entries that was copied.
    pub at: Seq,
    /// The session from which the whole line of forks began. Requests are cached under its name, since they begin with the same bytes.
    pub line: SessionId,
}
