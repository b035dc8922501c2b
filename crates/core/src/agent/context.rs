//! What a model is told about where it runs. Plain data: whoever assembles the runtime finds it out, core only renders it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who the model talks to, as far as it has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "frontend", rename_all = "snake_case")]
pub enum Frontend {
    /// A person at a terminal.
    Cli,
    /// An editor.
    Acp {
        /// Whether files are read and written by the editor.
        fs_delegated: bool,
        /// Whether commands are run by the editor.
        shell_delegated: bool,
    },
    /// A program; nobody reads along.
    Headless,
}

impl Frontend {
    fn words(self) -> String {
        match self {
            Self::Cli => "a command line".to_owned(),
            Self::Headless => "a program; nobody reads along".to_owned(),
            Self::Acp { fs_delegated, shell_delegated } => {
                let by = |delegated| if delegated { "by the editor" } else { "here" };
                format!(
                    "an editor; files are read and written {}, commands are run {}",
                    by(fs_delegated),
                    by(shell_delegated)
                )
            }
        }
    }
}

/// Where a session runs. It holds no date and nothing else that changes by itself, so that the same session renders the same text for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningContext {
    /// Who the model talks to.
    pub frontend: Frontend,
    /// The absolute working folder.
    pub cwd: PathBuf,
    /// The operating system, with its name and version where known: `linux`, `linux (Debian GNU/Linux 13)`.
    pub os: String,
    /// The processor's architecture.
    pub arch: String,
    /// The person's shell, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The version of the program that runs the session.
    pub version: String,
}

impl RunningContext {
    /// The context of this build in the folder `cwd`: operating system and architecture are those it was compiled for, the shell is not known.
    #[must_use]
    pub fn new(frontend: Frontend, cwd: PathBuf, version: &str) -> Self {
        Self {
            frontend,
            cwd,
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            shell: None,
            version: version.to_owned(),
        }
    }

    /// The body of the section "Environment" of a system prompt, without its heading: one line for each fact.
    #[must_use]
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: &str| {
            // A path may hold anything; it must not open a line of its own.
            let value: String =
                value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            lines.push(format!("- {name}: {value}"));
        };
        line("Working directory", &self.cwd.display().to_string());
        line("Operating system", &format!("{}, {}", self.os, self.arch));
        if let Some(shell) = &self.shell {
            line("Shell", shell);
        }
        line("Runtime", &format!("oarlock {}", self.version));
        line("Talks to", &self.frontend.words());
        if matches!(self.frontend, Frontend::Acp { fs_delegated: true, .. }) {
            line(
                "Files",
                "those open in the editor are read with changes that are not saved, which search and commands do not see",
            );
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_rendered_line_by_line() {
        let mut context = RunningContext {
            os: "linux (Debian 13)".to_owned(),
            arch: "x86_64".to_owned(),
            shell: Some("/bin/zsh".to_owned()),
            ..RunningContext::new(Frontend::Cli, PathBuf::from("/work"), "0.2.0")
        };
        assert_eq!(
            context.render(),
            "- Working directory: /work\n- Operating system: linux (Debian 13), x86_64\n- Shell: /bin/zsh\n\
             - Runtime: oarlock 0.2.0\n- Talks to: a command line"
        );
        context.frontend = Frontend::Acp { fs_delegated: true, shell_delegated: false };
        let text = context.render();
        assert!(text.contains("files are read and written by the editor, commands are run here"));
        assert!(
            text.ends_with("those open in the editor are read with changes that are not saved, which search and commands do not see")
        );
    }

    #[test]
    fn a_folder_with_a_line_break_in_its_name_adds_no_line() {
        let cwd = PathBuf::from("/work\n- Shell: mine");
        let context = RunningContext::new(Frontend::Headless, cwd, "0.2.0");
        assert_eq!(context.render().lines().count(), 4, "{}", context.render());
    }
}
