//! Whether the files that a prompt mentions may be given to the model: what `read_file` is refused is not attached either.

use std::sync::Arc;

use anyhow::bail;
use oarlock_core::event::Effect;
use oarlock_core::ports::files::{FileKind, Files};
use oarlock_core::ports::tool::{Assessment, Place, Subject};
use oarlock_core::prompt::mention::mentions;
use oarlock_core::spec::{Mode, ModeCatalog, Settings};
use oarlock_core::turn::permission::Verdict;
use oarlock_tools::LocalFiles;

/// What decides about a mention.
#[derive(Debug, Clone)]
pub(crate) struct Rights {
    pub(crate) modes: ModeCatalog,
    pub(crate) settings: Arc<Settings>,
}

/// A mentioned file that is not given to the model.
#[derive(Debug, thiserror::Error)]
#[error(
    "@{mention} is not attached: in mode {mode} {why}; put a space behind the @ when no file is meant"
)]
pub(crate) struct Denied {
    mention: String,
    mode: Mode,
    why: String,
}

impl Rights {
    /// Refuses words that mention a file which the mode or a rule keeps from `read_file`.
    ///
    /// # Errors
    /// [`Denied`] of the first such file.
    pub(crate) async fn check(&self, words: &str, place: &Place) -> anyhow::Result<()> {
        let files = LocalFiles::new(place);
        for readings in mentions(words) {
            for mention in readings {
                let path = place.absolute(mention);
                // What cannot be looked at is refused, or left as words, where it would be read.
                let found = files.stat(&path).await;
                if !found.is_ok_and(|stat| stat.kind == FileKind::File) {
                    continue;
                }
                let shown = path.strip_prefix(&place.cwd).unwrap_or(&path).display().to_string();
                if let Verdict::Deny(why) = self.judge(shown)? {
                    let (mention, mode) = (mention.to_owned(), self.settings.mode.clone());
                    bail!(Denied { mention, mode, why: why.to_string() });
                }
                break;
            }
        }
        Ok(())
    }

    fn judge(&self, shown: String) -> anyhow::Result<Verdict> {
        let policy = self.modes.policy(&self.settings.mode)?;
        let read = Assessment {
            effect: Effect::Pure,
            title: shown.clone(),
            subject: Subject { parts: vec![shown], complete: true },
            timeout_ms: 0,
        };
        Ok(policy.classify("read_file", &read, &[&self.settings.rules]))
    }
}
