//! The files port: nothing outside the roots, whatever the links do, and whole writes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oarlock_core::ports::files::{Expect, FileError, FileKind, Files, Fingerprint};
use oarlock_core::ports::tool::Place;
use oarlock_tools::{LocalFiles, ToolsConfig};
use serde_json::json;

use crate::kit::{Kit, text};

async fn read(kit: &Kit, path: &Path) -> Result<String, FileError> {
    let bytes = kit.files.read(path, 0, 1000).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn no_path_leads_out_of_the_roots() {
    let kit = Kit::new();
    let secret = kit.outside().join("secret");
    std::fs::write(&secret, "s").unwrap();
    std::fs::create_dir(kit.outside().join("work-not")).unwrap();
    std::fs::write(kit.outside().join("work-not/f"), "s").unwrap();
    symlink(&secret, kit.path("final")).unwrap();
    symlink(kit.outside(), kit.path("folder")).unwrap();
    symlink("../secret", kit.path("relative")).unwrap();
    symlink("final", kit.path("twice")).unwrap();
    kit.put("d/f", "x");
    let escapes = [
        "final",
        "folder/secret",
        "relative",
        "twice",
        "../secret",
        "d/../../secret",
        "folder/work/../secret",
        "../work-not/f",
    ];
    for name in escapes {
        let path = kit.path(name);
        assert!(matches!(read(&kit, &path).await, Err(FileError::Outside { .. })), "read {name}");
        let written = kit.files.write(&path, b"w".to_vec(), Expect::Anything).await;
        assert!(matches!(written, Err(FileError::Outside { .. })), "write {name}: {written:?}");
        assert!(
            matches!(kit.files.stat(&path).await, Err(FileError::Outside { .. })),
            "stat {name}"
        );
    }
    assert!(matches!(kit.files.list(&kit.path("folder"), 9).await, Err(FileError::Outside { .. })));
    assert!(matches!(read(&kit, Path::new("/etc/passwd")).await, Err(FileError::Outside { .. })));
    let made = kit.files.write(&kit.path("folder/new/f"), b"w".to_vec(), Expect::Anything).await;
    assert!(matches!(made, Err(FileError::Outside { .. })));
    assert!(!kit.outside().join("new").exists());
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "s");
}

