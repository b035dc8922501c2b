//! Framing of `application/vnd.amazon.eventstream`, the binary streams of AWS. Pure, and bounded by the bytes of one frame.
//!
//! A frame is its length, the length of its headers, a checksum of both, headers, a payload and a checksum of everything; numbers are big-endian
//! and checksums CRC-32 (AWS, "Event stream encoding").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::classify;
use crate::codec::Fault;
use crate::sse::Event;

/// One frame has fewer bytes than this, so that the first byte of a stream is zero.
pub(crate) const FRAME_BYTES_MAX: usize = 16 << 20;
/// The headers of one frame may have this many bytes.
const HEADERS_BYTES_MAX: usize = 128 << 10;
/// Two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end of a frame.
const CHECKSUM_BYTES: usize = 4;
/// Inside of it an event of another protocol stands, in base64.
const CHUNK: &str = "chunk";

/// Whether a body that begins with this byte is such a stream. No text begins with it.
pub(crate) fn begins(first: u8) -> bool {
    first == 0
}

/// Cuts bytes into events, however they arrive. A frame that has not come whole is never given.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// How much of the buffer has been given.
    given: usize,
    /// The lengths of the frame that is being received, once they are known to be right.
    lengths: Option<Lengths>,
}

#[derive(Debug, Clone, Copy)]
struct Lengths {
    frame: usize,
    headers: usize,
}

/// What of the headers counts here.
#[derive(Debug, Default)]
struct Headers {
    message_type: String,
    event_type: String,
    exception_type: String,
    error_code: String,
    error_message: String,
}

impl Framer {
    /// Takes bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.given > 0 {
            self.buffer.drain(..self.given);
            self.given = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_midway(&self) -> bool {
        self.given < self.buffer.len()
    }

