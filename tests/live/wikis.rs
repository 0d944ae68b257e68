//! Four MediaWikis, each behind a proxy, and what they themselves take for each request.

use std::collections::BTreeMap;
use std::process::Stdio;

use tokio::process::Command;

use crate::proxy::Proxy;
use crate::rig::Home;
use crate::{Cell, part};

const SUITE: &str = include_str!("mediawiki.yaml");

pub struct Wiki {
    pub name: String,
    pub version: String,
    pub db: String,
    pub proxy: Proxy,
}

pub struct Wikis {
    /// With `probes/` that lists them.
    pub home: Home,
    wikis: Vec<Wiki>,
    requests: Vec<String>,
    /// Seconds by (request, name): of all rounds so far, and of the newest gate.
    times: Times,
    newest: Times,
}

type Times = BTreeMap<(String, String), Vec<f64>>;

impl Wikis {
    /// They end with this process, however it ends.
    pub async fn start() -> Self {
        for name in ["CACHETSCOPE_TEST_PHP", "CACHETSCOPE_TEST_MEDIAWIKI", "CACHETSCOPE_TEST_PG_BIN"] {
            part(name);
        }
        let process = std::process::id();
        let dir = std::env::temp_dir().join(format!("cachetscope-mediawiki-{process}"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/mediawiki.sh");
        let output = Command::new(script)
            .arg("start")
            .args([dir.as_os_str(), process.to_string().as_ref()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "scripts/mediawiki.sh: {}", output.status);
        let lines = String::from_utf8(output.stdout).unwrap();
        let wikis: Vec<Wiki> = lines.lines().map(wiki).collect();
        let requests = SUITE.lines().filter_map(|line| line.strip_prefix("  - name: "));
        let requests = requests.map(str::to_owned).collect();
        let wikis = Wikis { home: Home::new(), wikis, requests, times: Times::new(), newest: Times::new() };
        wikis.configure();
        wikis
    }

    fn configure(&self) {
        self.home.write("probes/mediawiki.yaml", SUITE);
        let entries: String = self.wikis.iter().map(Wiki::yaml).collect();
        self.home.write("probes/fleet.yaml", &format!("deployments:\n{entries}"));
    }

    pub fn cells(&self) -> Vec<Cell> {
        let dbs = ["sqlite", "postgresql"];
        let of = |request: &String| dbs.map(|db| Cell { request: request.clone(), db: db.to_owned() });
        self.requests.iter().flat_map(of).collect()
    }

    /// The later version on a database.
    pub fn later<'a>(&'a self, db: &'a str) -> &'a Wiki {
        self.of(db).max_by_key(|wiki| &wiki.version).unwrap()
    }

    fn of<'a>(&'a self, db: &'a str) -> impl Iterator<Item = &'a Wiki> {
        self.wikis.iter().filter(move |wiki| wiki.db == db)
    }

    /// Takes what the proxies saw, but for the first rounds, which find cold caches.
    pub fn learn(&mut self) {
        const WARM_UP: usize = 3;
        for wiki in &self.wikis {
            for request in &self.requests {
                let key = (request.clone(), wiki.name.clone());
                let times: Vec<f64> = wiki.proxy.take_times(request).into_iter().skip(WARM_UP).collect();
                self.times.entry(key.clone()).or_default().extend(&times);
                self.newest.insert(key, times);
            }
        }
    }

    fn times(&self, cell: &Cell, wiki: &Wiki) -> &[f64] {
        self.times.get(&(cell.request.clone(), wiki.name.clone())).map_or(&[], Vec::as_slice)
    }

    /// What the request takes on the later version of this database, in seconds.
    pub fn median(&self, cell: &Cell) -> f64 {
        median(self.times(cell, self.later(&cell.db)).to_vec())
    }

    /// How the versions themselves differed in the newest gate: the median over its rounds.
    pub fn own_ratio(&self, cell: &Cell) -> f64 {
        let mut sides: Vec<&Wiki> = self.of(&cell.db).collect();
        sides.sort_by_key(|wiki| &wiki.version);
        let times = |wiki: &Wiki| self.newest[&(cell.request.clone(), wiki.name.clone())].clone();
        let pairs = times(sides[0]).into_iter().zip(times(sides[1]));
        median(pairs.map(|(earlier, later)| later / earlier).collect())
    }

    /// What the deployments themselves took: without proxy and delay.
    pub fn print_times(&self) {
        println!(
            "live: {:<26} {:>7}  {:>5}  {:>9}  {:>7}",
            "request", "median", "CV", "robust CV", "answers"
        );
        for cell in self.cells() {
            let all: Vec<f64> = self.of(&cell.db).flat_map(|wiki| self.times(&cell, wiki)).copied().collect();
            let count = all.len() as f64;
            let mean = all.iter().sum::<f64>() / count;
            let variance = all.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
            let middle = median(all.clone());
            // Median absolute deviation, as a standard deviation where times are normal.
            let spread = 1.4826 * median(all.iter().map(|time| (time - middle).abs()).collect());
            println!(
                "live: {:<26} {:>4.1} ms  {:>5.2}  {:>9.2}  {:>7}",
                cell.to_string(),
                middle * 1e3,
                variance.sqrt() / mean,
                spread / middle,
                all.len()
            );
        }
    }
}

/// A line of the script: name, version, database, URL.
fn wiki(line: &str) -> Wiki {
    let fields: Vec<&str> = line.split(' ').collect();
    let [name, version, db, url] = fields[..] else { panic!("scripts/mediawiki.sh said `{line}`") };
    Wiki { name: name.to_owned(), version: version.to_owned(), db: db.to_owned(), proxy: Proxy::before(url) }
}

impl Wiki {
    fn yaml(&self) -> String {
        let Wiki { name, version, db, proxy } = self;
        format!("  - name: {name}\n    version: {version}\n    db: {db}\n    url: {}\n", proxy.url())
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
