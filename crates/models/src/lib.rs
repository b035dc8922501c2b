//! Placeholder root; its owner fills it.
