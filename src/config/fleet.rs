//! `fleet.yaml` → deployments; and the one deployment that a command line names.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::HeaderValue;
use url::Url;

use super::discover::{self, Source};
use super::hosts::Hosts;
use super::problem::{At, Fault, Problem, Problems, Sink};
use super::reader::{Fields, elements};
use super::surroundings::Surroundings;
use super::value;
use super::yaml::{Node, Value, quote};
use super::{AdHoc, Env};
use crate::model::{Deployment, Flavour, Secret, Tls, Version};

pub(super) const DEFAULT_ENVIRONMENT: &str = "production";
const DNS_PORT: u16 = 53;

/// What `fleet.yaml` says, as far as it is sound.
#[derive(Default)]
pub(super) struct FleetFile {
    /// Each with its place.
    pub deployments: Vec<(At, Deployment)>,
    /// From where events may bring more.
    pub allow_hosts: Hosts,
    /// Where more are discovered.
    pub sources: Vec<Source>,
}

/// What is not sound is reported.
pub(super) fn read(sink: &Sink, node: Node, around: &Surroundings<'_>) -> FleetFile {
    if matches!(node.value, Value::Null) {
        sink.report(node.at, Fault::new("the file is empty").hint("a fleet starts with `deployments:`"));
        return FleetFile::default();
    }
    let Some(mut fields) = Fields::of(sink, node, "the fleet") else { return FleetFile::default() };
    let deployments = elements(sink, fields.take("deployments"));
    let (allow_hosts, sources) =
        fields.take("discover").map(|node| discover::read(sink, node, around)).unwrap_or_default();
    fields.finish();

    let mut lines: HashMap<String, u32> = HashMap::new();
    let mut fleet = Vec::new();
    for node in deployments {
        let at = node.at;
        let (name, deployment) = read_deployment(sink, node, around);
        if let Some((name, at)) = name {
            match lines.get(&name) {
                Some(line) => {
                    let fault = Fault::new(format!("deployment `{name}` occurs twice; first in line {line}"));
                    sink.report(at, fault.hint("names are unique within the fleet"));
                }
                None => drop(lines.insert(name, at.line)),
            }
        }
        fleet.extend(deployment.map(|d| (at, d)));
    }
    FleetFile { deployments: fleet, allow_hosts, sources }
}

/// The name is known even when the rest is not sound.
fn read_deployment(
    sink: &Sink,
    node: Node,
    around: &Surroundings<'_>,
) -> (Option<(String, At)>, Option<Deployment>) {
    let Some(mut fields) = Fields::of(sink, node, "the deployment") else { return (None, None) };
    let at = fields.at;
    let name = fields.need("name", value::name);
    if let Some((name, _)) = &name {
        fields.call(format!("deployment `{name}`"));
    }
    let has_order = fields.has("order");
    let order = fields.get("order", |n| parse_order(value::written(n)?));
    let bad_order = has_order && order.is_none();
    let version = fields
        .need("version", |n| parse_version(value::written(n)?, order.as_ref().map(|(v, _)| v), bad_order));
    let db = fields.need("db", |n| parse_flavour(value::text(n)?));
    let url = fields.need("url", |n| parse_url(value::text(n)?));
    let environment = fields.get("environment", value::name);
    let token = fields.take("token").map(|node| (node.at, read_token(sink, node, around)));
    let writes = fields.get("writes", value::word(&[("allowed", true), ("denied", false)]));
    let host_group = fields.get("host_group", value::name);
    let tls = fields.take("tls").map(|node| read_tls(sink, node, around));
    let resolver = fields.get("resolver", |n| parse_resolver(value::text(n)?));
    let keep_alive = fields.get("keep_alive", value::boolean);
    let digest = fields.get("digest", |n| parse_digest(value::text(n)?));
    fields.finish();

    if let (Some((true, at)), None) = (&writes, &token) {
        let fault = Fault::new("`writes: allowed` without a `token`: Cachet refuses anonymous writes");
        sink.note(*at, fault.hint("add `token: { env: NAME }`, or leave `writes` out"));
    }
    if let (Some((url, url_at)), Some(_)) = (&url, &token)
        && url.scheme() == "http"
        && !is_loopback(url)
    {
        let fault = Fault::new("the token travels unencrypted: `url` is plain http");
        sink.note(*url_at, fault.hint("use https"));
    }
    if tls.as_ref().is_some_and(|tls| tls.as_ref().is_some_and(|tls| tls.insecure)) {
        sink.note(at, Fault::new("`tls.insecure`: any certificate is accepted here"));
    }

    let named = name.clone();
    let deployment = (|| {
        let (url, _) = url?;
        Some(Deployment {
            name: name?.0,
            version: version?.0,
            db: db?.0,
            environment: environment.map_or_else(|| DEFAULT_ENVIRONMENT.to_owned(), |(e, _)| e),
            host_group: host_group.map_or_else(|| host_of(&url), |(group, _)| group),
            url,
            token: token.and_then(|(_, token)| token),
            writes: writes.is_some_and(|(writes, _)| writes),
            tls: tls.flatten().unwrap_or_default(),
            resolver: resolver.map(|(address, _)| address),
            keep_alive: keep_alive.is_some_and(|(keep, _)| keep),
            digest: digest.map(|(digest, _)| digest),
            commit: None,
            origin: None,
        })
    })();
    (named, deployment)
}

