//! A scanner for the XML of reports, in memory that no input can make grow.
//!
//! An XML library hands over each text, attribute and comment whole, and a report may hold one of
//! hundreds of megabytes. This one keeps the attributes of [`KEPT`] and the texts that are asked for,
//! each up to a limit, and passes over the rest in its buffer. It checks no more than what tells a
//! whole report from a broken one: that tags are tags, and that each closes what was opened last.
//! A DOCTYPE is passed over; nothing in it is declared, expanded or loaded.

use std::io::Read;

use super::JunitError;
use super::source::Source;
use super::text::resolve;
use crate::model::MESSAGE_MAX;

/// Elements within each other at most.
pub(super) const DEPTH_MAX: usize = 128;
/// Raw bytes kept of an attribute and of a text: a message may be mostly references.
const VALUE_MAX: usize = 3 * MESSAGE_MAX;
/// Bytes kept of the names of elements and attributes.
const NAME_MAX: usize = 64;

/// Attributes that are kept; [`Scanner::attribute`] gives them by their place here.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Name,
    Classname,
    Class,
    File,
    Line,
    Time,
    Timestamp,
    Tests,
    Message,
    Type,
    Status,
}

const KEPT: [&[u8]; 11] = [
    b"name",
    b"classname",
    b"class",
    b"file",
    b"line",
    b"time",
    b"timestamp",
    b"tests",
    b"message",
    b"type",
    b"status",
];

pub(super) enum Token {
    /// An element begins: [`Scanner::name`] and [`Scanner::attribute`] tell which.
    Open,
    /// The innermost element ends.
    Close,
    /// What follows the root element is neither markup nor space.
    Stray,
    End,
}

/// Why there is no next token.
pub(super) enum Stop {
    /// In words, where and how the report stops being one.
    Broken(String),
    Failed(JunitError),
}

impl From<JunitError> for Stop {
    fn from(error: JunitError) -> Self {
        Stop::Failed(error)
    }
}

#[derive(Default)]
pub(super) struct Value {
    /// As it is written, up to [`VALUE_MAX`].
    pub raw: Vec<u8>,
    /// How long all of it is.
    pub length: u64,
    there: bool,
}

pub(super) struct Scanner<R> {
    pub(super) source: Source<R>,
    values: [Value; KEPT.len()],
    /// The names of the open elements, one after the other, and where each begins.
    names: Vec<u8>,
    pub(super) starts: Vec<usize>,
    word: Vec<u8>,
    /// The element that was opened last closes itself.
    empty: bool,
    /// Whether text goes to `text`.
    pub keep_text: bool,
    /// With its references resolved.
    pub text: Vec<u8>,
    /// Whether there was an element yet.
    begun: bool,
    /// Whether there was anything but space yet.
    anything: bool,
}

pub(super) type Scan<T> = Result<T, Stop>;

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\n' | b'\r' | b'\t')
}

impl<R: Read> Scanner<R> {
    pub fn new(reader: R) -> Result<Self, JunitError> {
        Ok(Scanner {
            source: Source::new(reader).map_err(|error| JunitError::Unreadable { at: 0, error })?,
            values: Default::default(),
            names: Vec::new(),
            starts: Vec::new(),
            word: Vec::new(),
            empty: false,
            keep_text: false,
            text: Vec::new(),
            begun: false,
            anything: false,
        })
    }

    /// The local name of the innermost element.
    pub fn name(&self) -> &[u8] {
        let name = self.starts.last().map_or(&[][..], |start| &self.names[*start..]);
        name.iter().rposition(|b| *b == b':').map_or(name, |colon| &name[colon + 1..])
    }

    /// An attribute of the element that was opened last.
    pub fn attribute(&self, key: Key) -> Option<&Value> {
        Some(&self.values[key as usize]).filter(|value| value.there)
    }

    pub fn depth(&self) -> usize {
        self.starts.len()
    }

