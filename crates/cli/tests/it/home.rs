//! An empty home of its own for each test, and the real program run in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() };
        std::fs::create_dir_all(home.project()).unwrap();
        home
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(below)
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.path("project")
    }

    pub(crate) fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn user(&self, text: &str) -> PathBuf {
        self.write(".config/oarlock/config.toml", text)
    }

    pub(crate) fn shared(&self, text: &str) -> PathBuf {
        self.write("project/.oarlock/config.toml", text)
    }

    /// The program in the project folder: nothing in its environment but HOME, PATH and what the test gave.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oarlock"));
        command.env_clear().env("HOME", self.path("")).env("PATH", "/usr/bin:/bin");
        command.envs(self.variables.iter().map(|(k, v)| (k, v)));
        command.current_dir(self.project()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        ran(&self.command().args(arguments).output().unwrap())
    }

    /// The lines of `doctor --config`.
    pub(crate) fn config(&self) -> Ran {
        let ran = self.run(&["doctor", "--config"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran
    }
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout.clone()).unwrap(),
        err: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

impl Ran {
    /// The line of a key.
    pub(crate) fn line(&self, key: &str) -> &str {
        let start = format!("{key} = ");
        self.out.lines().find(|line| line.starts_with(&start)).unwrap_or("")
    }

    /// Exactly one line on stderr, nothing on stdout.
    pub(crate) fn refused(&self, code: i32) -> &str {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with("oarlock: "), "{}", self.err);
        self.err.trim_end()
    }
}

pub(crate) fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

impl Home {
    /// Writes a script for the model `script` and returns what `--model` takes.
    pub(crate) fn script(&self, steps: &serde_json::Value) -> String {
        let path = self.write("script.json", &serde_json::json!({ "steps": steps }).to_string());
        format!("script/{}", path.display())
    }

    /// Every session of the machine, as `session list --json --all` tells it.
    pub(crate) fn sessions(&self) -> Vec<serde_json::Value> {
        let ran = self.run(&["session", "list", "--all", "--json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.lines()
    }
}

impl Ran {
    /// Stdout as lines of JSON.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last line of a `--json` run.
    pub(crate) fn result(&self) -> serde_json::Value {
        let last = self.lines().pop();
        last.and_then(|line| line.get("result").cloned())
            .unwrap_or_else(|| panic!("no result: {}", self.err))
    }
}
