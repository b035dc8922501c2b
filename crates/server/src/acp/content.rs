//! Prompts of a client as parts of a message, and parts as content for a client.

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{ContentBlock, EmbeddedResourceResource, TextContent};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oarlock_core::limits::MEDIA_BYTES;
use oarlock_core::message::{Media, Part};
use oarlock_core::ports::journal::Blobs;

use super::error::{failed, invalid};

/// What a client is told that embeds something else.
const NO_RESOURCE: &str =
    "a prompt takes embedded text, PDF documents and pictures, and no other resource";

/// A prompt as a client sent it.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    /// What the person wrote, without what is attached.
    pub(super) words: String,
    /// What is attached.
    pub(super) attached: Vec<Attached>,
}

/// Something that a client attaches to a prompt.
#[derive(Debug)]
pub(super) enum Attached {
    /// Text, with where it comes from.
    Text(String),
    /// A picture or a document, not yet stored.
    Media { media: Media, name: String, bytes: Vec<u8> },
}

/// Kilobytes of the blocks of a prompt.
pub(super) fn kb(blocks: &[ContentBlock]) -> usize {
    let bytes = blocks.iter().map(|block| match block {
        ContentBlock::Text(text) => text.text.len(),
        ContentBlock::Image(image) => image.data.len(),
        ContentBlock::Audio(audio) => audio.data.len(),
        ContentBlock::ResourceLink(link) => link.name.len() + link.uri.len(),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            EmbeddedResourceResource::TextResourceContents(text) => {
                text.uri.len() + text.text.len()
            }
            EmbeddedResourceResource::BlobResourceContents(blob) => {
                blob.uri.len() + blob.blob.len()
            }
            _ => 0,
        },
        _ => 0,
    });
    bytes.sum::<usize>() / 1024 + 1
}

impl Prompt {
    /// Reads the blocks of a prompt.
    ///
    /// # Errors
    /// Invalid parameters when there is nothing in it, or something that this agent does not take.
    pub(super) fn read(blocks: Vec<ContentBlock>) -> Result<Self, Error> {
        let (mut words, mut attached) = (Vec::new(), Vec::new());
        for block in blocks {
            match block {
                ContentBlock::Text(text) => words.push(text.text),
                ContentBlock::ResourceLink(link) => words.push(mentioned(&link.name, &link.uri)),
                ContentBlock::Resource(embedded) => match embedded.resource {
                    EmbeddedResourceResource::TextResourceContents(text) => {
                        words.push(mentioned(name_of(&text.uri), &text.uri));
                        attached.push(Attached::Text(embedded_text(&text.uri, &text.text)));
                    }
                    EmbeddedResourceResource::BlobResourceContents(blob) => {
                        words.push(mentioned(name_of(&blob.uri), &blob.uri));
                        attached.push(document(name_of(&blob.uri), &blob.blob)?);
                    }
                    _ => return Err(invalid(NO_RESOURCE)),
                },
                ContentBlock::Image(image) => attached.push(picture(&image.data)?),
                ContentBlock::Audio(_) => return Err(invalid("a prompt takes no audio")),
                _ => return Err(invalid("a prompt has content of a kind that is not known here")),
            }
        }
        let words = words.concat();
        match words.trim().is_empty() && attached.is_empty() {
            true => Err(invalid("the prompt is empty")),
            false => Ok(Self { words, attached }),
        }
    }
}

impl Prompt {
    /// Bytes of text in it, what is attached included.
    pub(super) fn text_bytes(&self) -> usize {
        let attached = self.attached.iter().map(|attached| match attached {
            Attached::Text(text) => text.len(),
            Attached::Media { .. } => 0,
        });
        self.words.len() + attached.sum::<usize>()
    }

    /// Bytes that it takes while it waits.
    pub(super) fn bytes(&self) -> usize {
        let media = self.attached.iter().map(|attached| match attached {
            Attached::Text(_) => 0,
            Attached::Media { bytes, .. } => bytes.len(),
        });
        self.text_bytes() + media.sum::<usize>()
    }
}

