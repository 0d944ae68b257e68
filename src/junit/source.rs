//! The bytes of a report as UTF-8, through a buffer of fixed size.
//!
//! The encoding is that of the byte order mark, else of the XML declaration, else UTF-8. UTF-8 is
//! passed on as it is, so bytes that are none may come out: whoever keeps some replaces those. A
//! declaration that cannot be true (UTF-16 in a file that begins with `<?xml` in single bytes) or that
//! nobody knows is taken as UTF-8.

use std::io::{self, Read};

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

const BUFFER: usize = 64 * 1024;
/// Undecoded bytes at once: three bytes for each, in the worst case, fit the buffer.
const RAW: usize = BUFFER / 4;
/// Where an XML declaration must have ended, or it is none.
const DECLARATION_MAX: usize = 1_024;

pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// Bytes that left the buffer.
    gone: u64,
    decoder: Option<Box<(Decoder, Vec<u8>)>>,
    finished: bool,
}

impl<R: Read> Source<R> {
    /// Reads the beginning, to learn the encoding.
    pub fn new(reader: R) -> io::Result<Self> {
        let mut source = Source {
            reader,
            buffer: vec![0; BUFFER],
            at: 0,
            end: 0,
            gone: 0,
            decoder: None,
            finished: false,
        };
        while source.end < DECLARATION_MAX && !source.finished && !source.buffer[..source.end].contains(&b'>')
        {
            let read = read_some(&mut source.reader, &mut source.buffer[source.end..])?;
            source.end += read;
            source.finished = read == 0;
        }
        let (encoding, mark) = encoding_of(&source.buffer[..source.end]);
        if encoding == UTF_8 {
            source.at = mark;
            return Ok(source);
        }
        let mut decoder = encoding.new_decoder_without_bom_handling();
        let begun = source.buffer[mark..source.end].to_vec();
        let room = decoder.max_utf8_buffer_length(begun.len()).unwrap_or(0);
        source.buffer.resize(room.max(BUFFER), 0);
        let (_, _, written, _) = decoder.decode_to_utf8(&begun, &mut source.buffer, false);
        source.end = written;
        source.finished = false;
        source.decoder = Some(Box::new((decoder, vec![0; RAW])));
        Ok(source)
    }

    /// What is next, at least one byte; empty at the end.
    pub fn chunk(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end {
            self.fill()?;
        }
        Ok(&self.buffer[self.at..self.end])
    }

    #[inline]
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.at == self.end {
            self.fill()?;
        }
        Ok((self.at < self.end).then(|| self.buffer[self.at]))
    }

    /// Goes on by so many bytes of the present chunk.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.at = self.end.min(self.at + bytes);
    }

    /// How many bytes went before.
    pub fn position(&self) -> u64 {
        self.gone + self.at as u64
    }

    fn fill(&mut self) -> io::Result<()> {
        self.gone += self.end as u64;
        (self.at, self.end) = (0, 0);
        while self.end == 0 && !self.finished {
            match self.decoder.as_deref_mut() {
                None => {
                    self.end = read_some(&mut self.reader, &mut self.buffer)?;
                    self.finished = self.end == 0;
                }
                Some((decoder, raw)) => {
                    let read = read_some(&mut self.reader, raw)?;
                    self.finished = read == 0;
                    let (_, _, written, _) =
                        decoder.decode_to_utf8(&raw[..read], &mut self.buffer, self.finished);
                    self.end = written;
                }
            }
        }
        Ok(())
    }
}

fn read_some(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The encoding, and how many bytes its mark has (XML 1.0, appendix F).
fn encoding_of(start: &[u8]) -> (&'static Encoding, usize) {
    if let Some((encoding, length)) = Encoding::for_bom(start) {
        return (encoding, length);
    }
    match start {
        [0, b'<', ..] => return (UTF_16BE, 0),
        [b'<', 0, ..] => return (UTF_16LE, 0),
        _ => {}
    }
    let declared = declared(start).and_then(Encoding::for_label).filter(|e| e.is_ascii_compatible());
    (declared.unwrap_or(UTF_8), 0)
}

/// What `encoding="…"` says in the XML declaration.
fn declared(start: &[u8]) -> Option<&[u8]> {
    let text = start.trim_ascii_start().strip_prefix(b"<?xml")?;
    let text = &text[..text.iter().position(|b| *b == b'>')?];
    let after = text.windows(8).position(|w| w == b"encoding")? + 8;
    let value = text[after..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = value.split_first()?;
    let end = value.iter().position(|b| b == quote)?;
    Some(&value[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of a report as there is, byte by byte from a reader that gives one at a time.
    fn all(bytes: &[u8]) -> String {
        struct Drip<'a>(&'a [u8]);
        impl Read for Drip<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let count = self.0.len().min(1).min(into.len());
                into[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let mut source = Source::new(Drip(bytes)).unwrap();
        let mut text = Vec::new();
        loop {
            let chunk = source.chunk().unwrap();
            if chunk.is_empty() {
                break;
            }
            text.extend_from_slice(chunk);
            let length = chunk.len();
            source.advance(length);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_way_to_say_the_encoding_is_understood() {
        let text = "<?xml version='1.0'?><a b='é€😀'/>";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        assert_eq!(all(text.as_bytes()), text);
        assert_eq!(all(&[b"\xef\xbb\xbf", text.as_bytes()].concat()), text);
        assert_eq!(all(&utf16(u16::to_le_bytes)), text);
        assert_eq!(all(&utf16(u16::to_be_bytes)), text);
        assert_eq!(all(&[b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat()), text);
        assert_eq!(all(&[b"\xfe\xff".to_vec(), utf16(u16::to_be_bytes)].concat()), text);
        let latin = b"<?xml version='1.0' encoding = 'ISO-8859-1' ?><a b='\xe9'/>";
        assert_eq!(all(latin), "<?xml version='1.0' encoding = 'ISO-8859-1' ?><a b='é'/>");
    }

    #[test]
    fn a_declaration_that_cannot_be_true_is_not_believed() {
        for name in ["utf-16", "klingon", ""] {
            let text = format!("<?xml version='1.0' encoding='{name}'?><a b='é'/>");
            assert_eq!(all(text.as_bytes()), text);
        }
    }

    #[test]
    fn half_a_character_at_the_end_becomes_a_replacement() {
        assert_eq!(all(b"\xff\xfe<\0a\0\x3d"), "<a\u{fffd}");
    }
}
