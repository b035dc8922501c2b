//! The skills of a session: which of several with one name counts, and what of them goes into prompts.

use std::path::PathBuf;

use super::find::Found;
use super::skill::{Skill, ThoughtOf};

/// Bytes of the list in a system prompt; of further skills only their number is given.
const LIST_BYTES_MAX: usize = 24 * 1024;
/// Bytes of all texts that are part of every session; further ones are only listed.
const ALWAYS_BYTES_MAX: usize = 64 * 1024;
/// Skills that one prompt is given a hint at.
const HINTS_MAX: usize = 3;

const PREAMBLE: &str = "Skills say how certain work is done. When one fits the task, load it with the tool `skill` before you begin, and follow it. \
    Relative paths in a skill are meant from its own folder.";

/// The skills that can be used, sorted by their names.
#[derive(Debug, Clone, Default)]
pub struct Skills {
    skills: Vec<Skill>,
    /// What is no skill, or one that another takes the place of.
    pub left_out: Vec<LeftOut>,
}

/// Something that is meant to be a skill and is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The name of its folder.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why something is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is no skill, in words for a person.
    Broken(String),
    /// The skill of the same name in this folder takes its place.
    Replaced(PathBuf),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(why) => f.write_str(why),
            Self::Replaced(by) => write!(f, "the skill of this name in {} is used", by.display()),
        }
    }
}

impl Skills {
    /// The skills among what was found; of several with one name the last counts. `tools` are the names of the tools that there are. One that
    /// is broken is left out, and keeps no other from being used.
    #[must_use]
    pub fn read(found: &[Found], tools: &[String]) -> Self {
        let mut set = Self::default();
        for (at, one) in found.iter().enumerate() {
            // A folder that is reached by two ways is one skill.
            if found[at + 1..]
                .iter()
                .any(|other| other.folder == one.folder && other.name == one.name)
            {
                continue;
            }
            match Skill::read(one, tools) {
                Ok(skill) => set.put(skill),
                Err(why) => {
                    set.leave_out(one.name.clone(), one.folder.clone(), Why::Broken(why));
                }
            }
        }
        set.skills.sort_by(|a, b| a.name.cmp(&b.name));
        set
    }

    fn put(&mut self, skill: Skill) {
        match self.skills.iter_mut().find(|known| known.name == skill.name) {
            None => self.skills.push(skill),
            Some(known) => {
                let why = Why::Replaced(skill.folder.clone());
                let before = std::mem::replace(known, skill);
                self.leave_out(before.name, before.folder, why);
            }
        }
    }

    fn leave_out(&mut self, name: String, folder: PathBuf, why: Why) {
        self.left_out.push(LeftOut { name, folder, why });
    }

    /// All of them, sorted by their names.
    pub fn iter(&self) -> impl Iterator<Item = &Skill> {
        self.skills.iter()
    }

    /// Those that models are told of, sorted by their names.
    pub fn told(&self) -> impl Iterator<Item = &Skill> {
        self.skills.iter().filter(|skill| skill.thought_of != ThoughtOf::ByPeople)
    }

    /// Those that a person names as commands, sorted by their names.
    pub fn commands(&self) -> impl Iterator<Item = &Skill> {
        self.skills.iter().filter(|skill| skill.thought_of != ThoughtOf::ByModels)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.skills.is_empty()
    }

