//! What CI found, made for people: the history with limits on every list, words for what a symbol
//! says, and only links that may be followed. Pure; page, JSON and `report` all show these.

mod curve;
mod deploys;
mod loads;
pub mod questions;
#[cfg(test)]
mod questions_tests;
mod suites;
mod under_way;

pub use curve::Curve;
pub use deploys::{Bar, DeployHistory, Deployed, DeployedStep};
pub use loads::{LoadBefore, LoadHistory, LoadPlan, LoadRun};
pub use suites::{FailingCase, FlakyCase, SlowCase, SlowerCase, TestHistory, TestRun, TestSuite};
pub use under_way::{UnderWay, under_way};

/// Characters of a commit or a digest that tell it from others.
const SHORT: usize = 10;

/// An address that a link may lead to: a web page, and nothing that runs here.
fn link(url: Option<&String>) -> Option<String> {
    url.filter(|url| url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))).cloned()
}

/// A pipeline with its branch; Jenkins makes the branch the end of the pipeline's name.
pub(super) fn pipeline_of(pipeline: &str, branch: Option<&str>) -> String {
    match branch {
        Some(branch) if !pipeline.ends_with(&format!("/{branch}")) => format!("{pipeline}/{branch}"),
        _ => pipeline.to_owned(),
    }
}

/// The end of a test's name, which tells it from others: where it is PHP's, class and folder at most.
pub fn near(name: &str) -> &str {
    name.rmatch_indices('\\').nth(1).map_or(name, |(at, _)| &name[at + 1..])
}

/// The beginning of a commit or a digest.
pub fn short_id(id: &str) -> &str {
    let id = id.rsplit_once(':').map_or(id, |(_, digits)| digits);
    id.char_indices().nth(SHORT).map_or(id, |(end, _)| &id[..end])
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn links_lead_to_web_pages_only() {
        let link = |url: &str| link(Some(&url.to_owned()));
        assert!(link("https://ci.example/job/1").is_some());
        for url in ["javascript:alert(1)", " JaVaScript:alert(1)", "data:text/html,x", "/job/1", ""] {
            assert_eq!(link(url), None, "{url}");
        }
    }

    #[test]
    fn an_id_is_told_by_its_beginning() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789");
        assert_eq!(short_id("é"), "é");
    }

    #[test]
    fn a_branch_is_not_named_twice() {
        assert_eq!(pipeline_of("cachet", Some("3.x")), "cachet/3.x");
        assert_eq!(pipeline_of("cachet/3.x", Some("3.x")), "cachet/3.x");
        assert_eq!(pipeline_of("cachet", None), "cachet");
    }

    #[test]
    fn a_test_is_named_without_its_folders() {
        assert_eq!(near(r"Tests\Feature\Api\ComponentTest::it_lists"), r"Api\ComponentTest::it_lists");
        for name in [r"Api\ComponentTest::it_lists", "a.b::c", ""] {
            assert_eq!(near(name), name);
        }
    }
}
