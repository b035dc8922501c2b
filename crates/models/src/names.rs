//! Names of tools where a wire takes fewer letters than the runtime: one spelling for declarations, history and results, and the way back. Pure.

use std::collections::BTreeMap;

use oarlock_core::message::{Block, Content};
use oarlock_core::ports::tool::ToolSchema;

use crate::outgoing::tool_name;

/// How the tools of a request are spelled over a wire.
pub(crate) struct Names {
    rule: fn(&str) -> String,
    /// What stands for the names that cannot be sent as they are.
    spelled: BTreeMap<String, String>,
}

impl Names {
    /// The spellings of these tools by the rule of a wire, no two of them alike. A name that keeps the rule is spelled as it is.
    pub(crate) fn of(tools: &[ToolSchema], rule: fn(&str) -> String) -> Self {
        let names = || tools.iter().map(|tool| tool.name.as_str());
        let (kept, mended): (Vec<_>, Vec<_>) = names().partition(|name| rule(name) == *name);
        let mut spelled = BTreeMap::new();
        for name in mended {
            let plain = rule(name);
            let is_taken = kept.contains(&plain.as_str())
                || spelled.iter().any(|(other, taken)| other != name && *taken == plain);
            let spelling = if is_taken { rule(&distinct(name)) } else { plain };
            spelled.insert(name.to_owned(), spelling);
        }
        Self { rule, spelled }
    }

    /// Every name as it is.
    pub(crate) fn as_they_are() -> Self {
        Self { rule: str::to_owned, spelled: BTreeMap::new() }
    }

    /// The spelling of a name. One that is not offered is spelled by the rule alone.
    pub(crate) fn spelled(&self, name: &str) -> String {
        self.spelled.get(name).cloned().unwrap_or_else(|| (self.rule)(name))
    }

    /// The calls among these blocks under the runtime's own names; what came from the provider stays as it came.
    pub(crate) fn meant(&self, mut blocks: Vec<Block>) -> Vec<Block> {
        for block in &mut blocks {
            if let Content::ToolCall { name, .. } = &mut block.content
                && let Some((own, _)) = self.spelled.iter().find(|(_, spelled)| *spelled == name)
            {
                name.clone_from(own);
            }
        }
        blocks
    }
}

/// A name that stands for this one where its spelling is another's.
fn distinct(name: &str) -> String {
    format!("t{}_{name}", &blake3::hash(name.as_bytes()).to_hex()[..8])
}

/// A tool's name where it begins with a letter or an underscore.
pub(crate) fn begun_with_letter(name: &str) -> String {
    let name = tool_name(name);
    match name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        true => name,
        false => tool_name(&format!("_{name}")),
    }
}

#[cfg(test)]
mod tests {
    use oarlock_core::ids::CallId;
    use oarlock_core::ports::tool::Runs;
    use serde_json::json;

    use super::*;

    fn names(offered: &[&str]) -> Names {
        let tool = |name: &&str| ToolSchema {
            name: (*name).to_owned(),
            description: String::new(),
            input: json!({}),
            runs: Runs::Here,
        };
        Names::of(&offered.iter().map(tool).collect::<Vec<_>>(), begun_with_letter)
    }

    #[test]
    fn each_tool_has_a_spelling_of_its_own_that_leads_back_to_it() {
        let long = "x".repeat(64);
        let longer = [format!("{long}1"), format!("{long}2")];
        let offered =
            ["a.b", "a_b", "a b", "21st_x", "_21st_x", "f", &longer[0], &longer[1], "é", ""];
        let names = names(&offered);
        let spelled: Vec<_> = offered.iter().map(|name| names.spelled(name)).collect();
        for (at, (name, spelling)) in offered.iter().zip(&spelled).enumerate() {
            assert_eq!(begun_with_letter(spelling), *spelling, "{name}");
            assert!(!spelled[..at].contains(spelling), "{name} and another are {spelling}");
            let id = CallId("1".into());
            let content =
                Content::ToolCall { id, name: spelling.clone(), arguments: String::new() };
            let meant = names.meant(vec![Block { content, native: None }]).remove(0).content;
            let Content::ToolCall { name: meant, .. } = meant else { panic!("it is a call") };
            assert_eq!(meant, *name);
        }
        let kept = ["a_b", "_21st_x", "f"].map(|name| names.spelled(name));
        assert_eq!(kept, ["a_b", "_21st_x", "f"], "they keep the rule");
    }

    #[test]
    fn a_spelling_depends_on_nobody_who_is_not_in_its_way() {
        assert_eq!(names(&["21st_x"]).spelled("21st_x"), "_21st_x");
        assert_eq!(names(&["f", "21st_x", "a.b"]).spelled("21st_x"), "_21st_x");
        assert_eq!(names(&[]).spelled("21st_x"), "_21st_x", "it was offered once");
    }
}