    /// The skill of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Skill> {
        self.skills.iter().find(|skill| skill.name == name)
    }

    /// The section of a system prompt that names them, and gives the texts of those that are for every session. The same skills give the same
    /// bytes. `None` when there are none that models are told of.
    #[must_use]
    pub fn manifest(&self) -> Option<String> {
        self.told().next()?;
        let mut text = format!("{PREAMBLE}\n");
        let given = self.given_always();
        for (at, skill) in self.told().enumerate() {
            let below = if given.contains(&skill.name.as_str()) { " (given below)" } else { "" };
            let line = format!("\n- {}{below}: {}", skill.name, skill.description);
            if text.len() + line.len() > LIST_BYTES_MAX {
                let more = self.told().count() - at;
                text.push_str(&format!("\n\n{more} more skills are not listed; the tool `skill` names all of them when it is asked for one that does not exist."));
                break;
            }
            text.push_str(&line);
        }
        for skill in self.skills.iter().filter(|skill| given.contains(&skill.name.as_str())) {
            let Skill { name, folder, body, .. } = skill;
            text.push_str(&format!(
                "\n\n## Skill {name}\n\nIts folder is {}.\n\n{body}",
                folder.display()
            ));
        }
        Some(text)
    }

    /// The names of the skills whose texts the manifest gives, as far as they fit.
    #[must_use]
    pub fn given_always(&self) -> Vec<&str> {
        let mut left = ALWAYS_BYTES_MAX;
        let fits = |skill: &&Skill| match left.checked_sub(skill.body.len()) {
            Some(less) if skill.always => {
                left = less;
                true
            }
            Some(_) | None => false,
        };
        self.skills.iter().filter(fits).map(|skill| skill.name.as_str()).collect()
    }

    /// What a prompt is given besides its words: a hint at the skills that they trigger.
    #[must_use]
    pub fn hint(&self, prompt: &str) -> Option<String> {
        let triggered =
            self.told().filter_map(|skill| Some((skill, skill.triggers.found_in(prompt)?)));
        let hints: Vec<String> = triggered
            .take(HINTS_MAX)
            .map(|(skill, found)| {
                format!("The skill `{}` is meant for this (it names `{found}`).", skill.name)
            })
            .collect();
        (!hints.is_empty()).then(|| {
            format!(
                "{} Load it with the tool `skill` before you begin, unless it was loaded already.",
                hints.join(" ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skills::Source;

    fn found(name: &str, folder: &str, head: &str, body: &str) -> Found {
        Found {
            name: name.to_owned(),
            folder: PathBuf::from(folder),
            source: Source::User,
            text: Ok(format!("---\n{head}\n---\n{body}")),
        }
    }

    fn many(count: usize, head: &str, body: &str) -> Skills {
        let names = (0..count).map(|at| format!("s{at:03}"));
        let found: Vec<Found> = names.map(|name| found(&name, &name, head, body)).collect();
        Skills::read(&found, &[])
    }

    #[test]
    fn the_last_skill_of_a_name_counts_and_a_broken_one_hides_no_other() {
        let all = [
            found("b", "/u/b", "description: user's", "x"),
            found("a", "/u/a", "description: a", "x"),
            found("b", "/p/b", "description: project's", "x"),
            found("c", "/p/c", "name: c", "x"),
            found("a", "/u/a", "description: a", "x"),
        ];
        let skills = Skills::read(&all, &[]);
        let names: Vec<_> =
            skills.iter().map(|s| (s.name.as_str(), s.description.as_str())).collect();
        assert_eq!(names, [("a", "a"), ("b", "project's")]);
        let left: Vec<_> = skills.left_out.iter().map(|l| l.folder.to_str().unwrap()).collect();
        assert_eq!(left, ["/u/b", "/p/c"]);
    }

    #[test]
    fn a_manifest_is_the_same_for_the_same_skills_and_bounded() {
        let all = [
            found("b", "/b", "description: does b", "B"),
            found("a", "/a", "description: does a\nalways: true", "Always do a."),
        ];
        let skills = Skills::read(&all, &[]);
        let manifest = skills.manifest().unwrap();
        assert_eq!(
            manifest,
            format!(
                "{PREAMBLE}\n\n- a (given below): does a\n- b: does b\n\n## Skill a\n\nIts folder is /a.\n\nAlways do a."
            )
        );
        let turned: Vec<Found> = all.iter().rev().cloned().collect();
        assert_eq!(Skills::read(&turned, &[]).manifest().unwrap(), manifest);
        assert_eq!(Skills::default().manifest(), None);

        let long =
            many(200, &format!("description: {}", "d".repeat(1000)), "x").manifest().unwrap();
        assert!(long.len() < LIST_BYTES_MAX + 200 && long.contains("more skills are not listed"));
        let always = many(5, "description: d\nalways: true", &"x".repeat(20 * 1024));
        assert_eq!(always.given_always(), ["s000", "s001", "s002"]);
        assert!(always.manifest().unwrap().len() < ALWAYS_BYTES_MAX + 2000);
    }

    #[test]
    fn what_only_people_think_of_is_not_told_to_models() {
        let all = [
            found(
                "a",
                "/a",
                "description: d\ndisable-model-invocation: true\ntriggers: [row]",
                "x",
            ),
            found("b", "/b", "description: d\nuser-invocable: false", "x"),
        ];
        let skills = Skills::read(&all, &[]);
        assert!(skills.manifest().unwrap().ends_with("\n\n- b: d"));
        assert_eq!(skills.hint("row"), None);
        assert_eq!(skills.commands().map(|skill| skill.name.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(Skills::read(&all[..1], &[]).manifest(), None);
    }

    #[test]
    fn a_prompt_is_given_a_hint_at_few_skills() {
        let skills = many(5, "description: d\ntriggers: {keywords: [release]}", "x");
        let hint = skills.hint("make a release").unwrap();
        assert!(hint.contains("`s000`") && hint.contains("`s002`") && !hint.contains("`s003`"));
        assert_eq!(skills.hint("make an attempt"), None);
    }
}
