//! Who may tell events.
//!
//! With tokens, every request needs one, on loopback too. Without, whoever reaches a listener on
//! loopback may, save pages of other web sites; a listener beyond it takes nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};

use super::problem::Problem;
use crate::model::{Scope, Token, is_own_origin};

/// To whom the API is open.
#[derive(Clone, Debug)]
pub enum Access {
    /// Whoever is on this machine.
    Loopback,
    /// Nobody: it listens here, beyond loopback, without tokens.
    Closed(SocketAddr),
    Tokens(Arc<[Token]>),
}

impl Access {
    /// By the rules above; `listen` is the address that was bound.
    pub fn new(tokens: Option<Vec<Token>>, listen: SocketAddr) -> Self {
        match tokens {
            Some(tokens) => Access::Tokens(tokens.into()),
            None if listen.ip().to_canonical().is_loopback() => Access::Loopback,
            None => Access::Closed(listen),
        }
    }

    /// For the log and the page: why nothing is taken, and what to do.
    pub fn notice(&self) -> Option<String> {
        match self {
            Access::Closed(listen) => Some(format!(
                "ingest is closed: the daemon listens on {listen}, beyond loopback, and has no tokens; \
                 start it with --tokens-file FILE, or listen on 127.0.0.1"
            )),
            _ => None,
        }
    }

    /// Who asks, if they may tell anything at all.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<Bearer, Problem> {
        match self {
            Access::Closed(_) => Err(Problem::Forbidden(self.notice().unwrap_or_default())),
            Access::Loopback => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
                if origin.is_some_and(|origin| !is_own_origin(origin, host)) {
                    let words =
                        "pages of other web sites may not tell events; leave Origin out, or use a token";
                    return Err(Problem::Forbidden(words.into()));
                }
                Ok(Bearer(None))
            }
            Access::Tokens(tokens) => {
                let Some(text) = bearer(headers) else {
                    return Err(Problem::Unauthorized(
                        "no token was sent; expected `Authorization: Bearer TOKEN` with one of the tokens file",
                    ));
                };
                let digest = Token::digest_of(text);
                // All are looked at, so that the time tells nothing of where a near one stands.
                let found = tokens.iter().fold(None, |found, token| match token.is(&digest) {
                    true => Some(token),
                    false => found,
                });
                match found {
                    Some(token) => Ok(Bearer(Some(token.clone()))),
                    None => Err(Problem::Unauthorized(
                        "the token is not one of the tokens file; was it taken out, or cut on its way?",
                    )),
                }
            }
        }
    }
}

/// RFC 6750, section 2.1; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

/// Who asks: the holder of a token, or anyone on this machine.
#[derive(Clone, Debug)]
pub(super) struct Bearer(Option<Token>);

impl Bearer {
    /// In words, when it may not.
    pub fn lacks(&self, scope: Scope) -> Option<String> {
        let token = self.0.as_ref().filter(|token| !token.may(scope))?;
        let has: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
        Some(format!(
            "needs the scope `{}`; the token `{}` has {}",
            scope.as_str(),
            token.name,
            has.join(", ")
        ))
    }

    pub fn need(&self, scope: Scope) -> Result<(), Problem> {
        self.lacks(scope).map_or(Ok(()), |words| Err(Problem::Forbidden(format!("this {words}"))))
    }
}
