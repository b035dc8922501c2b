//! A session's state as it is kept beside its journal, so that opening a long session reads only its end. Pure.
//!
//! A checkpoint is a projection and nothing more. One that is damaged, of another version, or that does not fit the journal is dropped, and the journal is folded
//! from its beginning: the state is the same.

use std::io;

use crate::ids::{Hash, SessionId};
use crate::session::state::State;

/// Version of what is written: to be raised whenever [`State`] changes its form, or a fold its meaning.
pub const FORMAT: u32 = 14;

/// A state, and the frame after which it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Hash of the frame that ends with [`State::tip`].
    pub head: Hash,
    /// The fold of everything up to there.
    pub state: State,
}

/// Bytes of the hash over everything that follows it.
const SEAL_BYTES: usize = 32;

/// What every checkpoint of this program begins with. Another version of the program may fold otherwise, so it drops it.
fn header() -> String {
    format!("oarlock {} checkpoint {FORMAT}\n", env!("CARGO_PKG_VERSION"))
}

impl Checkpoint {
    /// Writes it; nothing when it would have more than about `bytes_max` bytes.
    ///
    /// Takes milliseconds for each few megabytes: call it where nobody waits.
    #[must_use]
    pub fn encode(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; SEAL_BYTES];
        bytes.extend_from_slice(header().as_bytes());
        bytes.extend_from_slice(&self.head.0);
        let mut body = Bounded { bytes, bytes_max };
        serde_json::to_writer(&mut body, &self.state).ok()?;
        let mut bytes = body.bytes;
        let seal = blake3::hash(&bytes[SEAL_BYTES..]);
        bytes[..SEAL_BYTES].copy_from_slice(seal.as_bytes());
        Some(bytes)
    }

    /// Reads one; nothing when it is not a whole one of this program and this session.
    #[must_use]
    pub fn decode(session: &SessionId, bytes: &[u8]) -> Option<Self> {
        let (seal, rest) = bytes.split_at_checked(SEAL_BYTES)?;
        if blake3::hash(rest).as_bytes() != seal {
            return None;
        }
        let rest = rest.strip_prefix(header().as_bytes())?;
        let (head, json) = rest.split_first_chunk()?;
        let state: State = serde_json::from_slice(json).ok()?;
        (state.id == *session).then_some(Self { head: Hash(*head), state })
    }
}

/// Takes bytes up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
