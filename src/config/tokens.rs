//! The tokens file → who may tell events. No message ever holds a token.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Env;
use super::problem::{At, Fault, Problem, Problems, Sink};
use super::reader::{Fields, elements};
use super::surroundings::Surroundings;
use super::value;
use super::yaml::{self, Node, Value};
use crate::model::{Scope, Token};

/// Characters of a token at least: 16 random letters and digits are beyond guessing over a network.
const CHARS_MIN: usize = 16;
const CHARS_MAX: usize = 1_024;
const TOKENS_MAX: usize = 1_000;
const EXAMPLE: &str = "write `- { name: ci, token: …, scopes: [events] }`";

/// What a tokens file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// At least one.
    pub tokens: Vec<Token>,
    /// What works, but may not be meant.
    pub notes: Vec<Problem>,
}

/// Reads a tokens file: a list of `{name, token | sha256, scopes}`.
pub fn tokens(path: &Path) -> Result<Tokens, Problems> {
    let sink = Sink::new(path.display().to_string());
    let env = Env::default();
    let around = Surroundings::new(&env, Path::new(""));
    let node = sink
        .keep(None, around.read(path))
        .and_then(|text| yaml::parse(&sink.file, &text).map_err(|problem| sink.add(problem)).ok());
    let tokens = node.map(|node| read(&sink, node)).unwrap_or_default();
    if let Ok(metadata) = fs::metadata(path)
        && metadata.mode() & 0o004 != 0
    {
        let mode = metadata.mode() & 0o777;
        let fault = Fault::new(format!("every user of this machine can read the tokens (mode {mode:o})"));
        sink.note(None, fault.hint(format!("chmod 600 {}", path.display())));
    }
    let (problems, notes) = sink.into_parts();
    match Problems::of(problems) {
        Some(problems) => Err(problems),
        None => Ok(Tokens { tokens, notes }),
    }
}

fn read(sink: &Sink, node: Node) -> Vec<Token> {
    let at = node.at;
    if !matches!(&node.value, Value::List(items) if !items.is_empty()) {
        sink.report(at, Fault::new("holds no token: expected a list with at least one").hint(EXAMPLE));
        return Vec::new();
    }
    let items = elements(sink, Some(node));
    if items.len() > TOKENS_MAX {
        let fault = Fault::new(format!("holds {} tokens: expected at most {TOKENS_MAX}", items.len()));
        sink.report(at, fault);
        return Vec::new();
    }
    let mut names: HashMap<String, u32> = HashMap::new();
    let mut tokens: Vec<(At, Token)> = Vec::new();
    for item in items {
        let at = item.at;
        let Some(token) = read_token(sink, item) else { continue };
        if let Some(line) = names.insert(token.name.clone(), at.line) {
            let fault = Fault::new(format!("token `{}` occurs twice; first in line {line}", token.name));
            sink.report(at, fault.hint("names are unique"));
        }
        // Two names for one secret: whose scopes count?
        if let Some((_, other)) = tokens.iter().find(|(_, other)| other.is(token.digest())) {
            let fault = Fault::new(format!("`{}` and `{}` are the same token", other.name, token.name));
            sink.report(at, fault.hint("give each its own"));
        }
        tokens.push((at, token));
    }
    tokens.into_iter().map(|(_, token)| token).collect()
}

fn read_token(sink: &Sink, node: Node) -> Option<Token> {
    if !matches!(node.value, Value::Map(_)) {
        // Not what was found: it may well be the token.
        sink.report(
            node.at,
            Fault::new("expected a mapping with `name`, `token` and `scopes`").hint(EXAMPLE),
        );
        return None;
    }
    let mut fields = Fields::of(sink, node, "the token")?;
    let at = fields.at;
    let name = fields.need("name", value::name);
    if let Some((name, _)) = &name {
        fields.call(format!("token `{name}`"));
    }
    let (has_text, has_digest) = (fields.has("token"), fields.has("sha256"));
    let text = fields.get("token", digest_of_text);
    let digest = fields.get("sha256", digest);
    let scopes = fields.need_node("scopes").map(|node| (node.at, elements(sink, Some(node))));
    let known: Vec<(&str, Scope)> = Scope::ALL.into_iter().map(|scope| (scope.as_str(), scope)).collect();
    let scopes: Option<Vec<Scope>> = scopes.and_then(|(at, nodes)| {
        if nodes.is_empty() {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            sink.report(at, Fault::new(format!("`scopes` is empty: expected some of {}", words.join(", "))));
        }
        nodes.iter().map(|node| super::reader::keep(sink, node, value::word(&known))).collect()
    });
    fields.finish();
    if has_text == has_digest {
        let fault = Fault::new("expected one of `token` and `sha256`");
        sink.report(at, fault.hint("sha256 is what `printf %s TOKEN | sha256sum` prints"));
        return None;
    }
    let (digest, _) = text.or(digest)?;
    Some(Token::new(&name?.0, digest, scopes?))
}

