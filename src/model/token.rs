//! Who may tell events, and of what.
//!
//! Of a token only its SHA-256 is held, so no dump, log or error can show it. Tokens are random and
//! long, so a slow hash as for passwords would only cost time.

use std::fmt;

use sha2::{Digest, Sha256};

use super::event::EventKind;

/// What a token lets its bearer tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything below.
    Events,
    Tests,
    Deploy,
    Load,
    /// Runs of pipelines, and steps that are none of the above.
    Steps,
}

impl Scope {
    pub const ALL: [Scope; 5] = [Scope::Events, Scope::Tests, Scope::Deploy, Scope::Load, Scope::Steps];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Events => "events",
            Scope::Tests => "tests",
            Scope::Deploy => "deploy",
            Scope::Load => "load",
            Scope::Steps => "steps",
        }
    }

    /// The narrowest scope that allows an event of this kind.
    pub fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::Tests => Scope::Tests,
            EventKind::Deploy => Scope::Deploy,
            EventKind::Load => Scope::Load,
            EventKind::Pipeline | EventKind::Step => Scope::Steps,
        }
    }
}

/// A bearer token, by its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What people call it.
    pub name: String,
    pub scopes: Vec<Scope>,
    digest: [u8; 32],
}

impl Token {
    /// `digest` is the SHA-256 of the token's text.
    pub fn new(name: &str, digest: [u8; 32], scopes: Vec<Scope>) -> Self {
        Token { name: name.to_owned(), scopes, digest }
    }

    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub fn digest_of(text: &str) -> [u8; 32] {
        Sha256::digest(text).into()
    }

    /// Whether the text with this digest is the token; takes as long whatever the answer.
    pub fn is(&self, digest: &[u8; 32]) -> bool {
        let differences = self.digest.iter().zip(digest).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        std::hint::black_box(differences) == 0
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&Scope::Events) || self.scopes.contains(&scope)
    }
}

/// Without the digest.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}: {:?})", self.name, self.scopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_and_shows_none() {
        let token = Token::new("ci", Token::digest_of("correct horse battery"), vec![Scope::Tests]);
        assert!(token.is(&Token::digest_of("correct horse battery")));
        assert!(!token.is(&Token::digest_of("correct horse batterz")));
        assert_eq!(format!("{token:?}"), "Token(ci: [Tests])");
        assert!(token.may(Scope::Tests) && !token.may(Scope::Deploy));
        let all = Token::new("all", [0; 32], vec![Scope::Events]);
        assert!(Scope::ALL.into_iter().all(|scope| all.may(scope)));
    }
}
