//! Skills: folders with a `SKILL.md` that tell a model how something is done, as people publish them.

mod allowed;
mod find;
mod set;
mod skill;
mod tool;
mod trigger;

pub use allowed::Allowed;
pub use find::{Found, Links, SKILL_BYTES_MAX, SKILLS_MAX, Source, find};
pub use set::{LeftOut, Skills, Why};
pub use skill::{DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX, Skill, ThoughtOf};
pub use tool::{SkillTool, given};
pub use trigger::Triggers;
