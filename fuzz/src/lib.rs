//! What every target does: the bytes come as the body of an answer, cut as the first of them say, and whatever becomes of it stays within bounds.
#![forbid(unsafe_code)]

use futures::FutureExt;
use oarlock_models::{CannedAnswer, Wire};
use oarlock_testkit::heard::{Heard, heard};
use oarlock_testkit::streams::cut;

/// Sizes of chunks that an input can name.
const SIZES_MAX: u8 = 8;

/// Reads an answer. The first byte says how many of the next ones are sizes of chunks, less one, which are gone through in a circle; the rest is the
/// body, whole where there is none.
///
/// # Panics
/// When the call does not keep to what every call keeps to, or the answer depends on its chunks.
pub fn answer(wire: Wire, data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let Some((sizes, body)) = rest.split_at_checked(usize::from(count % SIZES_MAX)) else { return };
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size) + 1).collect();
    assert_eq!(hear(wire, body, &sizes), hear(wire, body, &[]), "cut as {sizes:?}");
}

fn hear(wire: Wire, body: &[u8], sizes: &[usize]) -> Heard {
    let chunks = cut(body, sizes);
    let count = chunks.len();
    let model = CannedAnswer::ok(chunks).model(wire);
    let call = heard(&*model, body.len(), count);
    call.now_or_never().expect("nothing waits for what is there")
}