/// `{ env: NAME }` or `{ file: PATH }`. The value itself never reaches a message.
pub(super) fn read_token(sink: &Sink, node: Node, around: &Surroundings<'_>) -> Option<Secret> {
    const HINT: &str = "write `token: { env: NAME }` or `token: { file: PATH }`";
    let at = node.at;
    if !matches!(node.value, Value::Map(_)) {
        sink.report(at, Fault::new("`token`: a secret is never written in a file of the fleet").hint(HINT));
        return None;
    }
    let mut fields = Fields::of(sink, node, "`token`")?;
    let both = fields.has("env") && fields.has("file");
    let neither = !fields.has("env") && !fields.has("file");
    let from_env = fields.get("env", |n| {
        // Whoever wrote the secret itself here does not want to read it again.
        let name =
            value::variable(n).map_err(|_| Fault::new("expected the name of an environment variable"))?;
        token_from_env(around.env, &name)
    });
    let from_file = fields.get("file", |n| token_from_file(around, value::text(n)?));
    fields.finish();
    if both || neither {
        sink.report(at, Fault::new("`token`: expected one of `env` and `file`").hint(HINT));
        return None;
    }
    from_env.or(from_file).map(|(token, _)| token)
}

fn token_from_env(env: &Env, name: &str) -> Result<Secret, Fault> {
    let value = env.get(name).ok_or_else(|| {
        Fault::new(format!("environment variable `{name}` is not set, or empty"))
            .hint(format!("export {name}, or use a secret file"))
    })?;
    sendable(value, &format!("the value of environment variable `{name}`"))
}

fn token_from_file(around: &Surroundings<'_>, path: &str) -> Result<Secret, Fault> {
    let file = format!("secret file {}", quote(path));
    let text = around.read(&around.resolve(path)).map_err(|fault| {
        Fault::new(format!("{file} {}", fault.message)).hint("is it there, and readable by this user?")
    })?;
    sendable(&text, &file)
}

/// A token is sent as part of a header, so it has no line breaks (RFC 9110 §5.5).
fn sendable(value: &str, whose: &str) -> Result<Secret, Fault> {
    let secret = Secret::new(value);
    if secret.reveal().is_empty() {
        return Err(Fault::new(format!("{whose} is empty")));
    }
    match HeaderValue::from_str(secret.reveal()) {
        Ok(_) => Ok(secret),
        Err(_) => Err(Fault::new(format!("{whose} holds a line break or a control character"))),
    }
}

pub(super) fn read_tls(sink: &Sink, node: Node, around: &Surroundings<'_>) -> Option<Tls> {
    let mut fields = Fields::of(sink, node, "`tls`")?;
    let ca = fields.get("ca", |n| authorities(around, value::text(n)?));
    let insecure = fields.get("insecure", value::boolean);
    fields.finish();
    Some(Tls { ca: ca.map(|(path, _)| path), insecure: insecure.is_some_and(|(insecure, _)| insecure) })
}

fn authorities(around: &Surroundings<'_>, path: &str) -> Result<std::path::PathBuf, Fault> {
    let resolved = around.resolve(path);
    let text = around
        .read(&resolved)
        .map_err(|fault| Fault::new(format!("file {} {}", quote(path), fault.message)))?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(Fault::new(format!("file {} holds no certificate in PEM form", quote(path))));
    }
    Ok(resolved)
}

pub(super) fn parse_order(text: &str) -> Result<Version, Fault> {
    Version::parse(text).ok_or_else(|| {
        Fault::new(format!("expected a version such as `3.0.0-dev.202608221030`, found {}", quote(text)))
    })
}

/// With an explicit order any text is a version; `order_is_bad` when one was given in vain.
pub(super) fn parse_version(
    text: &str,
    order: Option<&Version>,
    order_is_bad: bool,
) -> Result<Version, Fault> {
    const CHARS_MAX: usize = 100;
    if text.is_empty()
        || text.len() > CHARS_MAX
        || text.contains(|c: char| c == '|' || c.is_whitespace() || c.is_control())
    {
        return Err(Fault::new(format!(
            "expected a version of at most {CHARS_MAX} characters without spaces or `|`, found {}",
            quote(text)
        )));
    }
    if let Some(order) = order {
        return Ok(Version::named(text, order));
    }
    Version::parse(text).ok_or_else(|| {
        let fault = Fault::new(format!("{} has no place in the order of versions", quote(text)));
        if order_is_bad {
            return fault;
        }
        fault.hint("say where it stands, such as order 3.0.0-dev.202608221030 (UTC time of the commit)")
    })
}