    pub fn next(&mut self) -> Scan<Token> {
        if self.empty {
            self.empty = false;
            return Ok(self.close());
        }
        loop {
            if self.starts.is_empty() {
                match self.outside()? {
                    Some(token) => return Ok(token),
                    None => self.source.advance(1),
                }
            } else {
                self.content()?;
            }
            match self.must("a tag")? {
                b'!' => self.declaration()?,
                b'?' => self.pass_over(b"?>", "a processing instruction")?,
                b'/' => {
                    self.source.advance(1);
                    return self.end_tag();
                }
                b if is_space(b) || matches!(b, b'<' | b'>' | b'=' | b'"' | b'\'' | b'&') => {
                    let at = self.source.position();
                    let words = format!("`<` followed by `{}` at byte {at} begins no tag", b.escape_ascii());
                    return Err(Stop::Broken(words));
                }
                _ => {
                    self.start_tag()?;
                    return Ok(Token::Open);
                }
            }
        }
    }

    /// Between and after roots, up to the next `<`.
    fn outside(&mut self) -> Scan<Option<Token>> {
        loop {
            match self.peek()? {
                Some(b'<') => {
                    self.anything = true;
                    return Ok(None);
                }
                // A file system may leave zeros where a process was ended.
                Some(b) if is_space(b) || b == 0 => self.source.advance(1),
                Some(_) if self.begun => return Ok(Some(Token::Stray)),
                Some(_) => {
                    let at = self.source.position();
                    let chunk = self.source.chunk().unwrap_or_default();
                    let found = String::from_utf8_lossy(&chunk[..chunk.len().min(24)]).into_owned();
                    return Err(JunitError::NotXml { found, at }.into());
                }
                None if self.begun => return Ok(Some(Token::End)),
                None if self.anything => {
                    let at = self.source.position();
                    return Err(Stop::Broken(format!("it ends at byte {at}, before its first element")));
                }
                None => return Err(JunitError::Empty.into()),
            }
        }
    }

    /// Text within an element, up to the next `<` and over it.
    fn content(&mut self) -> Scan<()> {
        let from = self.text.len();
        loop {
            let chunk = chunk_of(&mut self.source)?;
            if chunk.is_empty() {
                resolve(&mut self.text, from);
                return Err(self.ended(""));
            }
            let end = chunk.iter().position(|b| *b == b'<');
            let length = end.unwrap_or(chunk.len());
            if self.keep_text {
                keep(&mut self.text, &chunk[..length]);
            }
            self.source.advance(length + usize::from(end.is_some()));
            if end.is_some() {
                if self.keep_text {
                    resolve(&mut self.text, from);
                }
                return Ok(());
            }
        }
    }

    fn start_tag(&mut self) -> Scan<()> {
        if self.starts.len() == DEPTH_MAX {
            return Err(JunitError::TooDeep { at: self.source.position() }.into());
        }
        self.word(b"=")?;
        self.begun = true;
        for value in &mut self.values {
            value.there = false;
        }
        // Known as open from here on, so that an end within the tag names it.
        self.starts.push(self.names.len());
        self.names.extend_from_slice(&self.word);
        loop {
            match self.next_in_tag()? {
                b'>' => {
                    self.source.advance(1);
                    return Ok(());
                }
                b'/' => {
                    self.source.advance(1);
                    if self.must("a tag")? == b'>' {
                        self.source.advance(1);
                        self.empty = true;
                        return Ok(());
                    }
                }
                b'<' => return Err(self.unfinished_tag()),
                _ => self.attribute_in_tag()?,
            }
        }
    }

