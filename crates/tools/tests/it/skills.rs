//! Skills on a real disk: what is found, what is left alone, and what the tool gives.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use oarlock_core::event::SkillLoaded;
use oarlock_core::ports::clock::Cancel;
use oarlock_core::ports::tool::{SessionNote, Tool};
use oarlock_tools::skills::{
    Found, Links, SKILL_BYTES_MAX, SKILLS_MAX, SkillTool, Skills, Source, find,
};
use serde_json::json;

use crate::kit::{Kit, text};

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn skill(folder: &Path, name: &str, text: &str) {
    let text = format!("---\nname: {name}\ndescription: does {name}\n---\n{text}");
    write(&folder.join(name).join("SKILL.md"), &text);
}

fn names(found: &[Found]) -> Vec<&str> {
    found.iter().map(|found| found.name.as_str()).collect()
}

fn why<'a>(found: &'a [Found], name: &str) -> &'a str {
    found.iter().find(|found| found.name == name).unwrap().text.as_ref().unwrap_err()
}

#[test]
fn the_folders_that_hold_a_skill_file_are_found_by_name() {
    let kit = Kit::new();
    let folder = kit.path("skills");
    assert!(find(&folder, Source::User, Links::Anywhere).is_empty());
    skill(&folder, "b", "B");
    skill(&folder, "a", "A");
    skill(&folder, ".hidden", "H");
    write(&folder.join("lower/skill.md"), "---\n---\n");
    write(&folder.join("category/c/SKILL.md"), "---\n---\n");
    write(&folder.join("README.md"), "no folder");
    write(&folder.join("long/SKILL.md"), &"x".repeat(SKILL_BYTES_MAX + 1));
    std::fs::create_dir_all(folder.join("odd/SKILL.md")).unwrap();
    std::fs::create_dir(folder.join("bytes")).unwrap();
    std::fs::write(folder.join("bytes/SKILL.md"), b"\xff").unwrap();
    let found = find(&folder, Source::User, Links::Anywhere);
    assert_eq!(names(&found), ["a", "b", "bytes", "long", "lower", "odd"]);
    assert!(why(&found, "bytes").contains("UTF-8"));
    assert!(why(&found, "long").contains("128 KiB"));
    assert!(why(&found, "odd").contains("no regular file"));
    let skills = Skills::read(&found, &[]);
    assert_eq!(skills.iter().map(|skill| skill.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(skills.left_out.len(), 4);
}

#[test]
fn a_users_links_are_followed_and_those_of_a_project_only_within_it() {
    let kit = Kit::new();
    let project = kit.path("p");
    let (folder, elsewhere) = (project.join(".agents/skills"), kit.outside().join("dotfiles"));
    skill(&elsewhere, "far", "F");
    skill(&project.join("tools"), "near", "N");
    std::fs::create_dir_all(folder.join("file")).unwrap();
    symlink(elsewhere.join("far"), folder.join("far")).unwrap();
    symlink("../../tools/near", folder.join("near")).unwrap();
    symlink(elsewhere.join("far/SKILL.md"), folder.join("file/SKILL.md")).unwrap();
    symlink("nowhere", folder.join("gone")).unwrap();
    std::fs::create_dir_all(folder.join("dangling")).unwrap();
    symlink("nowhere", folder.join("dangling/SKILL.md")).unwrap();
    let users = find(&folder, Source::User, Links::Anywhere);
    assert_eq!(names(&users), ["dangling", "far", "file", "near"]);
    assert!(users[1].text.is_ok() && users[2].text.is_ok() && users[3].text.is_ok());
    assert_eq!(users[1].folder, elsewhere.join("far").canonicalize().unwrap());
    let projects = find(&folder, Source::Project, Links::Within(&project));
    assert_eq!(names(&projects), names(&users));
    for name in ["far", "file"] {
        assert!(why(&projects, name).contains("leads out"), "{name}");
    }
    assert!(projects[3].text.is_ok());
    assert_eq!(projects[3].folder, project.join("tools/near"));
}

#[test]
fn a_folder_with_too_many_skills_gives_the_first_and_says_so() {
    let kit = Kit::new();
    let folder = kit.path("skills");
    (0..SKILLS_MAX + 5).for_each(|at| skill(&folder, &format!("s{at:03}"), "x"));
    let found = find(&folder, Source::User, Links::Anywhere);
    assert_eq!(found.len(), SKILLS_MAX + 1);
    assert!(why(&found, "s200").contains("200 skills are taken"));
}

#[tokio::test]
async fn a_loaded_skill_comes_with_its_folder_its_files_and_what_it_grants() {
    let kit = Kit::new();
    let folder = kit.path("skills");
    write(
        &folder.join("forms/SKILL.md"),
        "---\nname: forms\ndescription: d\nallowed-tools: Bash(python3:*), WebSearch\n---\n# Forms\nSee references/a.md",
    );
    write(&folder.join("forms/references/a.md"), "A");
    write(&folder.join("forms/scripts/b.py"), "B");
    write(&folder.join("forms/.git/config"), "hidden");
    symlink("/etc/passwd", folder.join("forms/link")).unwrap();
    skill(&folder, "other", "O");
    let skills = Skills::read(&find(&folder, Source::User, Links::Anywhere), &["bash".into()]);
    let tool: Arc<dyn Tool> = Arc::new(SkillTool::new(Arc::new(skills)));
    let run =
        async |arguments| Arc::clone(&tool).execute(arguments, kit.context(&Cancel::new())).await;

    let done = run(json!({"name": "forms"})).await.unwrap();
    let folder = folder.join("forms");
    assert_eq!(
        text(&done),
        format!(
            "# Skill forms\n\nIts folder is {}; relative paths below are meant from there.\n\
             Its files, which read_file reads below that folder:\n- references/a.md\n- scripts/b.py\n\
             Calls that it brings, run without a question where one would be asked: bash(python3), bash(python3 *)\n\n\
             # Forms\nSee references/a.md",
            folder.display()
        )
    );
    assert_eq!(done.detail["grants"], json!(["bash(python3)", "bash(python3 *)"]));
    let grants = vec!["bash(python3)".to_owned(), "bash(python3 *)".to_owned()];
    let loaded = SkillLoaded { name: "forms".to_owned(), grants };
    assert_eq!(done.notes, [SessionNote::Skill(loaded)]);
    let unknown = run(json!({"name": "fish"})).await.unwrap_err().to_string();
    assert_eq!(unknown, "there is no skill `fish`; there are: forms, other");
    let place = &kit.place;
    let assessed = tool.assess(&json!({"name": "forms"}), place).unwrap();
    assert_eq!(
        (assessed.title.as_str(), assessed.subject.parts),
        ("skill: forms", vec!["forms".to_owned()])
    );
    assert!(tool.assess(&json!({"name": "fish"}), place).is_err());
    assert!(tool.assess(&json!({"skill": "forms"}), place).is_err());
}

#[tokio::test]
async fn a_skill_with_many_files_names_some_of_them() {
    let kit = Kit::new();
    let folder = kit.path("skills");
    skill(&folder, "big", "x");
    (0..150).for_each(|at| write(&folder.join(format!("big/f{at:03}")), ""));
    let load = async || {
        let skills = Skills::read(&find(&folder, Source::User, Links::Anywhere), &[]);
        let tool = Arc::new(SkillTool::new(Arc::new(skills)));
        let done = tool.execute(json!({"name": "big"}), kit.context(&Cancel::new())).await.unwrap();
        text(&done).to_owned()
    };
    let words = load().await;
    assert!(
        words.contains("- f099\n")
            && !words.contains("- f100\n")
            && words.contains("and 50 more\n")
    );
    (0..2000).for_each(|at| write(&folder.join(format!("big/d/g{at:04}")), ""));
    assert!(load().await.contains("or more that are not named\n"));
}
