//! The environment, read once: nothing else in the crate looks at it.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Secret;

/// A snapshot of environment variables. Its `Debug` shows names only, since values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The environment of this process, as it is now. A variable that is not UTF-8 counts as unset.
    #[allow(clippy::disallowed_methods)]
    pub fn process() -> Self {
        let text = |v: std::ffi::OsString| v.into_string().ok();
        Env(std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect())
    }

    /// The value; an empty one counts as unset, as most tools have it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }
}

/// What the name of a variable ends with whose value is a secret.
const SECRET_NAMES: [&str; 8] =
    ["TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "_KEY", "_PWD", "CREDENTIALS"];
/// A shorter value is no secret but a part of half the words.
const SECRET_MIN: usize = 6;

impl Env {
    /// Values of variables that are secret by their names, to be masked wherever they turn up.
    pub fn secrets(&self) -> impl Iterator<Item = Secret> + '_ {
        let is_secret = |name: &str| SECRET_NAMES.iter().any(|end| name.to_ascii_uppercase().ends_with(end));
        let named = self.0.iter().filter(move |(name, value)| is_secret(name) && value.len() >= SECRET_MIN);
        named.map(|(_, value)| Secret::new(value))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Env(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown_and_empty_is_unset() {
        let env = Env::from_iter([("TOKEN", "hunter2"), ("EMPTY", " ")]);
        assert_eq!(format!("{env:?}"), r#"{"EMPTY", "TOKEN"}"#);
        assert_eq!(env.get("TOKEN"), Some("hunter2"));
        assert_eq!(env.get("EMPTY"), None);
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        let env = Env::from_iter([
            ("CACHET_TOKEN", "hunter2-long"),
            ("db_password", "hunter3-long"),
            ("SHORT_KEY", "abc"),
            ("OLDPWD", "/home/somebody"),
        ]);
        let secrets: Vec<String> = env.secrets().map(|secret| secret.reveal().to_owned()).collect();
        assert_eq!(secrets, ["hunter2-long", "hunter3-long"]);
    }

    #[test]
    fn the_process_has_an_environment() {
        assert!(Env::process().get("CARGO_MANIFEST_DIR").is_some() || Env::process().get("PATH").is_some());
    }
}
