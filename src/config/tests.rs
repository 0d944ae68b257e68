//! The shipped files, and every rule with the exact words that a person sees.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;

use super::*;
use crate::model::{Check, Flavour, Floors, Method, Redirects, Request, Variant, Version};

/// A directory of configuration, and the environment `TOKEN=hunter2, EMPTY=`.
struct Directory(TempDir);

impl Directory {
    fn of(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Directory(dir)
    }

    fn load(&self) -> Result<Config, String> {
        load(Source::Required(self.0.path()), &env()).map_err(|problems| self.relative(&problems.to_string()))
    }

    /// Without the directory, whose name is never the same.
    fn relative(&self, text: &str) -> String {
        let dir = self.0.path().display().to_string();
        text.replace(&format!("{dir}/"), "").replace(&dir, "DIR")
    }

    fn notes(&self) -> Vec<String> {
        let config = self.load().unwrap();
        config.notes.iter().map(|note| self.relative(&note.to_string())).collect()
    }
}

fn env() -> Env {
    Env::from_iter([("TOKEN", "hunter2"), ("EMPTY", "")])
}

/// The sections of a case, each under `==> NAME`.
fn sections(case: &str) -> Vec<(&str, &str)> {
    case.split("==> ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

#[track_caller]
fn check(case: &str) {
    let mut files = sections(case);
    let (last, expected) = files.pop().unwrap();
    assert_eq!(last, "problems");
    let found = Directory::of(&files).load().unwrap_err();
    assert!(!found.contains("hunter"), "a secret is shown:\n{found}");
    assert_eq!(found.trim(), expected.trim(), "\n\nfound:\n{found}\n");
}

macro_rules! bad_input {
    ($($test:ident: $file:literal;)*) => {$(
        #[test]
        fn $test() {
            check(include_str!(concat!("testdata/", $file, ".txt")));
        }
    )*};
}

bad_input! {
    fleet_errors_are_all_reported: "fleet";
    hosts_for_deploy_events_are_named_one_by_one: "fleet-discover";
    sources_of_discovery_are_sound_or_all_reported: "fleet-sources";
    secrets_are_refused_without_being_shown: "fleet-secrets";
    urls_are_only_scheme_host_port_and_path: "fleet-urls";
    suite_errors_are_all_reported: "suite";
    request_errors_are_all_reported: "requests";
    template_names_are_known_before_they_are_used: "templates";
    expectation_errors_are_all_reported: "expectations";
    variants_of_a_suite_agree: "variants";
    broken_yaml_hides_nothing_else: "unreadable-yaml";
}

fn shipped() -> Config {
    load(Source::Shipped, &Env::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn probes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("probes")
}

fn suite<'a>(config: &'a Config, name: &str) -> &'a Suite {
    config.suites.iter().find(|suite| suite.name == name).unwrap()
}

fn variant<'a>(config: &'a Config, name: &str, version: &str) -> &'a Variant {
    suite(config, name).variant_for(&Version::parse(version).unwrap()).unwrap()
}

fn request<'a>(variant: &'a Variant, name: &str) -> &'a Request {
    variant.requests.iter().find(|request| request.name == name).unwrap()
}

const READS: &str =
    "ping status components component groups group incidents incident metrics metric schedules schedule";
const WRITES: &str = "create-incident read-incident update-incident delete-incident create-metric create-point \
                      delete-point delete-metric";

#[test]
fn both_generations_are_asked_the_same() {
    let config = shipped();
    let names: Vec<_> = config.suites.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["cachet", "cachet-writes"]);
    for (name, expected) in [("cachet", READS), ("cachet-writes", WRITES)] {
        let suite = suite(&config, name);
        assert_eq!(suite.order.join(" "), expected);
        for version in ["2.3.18", "2.4.1", "3.0.0-dev.202508181030", "3.1.0"] {
            let variant = suite.variant_for(&Version::parse(version).unwrap()).unwrap();
            let names: Vec<_> = variant.requests.iter().map(|r| r.name.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{version}");
        }
    }
}

