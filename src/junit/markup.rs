//! What of a report's markup is passed over, or is text in disguise: comments, processing instructions,
//! DOCTYPEs and CDATA sections. Each may be of any length; none is held.

use std::io::Read;

use super::scan::{Scan, Scanner, Stop, chunk_of, keep};

impl<R: Read> Scanner<R> {
    /// After `<!`: a comment, a CDATA section or a DOCTYPE.
    pub(super) fn declaration(&mut self) -> Scan<()> {
        self.source.advance(1);
        match self.must("a declaration")? {
            b'-' => {
                self.source.advance(1);
                if self.must("a comment")? == b'-' {
                    self.source.advance(1);
                    return self.pass_over(b"-->", "a comment");
                }
                self.pass_over(b">", "a declaration")
            }
            b'[' if !self.starts.is_empty() => {
                self.source.advance(1);
                for expected in b"CDATA[" {
                    if self.must("a CDATA section")? != *expected {
                        let at = self.source.position();
                        return Err(Stop::Broken(format!("`<![` at byte {at} begins no CDATA section")));
                    }
                    self.source.advance(1);
                }
                self.pass(b"]]>", "a CDATA section", self.keep_text)
            }
            _ => self.doctype(),
        }
    }

    /// Up to the `>` that is in no quotes, comment or internal subset.
    fn doctype(&mut self) -> Scan<()> {
        let (mut quote, mut subset) = (None, false);
        loop {
            let b = self.must("a DOCTYPE")?;
            self.source.advance(1);
            match (quote, b) {
                (Some(open), _) if open == b => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(b),
                (None, b'[') => subset = true,
                (None, b']') => subset = false,
                (None, b'>') if !subset => return Ok(()),
                (None, b'<') => {
                    // Quotes within a comment are none.
                    let mut dashes = 0;
                    while dashes < 3 && self.must("a DOCTYPE")? == b"!--"[dashes] {
                        self.source.advance(1);
                        dashes += 1;
                    }
                    if dashes == 3 {
                        self.pass_over(b"-->", "a comment")?;
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn pass_over(&mut self, end: &[u8], what: &str) -> Scan<()> {
        self.pass(end, what, false)
    }

    /// Up to `end` and over it; what is before goes to the text if asked.
    fn pass(&mut self, end: &[u8], what: &str, kept: bool) -> Scan<()> {
        let last = end[end.len() - 1];
        // The last bytes before the present chunk: the end may lie across two.
        let mut tail = [0_u8; 2];
        loop {
            let chunk = chunk_of(&mut self.source)?;
            if chunk.is_empty() {
                return Err(self.ended(&format!("{what} of ")));
            }
            let found = chunk.iter().position(|b| *b == last);
            let length = found.map_or(chunk.len(), |at| at + 1);
            let piece = &chunk[..length];
            if kept {
                keep(&mut self.text, piece);
            }
            let mut recent = [tail[0], tail[1], 0, 0, 0];
            let newest = &piece[piece.len().saturating_sub(3)..];
            recent[2..2 + newest.len()].copy_from_slice(newest);
            let recent = &recent[..2 + newest.len()];
            let done = found.is_some() && recent.ends_with(end);
            tail.copy_from_slice(&recent[recent.len() - 2..]);
            self.source.advance(length);
            if done {
                if kept && self.text.ends_with(end) {
                    self.text.truncate(self.text.len() - end.len());
                }
                return Ok(());
            }
        }
    }
}
