//! `discover:` of `fleet.yaml`: where deployments come from besides the list.
//!
//! Only what the file says is judged here. Asking the sources is the daemon's; reading what they
//! answer is in [`targets`], and what their labels mean in [`labels`].

pub mod labels;
pub mod targets;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::fleet;
use super::hosts::{self, Hosts};
use super::problem::{At, Fault, Sink};
use super::reader::{Fields, elements, keep};
use super::surroundings::Surroundings;
use super::value;
use super::yaml::{Node, Value, quote};
use crate::model::{Secret, Tls};

/// Sources at most; each is a task.
const SOURCES_MAX: usize = 20;
/// Patterns of one `file_sd` at most.
const PATTERNS_MAX: usize = 100;
/// A source is asked no more often than this.
const REFRESH_MIN: Duration = Duration::from_secs(1);
const HTTP_REFRESH: Duration = Duration::from_secs(60);
/// Looking at files is cheap.
const FILE_REFRESH: Duration = Duration::from_secs(5);
const DOCKER_REFRESH: Duration = Duration::from_secs(15);
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// What the labels of a target start with, where names may not hold dots (Prometheus).
const LABEL_PREFIX: &str = "cachetscope_";
/// What the labels of a container start with.
const DOCKER_PREFIX: &str = "cachetscope.";

/// One place where deployments are discovered. Its `Display` names it, without a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    HttpSd(HttpSd),
    FileSd(FileSd),
    Docker(Docker),
}

/// A URL that answers in Prometheus's HTTP SD format.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSd {
    pub url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    pub tls: Tls,
    pub refresh: Duration,
    pub label_prefix: String,
}

/// Files in Prometheus's file SD format.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSd {
    pub patterns: Vec<FilePattern>,
    pub refresh: Duration,
    pub label_prefix: String,
}

/// A path whose last part may have wildcards.
#[derive(Clone, Debug, PartialEq)]
pub struct FilePattern {
    /// As it is written in the file.
    pub written: String,
    pub path: PathBuf,
}

/// A Docker engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    pub endpoint: Endpoint,
    pub refresh: Duration,
    pub label_prefix: String,
    /// Containers are asked by their address on this network, as a daemon that is on it itself can.
    pub network: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    Socket(PathBuf),
    /// Of the engine, or of a proxy before its socket: scheme, host and port.
    Http(Url),
}

impl Source {
    /// The key under `discover:`.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::HttpSd(_) => "http_sd",
            Source::FileSd(_) => "file_sd",
            Source::Docker(_) => "docker",
        }
    }

    pub fn refresh(&self) -> Duration {
        match self {
            Source::HttpSd(HttpSd { refresh, .. })
            | Source::FileSd(FileSd { refresh, .. })
            | Source::Docker(Docker { refresh, .. }) => *refresh,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind())?;
        match self {
            Source::HttpSd(source) => {
                // A query may hold a key.
                let mut url = source.url.clone();
                let query = if url.query().is_some() { "?…" } else { "" };
                url.set_query(None);
                write!(f, "{url}{query}")
            }
            Source::FileSd(source) => {
                let written: Vec<&str> = source.patterns.iter().map(|p| p.written.as_str()).collect();
                f.write_str(&written.join(", "))
            }
            Source::Docker(Docker { endpoint: Endpoint::Socket(path), .. }) => {
                write!(f, "{}", path.display())
            }
            Source::Docker(Docker { endpoint: Endpoint::Http(url), .. }) => write!(f, "{url}"),
        }
    }
}