    /// The next whole event; none until more bytes come.
    ///
    /// # Errors
    /// A frame that is too large or whose checksums are wrong, and an exception or error that the stream itself reports. The stream is of no
    /// use after it.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        while let Some(frame) = self.next_frame()? {
            let (headers, payload) = frame;
            let text = || String::from_utf8(payload).map_err(|_| broken("holds no text"));
            match headers.message_type.as_str() {
                "event" => return opened(headers.event_type, text()?).map(Some),
                "exception" => {
                    return Err(classify::exception(&headers.exception_type, &text()?));
                }
                "error" => {
                    return Err(classify::exception(&headers.error_code, &headers.error_message));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn next_frame(&mut self) -> Result<Option<(Headers, Vec<u8>)>, Fault> {
        let rest = &self.buffer[self.given..];
        let lengths = match self.lengths {
            Some(lengths) => lengths,
            None if rest.len() < PRELUDE_BYTES => return Ok(None),
            None => lengths(rest)?,
        };
        self.lengths = Some(lengths);
        let Some(frame) = rest.get(..lengths.frame) else { return Ok(None) };
        let (checked, sum) = frame.split_at(lengths.frame - CHECKSUM_BYTES);
        if crc32fast::hash(checked) != number(sum) {
            return Err(broken("has a wrong checksum"));
        }
        let (headers, payload) = checked[PRELUDE_BYTES..].split_at(lengths.headers);
        let frame = (read(headers)?, payload.to_vec());
        self.given += lengths.frame;
        self.lengths = None;
        Ok(Some(frame))
    }
}

/// The lengths at the beginning of a frame.
fn lengths(prelude: &[u8]) -> Result<Lengths, Fault> {
    let (checked, rest) = prelude.split_at(8);
    if crc32fast::hash(checked) != number(&rest[..4]) {
        return Err(broken("has a wrong checksum at its beginning"));
    }
    let length = |bytes| usize::try_from(number(bytes)).unwrap_or(usize::MAX);
    let (frame, headers) = (length(&checked[..4]), length(&checked[4..]));
    let around = PRELUDE_BYTES + CHECKSUM_BYTES;
    if frame >= FRAME_BYTES_MAX || headers > HEADERS_BYTES_MAX {
        return Err(broken("is larger than 16 MiB, or its headers than 128 KiB"));
    }
    if frame < around || headers > frame - around {
        return Err(broken("is shorter than its parts"));
    }
    Ok(Lengths { frame, headers })
}

/// Reads all headers; those that have no meaning here are stepped over by their type.
fn read(mut rest: &[u8]) -> Result<Headers, Fault> {
    let mut headers = Headers::default();
    while !rest.is_empty() {
        let (name, value, after) = header(rest).ok_or_else(|| broken("has broken headers"))?;
        rest = after;
        let slot = match name {
            b":message-type" => &mut headers.message_type,
            b":event-type" => &mut headers.event_type,
            b":exception-type" => &mut headers.exception_type,
            b":error-code" => &mut headers.error_code,
            b":error-message" => &mut headers.error_message,
            _ => continue,
        };
        *slot = String::from_utf8_lossy(value).into_owned();
    }
    Ok(headers)
}

/// The name and the value of the first header, and what follows it.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    // Two truths, numbers of 1, 2, 4 and 8 bytes, bytes and text with their length, a time, an id.
    let (length, rest) = match kind {
        0 | 1 => (0, rest),
        2 => (1, rest),
        3 => (2, rest),
        4 => (4, rest),
        5 | 8 => (8, rest),
        6 | 7 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        9 => (16, rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((name, value, rest))
}

/// The event of a frame. What a model's own protocol says comes as bytes within one.
fn opened(kind: String, payload: String) -> Result<Event, Fault> {
    #[derive(Deserialize)]
    struct Chunk {
        bytes: String,
    }
    if kind != CHUNK {
        return Ok(Event { name: Some(kind), data: payload });
    }
    let chunk: Chunk =
        serde_json::from_str(&payload).map_err(|_| broken("is a chunk without bytes"))?;
    let bytes = STANDARD.decode(chunk.bytes).map_err(|_| broken("is a chunk that is no base64"))?;
    let data = String::from_utf8(bytes).map_err(|_| broken("holds no text"))?;
    Ok(Event { name: None, data })
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn broken(what: &str) -> Fault {
    Fault::protocol(format!("a frame of the stream {what}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use oarlock_core::ports::model::ModelErrorKind as Kind;

    use super::*;

    /// A frame with these headers, each a name, a type and the bytes of its value, length included where the type has one.
    pub(crate) fn frame(headers: &[(&str, u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        for (name, kind, value) in headers {
            written.push(u8::try_from(name.len()).unwrap());
            written.extend_from_slice(name.as_bytes());
            written.push(*kind);
            written.extend_from_slice(value);
        }
        let length = u32::try_from(16 + written.len() + payload.len()).unwrap();
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(u32::try_from(written.len()).unwrap().to_be_bytes());
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame.extend([written.as_slice(), payload].concat());
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame
    }

    fn text(value: &str) -> Vec<u8> {
        [&u16::try_from(value.len()).unwrap().to_be_bytes(), value.as_bytes()].concat()
    }

    fn named(kind: &str, key: &str, name: &str, payload: &str) -> Vec<u8> {
        let (kind, name) = (text(kind), text(name));
        frame(&[(":message-type", 7, &kind), (key, 7, &name)], payload.as_bytes())
    }

    fn event(name: &str, payload: &str) -> Vec<u8> {
        named("event", ":event-type", name, payload)
    }

    fn events(bytes: &[u8], size: usize) -> Result<Vec<(Option<String>, String)>, Fault> {
        let mut framer = Framer::default();
        let mut out = Vec::new();
        for chunk in bytes.chunks(size) {
            framer.push(chunk);
            while let Some(event) = framer.next_event()? {
                out.push((event.name, event.data));
            }
        }
        Ok(out)
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut_and_whatever_headers_they_have() {
        let kind = text("event");
        let name = text("b");
        let many: Vec<(&str, u8, &[u8])> = vec![
            ("yes", 0, b""),
            ("no", 1, b""),
            ("byte", 2, b"1"),
            ("short", 3, b"12"),
            ("int", 4, b"1234"),
            ("long", 5, b"12345678"),
            ("bytes", 6, b"\0\x03abc"),
            (":message-type", 7, &kind),
            (":event-type", 7, &name),
            ("time", 8, b"12345678"),
            ("id", 9, b"0123456789abcdef"),
        ];
        let chunk = format!(r#"{{"bytes":"{}","p":"ab"}}"#, STANDARD.encode(r#"{"type":"ping"}"#));
        let odd = named("metadata", ":event-type", "odd", "{}");
        let all = [event("a", r#"{"x":"é"}"#), odd, frame(&many, b"{}"), event("chunk", &chunk)];
        let all = all.concat();
        let wanted = [
            (Some("a".to_owned()), r#"{"x":"é"}"#.to_owned()),
            (Some("b".to_owned()), "{}".to_owned()),
            (None, r#"{"type":"ping"}"#.to_owned()),
        ];
        for size in [1, 2, 3, 7, 11, 12, 13, 64, all.len()] {
            assert_eq!(events(&all, size).unwrap(), wanted, "{size}");
        }
        // A frame that is cut is not given, and known to be missing.
        let mut framer = Framer::default();
        framer.push(&all[..all.len() - 1]);
        while framer.next_event().unwrap().is_some() {}
        assert!(framer.is_midway());
        framer.push(&all[all.len() - 1..]);
        assert!(framer.next_event().unwrap().is_some());
        assert!(!framer.is_midway());
    }

    #[test]
    fn every_wrong_bit_is_a_fault_of_the_transport() {
        let frame = event("a", r#"{"x":1}"#);
        for bit in 0..frame.len() * 8 {
            let mut wrong = frame.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let fault = events(&wrong, 5).expect_err("a checksum covers each bit");
            assert_eq!(fault.kind, Kind::Transport, "{bit}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_anything_is_kept() {
        let prelude = |frame: usize, headers: usize| {
            let mut prelude = u32::try_from(frame).unwrap().to_be_bytes().to_vec();
            prelude.extend(u32::try_from(headers).unwrap().to_be_bytes());
            prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
            prelude
        };
        let table = [
            (FRAME_BYTES_MAX, 0, "16 MiB"),
            (u32::MAX as usize, 0, "16 MiB"),
            (1 << 20, HEADERS_BYTES_MAX + 1, "128 KiB"),
            (15, 0, "shorter"),
            (0, 0, "shorter"),
            (20, 5, "shorter"),
        ];
        for (frame, headers, words) in table {
            let fault = events(&prelude(frame, headers), 4).unwrap_err();
            assert!(fault.message.contains(words), "{frame} {headers}: {}", fault.message);
        }
        assert!(events(&prelude(FRAME_BYTES_MAX - 1, 0), 4).unwrap().is_empty());
    }

    #[test]
    fn a_stream_reports_its_own_end() {
        let said = r#"{"message":"slow down"}"#;
        let exception = |name: &str| named("exception", ":exception-type", name, said);
        let code = text("InternalFailure");
        let words = text("boom");
        let kind = text("error");
        let error: Vec<(&str, u8, &[u8])> = vec![
            (":message-type", 7, &kind),
            (":error-code", 7, &code),
            (":error-message", 7, &words),
        ];
        let table = [
            (
                exception("throttlingException"),
                Kind::RateLimited,
                "slow down (throttlingException)",
            ),
            (exception("modelStreamErrorException"), Kind::Overloaded, "slow down"),
            (exception("validationException"), Kind::InvalidRequest, "slow down"),
            (frame(&error, b""), Kind::Overloaded, "boom (InternalFailure)"),
        ];
        for (bytes, kind, words) in table {
            let fault = events(&[event("a", "{}"), bytes].concat(), 9).unwrap_err();
            assert_eq!(fault.kind, kind, "{words}");
            assert!(fault.message.starts_with(words), "{}", fault.message);
        }
        for payload in ["{}", r#"{"bytes":"*"}"#, r#"{"bytes":"/w=="}"#] {
            assert_eq!(events(&event("chunk", payload), 9).unwrap_err().kind, Kind::Transport);
        }
    }
}