pub(super) fn parse_flavour(text: &str) -> Result<Flavour, Fault> {
    text.parse::<Flavour>().map_err(|message| {
        let known: Vec<&str> = Flavour::ALL.iter().map(|f| f.as_str()).collect();
        let fault = Fault::new(message.replace('\n', " "));
        match super::problem::nearest(text, &known) {
            Some(word) => fault.hint(format!("did you mean `{word}`?")),
            None => fault,
        }
    })
}

/// Scheme, host, port and path. What may be a password is never repeated.
pub(super) fn parse_url(text: &str) -> Result<Url, Fault> {
    let url = parse_http(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new("expected a URL without query or fragment")
            .hint("requests bring their own path and query"));
    }
    Ok(url)
}

/// As [`parse_url`], and with a query.
pub(super) fn parse_http(text: &str) -> Result<Url, Fault> {
    let shown = if text.contains(['@', '?']) { "this".to_owned() } else { quote(text) };
    let url = Url::parse(text).map_err(|error| {
        Fault::new(format!("{shown} is not a URL: {error}")).hint("such as `http://127.0.0.1:8101`")
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Fault::new(format!("expected `http` or `https`, found `{}`", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let fault = Fault::new("credentials do not belong in a URL: it is shown and exported");
        return Err(fault.hint("use `token: { env: NAME }`"));
    }
    Ok(url)
}

fn parse_resolver(text: &str) -> Result<SocketAddr, Fault> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)))
        .map_err(|_| {
            Fault::new(format!(
                "expected the address of a DNS server such as `127.0.0.53` or `[::1]:5353`, found {}",
                quote(text)
            ))
        })
}

/// An image digest as registries write it: `sha256:` and 64 hexadecimal digits.
pub(super) fn parse_digest(text: &str) -> Result<String, Fault> {
    let hex =
        text.strip_prefix("sha256:").filter(|h| h.len() == 64 && h.chars().all(|c| c.is_ascii_hexdigit()));
    match hex {
        Some(_) => Ok(text.to_ascii_lowercase()),
        None => {
            Err(Fault::new(format!("expected `sha256:` and 64 hexadecimal digits, found {}", quote(text))))
        }
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The rules of `fleet.yaml` for the flags of a command line; the problems name the flags.
pub(super) fn read_ad_hoc(given: &AdHoc<'_>, env: &Env) -> Result<Deployment, Problems> {
    let around = Surroundings::new(env, Path::new(""));
    let mut problems: Vec<Problem> = Vec::new();
    let order = given.order.map(parse_order);
    let bad_order = matches!(order, Some(Err(_)));
    let known_order = order.as_ref().and_then(|o| o.as_ref().ok());
    let version = parse_version(given.version, known_order, bad_order);
    let url = parse_url(given.url);
    let db = parse_flavour(given.db);
    let name = given.name.map(value::plain_name).transpose();
    let environment = given.environment.map(value::plain_name).transpose();
    let token = match (given.token_env, given.token_file) {
        (Some(_), Some(_)) => Err(Fault::new("expected one of --token-env and --token-file")),
        (Some(name), None) => token_from_env(env, name).map(Some),
        (None, Some(path)) => token_from_file(&around, path).map(Some),
        (None, None) => Ok(None),
    };
    let ca = given.ca.map(|path| authorities(&around, path)).transpose();

    let mut collect = |flag: &str, fault: Option<&Fault>| {
        problems.extend(fault.map(|fault| fault.clone().at(flag, None)));
    };
    collect("--order", order.as_ref().and_then(|o| o.as_ref().err()));
    collect("--version", version.as_ref().err());
    collect("--url", url.as_ref().err());
    collect("--db", db.as_ref().err());
    collect("--name", name.as_ref().err());
    collect("--environment", environment.as_ref().err());
    collect("--token-env", token.as_ref().err());
    collect("--ca", ca.as_ref().err());
    if let Some(problems) = Problems::of(problems) {
        return Err(problems);
    }
    let all = (version, url, db, name, environment, token, ca);
    let (Ok(version), Ok(url), Ok(db), Ok(name), Ok(environment), Ok(token), Ok(ca)) = all else {
        unreachable!("each error above is a problem, and problems return");
    };
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", host_of(&url)),
        None => host_of(&url),
    };
    Ok(Deployment {
        name: name.unwrap_or(authority),
        version,
        db,
        environment: environment.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned()),
        host_group: host_of(&url),
        url,
        token,
        writes: given.writes,
        tls: Tls { ca, insecure: given.insecure },
        resolver: None,
        keep_alive: false,
        digest: None,
        commit: None,
        origin: None,
    })
}
