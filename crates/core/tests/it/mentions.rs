//! Files that a prompt mentions: what counts as a mention, what it adds, and what is refused.

use std::path::PathBuf;

use oarlock_core::limits::{MEDIA_BYTES, MENTION_BYTES, MENTION_LINES, MENTIONS_BYTES};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::mention::{Desk, MentionError, mentions, with_mentions};
use oarlock_testkit::files::{Node, TableFiles};
use oarlock_testkit::kit::node;

/// A word that is longer than the name of a file can be.
const LONG_NAME: &str = concat!(
    "@font-face{",
    "0123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
);

#[test]
fn an_at_sign_mentions_something_where_a_word_begins() {
    let table: [(&str, &[&str]); 15] = [
        ("look at @a.rs", &["a.rs"]),
        ("@a and @b/c.", &["a", "b/c."]),
        ("(@a.rs), [@b]", &["a.rs),", "b]"]),
        ("import x from '@/lib/utils' and `@c`", &[]),
        ("@\"two words.md\" and @\"open", &["two words.md", "\"open"]),
        ("@\"over\na line\"", &["\"over"]),
        ("mail rower@example.org", &[]),
        ("a@b @c@d", &["c@d"]),
        ("@app.route(\"/x\")", &["app.route(\"/x\")"]),
        ("@", &[]),
        ("@ a", &[]),
        ("@@a", &["@a"]),
        ("ß@a", &[]),
        ("see:@a", &[]),
        ("\n@ä ", &["ä"]),
    ];
    for (words, expected) in table {
        let longest: Vec<&str> = mentions(words).iter().map(|readings| readings[0]).collect();
        assert_eq!(longest, expected, "{words:?}");
    }
    assert_eq!(mentions("@a.rs).")[0], ["a.rs).", "a.rs)", "a.rs"]);
}

async fn parts(words: &str, nodes: &[(&str, Node)]) -> Result<Vec<Part>, MentionError> {
    let place = Place { cwd: PathBuf::from("/w/p"), roots: Vec::new() };
    let (files, blobs) = (TableFiles::new("/w/p", nodes), MemoryStore::new(node("a")));
    with_mentions(words.to_owned(), Desk { place: &place, files: &files, blobs: &blobs }).await
}

/// The texts behind the prompt's own words.
async fn added(words: &str, nodes: &[(&str, Node)]) -> Vec<String> {
    let parts = parts(words, nodes).await.unwrap();
    assert_eq!(parts[0], Part::text(words), "the words stay what they are");
    let text = |part: &Part| match part {
        Part::Text { text } => text.clone(),
        Part::Image { media_type, bytes, .. } => format!("{media_type} {bytes}"),
        Part::Document { name, bytes, .. } => format!("{name} {bytes}"),
    };
    parts[1..].iter().map(text).collect()
}

#[tokio::test]
async fn a_mentioned_file_follows_the_words_and_what_names_nothing_stays_a_word() {
    let nodes = [
        ("/w/p/a.rs", Node::text("fn a() {}\n")),
        ("/w/p/dot.", Node::text("dot")),
        ("/w/p/two words", Node::text("two")),
        ("/w/p/b", Node::Folder),
        ("/w/p/empty", Node::text("")),
        ("/w/p/cat.png", Node::Content(b"\x89PNG\r\n\x1a\nrest".to_vec())),
    ];
    let table: [(&str, &[&str]); 9] = [
        (LONG_NAME, &[]),
        ("see @a.rs.", &["File a.rs:\n\nfn a() {}\n"]),
        ("see @dot.", &["File dot.:\n\ndot"]),
        ("@\"two words\"", &["File two words:\n\ntwo"]),
        ("(@./x/../a.rs), @a.rs", &["File a.rs:\n\nfn a() {}\n"]),
        ("@/w/p/a.rs", &["File a.rs:\n\nfn a() {}\n"]),
        ("@b @none @app.route(\"/x\") x@a.rs", &[]),
        ("@empty", &["File empty:\n\n"]),
        ("@cat.png!", &["Picture cat.png:", "image/png 12"]),
    ];
    for (words, expected) in table {
        assert_eq!(added(words, &nodes).await, expected, "{words:?}");
    }
}

#[tokio::test]
async fn a_long_file_is_cut_at_a_line_and_the_cut_is_said() {
    let lines: String = (1..=MENTION_LINES + 5).map(|n| format!("{n}\n")).collect();
    let told = added("@a", &[("/w/p/a", Node::text(&lines))]).await;
    assert!(
        told[0].ends_with(
            "\n2000\n\n[the rest was left out: 8893 of 8918 bytes are above; read_file shows it from line 2001]"
        ),
        "{}",
        &told[0][told[0].len() - 120..]
    );
    let exact: String = lines.split_inclusive('\n').take(MENTION_LINES).collect();
    let told = added("@a", &[("/w/p/a", Node::text(&exact))]).await;
    assert!(told[0].ends_with("\n2000\n"));

    let wide = format!("{}\n", "x".repeat(1023)).repeat(MENTION_BYTES / 1024 + 1);
    let told = added("@a", &[("/w/p/a", Node::text(&wide))]).await;
    assert!(told[0].contains("65536 of 66560 bytes are above; read_file shows it from line 65]"));

    let nodes: Vec<(String, Node)> =
        (0..10).map(|n| (format!("/w/p/{n}"), Node::text(&"y".repeat(MENTION_BYTES)))).collect();
    let nodes: Vec<(&str, Node)> = nodes.iter().map(|(p, n)| (p.as_str(), n.clone())).collect();
    let told = added("@0 @1 @2 @3 @4 @5 @6 @7 @8 @9", &nodes).await;
    let given: usize = told.iter().map(|text| text.matches("yy").count() * 2).sum();
    assert_eq!((told.len(), given), (10, MENTIONS_BYTES));
    assert!(told[9].starts_with("File 9:\n\n\n[the rest was left out: 0 of 65536 bytes"));
}

#[tokio::test]
async fn what_is_outside_or_cannot_be_shown_is_refused_with_the_reason() {
    let mut huge = vec![0; MEDIA_BYTES + 1];
    huge[..6].copy_from_slice(b"GIF89a");
    let nodes = [
        ("/w/p/locked", Node::Locked),
        ("/w/p/bin", Node::Content(b"a\0b".to_vec())),
        ("/w/p/link", Node::LinkOut),
        ("/w/p/huge", Node::Content(huge)),
    ];
    let table = [
        (
            "@../q/secret",
            "@../q/secret: /w/q/secret is outside the allowed folders; add its folder",
        ),
        ("@/etc/passwd", "@/etc/passwd: /etc/passwd is outside the allowed folders"),
        ("@link", "@link: /w/p/link is outside the allowed folders"),
        ("@locked", "@locked: /w/p/locked: permission denied"),
        ("@bin", "@bin is neither text, nor a PNG, JPEG, GIF or WebP picture, nor a PDF"),
        ("@huge", "@huge is a picture of 10485761 bytes"),
    ];
    for (words, expected) in table {
        let error = parts(words, &nodes).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{words}: {error}");
    }
}
