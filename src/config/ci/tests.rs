//! Variables as the CI systems set them, recorded, and what is made of them.

use std::path::PathBuf;
use std::process::Command;

use super::*;

const NOW: Timestamp = Timestamp(1_795_000_000_123_000_000);

/// `NAME=value` in lines, as `env` prints them.
fn env(recorded: &str) -> Env {
    recorded.lines().filter_map(|line| line.trim().split_once('=')).collect()
}

/// Without a git work tree around.
fn detect(recorded: &str, given: &Overrides) -> Result<Context, ContextError> {
    let folder = tempfile::tempdir().unwrap();
    Context::detect(&env(recorded), given, folder.path(), NOW)
}

/// One line for each part that is there.
fn told(recorded: &str) -> String {
    let context = detect(recorded, &Overrides::default()).unwrap();
    let Context { source, pipeline, run, attempt, job, branch, commit, .. } = context.clone();
    let mut lines = vec![format!("{source} | {pipeline} | {run} | {attempt}")];
    let Context { repository, url, worker, .. } = context;
    for (name, value) in [
        ("job", job),
        ("branch", branch),
        ("commit", commit),
        ("repository", repository),
        ("url", url),
        ("worker", worker),
    ] {
        lines.extend(value.map(|value| format!("{name} {value}")));
    }
    lines.join("\n")
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

const JENKINS_MULTIBRANCH: &str = "
    BRANCH_IS_PRIMARY=true
    BRANCH_NAME=PR-12
    BUILD_DISPLAY_NAME=#41
    BUILD_ID=41
    BUILD_NUMBER=41
    BUILD_TAG=jenkins-cachet-core-PR-12-41
    BUILD_URL=https://ci.example/job/cachet/job/core/job/PR-12/41/
    CHANGE_BRANCH=feature/faster-lists
    CHANGE_ID=12
    CHANGE_TARGET=main
    EXECUTOR_NUMBER=1
    GIT_BRANCH=PR-12
    GIT_COMMIT=9f2c6d0f5f6b4b7f8f0b9d2c1e3a4b5c6d7e8f90
    GIT_URL=https://robot:s3cr3t-t0ken@git.example/cachet/core.git
    HUDSON_URL=https://ci.example/
    JENKINS_URL=https://ci.example/
    JOB_BASE_NAME=PR-12
    JOB_NAME=cachet/core/PR-12
    NODE_NAME=linux-2
    STAGE_NAME=Unit tests
    WORKSPACE=/var/lib/jenkins/workspace/cachet_core_PR-12";

#[test]
fn jenkins_multibranch_pull_request() {
    assert_eq!(
        told(JENKINS_MULTIBRANCH),
        "jenkins | cachet/core/PR-12 | 41 | 1\n\
         branch feature/faster-lists\n\
         commit 9f2c6d0f5f6b4b7f8f0b9d2c1e3a4b5c6d7e8f90\n\
         repository https://git.example/cachet/core\n\
         url https://ci.example/job/cachet/job/core/job/PR-12/41/\n\
         worker linux-2"
    );
}

#[test]
fn jenkins_freestyle() {
    let recorded = "
        BUILD_NUMBER=7
        BUILD_TAG=jenkins-cachet-deploy-7
        BUILD_URL=http://127.0.0.1:8080/job/cachet-deploy/7/
        GIT_BRANCH=origin/2.4
        GIT_COMMIT=0123456789abcdef0123456789abcdef01234567
        GIT_LOCAL_BRANCH=2.4
        GIT_PREVIOUS_COMMIT=1123456789abcdef0123456789abcdef01234567
        GIT_URL=git@github.com:cachethq/cachet.git
        JENKINS_URL=http://127.0.0.1:8080/
        JOB_NAME=cachet-deploy
        NODE_NAME=built-in";
    assert_eq!(
        told(recorded),
        "jenkins | cachet-deploy | 7 | 1\n\
         branch 2.4\n\
         commit 0123456789abcdef0123456789abcdef01234567\n\
         repository https://github.com/cachethq/cachet\n\
         url http://127.0.0.1:8080/job/cachet-deploy/7/\n\
         worker built-in"
    );
}

const GITHUB_PUSH: &str = "
    CI=true
    GITHUB_ACTIONS=true
    GITHUB_ACTOR=somebody
    GITHUB_BASE_REF=
    GITHUB_EVENT_NAME=push
    GITHUB_HEAD_REF=
    GITHUB_JOB=unit
    GITHUB_REF=refs/heads/main
    GITHUB_REF_NAME=main
    GITHUB_REF_TYPE=branch
    GITHUB_REPOSITORY=cachethq/core
    GITHUB_RUN_ATTEMPT=2
    GITHUB_RUN_ID=17180339887
    GITHUB_RUN_NUMBER=512
    GITHUB_SERVER_URL=https://github.com
    GITHUB_SHA=ffac537e6cbbf934b08745a378932722df287a53
    GITHUB_WORKFLOW=run-tests
    RUNNER_NAME=GitHub Actions 14";

#[test]
fn github_push_started_again() {
    assert_eq!(
        told(GITHUB_PUSH),
        "github | cachethq/core/run-tests | 17180339887 | 2\n\
         job unit\n\
         branch main\n\
         commit ffac537e6cbbf934b08745a378932722df287a53\n\
         repository https://github.com/cachethq/core\n\
         url https://github.com/cachethq/core/actions/runs/17180339887/attempts/2\n\
         worker GitHub Actions 14"
    );
}

#[test]
fn github_pull_request() {
    let recorded = GITHUB_PUSH
        .replace("GITHUB_HEAD_REF=", "GITHUB_HEAD_REF=feature/faster-lists")
        .replace("GITHUB_BASE_REF=", "GITHUB_BASE_REF=main")
        .replace("REF_NAME=main", "REF_NAME=12/merge")
        .replace("ATTEMPT=2", "ATTEMPT=1");
    let told = told(&recorded);
    assert!(told.contains("\nbranch feature/faster-lists\n"), "{told}");
    assert!(told.contains("runs/17180339887\n") && told.starts_with("github | cachethq/core/run-tests |"));
}

const GITLAB_BRANCH: &str = "
    CI=true
    CI_COMMIT_BRANCH=3.x
    CI_COMMIT_REF_NAME=3.x
    CI_COMMIT_SHA=1ecfd275763eff1d6b4844ea3168962458c9f27a
    CI_JOB_ID=50398223
    CI_JOB_NAME=unit tests 1/3
    CI_JOB_URL=https://gitlab.example/status/cachet/-/jobs/50398223
    CI_PIPELINE_ID=1212
    CI_PIPELINE_SOURCE=push
    CI_PIPELINE_URL=https://gitlab.example/status/cachet/-/pipelines/1212
    CI_PROJECT_PATH=status/cachet
    CI_PROJECT_URL=https://gitlab.example/status/cachet
    CI_REPOSITORY_URL=https://gitlab-ci-token:xyz@gitlab.example/status/cachet.git
    CI_RUNNER_DESCRIPTION=shared-runner-3
    GITLAB_CI=true";

#[test]
fn gitlab_branch() {
    assert_eq!(
        told(GITLAB_BRANCH),
        "gitlab | status/cachet | 1212 | 1\n\
         job unit tests 1/3#50398223\n\
         branch 3.x\n\
         commit 1ecfd275763eff1d6b4844ea3168962458c9f27a\n\
         repository https://gitlab.example/status/cachet\n\
         url https://gitlab.example/status/cachet/-/jobs/50398223\n\
         worker shared-runner-3"
    );
}

#[test]
fn gitlab_merge_request() {
    let recorded = GITLAB_BRANCH.replace("CI_COMMIT_BRANCH=3.x", "CI_MERGE_REQUEST_IID=5")
        + "\nCI_MERGE_REQUEST_SOURCE_BRANCH_NAME=faster\nCI_MERGE_REQUEST_TARGET_BRANCH_NAME=3.x";
    assert!(told(&recorded).contains("\nbranch faster\n"));
}

#[test]
fn flags_go_over_the_environment_and_empty_ones_are_none() {
    let given = Overrides {
        source: some("jenkins-2"),
        run: some("42"),
        attempt: some("3"),
        branch: some(" "),
        repository: some("ssh://git@git.example:2222/cachet/docker.git/"),
        url: some("https://me:pw@ci.example/x"),
        ..Overrides::default()
    };
    let context = detect(JENKINS_MULTIBRANCH, &given).unwrap();
    assert_eq!((context.source.as_str(), context.run.as_str(), context.attempt), ("jenkins-2", "42", 3));
    assert_eq!(context.pipeline, "cachet/core/PR-12");
    assert_eq!(context.branch.as_deref(), Some("feature/faster-lists"));
    assert_eq!(context.repository.as_deref(), Some("https://git.example/cachet/docker"));
    assert_eq!(context.url.as_deref(), Some("https://ci.example/x"));
}

#[test]
fn what_is_missing_names_its_flag_all_at_once() {
    let given = Overrides { source: some("teamcity"), attempt: some("0"), ..Overrides::default() };
    insta::assert_snapshot!(detect("", &given).unwrap_err(), @r"
    the pipeline is not known: source teamcity sets no variable for it; name it with --pipeline
    the run is not known: source teamcity sets no variable for it; name it with --run-id
    --attempt: expected a number from 1, found `0`
    ");
    let error = detect("JENKINS_URL=x\nJOB_NAME=a", &Overrides::default()).unwrap_err();
    insta::assert_snapshot!(error, @"the run is not known: source jenkins sets no variable for it (BUILD_NUMBER); name it with --run-id");
}

#[test]
fn a_malformed_traceparent_is_as_if_it_were_not_there() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = detect(&format!("TRACEPARENT={good}"), &Overrides::default()).unwrap();
    assert_eq!(context.traceparent.unwrap().to_string(), good);
    for bad in ["nonsense", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        let context = detect(&format!("TRACEPARENT={bad}"), &Overrides::default()).unwrap();
        assert_eq!(context.traceparent, None);
        assert!(context.notes.iter().any(|note| note.contains("TRACEPARENT")), "{:?}", context.notes);
    }
}

/// A work tree with one commit of a known time.
fn work_tree() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("cachet-core");
    std::fs::create_dir(&tree).unwrap();
    for arguments in [
        ["init", "-q", "-b", "faster"].as_slice(),
        &["remote", "add", "origin", "https://me:pw@git.example/cachet/core.git"],
        &["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "m"],
    ] {
        let mut git = Command::new("git");
        git.arg("-C").arg(&tree).args(arguments).env("GIT_COMMITTER_DATE", "2026-08-22T12:30:59+02:00");
        assert!(git.status().unwrap().success());
    }
    (folder, tree)
}

#[test]
fn outside_of_any_ci_git_tells_and_the_run_is_named() {
    let (_folder, tree) = work_tree();
    let context = Context::detect(&Env::default(), &Overrides::default(), &tree, NOW).unwrap();
    assert_eq!((context.source.as_str(), context.pipeline.as_str()), ("local", "cachet-core"));
    assert!(context.run.ends_with("-1795000000123"), "{}", context.run);
    assert!(context.notes[0].contains(&context.run) && context.notes[0].contains("--run-id"));
    assert_eq!(context.branch.as_deref(), Some("faster"));
    assert_eq!(context.commit.as_ref().map(String::len), Some(40));
    assert_eq!(context.repository.as_deref(), Some("https://git.example/cachet/core"));
    // What is called within takes itself for a part of the same run.
    let variables = context.variables();
    let nested: Env = variables.iter().map(|(n, v)| (n.clone(), v.to_str().unwrap())).collect();
    let own = |name: &str| nested.get(name).map(str::to_owned);
    let given = Overrides {
        source: own("CACHETSCOPE_SOURCE"),
        pipeline: own("CACHETSCOPE_PIPELINE"),
        run: own("CACHETSCOPE_RUN_ID"),
        ..Overrides::default()
    };
    let nested = Context::detect(&Env::default(), &given, &tree, NOW.plus(std::time::Duration::from_secs(9)));
    let nested = nested.unwrap();
    assert_eq!((nested.run, nested.notes), (context.run, vec![]));
}

#[test]
fn a_branch_becomes_the_version_of_its_commit() {
    let (_folder, tree) = work_tree();
    let commit = WorkTree::at(&tree).unwrap().commit().unwrap();
    for text in ["3.x", "3.x-dev", "dev-main", "v3.x"] {
        assert_eq!(version(text, None, &tree).unwrap().as_str(), "3.0.0-dev.202608221030", "{text}");
    }
    assert_eq!(version("4.x", Some(&commit[..12]), &tree).unwrap().as_str(), "4.0.0-dev.202608221030");
    assert_eq!(version("v2.4.1", None, &tree).unwrap().as_str(), "2.4.1");
    let elsewhere = tempfile::tempdir().unwrap();
    let errors = [
        version("3.x", None, elsewhere.path()),
        version("dev-main", Some("0123456789"), &tree),
        version("3.x", Some("--output=x"), &tree),
        version("latest", None, &tree),
    ];
    let errors: Vec<String> = errors.into_iter().map(|error| error.unwrap_err().to_string()).collect();
    insta::assert_snapshot!(errors.join("\n"), @r"
    `3.x` is a branch, whose builds are told apart by the time of their commit, and there is no git work tree here; write 3.0.0-dev.YYYYMMDDhhmm with the UTC time of the commit
    `dev-main` is a branch, whose builds are told apart by the time of their commit, and the git work tree here does not hold commit 0123456789; write 3.0.0-dev.YYYYMMDDhhmm with the UTC time of the commit
    `3.x` is a branch, whose builds are told apart by the time of their commit, and the git work tree here does not hold commit --output=x; write 3.0.0-dev.YYYYMMDDhhmm with the UTC time of the commit
    `latest` is no version; expected one such as 2.4.1, or 3.x for the commit that is checked out here
    ");
}
