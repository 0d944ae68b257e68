//! The systemd unit, held against systemd's own checker.

use std::process::Command;

use crate::parts::part;

/// What the checker says of a unit; it exits 0 on most problems, so silence is what counts.
fn verify(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cachetscope.service");
    std::fs::write(&file, text).unwrap();
    let output =
        Command::new(part("CACHETSCOPE_TEST_SYSTEMD_ANALYZE")).arg("verify").arg(&file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if said.is_empty() { output.status.code().map_or(-1, |code| code).to_string() } else { said }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let unit = include_str!("../../deploy/cachetscope.service");
    // The program is not installed here.
    let unit = unit.replace("/usr/local/bin/cachetscope", "/bin/true");
    assert_eq!(verify(&unit), "0");
    let said = verify(&unit.replace("WatchdogSec=60s", "WatchdogSecs=60s"));
    assert!(said.contains("WatchdogSecs"), "the checker finds what is wrong: {said}");
}
