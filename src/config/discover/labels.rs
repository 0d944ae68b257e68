//! What the labels of a target or of a container mean.
//!
//! A target is taken as a whole or not at all: whatever is wrong with one of its labels, it does
//! not join. Labels hold no secrets and allow no writes, since whoever may set one is not
//! necessarily whoever looks after the fleet.

use url::Url;

use super::super::fleet::{self, DEFAULT_ENVIRONMENT};
use super::super::problem::{At, Fault, nearest, one_of};
use super::super::value;
use crate::model::{Deployment, Tls, Version};

/// Labels that say what a deployment is.
const KNOWN: [&str; 10] =
    ["name", "version", "order", "db", "environment", "host_group", "url", "scheme", "path", "digest"];
/// What a label could not be trusted with.
const REFUSED: [&str; 5] = ["token", "token_env", "token_file", "tokens", "writes"];

/// The labels of one target that are meant for us.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    prefix: String,
    all: Vec<Label>,
}

#[derive(Clone, Debug, PartialEq)]
struct Label {
    /// Without the prefix.
    name: String,
    value: String,
    at: Option<At>,
}

/// What is known of a target besides its labels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Without a label `name`; what cannot stand in a name becomes `-`.
    pub name: &'a str,
    /// The tag of its image: the version, if it is one and no label says it.
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
    /// `http` unless said otherwise.
    pub scheme: Option<&'a str>,
    /// By default the host in its URL.
    pub host_group: Option<&'a str>,
    /// Labels that are understood besides those of every target.
    pub labels: &'a [&'a str],
}

