//! Bodies: stored, and given out to those who read a session that names them.

use axum::body::{Body, to_bytes};
use hyper::{Request, Response};
use oarlock_testkit::model::{Say, text};
use serde_json::json;

use super::http::{Http, json as body};
use super::{Surface, deferred, done};
use crate::desk::Desk;

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\nand so on";

async fn upload(http: &Http, bytes: &'static [u8]) -> String {
    let stored = http.send(Request::post("/v1/blobs").body(bytes.into()).unwrap()).await;
    let stored = body(stored).await;
    assert_eq!(stored["bytes"], bytes.len());
    stored["blob"].as_str().unwrap().to_owned()
}

async fn download(http: &Http, session: &str, blob: &str, range: &str) -> Response<Body> {
    let request = Request::get(format!("/v1/sessions/{session}/blobs/{blob}"));
    http.send(request.header("range", range).body(Body::empty()).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_body_is_given_out_whole_or_in_part_where_a_session_names_it_and_nowhere_else() {
    let http = Http::at(&Desk::new(vec![vec![Say::Reply(text("nice"))]], vec![])).await;
    let (session, other) = (deferred(&http).await, deferred(&http).await);
    let blob = upload(&http, PICTURE).await;
    assert_eq!(download(&http, &session, &blob, "").await.status(), 404, "it is not named yet");
    let picture = json!({
        "type": "image", "media_type": "image/png", "blob": blob, "bytes": PICTURE.len(),
    });
    let go = json!({ "session_id": session, "prompt": [picture] });
    done(&http, "turn/start", go).await;
    let whole = download(&http, &session, &blob, "").await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["x-content-type-options"], "nosniff");
    assert!(whole.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert_eq!(to_bytes(whole.into_body(), 1024).await.unwrap(), PICTURE);
    for (range, from, to) in [("bytes=1-3", 1, 4), ("bytes=8-", 8, 17), ("bytes=-2", 15, 17)] {
        let part = download(&http, &session, &blob, range).await;
        assert_eq!(part.status(), 206, "{range}");
        let said = format!("bytes {from}-{}/{}", to - 1, PICTURE.len());
        assert_eq!(part.headers()["content-range"], said.as_str());
        assert_eq!(to_bytes(part.into_body(), 1024).await.unwrap(), PICTURE[from..to]);
    }
    assert_eq!(download(&http, &session, &blob, "bytes=17-").await.status(), 416);
    assert_eq!(download(&http, &other, &blob, "").await.status(), 404, "another session");
    assert_eq!(download(&http, "nobody", &blob, "").await.status(), 404);
    assert_eq!(download(&http, &session, "..%2F..%2Fpasswd", "").await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_document_is_named_as_a_picture_is_and_has_the_size_that_was_stored() {
    let desk = Desk::new(vec![vec![Say::Reply(text("read"))]], vec![]);
    let http = Http::at(&desk).await;
    let session = deferred(&http).await;
    let blob = upload(&http, b"%PDF-1.7").await;
    let go = |bytes: usize| {
        let paper = json!({
            "type": "document", "media_type": "application/pdf", "name": "a.pdf", "blob": blob, "bytes": bytes,
        });
        json!({ "session_id": session, "prompt": [paper] })
    };
    let refused = http.call("turn/start", go(9)).await;
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.contains("has 8 bytes and not 9"), "{refused}");
    for (kind, media_type) in [("image", "image/png"), ("document", "application/msword")] {
        let mut told = json!({ "type": kind, "media_type": media_type, "name": "a", "blob": blob, "bytes": 8 });
        if kind == "image" {
            told.as_object_mut().unwrap().remove("name");
        }
        let go = json!({ "session_id": session, "prompt": [told] });
        let refused = format!("{:?}", http.call("turn/start", go).await.unwrap_err());
        assert!(refused.contains("is not what its part says"), "{kind}: {refused}");
    }
    done(&http, "turn/start", go(8)).await;
    let asked = desk.kit.model.requests().remove(0);
    assert_eq!(asked.bodies.len(), 1, "{asked:?}");
}
