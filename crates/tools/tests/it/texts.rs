//! `read_file`, `write_file` and `edit_file`.

use oarlock_core::message::Part;
use oarlock_core::ports::clock::Cancel;
use proptest::prelude::*;
use serde_json::json;

use crate::kit::{Kit, text};

#[tokio::test]
async fn a_window_has_numbers_and_says_how_to_go_on() {
    let kit = Kit::new();
    kit.put("f", "a\nb\r\nc\nd");
    kit.put("empty", "");
    kit.put("latin", b"caf\xe9\n");
    kit.put("long", "x".repeat(5000));
    let cases = [
        (json!({"path": "f"}), "     1\ta\n     2\tb\n     3\tc\n     4\td\n"),
        (
            json!({"path": "f", "offset": 2, "limit": 2}),
            "     2\tb\n     3\tc\n[there is more: go on with offset 4]",
        ),
        (json!({"path": "f", "offset": 9}), "[there are only 4 lines]"),
        (json!({"path": "empty"}), "[the file is empty]"),
        (
            json!({"path": "latin"}),
            "     1\tcaf\u{FFFD}\n[not all of it is UTF-8; what is not is shown as \u{FFFD}]",
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(text(&kit.done("read_file", arguments.clone()).await), expected, "{arguments}");
    }
    let output = kit.done("read_file", json!({"path": "f", "limit": 3})).await;
    let detail = json!({"bytes": 8, "lines_returned": 3, "start_line": 1, "truncated": true});
    assert_eq!(serde_json::Value::Object(output.detail), detail);
    let long = kit.done("read_file", json!({"path": "long"})).await;
    assert!(text(&long).ends_with("x [… line of 5000 bytes]\n"));
}

#[tokio::test]
async fn what_is_no_text_is_refused_and_a_picture_is_shown() {
    let kit = Kit::new();
    kit.put("bin", b"ab\0c");
    kit.put("pic.txt", b"\x89PNG\r\n\x1a\nrest");
    assert_eq!(
        kit.refused("read_file", json!({"path": "bin"})).await,
        "bin is a binary file of 4 bytes, not text"
    );
    let folder = kit.refused("read_file", json!({"path": "."})).await;
    assert_eq!(folder, ". is a folder; list it with search in mode files");
    assert!(kit.refused("read_file", json!({"path": "/etc/passwd"})).await.contains("outside"));
    assert!(kit.refused("read_file", json!({"path": "blob:00"})).await.contains("no stored body"));
    let picture = kit.done("read_file", json!({"path": "pic.txt"})).await;
    let [Part::Image { media_type, bytes, .. }] = &picture.content[..] else {
        panic!("{picture:?}")
    };
    assert_eq!((media_type.as_str(), *bytes), ("image/png", 12));
    kit.put("papers/a.pdf", b"%PDF-1.7");
    let paper = kit.done("read_file", json!({"path": "papers/a.pdf"})).await;
    let [Part::Document { media_type, name, bytes, .. }] = &paper.content[..] else {
        panic!("{paper:?}")
    };
    assert_eq!((media_type.as_str(), name.as_str(), *bytes), ("application/pdf", "a.pdf", 8));
}

#[tokio::test]
async fn writing_keeps_line_ends_and_shows_the_difference_first() {
    let kit = Kit::new();
    kit.put("dos", "a\r\nb\r\n");
    let arguments = json!({"path": "dos", "content": "a\nc\n"});
    let shown = kit.tool("write_file").describe(&arguments, &kit.context(&Cancel::new())).await;
    assert!(shown.contains("-b") && shown.contains("+c") && !shown.contains("-a"), "{shown}");
    assert_eq!(kit.text("dos"), "a\r\nb\r\n");
    kit.done("write_file", arguments).await;
    assert_eq!(kit.text("dos"), "a\r\nc\r\n");
    let made = kit.done("write_file", json!({"path": "x/y/new", "content": "n"})).await;
    let detail = json!({"bytes_written": 1, "created": true, "parent_existed": false});
    assert_eq!(serde_json::Value::Object(made.detail), detail);
    assert_eq!(text(&kit.done("read_file", json!({"path": "x/y/new"})).await), "     1\tn\n");
}

#[tokio::test]
async fn an_edit_reports_what_it_did_and_refuses_what_is_unclear() {
    let kit = Kit::new();
    kit.put("f", "one\n  two\nthree\none\n");
    let edit =
        |before: &str, after: &str| json!({"path": "f", "old_string": before, "new_string": after});
    let refusals = [
        (edit("", "x"), "`old_string` is empty; use write_file to make a file"),
        (edit("a", "a"), "`old_string` and `new_string` are the same"),
        (
            edit("four", "x"),
            "f: `old_string` was not found; read the file again and copy the lines as they are",
        ),
        (
            edit("one", "x"),
            "f: `old_string` was found 2 times, at lines 1, 4: add lines around it until it is unique, or set replace_all",
        ),
    ];
    for (arguments, words) in refusals {
        assert_eq!(kit.refused("edit_file", arguments).await, words);
    }
    assert_eq!(
        text(&kit.done("edit_file", edit("three", "3")).await),
        "edited f: 1 replacement at line 3"
    );
    let fuzzy = kit.done("edit_file", edit("two\n3\n", "2\n3\n")).await;
    assert!(text(&fuzzy).contains("1 replacement at line 2"), "{}", text(&fuzzy));
    let all = json!({"path": "f", "old_string": "one", "new_string": "1", "replace_all": true});
    assert_eq!(kit.done("edit_file", all).await.detail["replacements"], json!(2));
    assert_eq!(kit.text("f"), "1\n  2\n3\n1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "the test joins what it spawns, so that the calls really run at once"
)]
async fn twenty_edits_of_one_file_at_once_are_all_kept() {
    let kit = Kit::new();
    let lines: String = (0..20).map(|n| format!("line <{n}>\n")).collect();
    kit.put("f", &lines);
    // Two sets of tools, as two sessions have.
    let other = oarlock_tools::default_tools(&oarlock_tools::ToolsConfig::default()).unwrap();
    let other = other.iter().find(|tool| tool.schema().name == "edit_file").unwrap();
    let calls = (0..20).map(|n| {
        let arguments =
            json!({"path": "f", "old_string": format!("<{n}>"), "new_string": format!("done {n}")});
        let tool = if n % 10 == 0 { other.clone() } else { kit.tool("edit_file") };
        tokio::task::spawn(tool.execute(arguments, kit.context(&Cancel::new())))
    });
    for done in futures::future::join_all(calls).await {
        done.unwrap().unwrap();
    }
    let expected: String = (0..20).map(|n| format!("line done {n}\n")).collect();
    assert_eq!(kit.text("f"), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_changes_nothing_but_what_it_matched(
        lines in prop::collection::vec("[ \t]{0,3}[ab]{0,2}[ ]{0,2}[c\\\\n]{0,2}", 1..8),
        from in 0_usize..8,
        length in 1_usize..3,
        mangle in 0_u8..4,
        crlf: bool,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let file = lines.join(end);
        let from = from % lines.len();
        let wanted = &lines[from..lines.len().min(from + length)];
        let wanted: Vec<String> = wanted.iter().map(|line| match mangle {
            0 => line.clone(),
            1 => format!("  {line}"),
            2 => line.trim().to_owned(),
            _ => line.split_whitespace().collect::<Vec<_>>().join("   "),
        }).collect();
        let wanted = wanted.join("\n");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kit = Kit::new();
        kit.put("f", &file);
        let arguments = json!({"path": "f", "old_string": wanted, "new_string": "@@@"});
        let result = runtime.block_on(kit.run("edit_file", arguments));
        let after = kit.text("f");
        match result {
            Err(_) => prop_assert_eq!(after, file),
            Ok(_) => {
                // What stands before and after the replacement was there before, and what it replaced is what was asked for, blanks aside.
                let at = after.find("@@@").unwrap();
                let start = &after[..at];
                let rest = &after[at + 3..];
                prop_assert!(file.starts_with(start.trim_end_matches([' ', '\t'])) && file.ends_with(rest));
                let begin = start.trim_end_matches([' ', '\t']).len();
                let replaced = &file[begin..file.len() - rest.len()];
                let solid = |text: &str| text.split_whitespace().collect::<String>();
                let (replaced, wanted) = (solid(replaced), solid(&wanted));
                prop_assert!(replaced == wanted || replaced == solid(&wanted.replace("\\n", "\n").replace("\\\\", "\\")));
            }
        }
    }
}