impl FilePattern {
    /// The files that are meant, in order. A path without wildcards is meant even when there is no
    /// such file.
    pub fn files(&self) -> Vec<PathBuf> {
        let last = self.path.file_name().unwrap_or_default().to_string_lossy();
        let Some(folder) = self.path.parent().filter(|_| is_wild(&last)) else {
            return vec![self.path.clone()];
        };
        let Ok(wanted) = glob::Pattern::new(&last) else { return Vec::new() };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // Editors and volumes keep hidden files beside those that are meant.
        let mut names: Vec<String> =
            names.filter(|name| !name.starts_with('.') && wanted.matches(name)).collect();
        names.sort();
        names.into_iter().map(|name| folder.join(name)).collect()
    }
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// From which hosts events may bring deployments, and the other sources.
pub(super) fn read(sink: &Sink, node: Node, around: &Surroundings<'_>) -> (Hosts, Vec<Source>) {
    let at = node.at;
    let Some(mut fields) = Fields::of(sink, node, "`discover`") else { return Default::default() };
    let hosts = fields.take("deploy_events").map(|node| hosts::read(sink, node)).unwrap_or_default();
    let mut sources: Vec<(At, Source)> = Vec::new();
    for node in one_or_more(fields.take("http_sd")) {
        sources.extend(placed(node, |node| read_http(sink, node, around).map(Source::HttpSd)));
    }
    for node in one_or_more(fields.take("file_sd")) {
        sources.extend(placed(node, |node| read_files(sink, node, around).map(Source::FileSd)));
    }
    for node in one_or_more(fields.take("docker")) {
        sources.extend(placed(node, |node| read_docker(sink, node, around).map(Source::Docker)));
    }
    fields.finish();
    if sources.len() > SOURCES_MAX {
        let fault =
            Fault::new(format!("`discover` has {} sources; expected at most {SOURCES_MAX}", sources.len()));
        sink.report(at, fault);
    }
    for (index, (at, source)) in sources.iter().enumerate() {
        if sources[..index].iter().any(|(_, other)| other == source) {
            sink.report(*at, Fault::new(format!("{source} is named twice")));
        }
    }
    let sources = sources.into_iter().map(|(_, source)| source).collect();
    (hosts, sources)
}

fn placed(node: Node, read: impl FnOnce(Node) -> Option<Source>) -> Option<(At, Source)> {
    let at = node.at;
    Some((at, read(node)?))
}

/// The elements of a list; anything else stands for a list of itself.
fn one_or_more(node: Option<Node>) -> Vec<Node> {
    match node {
        Some(Node { value: Value::List(items), .. }) => items,
        node => node.into_iter().collect(),
    }
}

fn read_http(sink: &Sink, node: Node, around: &Surroundings<'_>) -> Option<HttpSd> {
    let mut fields = Fields::of(sink, node, "`http_sd`")?;
    let url = fields.need("url", |n| fleet::parse_http(value::text(n)?));
    let token = fields.take("token").map(|node| fleet::read_token(sink, node, around));
    let tls = fields.take("tls").map(|node| fleet::read_tls(sink, node, around));
    let refresh = fields.get("refresh", refresh);
    let label_prefix = fields.get("label_prefix", prometheus_prefix);
    fields.finish();
    let (url, at) = url?;
    if token.is_some() && url.scheme() == "http" && !fleet::is_loopback(&url) {
        let fault = Fault::new("the token travels unencrypted: `url` is plain http");
        sink.note(at, fault.hint("use https"));
    }
    Some(HttpSd {
        url,
        token: token.flatten(),
        tls: tls.flatten().unwrap_or_default(),
        refresh: refresh.map_or(HTTP_REFRESH, |(refresh, _)| refresh),
        label_prefix: label_prefix.map_or_else(|| LABEL_PREFIX.to_owned(), |(prefix, _)| prefix),
    })
}

fn read_files(sink: &Sink, node: Node, around: &Surroundings<'_>) -> Option<FileSd> {
    let mut fields = Fields::of(sink, node, "`file_sd`")?;
    let files = fields.need_node("files");
    let refresh = fields.get("refresh", refresh);
    let label_prefix = fields.get("label_prefix", prometheus_prefix);
    fields.finish();
    let files = files?;
    let at = files.at;
    if !matches!(files.value, Value::List(_)) {
        return keep(sink, &files, |node| Err(value::expected("a list of paths", node)));
    }
    let nodes = elements(sink, Some(files));
    if nodes.is_empty() || nodes.len() > PATTERNS_MAX {
        let fault = Fault::new(format!("`files`: expected 1 to {PATTERNS_MAX} paths, found {}", nodes.len()));
        sink.report(at, fault.hint("such as `files: [\"targets/*.yaml\"]`"));
        return None;
    }
    let pattern = |node: &Node| file_pattern(value::text(node)?, around);
    let patterns = nodes.iter().filter_map(|node| keep(sink, node, pattern)).collect();
    Some(FileSd {
        patterns,
        refresh: refresh.map_or(FILE_REFRESH, |(refresh, _)| refresh),
        label_prefix: label_prefix.map_or_else(|| LABEL_PREFIX.to_owned(), |(prefix, _)| prefix),
    })
}

/// As Prometheus has it: the name of the file ends in `.json`, `.yaml` or `.yml`, and wildcards are
/// in that name only.
fn file_pattern(written: &str, around: &Surroundings<'_>) -> Result<FilePattern, Fault> {
    let wrong = |what: &str| Fault::new(format!("expected {what}, found {}", quote(written)));
    let file = Path::new(written);
    let is = |endings: &[&str]| file.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending));
    if !is(&["json", "yaml", "yml"]) {
        return Err(wrong("a path that ends in `.json`, `.yaml` or `.yml`"));
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    if folder.to_str().is_none_or(is_wild) {
        return Err(wrong("wildcards in the last part of the path only"));
    }
    if let Err(error) = glob::Pattern::new(written) {
        return Err(wrong("a path, with `*`, `?` or `[…]` in its last part").hint(error.msg.to_owned()));
    }
    // Every YAML file beside fleet.yaml is taken for a suite.
    if is(&["yaml", "yml"]) && around.resolve(&folder.to_string_lossy()) == around.resolve("") {
        let hint = "put target files into a folder of their own, such as `targets/*.yaml`";
        return Err(wrong("a file elsewhere: YAML files beside fleet.yaml are suites").hint(hint));
    }
    Ok(FilePattern { written: written.to_owned(), path: around.resolve(written) })
}

