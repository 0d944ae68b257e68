//! Raw bytes of a report → text that may be kept: references resolved, control characters out, cut.
//!
//! Only the five entities of XML and character references are resolved. What a DOCTYPE declares is
//! not read at all, so such an entity stays as it is written, and none can grow.

use crate::model::truncate;

/// The longest reference: `&#x10FFFF;` and some leading zeros.
const REFERENCE_MAX: usize = 16;

/// Resolves the references in `raw[from..]`, in place: what results is never longer.
pub(super) fn resolve(raw: &mut Vec<u8>, from: usize) {
    let Some(first) = raw[from..].iter().position(|b| *b == b'&') else { return };
    let (mut read, mut write) = (from + first, from + first);
    while read < raw.len() {
        if raw[read] == b'&'
            && let Some((resolved, length)) = reference(&raw[read..])
        {
            let mut bytes = [0; 4];
            let bytes = resolved.encode_utf8(&mut bytes).as_bytes();
            raw[write..write + bytes.len()].copy_from_slice(bytes);
            write += bytes.len();
            read += length;
        } else {
            raw[write] = raw[read];
            write += 1;
            read += 1;
        }
    }
    raw.truncate(write);
}

/// The character that a reference at the start stands for, and the reference's length.
fn reference(raw: &[u8]) -> Option<(char, usize)> {
    let end = raw.iter().take(REFERENCE_MAX).position(|b| *b == b';')?;
    let name = &raw[1..end];
    let resolved = match name {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => code_point(digits, 16)?,
        [b'#', digits @ ..] => code_point(digits, 10)?,
        _ => return None,
    };
    Some((resolved, end + 1))
}

fn code_point(digits: &[u8], radix: u32) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
    // What is no character (a lone half of a pair) is replaced, as everywhere.
    u32::from_str_radix(digits, radix).ok().map(|code| char::from_u32(code).unwrap_or('\u{fffd}'))
}

/// A name: one line without control characters, of at most `max` bytes. One that is longer ends in a
/// hash of the whole, so that different names stay different; `length` is that of the raw whole, of
/// which `raw` may be the beginning.
pub(super) fn name(raw: &[u8], length: u64, max: usize) -> String {
    let mut kept = raw.to_vec();
    resolve(&mut kept, 0);
    let whole = length == raw.len() as u64;
    let mut text = String::from_utf8(kept)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if text.contains(char::is_control) {
        text = plain(&text, false);
    }
    if text.len() > max || !whole {
        let mark = format!("…#{:016x}", hash(&[&length.to_le_bytes(), raw]));
        text.truncate(text.floor_char_boundary(max.saturating_sub(mark.len())));
        text.push_str(&mark);
    }
    text
}

/// A text of some lines, its references resolved already.
pub(super) fn message(raw: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(raw);
    let text = text.trim();
    // Twice the limit: for what `plain` takes out.
    let text = &text[..text.floor_char_boundary(max * 2)];
    let controls = |c: char| c.is_control() && c != '\n' && c != '\t';
    let mut text = if text.contains(controls) { plain(text, true) } else { text.to_owned() };
    truncate(&mut text, max);
    text
}

/// Without control characters and the colours of terminals (`ESC [ … m`, ECMA-48). Line breaks stay
/// where there may be lines and are spaces elsewhere.
fn plain(text: &str, lines: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' if lines => clean.push(c),
            '\n' | '\t' => clean.push(' '),
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                let _ = chars.next_if(|c| matches!(c, '@'..='~'));
            }
            _ if c.is_control() => {}
            _ => clean.push(c),
        }
    }
    clean
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo); each part with its length, so that parts do not run together.
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for part in parts {
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut add);
        part.iter().copied().for_each(&mut add);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> String {
        let mut raw = text.as_bytes().to_vec();
        resolve(&mut raw, 0);
        String::from_utf8(raw).unwrap()
    }

    #[test]
    fn references_are_resolved_and_unknown_ones_stay() {
        assert_eq!(resolved("a &lt;b&gt; &quot;&apos;&amp;amp;"), "a <b> \"'&amp;");
        assert_eq!(resolved("&#65;&#x42;&#X43;&#xd800;&#x110000;"), "ABC\u{fffd}\u{fffd}");
        for untouched in ["&lol;", "&", "&;", "&#;", "&#x;", "&#+65;", "&#99999999999;", "&amp", "& amp;"] {
            assert_eq!(resolved(untouched), untouched);
        }
    }

    #[test]
    fn names_are_one_plain_line() {
        let raw = b"a\x07b&#10;c\xffd&#x1b;[31mred&#x1b;[0m";
        assert_eq!(name(raw, raw.len() as u64, 512), "ab c\u{fffd}dred");
    }

    #[test]
    fn long_names_that_differ_at_their_end_stay_different() {
        let (a, b) = (format!("{}a", "x".repeat(600)), format!("{}b", "x".repeat(600)));
        let (a, b) = (name(a.as_bytes(), 601, 512), name(b.as_bytes(), 601, 512));
        assert_ne!(a, b);
        assert!(a.len() <= 512 && a.starts_with("xxx"), "{a}");
        assert_ne!(name(b"same", 5_000, 512), name(b"same", 5_001, 512));
    }

    #[test]
    fn messages_keep_their_lines() {
        assert_eq!(message(b"\n a\n\tb\x1b[1;31m!\x1b[0m\x00 \n", 100), "a\n\tb!");
        assert_eq!(message("äöü".repeat(100).as_bytes(), 20).len(), 19);
    }
}
