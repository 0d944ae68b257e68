//! `report`: the five questions as a running daemon answers them, or from its store.
//!
//! What is said is made by the page, so both say the same. Of questions three and four it says what
//! the page's cards do.

mod grids;
mod markdown;
mod text;

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{Global, block_on, exit};
use crate::clock::Clock;
use crate::config::Env;
use crate::page::ci::{DeployHistory, LoadHistory, TestHistory, UnderWay};
use crate::page::format::Time;
use crate::page::{Change, Factor, Question};
use crate::store::{Location, Store};

#[derive(Debug, Args)]
pub(super) struct Report {
    /// Address of the daemon
    #[arg(long, env = "CACHETSCOPE_DAEMON", value_name = "URL", default_value = "http://127.0.0.1:8787")]
    daemon: url::Url,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Read the store instead, which no daemon may hold then
    #[arg(long)]
    offline: bool,
    /// What to print on stdout
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Only this question (repeatable)
    #[arg(long = "question", value_name = "QUESTION")]
    questions: Vec<Topic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For a pull request's comment, or the summary of a CI's run.
    Markdown,
    /// For programs.
    Json,
}

/// The five questions, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Topic {
    /// What passed and failed, what newly, what is flaky
    Tests,
    /// How long the latest version took to deploy
    Deploys,
    /// Which database is slow
    Databases,
    /// What is slower than before
    Versions,
    /// Throughput of the latest version
    Loads,
}

/// What of the overview the questions rest on, in the shape of `/api/v1/overview`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answers {
    /// When the store was read.
    at: Time,
    title: String,
    questions: Vec<Question>,
    slow_database: Option<Factor>,
    unpaired_rise: Option<Change>,
    tests: TestHistory,
    deploys: DeployHistory,
    loads: LoadHistory,
    under_way: Vec<UnderWay>,
}

impl Report {
    pub fn run(self, global: &Global, env: &Env) -> anyhow::Result<u8> {
        block_on(async {
            let answers = if self.offline {
                look(&global.location(env)?).await?
            } else {
                match self.ask().await? {
                    Ok(answers) => answers,
                    Err(code) => return Ok(code),
                }
            };
            let topics = self.topics();
            super::print(&match self.output {
                Format::Text => text::render(&answers, &topics, global.colored(env, &std::io::stdout())),
                Format::Markdown => markdown::render(&answers, &topics),
                Format::Json => json(&answers, &topics)?,
            })?;
            Ok(exit::OK)
        })
    }

    /// Those that were asked for, in their order; all where none was.
    fn topics(&self) -> Vec<Topic> {
        let asked = |topic: &Topic| self.questions.is_empty() || self.questions.contains(topic);
        Topic::value_variants().iter().copied().filter(asked).collect()
    }

    /// Through a running daemon; the exit code where it does not answer.
    async fn ask(&self) -> anyhow::Result<Result<Answers, u8>> {
        let url = self.daemon.join("/api/v1/overview?fresh=true").context("--daemon")?;
        let client = super::http_client(&url)?;
        let asked = async {
            let answer = client.get(url.clone()).timeout(self.timeout).send().await?;
            anyhow::Ok((answer.status(), answer.text().await?))
        };
        let (status, text) = match asked.await {
            Ok(answer) => answer,
            Err(error) => {
                eprintln!(
                    "{url} did not answer: {error:#}\n`cachetscope serve` starts a daemon, `cachetscope demo` one \
                     for a look; --daemon names another one, and --offline reads the store of one that is stopped"
                );
                return Ok(Err(exit::UNREACHABLE));
            }
        };
        if !status.is_success() {
            eprintln!("{url} answered {status}: {}", text.trim());
            return Ok(Err(exit::FAILED));
        }
        let answers = serde_json::from_str(&text)
            .with_context(|| format!("{url} did not answer as a cachetscope of this version does"))?;
        Ok(Ok(answers))
    }
}

/// From the store itself, by way of what the daemon would answer.
async fn look(location: &Location) -> anyhow::Result<Answers> {
    if let Location::File(path) = location {
        anyhow::ensure!(
            path.exists(),
            "there is no store at {location}; name one with --state-dir or --database"
        );
    }
    let clock = Clock::system();
    let hint = "a running daemon holds its store: leave --offline out to ask it";
    let store = Store::open(location, &clock).await.context(hint)?;
    let overview = crate::page::overview(store.clone(), clock, String::new()).await;
    store.close().await;
    Ok(serde_json::from_value(serde_json::to_value(&*overview?)?)?)
}

fn json(answers: &Answers, topics: &[Topic]) -> anyhow::Result<String> {
    let serde_json::Value::Object(mut document) = serde_json::to_value(answers)? else {
        anyhow::bail!("answers are no JSON object");
    };
    let sections: [(Topic, &[&str]); 5] = [
        (Topic::Tests, &["tests", "under_way"]),
        (Topic::Deploys, &["deploys"]),
        (Topic::Databases, &["slow_database"]),
        (Topic::Versions, &["unpaired_rise"]),
        (Topic::Loads, &["loads"]),
    ];
    for (_, names) in sections.iter().filter(|(topic, _)| !topics.contains(topic)) {
        names.iter().for_each(|name| {
            document.shift_remove(*name);
        });
    }
    let asked: Vec<&Question> = topics.iter().filter_map(|topic| answers.question(*topic)).collect();
    document["questions"] = serde_json::to_value(asked)?;
    Ok(format!("{:#}\n", serde_json::Value::Object(document)))
}

impl Answers {
    fn question(&self, topic: Topic) -> Option<&Question> {
        self.questions.get(topic as usize)
    }
}
