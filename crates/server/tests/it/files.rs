//! Files of a session whose client has an editor's buffers: what is asked of it, and what stays this machine's.

use std::path::Path;
use std::sync::Arc;

use oarlock_core::ports::files::{Expect, FileError, FileKind};
use oarlock_core::spec::Mode;
use oarlock_testkit::kit::Parts;
use oarlock_testkit::model::{Say, calls, text};
use serde_json::{Value, json};

use crate::desk::{Client, Desk};
use crate::machine::{Lent, Machine, equipped};

const READ: &str = "fs/read_text_file";
const WRITE: &str = "fs/write_text_file";

fn both() -> Value {
    json!({ "fs": { "readTextFile": true, "writeTextFile": true } })
}

/// A client with these capabilities, and what a running call of its session works with.
pub(crate) async fn borrow(machine: &Arc<Machine>, capabilities: Value) -> (Client, Lent) {
    let script =
        vec![vec![Say::Reply(calls(&[("c1", "lend", "{}")]))], vec![Say::Reply(text("done"))]];
    let (kit, mut lent) = equipped(Parts::new(script, vec![]), Arc::clone(machine));
    let desk = Desk::with(kit, Mode::OPEN);
    let mut client = desk.client_with(capabilities).await;
    let session = client.session().await;
    client.prompt(&session, "lend it").await;
    client.until(|m| m["params"]["update"]["status"] == "in_progress").await;
    (client, lent.recv().await.expect("the call runs"))
}

/// Answers the next request of this method, and returns what it asked.
async fn give(client: &mut Client, method: &str, result: Value) -> Value {
    let asked = client.until(|m| m["method"] == method).await.pop().expect("it is asked");
    client.reply(&asked, result).await;
    asked["params"].clone()
}

async fn refuse(client: &mut Client, method: &str, code: i64) {
    let asked = client.until(|m| m["method"] == method).await.pop().expect("it is asked");
    let error = json!({ "code": code, "message": "no such thing" });
    client.send(json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error })).await;
}

async fn shows(client: &mut Client, content: &str) -> Value {
    give(client, READ, json!({ "content": content })).await
}

