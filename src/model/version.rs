//! Versions of Cachet and their order.
//!
//! Released tags are `v2.3.18`; Cachet 3 has none, so its builds are named
//! `3.0.0-dev.<UTC yyyymmddhhmm of the commit>`. Order is precedence as Semantic Versioning 2.0.0
//! §11 defines it, also inside ranges: `>=3.0.0-0` holds for `3.1.0-dev.1`, where the `semver`
//! crate's own `VersionReq` says no. A name that is no such version (a branch) needs an explicit
//! place in the order.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is deployed: the text people read, and its place in the order.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    order: semver::Version,
}

impl Version {
    /// Reads `v2.4.1`, `2.4` (missing parts are 0) or `3.0.0-dev.202608221030+abc`. A leading `v`
    /// is dropped; build metadata is kept in the text and ignored in the order.
    pub fn parse(text: &str) -> Option<Self> {
        let text = normalise(text);
        let order = parse_loose(text)?;
        Some(Version { text: text.to_owned(), order })
    }

    /// A name with the place it stands at, such as branch `3.x` at `3.0.0-dev.202608221030`.
    pub fn named(text: &str, order: &Version) -> Self {
        Version { text: normalise(text).to_owned(), order: order.order.clone() }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The place in the order, as a semantic version; what the store keeps beside the text.
    pub fn order_text(&self) -> String {
        self.order.to_string()
    }

    /// Whether it stands above the other in the order; two builds of one version do not.
    pub fn is_above(&self, other: &Version) -> bool {
        self.order.cmp_precedence(&other.order) == Ordering::Greater
    }

    /// From the two texts that the store keeps.
    pub fn from_stored(text: &str, order: &str) -> Option<Self> {
        Some(Version { text: text.to_owned(), order: parse_loose(order)? })
    }
}

/// Drops surrounding space and the `v` of a tag.
fn normalise(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix(['v', 'V']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => text,
    }
}

/// Semantic version with the minor and patch numbers optional.
fn parse_loose(text: &str) -> Option<semver::Version> {
    let core_end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(core_end);
    let missing = 2_usize.checked_sub(core.matches('.').count())?;
    semver::Version::parse(&format!("{core}{}{rest}", ".0".repeat(missing))).ok()
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp_precedence(&other.order).then_with(|| self.text.cmp(&other.text))
    }
}
impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Version {}
impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl Serialize for Version {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Version::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is no version; expected one such as 2.4.1, or 3.0.0-dev.YYYYMMDDhhmm with the UTC time of \
                 the commit"
            ))
        })
    }
}

