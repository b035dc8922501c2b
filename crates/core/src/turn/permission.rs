//! Whether a call may run: rules, then the mode, then what was granted. Pure.

use crate::event::{Effect, PermissionKind, PermissionOption};
use crate::ports::tool::{Assessment, Subject};
use crate::spec::rule::{Rule, exactly};
use crate::spec::{PolicyBase, Rules, SandboxPolicy};

/// What is to be done with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Run it.
    Allow,
    /// Refuse it, for this reason.
    Deny(String),
    /// Ask somebody.
    Ask,
}

impl SandboxPolicy {
    /// Judges a call by the policy's own rules and by `rules`: a matching `deny` wins, then a matching `allow`, then the base; and where that
    /// would ask, what was granted is run. What could not be taken apart is never let past a `deny` pattern for its tool unasked.
    #[must_use]
    pub fn classify(&self, tool: &str, call: &Assessment, rules: &[&Rules]) -> Verdict {
        let parsed = |texts: fn(&Rules) -> &Vec<String>| {
            let all = std::iter::once(&self.rules).chain(rules.iter().copied());
            let parsed = all.flat_map(texts).filter_map(|text| Rule::parse(text).ok());
            parsed.filter(|rule| rule.is_about(tool)).collect::<Vec<Rule<'_>>>()
        };
        let denied = parsed(|rules| &rules.deny);
        if let Some(rule) = denied.iter().find(|rule| rule.denies(&call.subject)) {
            return Verdict::Deny(format!("the rule `{rule}` forbids it"));
        }
        let might_be_denied = !call.subject.complete && !denied.is_empty();
        let verdict = match covers(&parsed(|rules| &rules.allow), &call.subject) {
            true => Verdict::Allow,
            false => self.base.verdict(call.effect),
        };
        match verdict {
            Verdict::Allow | Verdict::Ask if might_be_denied => Verdict::Ask,
            Verdict::Ask if covers(&parsed(|rules| &rules.grants), &call.subject) => Verdict::Allow,
            verdict => verdict,
        }
    }
}