#[tokio::test]
async fn links_that_stay_inside_any_root_work() {
    let kit = Kit::new();
    let other = kit.outside().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("f"), "other").unwrap();
    kit.put("d/f", "inside");
    symlink("d", kit.path("relative")).unwrap();
    symlink(kit.path("d"), kit.path("absolute")).unwrap();
    symlink("../work/d/f", kit.path("around")).unwrap();
    symlink(&other, kit.path("to-other")).unwrap();
    let place = Place { roots: vec![other], ..kit.place.clone() };
    let files = LocalFiles::new(&place);
    for (name, expected) in [
        ("relative/f", "inside"),
        ("absolute/f", "inside"),
        ("around", "inside"),
        ("d/../d/./f", "inside"),
        ("to-other/f", "other"),
        ("../other/f", "other"),
    ] {
        assert_eq!(files.read(&kit.path(name), 0, 100).await.unwrap(), expected, "{name}");
    }
    symlink("loop", kit.path("loop")).unwrap();
    assert!(matches!(files.stat(&kit.path("loop")).await, Err(FileError::Io { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_swapped_all_the_time_never_leads_out() {
    let kit = Kit::new();
    std::fs::create_dir(kit.outside().join("evil")).unwrap();
    std::fs::write(kit.outside().join("evil/f"), "secret").unwrap();
    kit.put("good/f", "fine");
    let (stop, swapped) = (Arc::new(AtomicBool::new(false)), kit.path("swapped"));
    let swapper = std::thread::spawn({
        let (stop, swapped, draft) = (Arc::clone(&stop), swapped.clone(), kit.path("draft"));
        let targets = [kit.path("good"), kit.outside().join("evil")];
        move || {
            for target in targets.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                symlink(target, &draft).unwrap();
                std::fs::rename(&draft, &swapped).unwrap();
            }
        }
    });
    let (mut fine, mut refused) = (0, 0);
    for _ in 0..20_000 {
        match read(&kit, &swapped.join("f")).await {
            Ok(text) => {
                assert_eq!(text, "fine");
                fine += 1;
            }
            Err(_) => refused += 1,
        }
        if fine > 300 && refused > 300 {
            break;
        }
    }
    for n in 0..300 {
        let written = kit
            .files
            .write(&swapped.join("new"), n.to_string().into_bytes(), Expect::Anything)
            .await;
        drop(written);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(fine > 0 && refused > 0, "{fine} fine, {refused} refused");
    assert!(!kit.outside().join("evil/new").exists());
}

#[tokio::test]
async fn a_write_keeps_mode_and_link_and_makes_folders() {
    let kit = Kit::new();
    let script = kit.put("script", "old");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o751)).unwrap();
    symlink("script", kit.path("link")).unwrap();
    kit.files.write(&kit.path("link"), b"new".to_vec(), Expect::Anything).await.unwrap();
    assert!(kit.path("link").is_symlink());
    assert_eq!(kit.text("script"), "new");
    assert_eq!(script.metadata().unwrap().permissions().mode() & 0o7777, 0o751);
    kit.files.write(&kit.path("a/b/c"), b"deep".to_vec(), Expect::Absent).await.unwrap();
    assert_eq!(kit.text("a/b/c"), "deep");
    let names = kit.files.list(&kit.path("."), 9).await.unwrap();
    let names: Vec<(&str, FileKind)> =
        names.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
    assert_eq!(
        names,
        [("a", FileKind::Folder), ("link", FileKind::File), ("script", FileKind::File)]
    );
}

#[tokio::test]
async fn a_write_that_finds_something_else_than_expected_is_a_conflict() {
    let kit = Kit::new();
    let path = kit.put("f", "one");
    let conflict = |result| matches!(result, Err(FileError::Conflict { .. }));
    assert!(conflict(kit.files.write(&path, b"x".to_vec(), Expect::Absent).await));
    let before = kit.files.stat(&path).await.unwrap().fingerprint;
    kit.put("f", "two");
    assert_ne!(kit.files.stat(&path).await.unwrap().fingerprint, before);
    assert!(conflict(kit.files.write(&path, b"x".to_vec(), Expect::Unchanged(before)).await));
    let now = kit.files.stat(&path).await.unwrap().fingerprint;
    let after = kit.files.write(&path, b"three".to_vec(), Expect::Unchanged(now)).await.unwrap();
    assert_eq!(after, kit.files.stat(&path).await.unwrap());
    let gone = Expect::Unchanged(Fingerprint("x".to_owned()));
    assert!(conflict(kit.files.write(&kit.path("none"), b"x".to_vec(), gone).await));
    assert_eq!(kit.text("f"), "three");
}

#[tokio::test]
async fn devices_and_pipes_are_never_opened() {
    let kit = Kit::new();
    let pipe = kit.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    assert_eq!(kit.files.stat(&pipe).await.unwrap().kind, FileKind::Other);
    assert!(matches!(read(&kit, &pipe).await, Err(FileError::WrongKind { .. })));
    assert!(matches!(
        kit.files.write(&pipe, b"x".to_vec(), Expect::Anything).await,
        Err(FileError::WrongKind { .. })
    ));
    assert!(matches!(read(&kit, &kit.place.cwd).await, Err(FileError::WrongKind { .. })));
    assert!(matches!(read(&kit, &kit.path("none")).await, Err(FileError::NotFound { .. })));
    let below = kit.put("f", "x").join("g");
    assert!(matches!(read(&kit, &below).await, Err(FileError::WrongKind { .. })));
}

#[tokio::test]
async fn readable_folders_are_read_and_never_written_and_no_link_leads_out_of_them() {
    let kit = Kit::new();
    let skill = kit.outside().join("skill");
    std::fs::create_dir_all(skill.join("scripts")).unwrap();
    std::fs::create_dir(kit.outside().join("other")).unwrap();
    std::fs::write(skill.join("scripts/a.py"), "print()").unwrap();
    std::fs::write(kit.outside().join("other/b.md"), "b").unwrap();
    std::fs::write(kit.outside().join("secret"), "s").unwrap();
    kit.put("own", "o");
    symlink("scripts/a.py", skill.join("inside")).unwrap();
    symlink(kit.outside().join("other/b.md"), skill.join("neighbour")).unwrap();
    symlink(kit.path("own"), skill.join("own")).unwrap();
    symlink("../secret", skill.join("out")).unwrap();
    let files = LocalFiles::new(&kit.place).reading([skill.clone(), kit.outside().join("other")]);
    for name in ["scripts/a.py", "inside", "../other/b.md"] {
        assert!(files.read(&skill.join(name), 0, 9).await.is_ok(), "{name}");
    }
    assert_eq!(files.list(&skill.join("scripts"), 9).await.unwrap().len(), 1);
    for name in ["neighbour", "own", "out", "../secret", "scripts/../../secret"] {
        let read = files.read(&skill.join(name), 0, 9).await;
        assert!(matches!(read, Err(FileError::Outside { .. })), "{name}: {read:?}");
    }
    for path in [skill.join("scripts/a.py"), skill.join("new")] {
        let written = files.write(&path, b"w".to_vec(), Expect::Anything).await;
        assert!(matches!(written, Err(FileError::Outside { .. })), "{path:?}: {written:?}");
    }
    assert!(files.read(&kit.path("own"), 0, 9).await.is_ok());
    assert!(matches!(read(&kit, &skill.join("inside")).await, Err(FileError::Outside { .. })));
}

#[tokio::test]
async fn no_file_of_a_hidden_folder_is_opened_whenever_it_was_made() {
    let kit = Kit::new();
    symlink(".", kit.path("way")).unwrap();
    // Neither the folder nor the one that it lies in is there.
    let files = LocalFiles::new(&kit.place).hiding(&[kit.path("way/state/tokens")]);
    let token = kit.put("state/tokens/a.json", "sesame");
    kit.put("state/tokens/.tmp1", "sesame");
    kit.put("state/tokens.toml", "open");
    std::fs::hard_link(&token, kit.path("twin")).unwrap();
    for name in ["state/tokens/a.json", "state/tokens/.tmp1", "way/state/tokens/a.json", "twin"] {
        let told = files.read(&kit.path(name), 0, 9).await.unwrap_err().to_string();
        assert!(told.contains("it holds keys, and no tool opens it"), "{name}: {told}");
    }
    let made = files.write(&kit.path("state/tokens/b"), b"w".to_vec(), Expect::Anything).await;
    assert!(made.unwrap_err().to_string().contains("no tool opens it"));
    assert!(files.read(&kit.path("state/tokens.toml"), 0, 9).await.is_ok());
}

#[tokio::test]
async fn hidden_files_are_neither_read_nor_written_nor_searched_under_any_name() {
    let kit = Kit::new();
    let secret = kit.put("data/keys.toml", "sesame");
    let later = kit.path("data/later");
    kit.put("data/other.toml", "sesame, open");
    symlink("data/keys.toml", kit.path("link")).unwrap();
    std::fs::hard_link(&secret, kit.path("twin")).unwrap();
    symlink("data", kit.path("way")).unwrap();
    // Named by way of a link, as a home may be.
    let hidden = vec![kit.path("way/keys.toml"), later.clone()];
    let files = LocalFiles::new(&kit.place).reading([kit.path("data")]).hiding(&hidden);
    for name in ["data/keys.toml", "link", "twin", "way/keys.toml", "data/../data/keys.toml"] {
        let path = kit.path(name);
        let told = files.read(&path, 0, 9).await.unwrap_err().to_string();
        assert!(told.contains("it holds keys, and no tool opens it"), "{name}: {told}");
        assert!(files.stat(&path).await.is_err(), "{name}");
    }
    for path in [&secret, &kit.path("link"), &later] {
        let told = files.write(path, b"w".to_vec(), Expect::Anything).await.unwrap_err();
        assert!(told.to_string().contains("no tool opens it"), "{told}");
    }
    assert!(!later.exists());
    assert_eq!(kit.text("data/keys.toml"), "sesame");
    assert!(files.read(&kit.path("data/other.toml"), 0, 9).await.is_ok());
    assert_eq!(files.list(&kit.path("data"), 9).await.unwrap().len(), 2);
    let query = json!({"pattern": "sesame", "path": "data"});
    let config = ToolsConfig { hidden_files: hidden, ..ToolsConfig::default() };
    let mut hiding = Kit::with(&config);
    hiding.place = kit.place.clone();
    let found = hiding.done("search", query.clone()).await;
    assert_eq!(text(&found), "data/other.toml\n1:sesame, open\n");
    assert!(text(&kit.done("search", query).await).contains("keys.toml"));
}
