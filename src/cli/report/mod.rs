//! `report`: the five questions as a running daemon answers them, or from its store.
//!
//! What is said is made by the page, so both say the same. Questions three and four can also be asked of
//! two versions that somebody chooses, or of a window of time; then the stored rounds are judged anew.

mod explain;
mod grids;
mod markdown;
mod source;
mod text;
mod versions;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{Global, block_on, exit};
use crate::config::Env;
use crate::page::ci::{DeployHistory, LoadHistory, TestHistory, UnderWay};
use crate::page::deltas::DeltaTable;
use crate::page::format::Time;
use crate::page::{Change, Factor, OwnComparisons, Question};
use source::{Source, Unanswered};

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
    /// Compare these two versions, by the rounds that visited both, instead of the latest with the one before
    #[arg(long, num_args = 2, value_names = ["EARLIER", "LATER"])]
    between: Option<Vec<String>>,
    /// Judge by the rounds within this time, such as `6h`, instead of all since the later deployment
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    window: Option<Duration>,
    /// Every number that the verdict on a request on a database used, instead of the questions
    #[arg(long, num_args = 2, value_names = ["REQUEST", "DATABASE"], conflicts_with = "questions")]
    explain: Option<Vec<String>>,
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
    deltas: Vec<DeltaTable>,
    own_comparisons: OwnComparisons,
    tests: TestHistory,
    deploys: DeployHistory,
    loads: LoadHistory,
    under_way: Vec<UnderWay>,
}

impl Report {
    pub fn run(self, global: &Global, env: &Env) -> anyhow::Result<u8> {
        let color = global.colored(env, &std::io::stdout());
        block_on(async {
            let source = match self.offline {
                true => Source::store(global, env).await?,
                false => Source::Daemon { url: self.daemon.clone(), timeout: self.timeout },
            };
            let said = self.say(&source, color).await;
            source.close().await;
            match said {
                Ok(text) => super::print(&text).map(|()| exit::OK),
                Err(error) => match error.downcast::<Unanswered>() {
                    Ok(Unanswered { words, code }) => {
                        eprintln!("{words}");
                        Ok(code)
                    }
                    Err(error) => Err(error),
                },
            }
        })
    }

    async fn say(&self, source: &Source, color: bool) -> anyhow::Result<String> {
        if let Some([request, db]) = self.explain.as_deref() {
            let standings = source.standings(self.between.as_deref(), self.window).await?;
            let found = explain::find(&standings, request, db)?;
            return match self.output {
                Format::Text => Ok(explain::text(&found, color)),
                Format::Markdown => Ok(explain::markdown(&found)),
                Format::Json => Ok(format!("{:#}\n", serde_json::to_value(found)?)),
            };
        }
        let mut answers = source.answers().await?;
        let mut topics = self.topics();
        if self.between.is_some() || self.window.is_some() {
            let standings = source.standings(self.between.as_deref(), self.window).await?;
            versions::choose(&mut answers, &standings, self.between.as_deref());
            // Of the others nothing was chosen.
            if self.questions.is_empty() {
                topics.retain(|topic| matches!(topic, Topic::Databases | Topic::Versions));
            }
        }
        match self.output {
            Format::Text => Ok(text::render(&answers, &topics, color)),
            Format::Markdown => Ok(markdown::render(&answers, &topics)),
            Format::Json => json(&answers, &topics),
        }
    }

    /// Those that were asked for, in their order; all where none was.
    fn topics(&self) -> Vec<Topic> {
        let asked = |topic: &Topic| self.questions.is_empty() || self.questions.contains(topic);
        Topic::value_variants().iter().copied().filter(asked).collect()
    }
}

fn json(answers: &Answers, topics: &[Topic]) -> anyhow::Result<String> {
    let serde_json::Value::Object(mut document) = serde_json::to_value(answers)? else {
        anyhow::bail!("answers are no JSON object");
    };
    let sections: [(Topic, &[&str]); 5] = [
        (Topic::Tests, &["tests", "under_way"]),
        (Topic::Deploys, &["deploys"]),
        (Topic::Databases, &["slow_database"]),
        (Topic::Versions, &["unpaired_rise", "deltas", "own_comparisons"]),
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