#[tokio::test(start_paused = true)]
async fn a_text_is_read_with_what_is_not_saved() {
    let machine = Machine::with(&[("/w/a.txt", b"saved\n")]);
    let (mut client, lent) = borrow(&machine, both()).await;
    let (files, path) = (&lent.cx.files, Path::new("/w/a.txt"));
    let (stat, asked) = tokio::join!(files.stat(path), shows(&mut client, "not saved\n"));
    let first = stat.unwrap();
    assert_eq!((first.kind, first.bytes), (FileKind::File, 10));
    assert_eq!(asked["path"], "/w/a.txt");
    assert!(asked["sessionId"].is_string() && asked["line"].is_null(), "{asked}");
    for (offset, max, expected) in [(0, 3, "not"), (4, 100, "saved\n"), (10, 5, ""), (99, 5, "")] {
        let read = files.read(path, offset, max).await.unwrap();
        assert_eq!(read, expected, "what the look found is not asked for again");
    }
    let (stat, _) = tokio::join!(files.stat(path), shows(&mut client, "typed\n"));
    assert_ne!(stat.unwrap().fingerprint, first.fingerprint, "each look is a new one");
    assert_eq!(files.read(path, 0, 100).await.unwrap(), "typed\n");
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    let (read, _) = tokio::join!(files.read(path, 0, 100), shows(&mut client, "later\n"));
    assert_eq!(read.unwrap(), "later\n");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_text_of_the_session_is_this_machines() {
    let large = vec![b'a'; 11 << 20];
    let (nul, latin): (&[u8], &[u8]) = (b"\x89PNG\0\x01", b"caf\xe9");
    let machine = Machine::with(&[("/w/nul", nul), ("/w/latin", latin), ("/w/large", &large)]);
    let (mut client, lent) = borrow(&machine, both()).await;
    let files = &lent.cx.files;
    for (path, expected) in [("/w/nul", nul), ("/w/latin", latin), ("/w/large", &large)] {
        let path = Path::new(path);
        assert_eq!(files.stat(path).await.unwrap().bytes, expected.len() as u64);
        assert_eq!(files.read(path, 0, 100).await.unwrap(), expected[..expected.len().min(100)]);
    }
    assert_eq!(files.stat(Path::new("/w")).await.unwrap().kind, FileKind::Folder);
    let outside = files.stat(Path::new("/etc/passwd")).await;
    assert!(matches!(outside, Err(FileError::Outside { .. })), "{outside:?}");
    let bytes = files.write(Path::new("/w/nul"), vec![0xff], Expect::Anything).await;
    assert_eq!(bytes.unwrap().bytes, 1);
    assert_eq!(machine.content("/w/nul").unwrap(), [0xff]);
    assert!(client.is_silent().await, "none of it is asked of the client");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_where_either_of_them_has_it() {
    const MISSING: i64 = -32002;
    const BROKEN: i64 = -32603;
    let machine = Machine::with(&[("/w/a", b"here")]);
    let (mut client, lent) = borrow(&machine, both()).await;
    let (files, a, new) = (&lent.cx.files, Path::new("/w/a"), Path::new("/w/new"));
    let (read, _) = tokio::join!(files.read(new, 0, 100), shows(&mut client, "a buffer"));
    assert_eq!(read.unwrap(), "a buffer");
    let (read, ()) = tokio::join!(files.read(a, 0, 100), refuse(&mut client, READ, MISSING));
    assert_eq!(read.unwrap(), "here", "it was made a moment ago");
    for code in [MISSING, BROKEN] {
        let (stat, ()) = tokio::join!(files.stat(new), refuse(&mut client, READ, code));
        assert!(matches!(stat, Err(FileError::NotFound { .. })), "{stat:?}");
    }
    let (stat, ()) = tokio::join!(files.stat(a), refuse(&mut client, READ, BROKEN));
    assert_eq!(stat.unwrap_err().to_string(), "/w/a: the editor says: no such thing");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_waited_for_and_then_given_up() {
    let machine = Machine::with(&[("/w/a", b"here")]);
    let (mut client, lent) = borrow(&machine, both()).await;
    let files = &lent.cx.files;
    for path in ["/w/a", "/w/new"] {
        let before = tokio::time::Instant::now();
        let path = Path::new(path);
        let (stat, asked) =
            tokio::join!(files.stat(path), client.until(|m| m["method"] == "$/cancel_request"));
        let words = format!("{}: the editor did not answer within 10 s", path.display());
        assert_eq!(stat.unwrap_err().to_string(), words);
        assert_eq!(before.elapsed().as_secs(), 10);
        assert_eq!(asked[0]["id"], asked[1]["params"]["requestId"], "the question is withdrawn");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_goes_into_the_buffer_that_was_read() {
    let machine = Machine::with(&[("/w/a", b"saved")]);
    let (mut client, lent) = borrow(&machine, both()).await;
    let (files, path) = (&lent.cx.files, Path::new("/w/a"));
    let (stat, _) = tokio::join!(files.stat(path), shows(&mut client, "one"));
    let expect = Expect::Unchanged(stat.unwrap().fingerprint);
    let (written, asked) =
        tokio::join!(files.write(path, b"two".to_vec(), expect.clone()), async {
            shows(&mut client, "one").await;
            let asked = give(&mut client, WRITE, json!({})).await;
            shows(&mut client, "two, formatted").await;
            asked
        });
    assert_eq!((&asked["path"], &asked["content"]), (&json!("/w/a"), &json!("two")));
    assert_eq!(written.unwrap().bytes, 14, "it is what a read gives");
    assert_eq!(machine.content("/w/a").unwrap(), b"saved", "to save it is the editor's business");
    let (written, _) =
        tokio::join!(files.write(path, b"x".to_vec(), expect), shows(&mut client, "typed"));
    assert!(matches!(written, Err(FileError::Conflict { .. })), "{written:?}");
    let (written, ()) = tokio::join!(files.write(path, b"x".to_vec(), Expect::Anything), async {
        shows(&mut client, "typed").await;
        refuse(&mut client, WRITE, -32603).await;
    });
    assert_eq!(written.unwrap_err().to_string(), "/w/a: the editor says: no such thing");
}

#[tokio::test(start_paused = true)]
async fn a_new_file_is_made_here_and_filled_by_the_client() {
    let machine = Machine::with(&[]);
    let (mut client, lent) = borrow(&machine, both()).await;
    let (files, path) = (&lent.cx.files, Path::new("/w/new"));
    let (written, asked) =
        tokio::join!(files.write(path, b"text".to_vec(), Expect::Absent), async {
            refuse(&mut client, READ, -32002).await;
            let asked = give(&mut client, WRITE, json!({})).await;
            refuse(&mut client, READ, -32603).await;
            asked
        });
    assert_eq!(asked["content"], "text");
    assert_eq!(written.unwrap().bytes, 4, "a look that fails undoes no write");
    assert_eq!(machine.content("/w/new").unwrap(), b"");
    let outside = files.write(Path::new("/etc/x"), b"x".to_vec(), Expect::Anything).await;
    assert!(matches!(outside, Err(FileError::Outside { .. })), "{outside:?}");
    assert!(client.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn each_way_is_gone_only_where_the_client_offers_it() {
    let path = Path::new("/w/a");
    let machine = Machine::with(&[("/w/a", b"saved")]);
    let (mut client, lent) = borrow(&machine, json!({ "fs": { "readTextFile": true } })).await;
    let files = &lent.cx.files;
    let (stat, _) = tokio::join!(files.stat(path), shows(&mut client, "typed"));
    let expect = Expect::Unchanged(stat.unwrap().fingerprint);
    let (written, _) = tokio::join!(files.write(path, b"x".to_vec(), expect), async {
        shows(&mut client, "typed").await;
        shows(&mut client, "x").await
    });
    written.unwrap();
    assert_eq!(machine.content("/w/a").unwrap(), b"x");

    let (mut client, lent) = borrow(&machine, json!({ "fs": { "writeTextFile": true } })).await;
    let files = &lent.cx.files;
    let expect = Expect::Unchanged(files.stat(path).await.unwrap().fingerprint);
    let (written, asked) =
        tokio::join!(files.write(path, b"y".to_vec(), expect), give(&mut client, WRITE, json!({})));
    assert_eq!((written.is_ok(), &asked["content"]), (true, &json!("y")));

    let (mut client, lent) = borrow(&machine, json!({ "terminal": true })).await;
    let files = &lent.cx.files;
    files.write(path, b"z".to_vec(), Expect::Anything).await.unwrap();
    assert_eq!(files.read(path, 0, 9).await.unwrap(), "z");
    assert!(client.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_loaded_works_with_the_files_of_who_loads_it_unless_it_works_already() {
    let turn = || [Say::Reply(calls(&[("c1", "lend", "{}")])), Say::Reply(text("done"))];
    let script = (0..2).flat_map(|_| turn()).map(|say| vec![say]).collect();
    let machine = Machine::with(&[("/w/a", b"saved")]);
    let (kit, mut lent) = equipped(Parts::new(script, vec![]), machine);
    let desk = Desk::with(kit, Mode::OPEN);
    let mut first = desk.client().await;
    let session = first.session().await;
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let path = Path::new("/w/a");

    let mut second = desk.client_with(both()).await;
    let (loaded, _) = second.call("session/load", load.clone()).await;
    assert!(loaded["result"].is_object(), "{loaded}");
    let turn = second.prompt(&session, "lend it").await;
    let files = Arc::clone(&lent.recv().await.unwrap().cx.files);
    assert_eq!(files.read(path, 0, 9).await.unwrap(), "saved", "as the first one opened it");
    second.answer(turn).await;
    second.leave().await.unwrap();
    first.leave().await.unwrap();

    let mut third = desk.client_with(both()).await;
    let (loaded, _) = third.call("session/load", load).await;
    assert!(loaded["result"].is_object(), "{loaded}");
    third.prompt(&session, "lend it").await;
    let files = Arc::clone(&lent.recv().await.unwrap().cx.files);
    let (read, _) = tokio::join!(files.read(path, 0, 9), shows(&mut third, "typed"));
    assert_eq!(read.unwrap(), "typed");
    third.leave().await.unwrap();
    assert_eq!(files.read(path, 0, 9).await.unwrap(), "typed", "for the moment");
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    assert_eq!(files.read(path, 0, 9).await.unwrap(), "saved", "nobody is left to be asked");
}