fn read_docker(sink: &Sink, node: Node, around: &Surroundings<'_>) -> Option<Docker> {
    let mut fields = Fields::of(sink, node, "`docker`")?;
    let at = fields.at;
    let (has_socket, has_url) = (fields.has("socket"), fields.has("url"));
    let socket = fields.get("socket", |n| Ok(around.resolve(value::text(n)?)));
    let url = fields.get("url", |n| engine_url(value::text(n)?));
    let refresh = fields.get("refresh", refresh);
    let label_prefix = fields.get("label_prefix", docker_prefix);
    let network = fields.get("network", value::name);
    fields.finish();
    if has_socket && has_url {
        let fault = Fault::new("`docker`: expected one of `socket` and `url`");
        sink.report(at, fault.hint("name two engines as a list under `docker:`"));
        return None;
    }
    let endpoint = match (socket, url) {
        (_, Some((url, _))) => Endpoint::Http(url),
        (Some((path, _)), None) => Endpoint::Socket(path),
        (None, None) if has_socket || has_url => return None,
        (None, None) => Endpoint::Socket(DOCKER_SOCKET.into()),
    };
    Some(Docker {
        endpoint,
        refresh: refresh.map_or(DOCKER_REFRESH, |(refresh, _)| refresh),
        label_prefix: label_prefix.map_or_else(|| DOCKER_PREFIX.to_owned(), |(prefix, _)| prefix),
        network: network.map(|(network, _)| network),
    })
}

/// Of an engine or a proxy; `tcp` is Docker's own word for plain HTTP.
fn engine_url(text: &str) -> Result<Url, Fault> {
    let text = text.strip_prefix("tcp://").map_or_else(|| text.to_owned(), |rest| format!("http://{rest}"));
    let url = fleet::parse_url(&text)?;
    if url.scheme() != "http" || url.path() != "/" {
        let fault = Fault::new("expected `http://` or `tcp://`, a host and a port");
        return Err(fault.hint("such as `tcp://docker-socket-proxy:2375`; certificates are not supported"));
    }
    Ok(url)
}

fn refresh(node: &Node) -> Result<Duration, Fault> {
    let refresh = value::duration(node)?;
    if refresh < REFRESH_MIN {
        return Err(value::expected("a duration from 1s to 1h", node));
    }
    Ok(refresh)
}

/// The beginning of a label name of Prometheus; empty to take names as they are.
fn prometheus_prefix(node: &Node) -> Result<String, Fault> {
    let text = value::text(node)?;
    let plain = !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain {
        return Ok(text.to_owned());
    }
    Err(value::expected("letters, digits and `_`, such as `cachetscope_`, or nothing", node))
}

/// Without one, the labels of any image would be meant for us.
fn docker_prefix(node: &Node) -> Result<String, Fault> {
    let text = value::text(node)?;
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)) {
        return Ok(text.to_owned());
    }
    Err(value::expected("letters, digits, `.`, `_`, `-` or `/`, such as `cachetscope.`", node))
}
