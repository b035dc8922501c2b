//! Files for `--image` and `--document`: known by their content, whatever their name.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use oarlock_core::limits::MEDIA_BYTES;
use oarlock_core::message::Media;

/// A file that goes with a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is.
    pub media: Media,
    /// The last part of its path.
    pub name: String,
    /// Its content.
    pub bytes: Bytes,
}

/// Why a file is not given to the model.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    /// The content is of no type that `--image` takes.
    #[error("{} is no PNG, JPEG, GIF or WebP picture; convert it first", path.display())]
    NoImage {
        /// The file.
        path: PathBuf,
    },
    /// The content is of no type that `--document` takes.
    #[error("{} is no PDF; convert it first, or mention a text as @{}", path.display(), path.display())]
    NoDocument {
        /// The file.
        path: PathBuf,
    },
    /// It is too large.
    #[error("{} has more than 10 MiB; make it smaller", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Reads a picture. Blocks; call it outside the async runtime.
///
/// # Errors
/// [`AttachmentError`].
pub fn image(path: &Path) -> Result<Attachment, AttachmentError> {
    let found = load(path)?.filter(|found| matches!(found.media, Media::Image(_)));
    found.ok_or_else(|| AttachmentError::NoImage { path: path.to_owned() })
}

/// Reads a document. Blocks; call it outside the async runtime.
///
/// # Errors
/// [`AttachmentError`].
pub fn document(path: &Path) -> Result<Attachment, AttachmentError> {
    let found = load(path)?.filter(|found| matches!(found.media, Media::Document(_)));
    found.ok_or_else(|| AttachmentError::NoDocument { path: path.to_owned() })
}

fn load(path: &Path) -> Result<Option<Attachment>, AttachmentError> {
    let failed = |source| AttachmentError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for its writer, so the kind is looked at first.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MEDIA_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MEDIA_BYTES {
        return Err(AttachmentError::TooLarge { path: path.to_owned() });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Media::of(&bytes).map(|media| Attachment { media, name, bytes: Bytes::from(bytes) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_no_document_or_too_large_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        assert!(matches!(image(&path), Err(AttachmentError::Read { .. })));
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(image(&path), Err(AttachmentError::NoImage { .. })));
        assert!(matches!(document(&path), Err(AttachmentError::NoDocument { .. })));
        assert!(matches!(image(folder.path()), Err(AttachmentError::NoImage { .. })));
        std::fs::write(&path, b"GIF89a").unwrap();
        assert_eq!(image(&path).unwrap().media, Media::Image("image/gif"));
        assert!(matches!(document(&path), Err(AttachmentError::NoDocument { .. })));
        std::fs::write(&path, b"%PDF-1.7").unwrap();
        assert!(matches!(image(&path), Err(AttachmentError::NoImage { .. })));
        let found = document(&path).unwrap();
        assert_eq!((found.media, &*found.name), (Media::Document("application/pdf"), "x.png"));
        File::options().write(true).open(&path).unwrap().set_len(MEDIA_BYTES as u64 + 1).unwrap();
        assert!(matches!(document(&path), Err(AttachmentError::TooLarge { .. })));
    }
}
