//! Pictures and documents of a conversation, as wires are given them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oarlock_core::ids::BlobId;
use oarlock_core::message::Part;

use crate::quirks::Documents;

/// Characters of a document's name that every endpoint takes.
const NAME_CHARS_MAX: usize = 200;

/// The bodies that a request comes with, and what its model is given of documents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bodies<'a> {
    by_id: &'a BTreeMap<BlobId, Bytes>,
    documents: Documents,
}

/// What a model is given for a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Given<'a> {
    /// Its words, or words that stand for it.
    Words(Cow<'a, str>),
    /// A picture in base64.
    Image { media_type: &'a str, data: String },
    /// A document in base64.
    Document { media_type: &'a str, name: String, data: String },
}

impl<'a> Bodies<'a> {
    pub(crate) fn new(by_id: &'a BTreeMap<BlobId, Bytes>, documents: Documents) -> Self {
        Self { by_id, documents }
    }

    /// What the model is given for this part. What is not at hand, or what it cannot read, it is told of.
    pub(crate) fn given<'p>(&self, part: &'p Part) -> Given<'p> {
        let body = part.body().and_then(|(blob, _)| self.by_id.get(blob));
        let data = body.map(|bytes| STANDARD.encode(bytes));
        match (part, data) {
            (Part::Text { text }, _) => Given::Words(text.into()),
            (Part::Document { name, .. }, _) if self.documents == Documents::Named => {
                Given::Words(format!("[the document {name}, which this model is not given]").into())
            }
            (Part::Image { media_type, .. }, Some(data)) => Given::Image { media_type, data },
            (Part::Document { media_type, name, .. }, Some(data)) => {
                let name = name.chars().take(NAME_CHARS_MAX).collect();
                Given::Document { media_type, name, data }
            }
            (Part::Image { .. }, None) => {
                Given::Words("[a picture that is no longer available]".into())
            }
            (Part::Document { name, .. }, None) => {
                Given::Words(format!("[the document {name} is no longer available]").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_at_hand_or_cannot_be_read_is_told() {
        let document = |name: &str| Part::Document {
            media_type: "application/pdf".to_owned(),
            name: name.to_owned(),
            blob: BlobId::of(b"pdf"),
            bytes: 3,
        };
        let image =
            Part::Image { media_type: "image/png".to_owned(), blob: BlobId::of(b"png"), bytes: 3 };
        let all: BTreeMap<_, _> =
            [b"pdf", b"png"].map(|body| (BlobId::of(body), Bytes::from_static(body))).into();
        let none = BTreeMap::new();
        let words = |words: &'static str| Given::Words(words.into());
        let (here, gone) =
            (Bodies::new(&all, Documents::Whole), Bodies::new(&none, Documents::Whole));
        let media_type = "application/pdf";
        let given = Given::Document { media_type, name: "a.pdf".into(), data: "cGRm".into() };
        assert_eq!(here.given(&document("a.pdf")), given);
        assert_eq!(
            gone.given(&document("a.pdf")),
            words("[the document a.pdf is no longer available]")
        );
        let blind = Bodies::new(&all, Documents::Named);
        assert_eq!(
            blind.given(&document("a.pdf")),
            words("[the document a.pdf, which this model is not given]")
        );
        let picture = Given::Image { media_type: "image/png", data: "cG5n".into() };
        assert_eq!(blind.given(&image), picture);
        assert_eq!(gone.given(&image), words("[a picture that is no longer available]"));
        let long = document(&"é".repeat(300));
        let Given::Document { name, .. } = here.given(&long) else { panic!("it is at hand") };
        assert_eq!(name.chars().count(), 200);
    }
}