/// What is wrong with a label, and where it stands, if that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    pub(in crate::config) at: Option<At>,
    pub(in crate::config) fault: Fault,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fault.message)?;
        match &self.fault.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl Labels {
    /// Those whose names start with the prefix.
    pub fn of<'a>(prefix: &str, all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::placed(prefix, all.into_iter().map(|(name, value)| (name, value, None)))
    }

    pub(super) fn placed<'a>(
        prefix: &str,
        all: impl IntoIterator<Item = (&'a str, &'a str, Option<At>)>,
    ) -> Self {
        let ours = |(name, value, at): (&'a str, &'a str, Option<At>)| {
            let name = name.strip_prefix(prefix)?.to_owned();
            Some(Label { name, value: value.to_owned(), at })
        };
        Labels { prefix: prefix.to_owned(), all: all.into_iter().filter_map(ours).collect() }
    }

    /// A target without any is not meant for us, unless every name is.
    pub fn are_meant(&self) -> bool {
        self.prefix.is_empty() || !self.all.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.label(name).map(|label| label.value.as_str())
    }

    /// The name that a label says, or the target's own as a name.
    pub fn name_or(&self, own: &str) -> String {
        self.get("name").map_or_else(|| as_name(own), str::to_owned)
    }

    /// How a label is called in full.
    pub fn full(&self, name: &str) -> String {
        format!("`{}{name}`", self.prefix)
    }

    fn label(&self, name: &str) -> Option<&Label> {
        self.all.iter().find(|label| label.name == name)
    }

    /// The deployment that the labels describe. `address` says where it answers, as `host:port`, if
    /// no label `url` does.
    pub fn deployment(
        &self,
        known: &Known<'_>,
        address: impl FnOnce() -> Result<String, String>,
    ) -> Result<Deployment, Vec<Wrong>> {
        let mut wrong = self.strangers(known);
        let name = match self.label("name") {
            Some(label) => self.judge(label, value::plain_name),
            None => value::plain_name(&as_name(known.name)).map_err(|_| self.absent("name")),
        };
        let name = collect(&mut wrong, name);
        let version = collect(&mut wrong, self.version(known));
        let db = self.read("db", fleet::parse_flavour).and_then(|db| db.ok_or_else(|| self.absent("db")));
        let db = collect(&mut wrong, db);
        let url = collect(&mut wrong, self.url(known, address));
        let environment = collect(&mut wrong, self.read("environment", value::plain_name));
        let host_group = collect(&mut wrong, self.read("host_group", value::plain_name));
        let digest = collect(&mut wrong, self.read("digest", fleet::parse_digest));
        let all = (name, version, db, url, environment, host_group, digest);
        let (
            Some(name),
            Some(version),
            Some(db),
            Some(url),
            Some(environment),
            Some(host_group),
            Some(digest),
        ) = all
        else {
            return Err(wrong);
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let own_group = || known.host_group.or(url.host_str()).unwrap_or_default().to_owned();
        Ok(Deployment {
            name,
            version,
            db,
            environment: environment.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned()),
            host_group: host_group.unwrap_or_else(own_group),
            url,
            token: None,
            writes: false,
            tls: Tls::default(),
            resolver: None,
            keep_alive: false,
            digest: digest.or_else(|| known.digest.map(str::to_owned)),
            commit: None,
            origin: None,
        })
    }

    fn read<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Result<Option<T>, Wrong> {
        self.label(name).map(|label| self.judge(label, parse)).transpose()
    }

    fn judge<T>(&self, label: &Label, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Result<T, Wrong> {
        parse(&label.value).map_err(|fault| {
            let message = format!("label {}: {}", self.full(&label.name), fault.message);
            Wrong { at: label.at, fault: Fault { message, ..fault } }
        })
    }

    fn absent(&self, name: &str) -> Wrong {
        Wrong { at: None, fault: Fault::new(format!("label {} is missing", self.full(name))) }
    }

    fn version(&self, known: &Known<'_>) -> Result<Version, Wrong> {
        let order = self.read("order", fleet::parse_order)?;
        if let Some(label) = self.label("version") {
            return self.judge(label, |text| fleet::parse_version(text, order.as_ref(), false));
        }
        let mut absent = self.absent("version");
        let Some(tag) = known.tag else { return Err(absent) };
        match &order {
            Some(order) => Ok(Version::named(tag, order)),
            None => released(tag).ok_or_else(|| {
                absent.fault.message.push_str(&format!(", and the image's tag `{tag}` is no full version"));
                absent
            }),
        }
    }

    fn url(&self, known: &Known<'_>, address: impl FnOnce() -> Result<String, String>) -> Result<Url, Wrong> {
        // The hints of fleet.yaml are about what labels cannot say.
        let parse = |text: &str| fleet::parse_url(text).map_err(|fault| Fault { hint: None, ..fault });
        if let Some(url) = self.read("url", parse)? {
            return Ok(url);
        }
        let scheme = self.read("scheme", scheme)?;
        let path = self.read("path", |text| match text.strip_prefix('/') {
            Some(rest) if !rest.contains(['?', '#']) => Ok(text.to_owned()),
            _ => Err(Fault::new("expected a path such as `/status`, without a query")),
        })?;
        let unplaced = |fault: Fault| Wrong { at: None, fault };
        let address = address().map_err(|words| unplaced(Fault::new(words)))?;
        if address.contains("://") {
            return fleet::parse_url(&address).map_err(unplaced);
        }
        let scheme = scheme.as_deref().or(known.scheme).unwrap_or("http");
        let path = path.unwrap_or_default();
        fleet::parse_url(&format!("{scheme}://{address}{path}")).map_err(unplaced)
    }

    /// Labels that mean nothing; where every name is taken as it is, the others are not meant for us.
    fn strangers(&self, known: &Known<'_>) -> Vec<Wrong> {
        let understood: Vec<&str> = KNOWN.iter().chain(known.labels).copied().collect();
        let mut wrong = Vec::new();
        for label in self.all.iter().filter(|label| !understood.contains(&label.name.as_str())) {
            let full = self.full(&label.name);
            let fault = if REFUSED.contains(&label.name.as_str()) {
                Fault::new(format!("label {full}: labels bring neither tokens nor writes"))
                    .hint("list the deployment in fleet.yaml for that; its image is still discovered")
            } else if self.prefix.is_empty() {
                continue;
            } else {
                let fault = Fault::new(format!("unknown label {full}; expected {}", one_of(&understood)));
                match nearest(&label.name, &understood) {
                    Some(meant) => fault.hint(format!("did you mean {}?", self.full(meant))),
                    None => fault,
                }
            };
            wrong.push(Wrong { at: label.at, fault });
        }
        wrong
    }
}

fn collect<T>(wrong: &mut Vec<Wrong>, result: Result<T, Wrong>) -> Option<T> {
    result.map_err(|w| wrong.push(w)).ok()
}

fn scheme(text: &str) -> Result<String, Fault> {
    match text {
        "http" | "https" => Ok(text.to_owned()),
        _ => Err(Fault::new("expected `http` or `https`")),
    }
}

/// `cachet.example:8080` → `cachet.example-8080`.
fn as_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    text.chars().map(plain).collect::<String>().trim_matches('-').to_owned()
}

