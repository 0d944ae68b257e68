//! The layers of ARCHITECTURE.md, held against what each module imports.

use std::fs;
use std::path::{Path, PathBuf};

/// Each module with what it may use besides the vocabulary.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("http", &[]),
    ("store", &[]),
    ("otlp", &[]),
    ("junit", &[]),
    ("load", &[]),
    ("verdict", &[]),
    ("compare", &["verdict"]),
    ("history", &["store", "compare", "verdict"]),
    ("probe", &["http", "verdict"]),
    ("exporter", &["http", "otlp", "store"]),
    ("discover", &["config", "http"]),
    ("publisher", &["otlp", "store", "history", "compare", "verdict", "probe", "exporter", "discover"]),
    ("ingest", &["junit", "store", "otlp", "publisher"]),
    ("page", &["store", "otlp", "history", "compare", "verdict"]),
    ("wrap", &[]),
    ("client", &["http", "exporter"]),
    ("demo", &["otlp", "publisher", "store"]),
    ("telemetry", &["config", "otlp"]),
    (
        "daemon",
        &[
            "config",
            "http",
            "otlp",
            "store",
            "history",
            "compare",
            "verdict",
            "probe",
            "discover",
            "exporter",
            "publisher",
            "ingest",
            "page",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "http",
            "otlp",
            "store",
            "probe",
            "exporter",
            "publisher",
            "page",
            "demo",
            "telemetry",
            "daemon",
            "junit",
            "load",
            "history",
            "compare",
            "verdict",
            "wrap",
            "client",
            "ingest",
        ],
    ),
];

/// Crates that only these modules may use.
const KEPT_BY: &[(&str, &[&str])] = &[
    ("sqlx::", &["store"]),
    ("axum::", &["page", "ingest", "demo", "daemon"]),
    ("hyper::", &["http"]),
    ("tonic::", &["exporter"]),
    ("anyhow", &["cli", "daemon", "telemetry"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The module that a file belongs to, and its lines without comments.
fn modules() -> Vec<(String, PathBuf, Vec<String>)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files
        .into_iter()
        .map(|path| {
            let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
            let module = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            (module, path.clone(), code.map(str::to_owned).collect())
        })
        .filter(|(module, ..)| module != "lib" && module != "main")
        .collect()
}

#[test]
fn arrows_point_down_only() {
    let mut wrong = Vec::new();
    for (module, path, lines) in modules() {
        let (_, allowed) = MAY_USE.iter().find(|(name, _)| *name == module).unwrap_or_else(|| {
            panic!("module `{module}` has no place in the layers: add it here and to ARCHITECTURE.md")
        });
        for line in &lines {
            for (other, _) in MAY_USE {
                let uses = line.contains(&format!("crate::{other}::"))
                    || line.contains(&format!("use crate::{other};"));
                let vocabulary = ["model", "clock"].contains(other);
                if uses && *other != module && !vocabulary && !allowed.contains(other) {
                    wrong.push(format!("{}: `{module}` uses `{other}`: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (module, path, lines) in modules() {
        for (name, keepers) in KEPT_BY {
            let uses = |line: &&String| {
                line.match_indices(name).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                })
            };
            if let Some(line) = lines.iter().find(uses).filter(|_| !keepers.contains(&module.as_str())) {
                wrong.push(format!("{}: `{module}` uses `{name}`: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_with_its_purpose() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&src.join("src"), &mut files);
    sources(&src.join("tests"), &mut files);
    let silent: Vec<_> =
        files.iter().filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!")).collect();
    assert!(silent.is_empty(), "without `//!`: {silent:?}");
}