/// Comparators that must all hold, such as `>=2.0.0, <3.0.0-0`; `*` always holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange {
    text: String,
    bounds: Vec<(Comparator, semver::Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparator {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl VersionRange {
    /// Every version.
    pub fn any() -> Self {
        VersionRange { text: "*".to_owned(), bounds: Vec::new() }
    }

    /// Comparators `<`, `<=`, `=`, `>=`, `>` before a version, separated by commas or spaces.
    /// The error says which part was not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bounds = Vec::new();
        // "< 3" and "<3" are both usual: glue an operator to what follows it.
        let glued = text.replace(',', " ").replace("= ", "=").replace("< ", "<").replace("> ", ">");
        for part in glued.split_whitespace().filter(|p| *p != "*") {
            let operators = [
                ("<=", Comparator::LessOrEqual),
                (">=", Comparator::GreaterOrEqual),
                ("<", Comparator::Less),
                (">", Comparator::Greater),
                ("=", Comparator::Equal),
            ];
            let (comparator, version) = operators
                .iter()
                .find_map(|(op, c)| part.strip_prefix(op).map(|rest| (*c, rest)))
                .unwrap_or((Comparator::Equal, part));
            let Some(version) = parse_loose(normalise(version)) else {
                return Err(format!("`{part}` is not a comparator and a version, such as `>=3.0.0-0`"));
            };
            bounds.push((comparator, version));
        }
        if bounds.is_empty() && !text.contains('*') {
            return Err("the range is empty; `*` means every version".to_owned());
        }
        Ok(VersionRange { text: text.trim().to_owned(), bounds })
    }

    pub fn contains(&self, version: &Version) -> bool {
        self.bounds.iter().all(|(comparator, bound)| {
            let order = version.order.cmp_precedence(bound);
            match comparator {
                Comparator::Less => order.is_lt(),
                Comparator::LessOrEqual => order.is_le(),
                Comparator::Equal => order.is_eq(),
                Comparator::GreaterOrEqual => order.is_ge(),
                Comparator::Greater => order.is_gt(),
            }
        })
    }

    /// Whether some version can lie in both: two variants of a suite must not overlap.
    pub fn overlaps(&self, other: &VersionRange) -> bool {
        // Between comparators on a dense order, a common version exists exactly when one lies at,
        // or just beside, some bound of either range.
        let all = || self.bounds.iter().chain(&other.bounds);
        let mut candidates: Vec<semver::Version> = vec![semver::Version::new(0, 0, 0)];
        for (_, bound) in all() {
            candidates.push(bound.clone());
            candidates.push(just_above(bound));
            candidates.extend(just_below(bound));
        }
        candidates.into_iter().any(|order| {
            let version = Version { text: String::new(), order };
            self.contains(&version) && other.contains(&version)
        })
    }
}

/// A version that follows `v` closely enough that no bound people write lies between.
fn just_above(v: &semver::Version) -> semver::Version {
    let mut next = v.clone();
    if v.pre.is_empty() {
        next.patch += 1;
        next.pre = semver::Prerelease::new("0").unwrap_or_default();
    } else {
        next.pre = semver::Prerelease::new(&format!("{}.0", v.pre)).unwrap_or_default();
    }
    next
}

/// A version a little below `v`, where there is one.
fn just_below(v: &semver::Version) -> Option<semver::Version> {
    let mut previous = v.clone();
    if v.pre.is_empty() {
        previous.pre = semver::Prerelease::new("zzzz").ok()?;
        return Some(previous);
    }
    previous.pre = semver::Prerelease::EMPTY;
    match (v.major, v.minor, v.patch) {
        (0, 0, 0) => return None,
        (_, _, p) if p > 0 => previous.patch = p - 1,
        (_, m, _) if m > 0 => (previous.minor, previous.patch) = (m - 1, u64::MAX),
        (major, ..) => {
            (previous.major, previous.minor, previous.patch) = (major - 1, u64::MAX, u64::MAX);
        }
    }
    Some(previous)
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn tags_and_short_versions_are_normalised() {
        assert_eq!(v("v2.4.1").as_str(), "2.4.1");
        assert_eq!(v("2.4"), Version::named("2.4", &v("2.4.0")));
        assert!(Version::parse("main").is_none());
        assert!(Version::parse("1.2.3.4").is_none());
        assert_eq!(normalise("very-new"), "very-new");
    }

    #[test]
    fn order_is_precedence() {
        let mut versions =
            ["3.0.0", "3.0.0-dev.202608221030", "v2.4.1", "3.0.0-dev.202508221030", "2.3.18"].map(v);
        versions.sort();
        let texts: Vec<_> = versions.iter().map(Version::as_str).collect();
        assert_eq!(texts, ["2.3.18", "2.4.1", "3.0.0-dev.202508221030", "3.0.0-dev.202608221030", "3.0.0"]);
    }

    #[test]
    fn ranges_go_by_precedence_also_for_prereleases() {
        let three = VersionRange::parse(">=3.0.0-0").unwrap();
        assert!(three.contains(&v("3.1.0-dev.1")));
        assert!(!three.contains(&v("2.4.1")));
        let two = VersionRange::parse(">= 2.0, < 3.0.0-0").unwrap();
        assert!(two.contains(&v("2.4.1")) && !two.contains(&v("3.0.0-dev.1")));
        assert!(VersionRange::any().contains(&v("0.0.1-a")));
        assert!(VersionRange::parse("about 3").unwrap_err().contains("`about`"));
        assert!(VersionRange::parse(" ").is_err());
    }

    #[test]
    fn overlap_is_seen_and_disjoint_ranges_are_not_accused() {
        let r = |t| VersionRange::parse(t).unwrap();
        assert!(!r(">=3.0.0-0").overlaps(&r(">=2.0.0 <3.0.0-0")));
        assert!(r(">=3.0.0-0").overlaps(&r(">=2.0.0 <=3.0.0-0")));
        assert!(r("*").overlaps(&r("<1")));
        assert!(r(">2.3.0 <2.4.0").overlaps(&r(">=2.3.18")));
        assert!(!r("<2.0.0").overlaps(&r(">=2.0.0")));
        assert!(r(">2.3.0").overlaps(&r("<2.3.5")));
        assert!(!r("<2.3.0").overlaps(&r(">=2.3.0 <2.4")));
    }
}