impl Attached {
    /// What a model is given; a picture or a document is stored first.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub(super) async fn part(self, blobs: &dyn Blobs) -> Result<Part, Error> {
        match self {
            Self::Text(text) => Ok(Part::text(text)),
            Self::Media { media, name, bytes } => {
                let size = bytes.len() as u64;
                let stored = blobs.put(bytes.into()).await;
                let blob = stored.map_err(|error| failed(error.to_string()))?;
                Ok(media.part(&name, (blob, size)))
            }
        }
    }
}

fn picture(data: &str) -> Result<Attached, Error> {
    let (media, bytes) = decoded("a picture", data)?;
    let media = media.filter(|media| matches!(media, Media::Image(_)));
    let media = media.ok_or_else(|| invalid("a picture is neither PNG, JPEG, GIF nor WebP"))?;
    Ok(Attached::Media { media, name: String::new(), bytes })
}

/// What an embedded resource has, whatever type it says that it is of.
fn document(name: &str, data: &str) -> Result<Attached, Error> {
    let (media, bytes) = decoded("a resource", data)?;
    let media = media.ok_or_else(|| invalid(NO_RESOURCE))?;
    Ok(Attached::Media { media, name: name.to_owned(), bytes })
}

fn decoded(what: &str, data: &str) -> Result<(Option<Media>, Vec<u8>), Error> {
    let bytes = STANDARD.decode(data);
    let bytes = bytes.map_err(|_| invalid(format!("{what} is not valid base64")))?;
    match bytes.len() > MEDIA_BYTES {
        true => Err(invalid(format!("{what} has more than {MEDIA_BYTES} bytes"))),
        false => Ok((Media::of(&bytes), bytes)),
    }
}

fn mentioned(name: &str, uri: &str) -> String {
    format!("[@{name}]({uri})")
}

/// Words as a title has them: of what a client attached or linked, the name alone. An end that is cut off there is left out.
pub(super) fn plain(words: &str) -> String {
    let (mut plain, mut rest) = (String::new(), words);
    while let Some((before, link)) = rest.split_once("[@") {
        plain.push_str(before);
        match link.split_once("](") {
            Some((name, uri)) if !name.contains(['[', '\n']) => {
                plain.push('@');
                plain.push_str(name);
                rest = uri.split_once(')').map_or("", |(_, after)| after);
            }
            Some(_) | None => {
                plain.push_str("[@");
                rest = link;
            }
        }
    }
    plain + rest
}

fn name_of(uri: &str) -> &str {
    uri.rsplit('/').find(|part| !part.is_empty()).unwrap_or(uri)
}

fn embedded_text(uri: &str, text: &str) -> String {
    format!("{CONTEXT_HEAD}{uri}\">\n{text}\n</context>")
}

/// How text begins that a client attached to a prompt.
const CONTEXT_HEAD: &str = "<context ref=\"";

/// Whether a text of a prompt is one that a client attached to it.
pub(super) fn is_embedded(text: &str) -> bool {
    text.starts_with(CONTEXT_HEAD) && text.ends_with("</context>")
}

/// Text as a client takes it.
pub(super) fn text(text: impl Into<String>) -> ContentBlock {
    ContentBlock::Text(TextContent::new(text))
}

#[cfg(test)]
mod tests {
    use super::{mentioned, plain};

    #[test]
    fn a_title_has_the_names_of_links_and_nothing_else_of_them() {
        let link = mentioned("q.rs", "file:///q.rs");
        let cases = [
            (format!("see {link} and {link}!"), "see @q.rs and @q.rs!"),
            (format!("see {}", &link[..12]), "see @q.rs"),
            ("an [@ alone, [a](b) and @q".to_owned(), "an [@ alone, [a](b) and @q"),
        ];
        for (words, title) in cases {
            assert_eq!(plain(&words), title, "{words}");
        }
    }
}
