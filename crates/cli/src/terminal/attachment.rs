//! Pictures for `--image`: known by their content, whatever their name.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use oarlock_core::message::image_type;

/// A picture may have this many bytes.
pub const IMAGE_BYTES_MAX: u64 = 10 << 20;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// For example `image/png`.
    pub media_type: &'static str,
    /// The file's content.
    pub bytes: Bytes,
}

/// Why a file is not shown to the model.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The content is of no accepted type.
    #[error("{} is no PNG, JPEG, GIF or WebP picture; convert it first", path.display())]
    Unknown {
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
    #[error("cannot read the picture {}: {source}", path.display())]
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
/// [`ImageError`].
pub fn load(path: &Path) -> Result<Image, ImageError> {
    let failed = |source| ImageError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for its writer, so the kind is looked at first.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ImageError::Unknown { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(IMAGE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > IMAGE_BYTES_MAX {
        return Err(ImageError::TooLarge { path: path.to_owned() });
    }
    let media_type =
        image_type(&bytes).ok_or_else(|| ImageError::Unknown { path: path.to_owned() })?;
    Ok(Image { media_type, bytes: Bytes::from(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_tells_the_type() {
        let table: [(&[u8], Option<&str>); 7] = [
            (b"\x89PNG\r\n\x1a\nrest", Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"<svg>", None),
            (b"", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(image_type(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        assert!(matches!(load(&path), Err(ImageError::Read { .. })));
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(load(&path), Err(ImageError::Unknown { .. })));
        assert!(matches!(load(folder.path()), Err(ImageError::Unknown { .. })));
        std::fs::write(&path, b"GIF89a").unwrap();
        assert_eq!(load(&path).unwrap().media_type, "image/gif");
        File::options().write(true).open(&path).unwrap().set_len(IMAGE_BYTES_MAX + 1).unwrap();
        assert!(matches!(load(&path), Err(ImageError::TooLarge { .. })));
    }
}
