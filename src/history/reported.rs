//! What a deployment says its version is, beside what it was registered as.
//!
//! Cachet is no good witness: 2.4.0 and 2.4.1 both say `2.4.0-dev`, every Cachet 3 says `3.x-dev`.
//! Only what cannot be true is told.

use crate::model::Version;

/// What does not fit, in words; `None` while nothing contradicts, or nothing was reported.
pub fn mismatch(version: &Version, reported: &str) -> Option<String> {
    let reported = reported.trim();
    let said = Version::parse(reported);
    let order = version.order_text();
    let fits = match reported {
        "" => true,
        "2.4.0-dev" => ["2.4.0", "2.4.1"].contains(&without_build(&order)) || order == reported,
        "3.x-dev" => order.starts_with("3."),
        _ => said.is_some_and(|said| without_build(&said.order_text()) == without_build(&order)),
    };
    (!fits).then(|| format!("is registered as {version}, but says that it is {reported}"))
}

/// Build metadata has no part in what a version is (Semantic Versioning 2.0.0, §10).
fn without_build(order: &str) -> &str {
    order.split('+').next().unwrap_or(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_true_is_a_mismatch() {
        let differs =
            |version: &str, reported: &str| mismatch(&Version::parse(version).unwrap(), reported).is_some();
        for (version, reported) in [
            ("2.3.18", "2.3.18"),
            ("v2.4", "2.4.0"),
            ("2.4.0", "2.4.0-dev"),
            ("2.4.1", "2.4.0-dev"),
            ("2.4.1+build.7", "v2.4.1"),
            ("3.0.0-dev.202608221030", "3.x-dev"),
            ("3.2.1", "3.x-dev"),
            ("3.0.0-dev.202608221030", ""),
        ] {
            assert!(!differs(version, reported), "{version} may say {reported}");
        }
        for (version, reported) in [
            ("2.4.1", "2.3.18"),
            ("2.4.2", "2.4.0-dev"),
            ("2.4.1", "3.x-dev"),
            ("3.0.0", "2.4.0-dev"),
            ("3.0.0", "hello"),
        ] {
            assert!(differs(version, reported), "{version} does not say {reported}");
        }
        let words = mismatch(&Version::parse("2.4.1").unwrap(), "2.3.18").unwrap();
        assert_eq!(words, "is registered as 2.4.1, but says that it is 2.3.18");
        let branch = Version::named("3.x", &Version::parse("3.0.0-dev.202608221030").unwrap());
        assert_eq!(mismatch(&branch, "3.x-dev"), None);
    }
}
