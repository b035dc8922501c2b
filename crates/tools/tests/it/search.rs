//! `search`: what it finds, in which order, and where it does not go.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use oarlock_core::ports::clock::Cancel;
use oarlock_core::ports::tool::ToolError;
use oarlock_tools::{SearchConfig, ToolsConfig};
use serde_json::json;

use crate::kit::{Kit, text};

fn filled() -> Kit {
    let kit = Kit::new();
    kit.put("a.rs", "fn one() {}\nlet x;\nfn two() {}\n");
    kit.put("src/b.rs", "x\nFN three\n");
    kit.put("src/c.txt", "fn four\r\nend");
    kit.put(".gitignore", "ignored/\n");
    kit.put("ignored/d.rs", "fn five\n");
    kit.put(".git/e.rs", "fn six\n");
    kit.put("bin", b"fn seven\0\n");
    std::fs::write(kit.outside().join("out.rs"), "fn eight\n").unwrap();
    symlink(kit.outside(), kit.path("link")).unwrap();
    symlink(kit.outside().join("out.rs"), kit.path("link.rs")).unwrap();
    kit
}

#[tokio::test]
async fn lines_are_found_by_file_with_their_numbers() {
    let kit = filled();
    let cases = [
        (
            json!({"pattern": "^fn "}),
            "a.rs\n1:fn one() {}\n3:fn two() {}\n\nsrc/c.txt\n1:fn four\n",
        ),
        (
            json!({"pattern": "^fn", "case_insensitive": true, "path": "src"}),
            "src/b.rs\n2:FN three\n\nsrc/c.txt\n1:fn four\n",
        ),
        (json!({"pattern": "^fn ", "path_glob": "*.txt"}), "src/c.txt\n1:fn four\n"),
        (json!({"pattern": "^fn ", "path": "src/c.txt"}), "src/c.txt\n1:fn four\n"),
        (json!({"pattern": "two", "before": 1}), "a.rs\n2-let x;\n3:fn two() {}\n"),
        (json!({"pattern": "one.*\\nlet", "multiline": true}), "a.rs\n1:fn one() {}\n2:let x;\n"),
        (json!({"pattern": "fn five", "respect_gitignore": false}), "ignored/d.rs\n1:fn five\n"),
        (
            json!({"pattern": "fn ", "head_limit": 1}),
            "a.rs\n1:fn one() {}\n[there may be more: the limit is reached]",
        ),
        (json!({"pattern": "six|eight"}), "[nothing found]"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(text(&kit.done("search", arguments.clone()).await), expected, "{arguments}");
    }
}

#[tokio::test]
async fn files_are_listed_newest_first() {
    let kit = filled();
    for (name, age) in [("a.rs", 30), ("src/b.rs", 10), ("src/c.txt", 20)] {
        let file = std::fs::File::options().write(true).open(kit.path(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)).unwrap();
    }
    let cases = [
        (json!({"mode": "files", "pattern": "*.rs"}), "src/b.rs\na.rs\n"),
        (json!({"mode": "files", "pattern": "src/**"}), "src/b.rs\nsrc/c.txt\n"),
        (
            json!({"mode": "files", "pattern": "*", "path": "src"}),
            "b.rs (11 bytes)\nc.txt (12 bytes)\n",
        ),
        (
            json!({"mode": "files", "pattern": "*.rs", "head_limit": 1}),
            "src/b.rs\n[there may be more: the limit is reached]",
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(text(&kit.done("search", arguments.clone()).await), expected, "{arguments}");
    }
}

#[tokio::test]
async fn a_search_stays_inside_and_within_its_limits() {
    let kit = filled();
    for path in ["..", "/etc", "link"] {
        assert!(
            kit.refused("search", json!({"pattern": "x", "path": path})).await.contains("outside"),
            "{path}"
        );
    }
    assert!(kit.refused("search", json!({"pattern": "("})).await.starts_with("`pattern`: "));
    assert_eq!(kit.refused("search", json!({"pattern": ""})).await, "`pattern` is empty");
    let search =
        SearchConfig { max_walk_files: 3, max_result_bytes: 40, ..SearchConfig::default() };
    let small = Kit::with(&ToolsConfig { search, ..ToolsConfig::default() });
    small.put("a", "match me, this is a long line\nmatch me again\n");
    let cut = small.done("search", json!({"pattern": "match"})).await;
    assert!(
        text(&cut).ends_with("[there may be more: the result is as long as it may be]"),
        "{}",
        text(&cut)
    );
    (0..9).for_each(|n| drop(small.put(&n.to_string(), "")));
    let cut = small.done("search", json!({"pattern": "nothing"})).await;
    assert_eq!(text(&cut), "[nothing found][there may be more: the walk was stopped; give a path]");
    let cancel = Cancel::new();
    cancel.cancel();
    let stopped = kit.tool("search").execute(json!({"pattern": "x"}), kit.context(&cancel)).await;
    assert!(matches!(stopped, Err(ToolError::Cancelled)));
}
