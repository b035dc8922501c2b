//! Files that prompts mention, through the real program: what reaches the provider, and what is refused before anything is kept.

use serde_json::Value;

use crate::home::{Home, Ran};
use crate::loopback::Loopback;

/// What the user said in the last call.
fn said(server: &Loopback) -> Value {
    server.asked().last().unwrap()["messages"].as_array().unwrap().last().unwrap()["content"]
        .clone()
}

fn home(server: &Loopback) -> Home {
    let home = server.home("openai-chat", "");
    home.write("project/src/boat.rs", "fn row() {}\n");
    home.write("project/two words.md", "two oars\n");
    std::fs::write(home.path("project/cat.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
    home.write("secret", "42");
    home
}

fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn mentioned_files_reach_the_model_below_the_words() {
    let server = Loopback::start("aye");
    let home = home(&server);
    done(&home.run(&[
        "run",
        "explain @src/boat.rs, @\"two words.md\" and @cat.png; ask a@b.c, @app.route",
    ]));
    let parts = said(&server);
    let text = parts.to_string();
    assert_eq!(
        parts[0]["text"],
        "explain @src/boat.rs, @\"two words.md\" and @cat.png; ask a@b.c, @app.route"
    );
    assert_eq!(parts[1]["text"], "File src/boat.rs:\n\nfn row() {}\n");
    assert_eq!(parts[2]["text"], "File two words.md:\n\ntwo oars\n");
    assert_eq!(parts[3]["text"], "Picture cat.png:");
    assert!(text.contains("data:image/png;base64,"), "{text}");
    assert_eq!(parts.as_array().unwrap().len(), 5);

    // On stdin, in a resumed session, and beside --image.
    done(&home.run(&["run", "--resume", "--image", "cat.png", "again @src/boat.rs"]));
    assert_eq!(said(&server).as_array().map(Vec::len), Some(3));
    let chat = crate::sittings::fed(&home, &["chat"], b"look at @src/boat.rs\n");
    done(&chat);
    let text = said(&server);
    let text = text.as_str().unwrap();
    assert!(text.starts_with("look at @src/boat.rs\n"), "{text}");
    assert!(text.ends_with("\nFile src/boat.rs:\n\nfn row() {}\n"), "{text}");
}

#[test]
fn documents_reach_a_model_that_is_given_them_and_others_are_told_their_names() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "documents = true\n");
    home.write("project/paper.pdf", "%PDF-1.7");
    home.write("project/notes.md", "oars");
    done(&home.run(&["run", "sum up @paper.pdf"]));
    let parts = said(&server);
    assert_eq!(
        (&parts[0]["text"], &parts[1]["text"]),
        (&"sum up @paper.pdf".into(), &"Document paper.pdf:".into())
    );
    assert_eq!(parts[2]["file"]["filename"], "paper.pdf");
    assert_eq!(parts[2]["file"]["file_data"], "data:application/pdf;base64,JVBERi0xLjc=");
    done(&home.run(&["run", "--document", "paper.pdf", "sum up"]));
    assert_eq!(said(&server)[1]["file"]["filename"], "paper.pdf");
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let shown = home.run(&["session", "show", &id]);
    assert!(shown.out.contains("[paper.pdf, 8 bytes]"), "{} {}", shown.out, shown.err);
    let sessions = home.sessions().len();
    let refused = home.run(&["run", "--document", "notes.md", "sum up"]);
    assert!(refused.refused(1).contains("notes.md is no PDF"), "{}", refused.err);
    assert_eq!(home.sessions().len(), sessions);

    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    home.write("project/paper.pdf", "%PDF-1.7");
    done(&home.run(&["run", "--document", "paper.pdf", "sum up"]));
    assert!(
        said(&server)
            .to_string()
            .contains("[the document paper.pdf, which this model is not given]")
    );
}

#[test]
fn a_file_outside_is_refused_with_the_reason_and_leaves_no_session() {
    let server = Loopback::start("aye");
    let home = home(&server);
    std::os::unix::fs::symlink("../secret", home.path("project/link")).unwrap();
    std::fs::write(home.path("project/bin"), b"a\0b").unwrap();
    for (prompt, reason) in [
        ("read @../secret", "is outside the allowed folders; add its folder to the session"),
        ("read @link", "is outside the allowed folders"),
        ("read @/etc/hostname", "is outside the allowed folders"),
        ("read @bin", "is neither text, nor"),
    ] {
        let ran = home.run(&["run", prompt]);
        assert!(ran.refused(1).contains(reason), "{prompt}: {}", ran.err);
    }
    assert!(server.asked().is_empty() && home.sessions().is_empty());
    done(&home.run(&["run", "--add-dir", "..", "read @../secret"]));
    assert!(said(&server).as_str().unwrap().ends_with("/secret:\n\n42"));

    // A chat goes on after a line that it refused.
    let chat = crate::sittings::fed(&home, &["chat"], b"read @../secret\nhello\n");
    done(&chat);
    assert!(chat.err.contains("is outside the allowed folders"), "{}", chat.err);
    assert_eq!(said(&server), "hello");
}

#[test]
fn a_file_that_no_tool_may_read_is_not_attached_and_piped_words_attach_none() {
    let server = Loopback::start("aye");
    let home = home(&server);
    home.write("project/.env", "KEY=42\n");
    let deny = ["run", "--deny", "read_file(.env)"];
    for words in ["see @.env", "see @./.env.", "see @src/../.env"] {
        let refused = home.run(&[&deny[..], &[words]].concat());
        assert!(refused.refused(1).contains("`read_file(.env)` forbids it"), "{}", refused.err);
    }
    let refused = home.run(&["run", "--mode", "deny-all", "see @src/boat.rs"]);
    assert!(refused.refused(1).contains("no tool may run"), "{}", refused.err);
    assert!(home.sessions().is_empty());
    let chat = crate::sittings::fed(&home, &["chat", "--deny", "read_file(.env)"], b"see @.env\n");
    assert!(chat.err.contains("`read_file(.env)` forbids it"), "{}", chat.err);
    assert!(server.asked().is_empty());

    for arguments in [&["run", "-"][..], &["run"], &["run", "--mode", "deny-all", "-"]] {
        done(&crate::sittings::fed(&home, arguments, b"see @.env"));
        assert_eq!(said(&server), "see @.env", "{arguments:?}");
    }
    done(&home.run(&[&deny[..], &["see @src/boat.rs"]].concat()));
    assert!(said(&server).to_string().contains("fn row"));
}
