//! Skills: folders with a `SKILL.md` that tell a model how something is done, as people publish them.

mod allowed;
mod trigger;

pub use allowed::Allowed;
pub use trigger::Triggers;