fn digest_of_text(node: &Node) -> Result<[u8; 32], Fault> {
    let Value::Text(text) = &node.value else {
        return Err(Fault::new("expected text").hint("put the token in quotes"));
    };
    let chars = text.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        let fault = Fault::new(format!("has {chars} characters: expected {CHARS_MIN} to {CHARS_MAX}"));
        return Err(fault.hint("`openssl rand -hex 24` makes a good one"));
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Fault::new(
            "holds a space or a character beyond ASCII: it could not be sent in a header",
        ));
    }
    Ok(Token::digest_of(text))
}

fn digest(node: &Node) -> Result<[u8; 32], Fault> {
    let wrong = || Fault::new("expected 64 hexadecimal digits, as `sha256sum` prints them");
    let text = value::written(node).map_err(|_| wrong())?;
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn read_text(text: &str, mode: u32) -> Result<Tokens, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let place = file.path().display().to_string();
        let hide = |text: String| text.replace(&place, "tokens");
        let mut read = tokens(file.path()).map_err(|problems| hide(problems.to_string()))?;
        for note in &mut read.notes {
            *note =
                Problem { file: hide(note.file.clone()), hint: note.hint.take().map(hide), ..note.clone() };
        }
        Ok(read)
    }

    #[test]
    fn tokens_are_read_as_text_or_as_their_hash() {
        let hash = "0b14d501a594442a01c6859541bcb3e8164d183d32937b851835442f69d5c94e";
        let text = format!(
            "- {{ name: ci, token: password1-and-more, scopes: [events] }}\n\
             - {{ name: deployer, sha256: {hash}, scopes: [deploy, steps] }}\n"
        );
        let read = read_text(&text, 0o600).unwrap();
        assert!(read.notes.is_empty());
        assert!(read.tokens[0].is(&Token::digest_of("password1-and-more")));
        assert!(read.tokens[1].is(&Token::digest_of("password1")), "short ones are the hash's business");
        assert_eq!(read.tokens[1].scopes, [Scope::Deploy, Scope::Steps]);
    }

    #[test]
    fn a_file_for_everyone_is_noted() {
        let read = read_text("- { name: ci, token: sesame-sesame-sesame, scopes: [tests] }", 0o644).unwrap();
        insta::assert_snapshot!(read.notes[0].to_string(), @r"
        tokens: every user of this machine can read the tokens (mode 644)
            hint: chmod 600 tokens
        ");
    }

    #[test]
    fn everything_wrong_is_named_and_no_token_shown() {
        let text = "\
- sesame-sesame-sesame
- { name: ci, token: sesame, scopes: [events] }
- { name: ci, token: 1234567890123456, scopes: [evnets] }
- { name: b, token: sesame-sesame-one, sha256: abc, scopes: [] }
- { name: c, sha256: sesame, scope: [tests] }
- { name: d, token: sesame sesame sesame, scopes: [tests] }
- { name: e, token: sesame-sesame-two, scopes: [tests] }
- { name: e, token: sesame-sesame-two, scopes: [load] }
";
        let words = read_text(text, 0o600).unwrap_err();
        assert!(!words.contains("sesame") && !words.contains("1234"), "{words}");
        insta::assert_snapshot!(words);
        let words = read_text("", 0o600).unwrap_err();
        assert!(
            words.starts_with("tokens:1:1: holds no token: expected a list with at least one"),
            "{words}"
        );
    }
}
