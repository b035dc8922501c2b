//! Skills on this machine: the folders where they are looked for, and those that a session may use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use oarlock_core::prompt::slash::{BUILT_IN, PromptFile};
use oarlock_tools::skills::{Found, Links, Skill, Skills, Source, Why, find};

use crate::terminal::safe;

use super::{ConfigError, Environment, Loaded, Project, Standing, paths};

/// Characters of a description in a list of commands.
const COMMAND_CHARS_MAX: usize = 100;

/// The skills of sessions, and what there is to say about them.
#[derive(Debug, Clone, Default)]
pub struct Shelved {
    /// Those that can be used.
    pub skills: Arc<Skills>,
    /// What somebody should know who expects others, in lines for a person.
    pub problems: Vec<String>,
}

/// Finds the skills of sessions by their folders.
#[derive(Debug)]
pub struct Shelf {
    enabled: bool,
    environment: Environment,
    /// The user's folders of skills, then those of `skills.dirs`.
    folders: Vec<(PathBuf, Source)>,
    /// The project in which the program runs.
    project: Project,
    /// The names of the tools that there are.
    tools: Vec<String>,
    here: OnceLock<Shelved>,
}

impl Shelf {
    /// A shelf for sessions whose tools have these names. Nothing is read before somebody asks.
    ///
    /// # Errors
    /// When a folder begins with `~/` and there is no home.
    pub fn new(loaded: &Loaded, tools: Vec<String>) -> Result<Self, ConfigError> {
        let environment = loaded.environment.clone();
        let own = paths::user_skills(&environment, &loaded.user_file);
        let mut folders: Vec<_> = own.into_iter().map(|folder| (folder, Source::User)).collect();
        let named_in = loaded.stack.source(&["skills", "dirs"]).and_then(|source| source.file());
        let beside = named_in.and_then(Path::parent).unwrap_or(&loaded.cwd);
        for dir in &loaded.config.skills.dirs {
            folders.push((beside.join(paths::expand(&environment, dir)?), Source::Extra));
        }
        Ok(Self {
            enabled: loaded.config.skills.enabled,
            environment,
            folders,
            project: loaded.project.clone(),
            tools,
            here: OnceLock::new(),
        })
    }

    /// The skills of sessions in this canonical folder. Reads files.
    #[must_use]
    pub fn of(&self, cwd: &Path) -> Shelved {
        if !self.enabled {
            return Shelved::default();
        }
        let root = paths::project_root(cwd);
        let root = root.canonicalize().unwrap_or(root);
        if root == self.project.root {
            return self.here.get_or_init(|| self.read(Some(&self.project))).clone();
        }
        // A project whose configuration cannot be read is nobody's word for anything.
        self.read(super::project(&self.environment, cwd).ok().as_ref())
    }

    fn read(&self, project: Option<&Project>) -> Shelved {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for (folder, source) in &self.folders {
            if *source == Source::Extra && !folder.is_dir() {
                problems.push(format!("`skills.dirs`: {} is no folder", folder.display()));
            }
            found.extend(find(folder, *source, Links::Anywhere));
        }
        if let Some(project) = project.filter(|project| !project.skills.is_empty()) {
            match project.standing {
                Standing::Trusted => found.extend(project.skills.iter().cloned()),
                Standing::Nothing | Standing::Changed | Standing::Untrusted => {
                    problems.push(format!(
                        "the skills of {} are not used; see `oarlock trust --show`, then `oarlock trust`",
                        project.root.display()
                    ));
                }
            }
        }
        let skills = Skills::read(&found, &self.tools);
        let broken = skills.left_out.iter().filter(|left| matches!(left.why, Why::Broken(_)));
        problems.extend(
            broken.map(|left| {
                format!("the skill {} is not used: {}", left.folder.display(), left.why)
            }),
        );
        Shelved { skills: Arc::new(skills), problems }
    }
}

/// The skills that a person uses by their names, as prompts: the model is asked to load them.
#[must_use]
pub fn as_prompts(skills: &Skills) -> Vec<PromptFile> {
    let usable =
        skills.commands().filter(|skill| !BUILT_IN.iter().any(|known| known.name == skill.name));
    let prompt = |skill: &Skill| PromptFile {
        name: skill.name.clone(),
        description: Some(safe::line(&skill.description, COMMAND_CHARS_MAX)),
        argument_hint: skill.argument_hint.clone(),
        body: format!(
            "Load the skill `{}` with the tool `skill`, and do what it says.\n\n$ARGUMENTS",
            skill.name
        ),
    };
    usable.map(prompt).collect()
}

/// What a project has as skills. A folder that is the user's own as well is not the project's.
#[must_use]
pub fn of_project(environment: &Environment, root: &Path) -> Vec<Found> {
    let user_file = paths::user_config(environment).unwrap_or_default();
    let own = paths::user_skills(environment, &user_file);
    let folders = paths::project_skills(root).into_iter().filter(|folder| !own.contains(folder));
    folders.flat_map(|folder| find(&folder, Source::Project, Links::Within(root))).collect()
}
