//! What values of the table have in common, and how a row is written.

use super::keys::{Key, Need};
use super::kind::Kind::{self, Choice, Int, Number};

pub(super) const BASES: Kind = Choice(super::modes::BASES);
pub(super) const EFFORTS: Kind = Choice(&["none", "minimal", "low", "medium", "high", "xhigh"]);
pub(super) const WIRES: Kind = Choice(&oarlock_models::Wire::NAMES);
pub(super) const THOUGHT_ITEMS: Kind = Choice(&["encrypted", "encrypted-without-ids", "plain"]);
pub(super) const COUNT: Kind = Int { min: 1, max: u32::MAX as i64 };
pub(super) const TOKENS: Kind = Int { min: 1, max: i64::MAX };
pub(super) const SHARE: Kind = Number { max: 1 };
pub(super) const DEPTH: Kind = Int { min: 0, max: 8 };
pub(super) const REQUESTS: Kind = Int { min: 1, max: 100_000 };
pub(super) const LINES: Kind = Int { min: 1, max: 1_000_000 };

/// A row of the table.
pub(super) const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    need: Need,
    doc: &'static str,
) -> Key {
    Key { path, kind, default, need, doc }
}