#[test]
fn schedules_are_not_asked_of_2_3() {
    let config = shipped();
    let asked = |version: &str| {
        let deployment =
            ad_hoc(&AdHoc { url: "http://h", version, db: "sqlite", ..AdHoc::default() }, &env()).unwrap();
        let variant = variant(&config, "cachet", version);
        variant.requests_for(&deployment).map(|r| r.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(asked("2.3.18"), READS.trim_end_matches(" schedules schedule"));
    assert_eq!(asked("2.4.1"), READS);
}

#[test]
fn shipped_suites_ask_nothing_with_side_effects() {
    for suite in &shipped().suites {
        for variant in &suite.variants {
            let wake_up = variant.wake_up.iter().map(ToString::to_string);
            for path in variant.requests.iter().map(|r| r.path.to_string()).chain(wake_up) {
                let plain = path.split('?').next().unwrap();
                assert!(plain.starts_with("/api/"), "{path}");
                assert!(!plain.contains("version") && !plain.contains("health"), "{path}");
            }
            for request in &variant.requests {
                let changes = !matches!(request.method, Method::Get | Method::Head);
                assert!(request.writes || !changes, "{}", request.name);
                assert_eq!(request.writes, suite.name == "cachet-writes", "{}", request.name);
            }
        }
    }
}

#[test]
fn shipped_reads_are_anonymous_sorted_and_paged_alike() {
    for variant in &suite(&shipped(), "cachet").variants {
        for request in &variant.requests {
            assert!(!request.authenticated, "{}", request.name);
            let accept = request.headers.iter().find(|(name, _)| name == "Accept").unwrap();
            assert_eq!(accept.1.to_string(), "application/json");
        }
        for list in ["components", "groups", "incidents", "metrics", "schedules"] {
            let request = request(variant, list);
            assert!(request.path.to_string().ends_with("?sort=id&per_page=20"), "{}", request.path);
            assert!(request.captures.iter().all(|c| c.optional), "an empty Cachet is no failure");
            assert!(request.checks.iter().any(|c| matches!(c, Check::JsonSchema(_))));
        }
    }
}

#[test]
fn shipped_writes_are_hidden_silent_and_cleaned_up() {
    for variant in &suite(&shipped(), "cachet-writes").variants {
        for name in ["create-incident", "update-incident"] {
            let body = request(variant, name).body.as_ref().unwrap().to_string();
            assert!(body.contains(r#""visible":0"#), "{body}");
            assert!(
                body.contains(r#""notify":false"#) || body.contains(r#""notifications":false"#),
                "{body}"
            );
            assert!(!body.contains("component"), "{body}");
        }
        for request in &variant.requests {
            assert_eq!(request.always, request.method == Method::Delete, "{}", request.name);
            assert!(request.authenticated && request.retries == 0, "{}", request.name);
        }
    }
}

/// The budget is 300 a minute, of which a round of all suites may take at most half: others share
/// the address.
#[test]
fn shipped_suites_keep_within_half_of_their_budget() {
    let config = shipped();
    let variant = variant(&config, "cachet", "3.0.0");
    let rounds_a_minute = 2;
    let requests = u32::try_from(variant.requests.len()).unwrap() + 1;
    assert!(requests * rounds_a_minute * 2 <= variant.budget.unwrap().requests);
}

#[test]
fn the_example_fleet_loads_as_it_is() {
    let config = load(Source::Required(&probes()), &Env::default()).unwrap_or_else(|p| panic!("{p}"));
    let shape: Vec<_> = config.fleet.iter().map(|d| format!("{} {} {}", d.name, d.version, d.db)).collect();
    assert_eq!(
        shape,
        [
            "cachet-2.4-sqlite 2.4.1 sqlite",
            "cachet-2.4-mariadb 2.4.1 mariadb",
            "cachet-2.4-postgresql 2.4.1 postgresql",
            "cachet-3-sqlite 3.0.0-dev.202608221030 sqlite",
            "cachet-3-mariadb 3.0.0-dev.202608221030 mariadb",
            "cachet-3-postgresql 3.0.0-dev.202608221030 postgresql",
        ]
    );
    assert_eq!(config.notes, []);
    // The directory, the fleet and four suites.
    assert_eq!(config.files.len(), 6);
}

const MINIMAL: &str = "suite: s\nschedule: '@hourly'\nrequests:\n  - { name: r, get: / }\n";

#[test]
fn defaults_are_as_documented() {
    let dir = Directory::of(&[("s.yaml", MINIMAL)]);
    let config = dir.load().unwrap();
    let suite = suite(&config, "s");
    let variant = &suite.variants[0];
    let request = request(variant, "r");
    assert_eq!(request.timeout.as_secs(), 5);
    assert_eq!(request.retries, 1);
    assert_eq!(request.degraded_after, None);
    assert_eq!(request.redirects, Redirects::Keep);
    assert_eq!(request.max_body, 1 << 20);
    assert!(matches!(&request.checks[..], [Check::Status(set)] if set.to_string() == "2xx"));
    assert_eq!(variant.wake_up.as_ref().unwrap().to_string(), "/");
    assert!(suite.jitter.is_zero() && variant.budget.is_none());
}

#[test]
fn a_request_overrides_its_defaults() {
    let text = r#"
suite: s
schedule: "@hourly"
auth: { X-Cachet-Token: "{{token}}" }
wake_up: false
defaults: { timeout: 9s, retries: 3, headers: { accept: a, X-A: "1" }, redirects: 2, max_body: 1kB }
requests:
  - { name: a, get: / }
  - { name: b, get: /, auth: true, timeout: 1s, retries: 0, headers: { Accept: b }, redirects: keep }
  - { name: c, post: /, writes: true, json: { a: 1.50, b: [true, null, "{{round}}"] } }
  - { name: d, post: /, writes: true, json: {}, headers: { content-type: application/vnd.api+json } }
"#;
    let config = Directory::of(&[("s.yaml", text)]).load().unwrap();
    let variant = &suite(&config, "s").variants[0];
    let headers = |name: &str| {
        let headers = request(variant, name).headers.iter().map(|(name, value)| format!("{name}: {value}"));
        headers.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(headers("a"), "accept: a, X-A: 1");
    assert_eq!(headers("b"), "X-A: 1, X-Cachet-Token: {token}, Accept: b");
    assert_eq!(headers("c"), "accept: a, X-A: 1, X-Cachet-Token: {token}, Content-Type: application/json");
    assert_eq!(
        headers("d"),
        "accept: a, X-A: 1, X-Cachet-Token: {token}, content-type: application/vnd.api+json"
    );
    assert_eq!(
        request(variant, "c").body.as_ref().unwrap().to_string(),
        r#"{"a":1.5,"b":[true,null,"{round}"]}"#
    );
    let of = |name: &str| {
        let r = request(variant, name);
        (r.timeout.as_secs(), r.retries, r.redirects, r.max_body, r.authenticated)
    };
    assert_eq!(of("a"), (9, 3, Redirects::Follow(2), 1_000, false));
    assert_eq!(of("b"), (1, 0, Redirects::Keep, 1_000, true));
    assert_eq!(of("c"), (9, 0, Redirects::Follow(2), 1_000, true));
    assert!(variant.wake_up.is_none());
}

#[test]
fn a_file_replaces_the_shipped_one_of_its_name_or_its_variant() {
    let by_name = MINIMAL.replace("suite: s", "suite: mine");
    let by_variant = "suite: cachet-writes\napplies_to: '>=3.0.0-0'\nschedule: '@hourly'\njitter: 20s\n\
                      requests:\n  - { name: r, get: / }\n";
    let dir = Directory::of(&[("cachet-v3.yaml", &by_name), ("other.yml", by_variant)]);
    let config = dir.load().unwrap();
    let files: Vec<_> = config
        .suites
        .iter()
        .flat_map(|s| s.variants.iter().map(|v| format!("{} {}", s.name, dir.relative(&v.file))))
        .collect();
    assert_eq!(
        files,
        [
            "cachet embedded:cachet-v2.yaml",
            "cachet-writes embedded:cachet-v2-writes.yaml",
            "cachet-writes other.yml",
            "mine cachet-v3.yaml",
        ]
    );
}

#[test]
fn a_missing_directory_is_an_error_only_when_it_was_named() {
    let dir = TempDir::new().unwrap();
    let absent = dir.path().join("absent");
    assert_eq!(load(Source::Optional(&absent), &env()).unwrap().suites.len(), 2);
    let problems = load(Source::Required(&absent), &env()).unwrap_err().to_string();
    assert_eq!(
        problems.replace(&absent.display().to_string(), "DIR"),
        "DIR: cannot be read: No such file or directory (os error 2)\n    \
         expected a directory with fleet.yaml and suites\n1 problem in 1 place"
    );
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let dir = Directory::of(&[(".hidden.yaml", "nonsense: ["), ("notes.txt", "[")]);
    assert_eq!(
        dir.load().unwrap_err(),
        "DIR: holds no configuration: expected fleet.yaml and, if wanted, suites (*.yaml)\n1 problem in 1 place"
    );
    fs::write(dir.0.path().join("latin.yaml"), b"suite: caf\xe9\n").unwrap();
    fs::write(dir.0.path().join("large.yaml"), " ".repeat((1 << 20) + 1)).unwrap();
    fs::create_dir(dir.0.path().join("folder.yaml")).unwrap();
    fs::write(dir.0.path().join("fleet.yaml"), "").unwrap();
    fs::write(dir.0.path().join("fleet.yml"), "").unwrap();
    assert_eq!(
        dir.load().unwrap_err(),
        "DIR: holds fleet.yaml and fleet.yml: expected one of them\n\
         fleet.yaml:1:1: the file is empty\n    hint: a fleet starts with `deployments:`\n\
         fleet.yml:1:1: the file is empty\n    hint: a fleet starts with `deployments:`\n\
         folder.yaml: cannot be read: expected a regular file\n\
         large.yaml: is too large: expected at most 1048576 bytes, found 1048577\n\
         latin.yaml: is not UTF-8: the first broken byte is at offset 10\n\
         6 problems in 6 places"
    );
}

#[test]
fn what_may_not_be_meant_is_noted() {
    let fleet = "deployments:\n\
                 - { name: a, version: 1.2.0, db: sqlite, url: 'http://127.0.0.1' }\n\
                 - { name: b, version: 2.4.1, db: sqlite, url: 'https://h', writes: allowed }\n\
                 - { name: c, version: 2.4.1, db: sqlite, url: 'http://h', token: { env: TOKEN } }\n\
                 - { name: d, version: 2.4.1, db: sqlite, url: 'https://h', tls: { insecure: true } }\n";
    assert_eq!(
        Directory::of(&[("fleet.yaml", fleet)]).notes(),
        [
            "fleet.yaml:2:3: no suite has a variant for version 1.2.0 of deployment `a`: it is not probed",
            "fleet.yaml:3:68: `writes: allowed` without a `token`: Cachet refuses anonymous writes\n    \
         hint: add `token: { env: NAME }`, or leave `writes` out",
            "fleet.yaml:4:47: the token travels unencrypted: `url` is plain http\n    hint: use https",
            "fleet.yaml:5:3: `tls.insecure`: any certificate is accepted here",
        ]
    );
    let suite = "suite: s\napplies_to: <3.0.0-0\nschedule: '@hourly'\nrequests:\n  \
                 - { name: r, get: /, applies_to: '>=3.0.0-0' }\n";
    assert_eq!(
        Directory::of(&[("fleet.yaml", "deployments: []"), ("s.yaml", suite)]).notes(),
        ["s.yaml:5:13: request `r` never runs: its `>=3.0.0-0` lies outside of the suite's `<3.0.0-0`"]
    );
    assert_eq!(
        Directory::of(&[("s.yaml", MINIMAL)]).notes(),
        ["DIR: holds no fleet.yaml, so there is nothing to probe"]
    );
}

#[test]
fn a_deployment_is_read_whole() {
    let digest = format!("sha256:{}", "AB".repeat(32));
    let fleet = format!(
        "deployments:\n  - name: a\n    version: 3.x\n    order: 3.0.0-dev.202608221030\n    db: pgsql\n    \
         environment: staging\n    url: https://h:8443/status\n    token: {{ file: secret }}\n    writes: allowed\n    \
         host_group: rack-1\n    tls: {{ ca: ca.pem, insecure: false }}\n    resolver: 127.0.0.53\n    \
         keep_alive: true\n    digest: {digest}\n"
    );
    let ca = "-----BEGIN CERTIFICATE-----\n";
    let dir = Directory::of(&[("fleet.yaml", &fleet), ("secret", " hunter2\n"), ("ca.pem", ca)]);
    let config = dir.load().unwrap();
    let d = &config.fleet[0];
    assert_eq!((d.version.as_str(), d.version.order_text().as_str()), ("3.x", "3.0.0-dev.202608221030"));
    assert_eq!(
        (d.db, d.environment.as_str(), d.url.as_str()),
        (Flavour::Postgresql, "staging", "https://h:8443/status")
    );
    assert_eq!(d.token.as_ref().unwrap().reveal(), "hunter2");
    assert_eq!((d.host_group.as_str(), d.writes, d.keep_alive), ("rack-1", true, true));
    assert_eq!(d.tls.ca.as_deref(), Some(dir.0.path().join("ca.pem").as_path()));
    assert_eq!(d.resolver.unwrap().to_string(), "127.0.0.53:53");
    assert_eq!(d.digest.as_deref(), Some(digest.to_lowercase().as_str()));
    assert!(config.files.contains(&dir.0.path().join("secret")), "a renewed secret is a change too");
}

#[test]
fn an_ad_hoc_deployment_follows_the_rules_of_the_fleet() {
    let given =
        AdHoc { url: "http://127.0.0.1:8101/status", version: "v2.4.1", db: "pgsql", ..AdHoc::default() };
    let deployment = ad_hoc(&AdHoc { token_env: Some("TOKEN"), ..given }, &env()).unwrap();
    assert_eq!(deployment.name, "127.0.0.1:8101");
    assert_eq!(deployment.host_group, "127.0.0.1");
    assert_eq!(deployment.environment, "production");
    assert_eq!(deployment.token.unwrap().reveal(), "hunter2");

    let wrong = AdHoc {
        url: "ftp://user:hunter2@h",
        version: "main",
        db: "oracle",
        name: Some("a b"),
        token_env: Some("UNSET"),
        ca: Some("/absent.pem"),
        ..given
    };
    assert_eq!(
        ad_hoc(&wrong, &env()).unwrap_err().to_string(),
        "--ca: file `/absent.pem` cannot be read: No such file or directory (os error 2)\n\
         --db: unknown database `oracle`; expected one of sqlite, mysql, mariadb, postgresql, \
         microsoft.sql_server\n\
         --name: expected a name of at most 100 letters, digits, `.`, `_` or `-`, found `a b`\n\
         --token-env: environment variable `UNSET` is not set, or empty\n    \
         hint: export UNSET, or use a secret file\n\
         --url: expected `http` or `https`, found `ftp`\n\
         --version: `main` has no place in the order of versions\n    \
         hint: say where it stands, such as order 3.0.0-dev.202608221030 (UTC time of the commit)\n\
         6 problems in 6 places"
    );
}

/// Judges a text as a fleet and as a suite, without files.
fn judge(text: &str) {
    let env = env();
    let around = Surroundings::new(&env, Path::new("/absent"));
    if let Ok(node) = yaml::parse("f", text) {
        fleet::read(&Sink::new("f"), node.clone(), &around);
        let sink = Sink::new("f");
        if let (_, Some(file)) = suite::read(&sink, node.clone(), &around) {
            let other = Sink::new("g");
            let again = suite::read(&other, node, &around).1.map(|file| (file, other));
            compose::compose([Some((file, sink)), again].into_iter().flatten().collect());
        }
    }
}

fn never_panics<S: Strategy>(inputs: S, judge: impl Fn(S::Value))
where
    S::Value: std::fmt::Debug,
{
    let seed: [u8; 32] = std::array::from_fn({
        let random = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
        move |i| random[i]
    });
    println!("seed {seed:?}");
    let cases = Cases { cases: 300, failure_persistence: None, ..Cases::default() };
    let mut runner = TestRunner::new_with_rng(cases, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    runner
        .run(&inputs, |input| {
            catch_unwind(AssertUnwindSafe(|| judge(input))).map_err(|_| TestCaseError::fail("panicked"))
        })
        .unwrap();
}

#[test]
fn arbitrary_bytes_never_panic() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("any.yaml");
    let env = env();
    never_panics(proptest::collection::vec(any::<u8>(), 0..200), |bytes| {
        fs::write(&file, &bytes).unwrap();
        match Surroundings::new(&env, dir.path()).read(&file) {
            Ok(text) => judge(&text),
            Err(fault) => assert!(fault.message.contains("UTF-8"), "{}", fault.message),
        }
        judge(&String::from_utf8_lossy(&bytes));
    });
}

/// Words of the format in any shape: what a person gets wrong, rather than noise.
#[test]
fn misplaced_words_never_panic() {
    let word = prop_oneof![
        Just("deployments"),
        Just("name"),
        Just("url"),
        Just("http://h"),
        Just("version"),
        Just("token"),
        Just("{{token}}"),
        Just("{{"),
        Just("suite"),
        Just("schedule"),
        Just("@every 5s"),
        Just("* * * * *"),
        Just("requests"),
        Just("get"),
        Just("/a/{{b}}"),
        Just("expect"),
        Just("json"),
        Just("$.a[?@.b]"),
        Just("$..["),
        Just("status"),
        Just("2xx"),
        Just("capture"),
        Just("timeout"),
        Just("5s"),
        Just("0s"),
        Just("-1"),
        Just("1e999"),
        Just("18446744073709551616"),
        Just("~"),
        Just("count"),
        Just("min"),
        Just("json_schema"),
        Just("$ref"),
        Just("#"),
        Just("type"),
        Just("applies_to"),
        Just("<3"),
        Just("99xx"),
    ];
    let leaf = word.clone().prop_map(|word| serde_json::Value::String(word.to_owned())).boxed();
    let leaf = prop_oneof![4 => leaf, 1 => any::<i64>().prop_map(Into::into), 1 => any::<bool>().prop_map(Into::into)];
    let tree = leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            3 => proptest::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|entries| entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<serde_json::Map<_, _>>().into()),
        ]
    });
    never_panics(tree, |tree: serde_json::Value| judge(&tree.to_string()));
}

/// The shipped files with one line dropped, doubled, or one character changed.
#[test]
fn slips_in_the_shipped_files_never_panic() {
    let texts: Vec<String> = SHIPPED
        .iter()
        .map(|(_, text)| (*text).to_owned())
        .chain([fs::read_to_string(probes().join("fleet.yaml")).unwrap()])
        .collect();
    let slips = (0..texts.len(), any::<prop::sample::Index>(), any::<char>(), 0..4);
    never_panics(slips, |(text, at, character, kind)| {
        let mut lines: Vec<String> = texts[text].lines().map(str::to_owned).collect();
        let line = at.index(lines.len());
        match kind {
            0 => drop(lines.remove(line)),
            1 => lines.insert(line, lines[line].clone()),
            2 => lines[line] = lines[line].replacen(':', &character.to_string(), 1),
            _ => lines[line].insert(0, character),
        }
        judge(&lines.join("\n"));
    });
}

#[test]
fn what_is_too_small_to_matter_is_said_for_a_suite_and_for_a_request() {
    let file = "suite: a\nschedule: '@every 30s'\npair_gap_max: 2s\n\
                defaults: { floors: { ratio: 10%, difference: 5ms } }\n\
                requests:\n\
                - { name: static, get: /robots.txt, control: true }\n\
                - { name: search, get: /search, floors: { difference: 0s, failures: 2% } }\n";
    let config = Directory::of(&[("a.yaml", file)]).load().unwrap();
    let variant = variant(&config, "a", "1.0.0");
    assert_eq!(variant.pair_gap_max, Duration::from_secs(2));
    let (control, search) = (request(variant, "static"), request(variant, "search"));
    assert!(control.control && !search.control);
    let floors =
        |ms, failure_rate| Floors { ratio: 0.1, difference: Duration::from_millis(ms), failure_rate };
    assert_eq!(control.floors, floors(5, Floors::default().failure_rate));
    assert_eq!(search.floors, floors(0, 0.02));
}