/// Whether the rules let a call through: one of them whole, or each of its parts some rule, when it could be taken apart.
fn covers(rules: &[Rule<'_>], subject: &Subject) -> bool {
    let part_is_covered = |part: &String| rules.iter().any(|rule| rule.allows(part));
    let by_parts = subject.complete && !subject.parts.is_empty();
    rules.iter().any(Rule::is_whole) || (by_parts && subject.parts.iter().all(part_is_covered))
}

impl PolicyBase {
    fn verdict(self, effect: Effect) -> Verdict {
        let reads = match effect {
            Effect::Pure => true,
            Effect::Idempotent | Effect::Mutating | Effect::Destructive | Effect::Network => false,
        };
        match (self, reads) {
            (Self::Open, _) | (Self::ReadOnly | Self::AskWrites, true) => Verdict::Allow,
            (Self::AskWrites, false) => Verdict::Ask,
            (Self::ReadOnly, false) => {
                Verdict::Deny("only tools that read may run, and this call does more".to_owned())
            }
            (Self::DenyAll, _) => Verdict::Deny("no tool may run".to_owned()),
        }
    }
}

/// The choices of a question. What "always" grants is exactly what was shown, for as long as was shown. `saves` is whether a grant can be
/// kept for later sessions.
#[must_use]
pub fn options(tool: &str, subject: &Subject, saves: Saves) -> Vec<PermissionOption> {
    let option = |kind, label: String, grants| PermissionOption { kind, label, grants };
    let nameable = subject.parts.iter().all(|part| !part.is_empty());
    let rules: Vec<String> = match nameable {
        true => subject.parts.iter().map(|part| exactly(tool, part)).collect(),
        false => Vec::new(),
    };
    let shown = rules.join(", ");
    let mut options =
        vec![option(PermissionKind::AllowOnce, "allow this once".to_owned(), Vec::new())];
    if subject.complete && !rules.is_empty() {
        let label = format!("always allow in this session: {shown}");
        options.push(option(PermissionKind::AllowAlways, label, rules.clone()));
        if saves == Saves::InFolder {
            let label = format!("always allow, saved for later sessions in this folder: {shown}");
            options.push(option(PermissionKind::AllowSaved, label, rules.clone()));
        }
    }
    options.push(option(PermissionKind::RejectOnce, "refuse this once".to_owned(), Vec::new()));
    if !rules.is_empty() {
        let label = format!("always refuse in this session: {shown}");
        options.push(option(PermissionKind::RejectAlways, label, rules));
    }
    options
}

/// Whether a grant can be kept for later sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Saves {
    /// It ends with its session.
    #[default]
    Nowhere,
    /// It can be saved for the session's folder.
    InFolder,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(effect: Effect, parts: &[&str], complete: bool) -> Assessment {
        let subject = Subject { parts: parts.iter().map(|p| (*p).to_owned()).collect(), complete };
        Assessment { effect, title: String::new(), subject, timeout_ms: 1 }
    }

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        Rules { allow: own(allow), deny: own(deny), ..Rules::default() }
    }

    fn judge(base: PolicyBase, rules: &[&Rules], tool: &str, call: &Assessment) -> Verdict {
        SandboxPolicy::from(base).classify(tool, call, rules)
    }

    #[test]
    fn modes_decide_by_effect() {
        let none = Rules::default();
        let table = [
            (PolicyBase::ReadOnly, Effect::Pure, "allow"),
            (PolicyBase::ReadOnly, Effect::Mutating, "deny"),
            (PolicyBase::ReadOnly, Effect::Network, "deny"),
            (PolicyBase::AskWrites, Effect::Pure, "allow"),
            (PolicyBase::AskWrites, Effect::Mutating, "ask"),
            (PolicyBase::AskWrites, Effect::Network, "ask"),
            (PolicyBase::AskWrites, Effect::Destructive, "ask"),
            (PolicyBase::Open, Effect::Destructive, "allow"),
            (PolicyBase::DenyAll, Effect::Pure, "deny"),
        ];
        for (mode, effect, wanted) in table {
            let verdict = judge(mode, &[&none], "t", &call(effect, &["x"], true));
            let name = match verdict {
                Verdict::Allow => "allow",
                Verdict::Deny(_) => "deny",
                Verdict::Ask => "ask",
            };
            assert_eq!(name, wanted, "{mode:?} {effect:?}");
        }
    }

    #[test]
    fn an_allow_pattern_must_match_every_command_and_a_deny_pattern_any() {
        let both = call(Effect::Destructive, &["git status", "rm -rf ."], true);
        let git = call(Effect::Destructive, &["git status"], true);
        let judge = |rules: &Rules, call| judge(PolicyBase::AskWrites, &[rules], "bash", call);
        assert_eq!(judge(&rules(&["bash(git *)"], &[]), &git), Verdict::Allow);
        assert_eq!(judge(&rules(&["bash(git *)"], &[]), &both), Verdict::Ask);
        assert!(matches!(judge(&rules(&["bash"], &["bash(rm *)"]), &both), Verdict::Deny(_)));
        assert_eq!(judge(&rules(&["edit_file"], &[]), &git), Verdict::Ask);
    }

    #[test]
    fn what_cannot_be_taken_apart_is_not_let_past_a_deny_pattern() {
        let hidden = call(Effect::Destructive, &["echo"], false);
        assert_eq!(
            judge(PolicyBase::Open, &[&rules(&[], &["bash(rm *)"])], "bash", &hidden),
            Verdict::Ask
        );
        assert_eq!(
            judge(PolicyBase::AskWrites, &[&rules(&["bash(echo*)"], &[])], "bash", &hidden),
            Verdict::Ask
        );
    }

    #[test]
    fn a_grant_covers_exactly_what_was_shown() {
        let subject = Subject { parts: vec!["rm *.tmp".to_owned()], complete: true };
        let always = options("bash", &subject, Saves::Nowhere)
            .into_iter()
            .find(|o| o.kind == PermissionKind::AllowAlways)
            .unwrap();
        let granted = Rules { grants: always.grants, ..Rules::default() };
        let judge = |command: &str| {
            judge(
                PolicyBase::AskWrites,
                &[&granted],
                "bash",
                &call(Effect::Destructive, &[command], true),
            )
        };
        assert_eq!(judge("rm *.tmp"), Verdict::Allow);
        assert_eq!(judge("rm -rf x.tmp"), Verdict::Ask);
    }

    #[test]
    fn a_grant_for_several_commands_covers_them_together_and_each_alone() {
        let both = call(Effect::Destructive, &["git status", "ls"], true);
        let always = options("bash", &both.subject, Saves::Nowhere)
            .into_iter()
            .find(|o| o.kind == PermissionKind::AllowAlways)
            .unwrap();
        let granted = Rules { grants: always.grants, ..Rules::default() };
        let judge = |call: &Assessment| judge(PolicyBase::AskWrites, &[&granted], "bash", call);
        assert_eq!(judge(&both), Verdict::Allow);
        assert_eq!(judge(&call(Effect::Destructive, &["ls"], true)), Verdict::Allow);
        let more = call(Effect::Destructive, &["git status", "rm x", "ls"], true);
        assert_eq!(judge(&more), Verdict::Ask);
    }

    #[test]
    fn a_deny_pattern_never_loosens_a_mode() {
        let hidden = call(Effect::Destructive, &["echo"], false);
        for (mode, allow, asks) in [
            (PolicyBase::ReadOnly, &[][..], false),
            (PolicyBase::DenyAll, &[][..], false),
            (PolicyBase::AskWrites, &[][..], true),
            (PolicyBase::Open, &[][..], true),
            (PolicyBase::ReadOnly, &["bash"][..], true),
            (PolicyBase::DenyAll, &["bash"][..], true),
        ] {
            let verdict = judge(mode, &[&rules(allow, &["bash(rm *)"])], "bash", &hidden);
            assert_eq!(verdict == Verdict::Ask, asks, "{mode:?} {verdict:?}");
            assert_ne!(verdict, Verdict::Allow, "{mode:?}");
        }
    }

    #[test]
    fn a_grant_answers_questions_and_never_loosens_a_mode_that_refuses() {
        let call = call(Effect::Mutating, &["x"], true);
        let granted = Rules { grants: vec!["write(x)".to_owned()], ..Rules::default() };
        for (base, allowed) in [
            (PolicyBase::AskWrites, true),
            (PolicyBase::ReadOnly, false),
            (PolicyBase::DenyAll, false),
        ] {
            let verdict = judge(base, &[&granted], "write", &call);
            assert_eq!(verdict == Verdict::Allow, allowed, "{base:?} {verdict:?}");
        }
        let denied = rules(&[], &["write(x)"]);
        let verdict = judge(PolicyBase::AskWrites, &[&granted, &denied], "write", &call);
        assert!(matches!(verdict, Verdict::Deny(_)), "{verdict:?}");
    }

    #[test]
    fn the_rules_of_a_mode_count_like_those_of_the_session() {
        let policy = SandboxPolicy {
            base: PolicyBase::DenyAll,
            rules: rules(&["bash(cargo *)"], &["bash(cargo publish*)"]),
        };
        let classify = |command: &str| {
            policy.classify("bash", &call(Effect::Destructive, &[command], true), &[])
        };
        assert_eq!(classify("cargo test"), Verdict::Allow);
        assert!(matches!(classify("cargo publish"), Verdict::Deny(why) if why.contains("publish")));
        assert!(matches!(classify("ls"), Verdict::Deny(_)));
    }

    #[test]
    fn saving_is_offered_where_grants_can_be_saved_and_what_is_granted_has_a_name() {
        let kinds = |parts: &[&str], complete, saves| {
            let call = call(Effect::Mutating, parts, complete);
            let options = options("bash", &call.subject, saves);
            options.into_iter().map(|option| option.kind).collect::<Vec<_>>()
        };
        use PermissionKind::{AllowAlways, AllowOnce, AllowSaved, RejectAlways, RejectOnce};
        assert_eq!(
            kinds(&["ls"], true, Saves::InFolder),
            [AllowOnce, AllowAlways, AllowSaved, RejectOnce, RejectAlways]
        );
        assert_eq!(
            kinds(&["ls"], true, Saves::Nowhere),
            [AllowOnce, AllowAlways, RejectOnce, RejectAlways]
        );
        assert_eq!(kinds(&["ls"], false, Saves::InFolder), [AllowOnce, RejectOnce, RejectAlways]);
        assert_eq!(kinds(&[], true, Saves::InFolder), [AllowOnce, RejectOnce]);
        assert_eq!(kinds(&[""], true, Saves::InFolder), [AllowOnce, RejectOnce]);
    }
}