    fn attribute_in_tag(&mut self) -> Scan<()> {
        self.word(b"=")?;
        if self.next_in_tag()? != b'=' {
            // One without a value, as in HTML.
            return Ok(());
        }
        self.source.advance(1);
        let quote = self.next_in_tag()?;
        if !matches!(quote, b'"' | b'\'') {
            let at = self.source.position();
            let words = format!("an attribute's value at byte {at} has no quotes");
            return Err(Stop::Broken(words));
        }
        self.source.advance(1);
        let place = KEPT.iter().position(|kept| *kept == self.word.as_slice());
        // XML allows no second one of the same name.
        let place = place.filter(|place| !self.values[*place].there);
        if let Some(place) = place {
            let value = &mut self.values[place];
            value.raw.clear();
            value.length = 0;
        }
        loop {
            let chunk = chunk_of(&mut self.source)?;
            if chunk.is_empty() {
                return Err(self.ended("an attribute of "));
            }
            let end = chunk.iter().position(|b| *b == quote);
            let length = end.unwrap_or(chunk.len());
            if let Some(place) = place {
                let value = &mut self.values[place];
                keep(&mut value.raw, &chunk[..length]);
                value.length += length as u64;
            }
            self.source.advance(length + usize::from(end.is_some()));
            if end.is_some() {
                if let Some(place) = place {
                    self.values[place].there = true;
                }
                return Ok(());
            }
        }
    }

    fn end_tag(&mut self) -> Scan<Token> {
        self.word(b"")?;
        while self.next_in_tag()? != b'>' {
            self.source.advance(1);
        }
        self.source.advance(1);
        let open = self.starts.last().map(|start| &self.names[*start..]);
        if open != Some(self.word.as_slice()) {
            let at = self.source.position();
            let closed = String::from_utf8_lossy(&self.word);
            let open =
                open.map_or("nothing is open".into(), |name| format!("`<{}>` is open", name.escape_ascii()));
            return Err(Stop::Broken(format!("`</{closed}>` at byte {at} closes nothing: {open}")));
        }
        Ok(self.close())
    }

    fn close(&mut self) -> Token {
        if let Some(start) = self.starts.pop() {
            self.names.truncate(start);
        }
        Token::Close
    }

    /// A name, up to space, `/`, `<`, `>`, or one of `stops`; beyond its limit it is passed over.
    fn word(&mut self, stops: &[u8]) -> Scan<()> {
        self.word.clear();
        loop {
            let b = self.must("a tag")?;
            if is_space(b) || matches!(b, b'/' | b'<' | b'>') || stops.contains(&b) {
                return Ok(());
            }
            if self.word.len() < NAME_MAX {
                self.word.push(b);
            }
            self.source.advance(1);
        }
    }

    /// The next byte within a tag that is no space.
    fn next_in_tag(&mut self) -> Scan<u8> {
        loop {
            let b = self.must("a tag")?;
            if !is_space(b) {
                return Ok(b);
            }
            self.source.advance(1);
        }
    }

    #[inline]
    pub(super) fn peek(&mut self) -> Scan<Option<u8>> {
        self.source
            .peek()
            .map_err(|error| JunitError::Unreadable { at: self.source.position(), error }.into())
    }

    #[inline]
    pub(super) fn must(&mut self, what: &str) -> Scan<u8> {
        match self.peek()? {
            Some(b) => Ok(b),
            None => Err(self.ended(&format!("{what} of "))),
        }
    }

    fn unfinished_tag(&self) -> Stop {
        let at = self.source.position();
        Stop::Broken(format!("the tag `<{}` is not finished at byte {at}", self.name().escape_ascii()))
    }

    pub(super) fn ended(&self, what: &str) -> Stop {
        let at = self.source.position();
        Stop::Broken(match self.starts.last() {
            Some(_) => format!("it ends at byte {at}, inside {what}`<{}>`", self.name().escape_ascii()),
            None if self.begun => format!("it ends at byte {at}, after its root element"),
            None => format!("it ends at byte {at}, before its first element"),
        })
    }
}

/// What is next of the source, empty at its end; borrows nothing else of a scanner.
pub(super) fn chunk_of<R: Read>(source: &mut Source<R>) -> Scan<&[u8]> {
    let at = source.position();
    source.chunk().map_err(|error| JunitError::Unreadable { at, error }.into())
}

/// Appends as much as the limit leaves room for.
pub(super) fn keep(into: &mut Vec<u8>, bytes: &[u8]) {
    let room = VALUE_MAX.saturating_sub(into.len());
    into.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
