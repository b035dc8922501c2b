//! Recorded answers outside the repository, found by `OARLOCK_CORPUS`, and a model that is given their bytes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::{ModelError, ModelEvent, Reply};
use oarlock_models::{CannedAnswer, Wire};
pub(crate) use oarlock_testkit::model::asking as request;
use serde_json::Value;

/// One recorded answer.
pub(crate) struct Case {
    /// `provider/case`.
    pub(crate) name: String,
    /// `sse`, `json` or another form.
    pub(crate) kind: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What the vendor's own SDK made of it.
    pub(crate) golden: Option<Value>,
}

/// The corpus; nothing, and words about it, when it is not there.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub(crate) fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("OARLOCK_CORPUS").map(PathBuf::from);
    if root.is_none() {
        println!("skipped: OARLOCK_CORPUS is not set");
    }
    root
}

/// The cases of one folder of the corpus, by name.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let mut folders: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.iter().map(|folder| case(folder)).collect()
}

fn case(folder: &Path) -> Case {
    let meta: Value = json(&folder.join("meta.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = meta["headers"].as_object().unwrap();
    // The bytes are recorded after decompression.
    let headers = headers.iter().filter(|(name, _)| name.as_str() != "content-encoding");
    Case {
        name: format!("{}/{}", text(&meta["provider"]), text(&meta["case"])),
        kind: text(&meta["kind"]),
        status: meta["status"].as_u64().unwrap().try_into().unwrap(),
        headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
        body: std::fs::read(folder.join(text(&meta["response_file"]))).unwrap(),
        golden: json(&folder.join("golden.json")),
    }
}

fn json(path: &Path) -> Option<Value> {
    Some(serde_json::from_slice(&std::fs::read(path).ok()?).unwrap())
}

/// What a model of this wire makes of an answer that arrives in these chunks.
pub(crate) fn answer(
    wire: Wire,
    case: &Case,
    chunks: Vec<Bytes>,
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    let (status, headers) = (case.status, case.headers.clone());
    let model = CannedAnswer { status, headers, chunks }.model(wire);
    let request = request(vec![Message::User { parts: vec![Part::text("hello")] }]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut events: Vec<_> = runtime.block_on(model.call(request).collect());
    let Some(last) = events.pop() else { panic!("{}: no event at all", case.name) };
    let shown = events.into_iter().map(Result::unwrap).collect();
    match last? {
        ModelEvent::Reply(reply) => Ok((shown, reply)),
        other => panic!("{}: the last event is {other:?}", case.name),
    }
}