/// The version in an image's tag. `3` and `2.4` are moved from image to image, and what follows a
/// dash is a variant of the image (`2.4.1-alpine`), unless it is a word of a version's own.
fn released(tag: &str) -> Option<Version> {
    let (core, pre) = tag.split_once('-').unwrap_or((tag, ""));
    let own = ["", "dev", "alpha", "beta", "rc"].iter().any(|word| match pre.strip_prefix(word) {
        Some(rest) if word.is_empty() => rest.is_empty(),
        Some(rest) => rest.chars().all(|c| c.is_ascii_digit() || c == '.'),
        None => false,
    });
    (own && core.matches('.').count() == 2).then(|| Version::parse(tag)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(labels: &[(&str, &str)], known: &Known<'_>) -> Result<Deployment, Vec<String>> {
        let labels = Labels::of("cachetscope.", labels.iter().copied());
        labels
            .deployment(known, || Ok("10.0.0.7:8000".to_owned()))
            .map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn labels_describe_a_deployment_and_the_rest_is_known_or_usual() {
        let known = Known {
            name: "shop_cachet:1",
            tag: Some("v2.4.1"),
            digest: Some("sha256:1"),
            ..Known::default()
        };
        let deployment = read(&[("cachetscope.db", "pgsql"), ("other.db", "x")], &known).unwrap();
        assert_eq!(deployment.name, "shop_cachet-1");
        assert_eq!((deployment.version.as_str(), deployment.db.as_str()), ("2.4.1", "postgresql"));
        assert_eq!(deployment.url.as_str(), "http://10.0.0.7:8000/");
        assert_eq!(
            (deployment.environment.as_str(), deployment.host_group.as_str()),
            ("production", "10.0.0.7")
        );
        assert_eq!(deployment.digest.as_deref(), Some("sha256:1"));
        assert!(deployment.token.is_none() && !deployment.writes);

        let digest = format!("sha256:{}", "ab".repeat(32));
        let labels = [
            ("cachetscope.name", "cachet"),
            ("cachetscope.version", "main"),
            ("cachetscope.order", "3.0.0-dev.202608221030"),
            ("cachetscope.db", "mysql"),
            ("cachetscope.environment", "staging"),
            ("cachetscope.host_group", "rack-1"),
            ("cachetscope.scheme", "https"),
            ("cachetscope.path", "/status"),
            ("cachetscope.digest", &digest),
        ];
        let deployment = read(&labels, &known).unwrap();
        assert_eq!(
            (deployment.name.as_str(), deployment.url.as_str()),
            ("cachet", "https://10.0.0.7:8000/status")
        );
        assert_eq!((deployment.version.as_str(), deployment.host_group.as_str()), ("main", "rack-1"));
        assert_eq!((deployment.environment.as_str(), deployment.digest), ("staging", Some(digest.clone())));

        let url = [("cachetscope.db", "mysql"), ("cachetscope.url", "https://cachet.example/x")];
        assert_eq!(read(&url, &known).unwrap().url.as_str(), "https://cachet.example/x");
    }

    #[test]
    fn every_wrong_label_is_told_and_nothing_is_taken() {
        let labels = [
            ("cachetscope.name", "two words"),
            ("cachetscope.verison", "2.4.1"),
            ("cachetscope.db", "mysq"),
            ("cachetscope.url", "http://me:secret@cachet.example"),
            ("cachetscope.writes", "allowed"),
        ];
        let wrong = read(&labels, &Known { name: "a", tag: Some("latest"), ..Known::default() }).unwrap_err();
        assert_eq!(
            wrong,
            [
                "unknown label `cachetscope.verison`; expected one of name, version, order, db, environment, \
                 host_group, url, scheme, path, digest (did you mean `cachetscope.version`?)",
                "label `cachetscope.writes`: labels bring neither tokens nor writes (list the deployment in \
                 fleet.yaml for that; its image is still discovered)",
                "label `cachetscope.name`: expected a name of at most 100 letters, digits, `.`, `_` or `-`, found \
                 `two words`",
                "label `cachetscope.version` is missing, and the image's tag `latest` is no full version",
                "label `cachetscope.db`: unknown database `mysq`; expected one of sqlite, mysql, mariadb, \
                 postgresql, microsoft.sql_server (did you mean `mysql`?)",
                "label `cachetscope.url`: credentials do not belong in a URL: it is shown and exported",
            ]
        );
    }

    #[test]
    fn a_tag_is_a_version_when_it_is_a_whole_one() {
        for (tag, version) in [
            ("2.4.1", Some("2.4.1")),
            ("v2.4.1", Some("2.4.1")),
            ("3.0.0-dev.202608221030", Some("3.0.0-dev.202608221030")),
            ("3.0.0-rc1", Some("3.0.0-rc1")),
            ("3", None),
            ("2.4", None),
            ("latest", None),
            ("2.4.1-alpine", None),
            ("2.4.1-rc-alpine", None),
            ("2.4.1-alpine3.19", None),
        ] {
            assert_eq!(released(tag).as_ref().map(Version::as_str), version, "{tag}");
        }
    }

    #[test]
    fn without_a_prefix_the_labels_of_others_are_left_alone() {
        let labels =
            Labels::of("", [("db", "mysql"), ("version", "2.4.1"), ("job", "web"), ("__meta_x", "1")]);
        assert!(labels.are_meant());
        let deployment =
            labels.deployment(&Known { name: "a:1", ..Known::default() }, || Ok("a:1".to_owned()));
        assert_eq!(deployment.unwrap().name, "a-1");
        assert!(!Labels::of("cachetscope_", [("job", "web")]).are_meant());
    }
}
