//! PHPUnit runs that hang: ended in time, with the test, the process and its memory named.

use std::fs;
use std::path::{Path, PathBuf};

use cachetscope::model::Process;

use crate::parts::part;
use crate::wrapped::{Seen, Wrapped};

/// A test class whose second test never ends.
fn suite(dir: &Path, hangs: &str) -> PathBuf {
    let text = format!(
        "<?php\n\
         use PHPUnit\\Framework\\TestCase;\n\
         final class QueueTest extends TestCase {{\n\
             public function testPushes(): void {{ $this->assertTrue(true); }}\n\
             public function testDrains(): void {{ {hangs} }}\n\
             public function testNeverReached(): void {{ $this->assertTrue(true); }}\n\
         }}\n"
    );
    let path = dir.join("QueueTest.php");
    fs::write(&path, text).unwrap();
    path
}

fn run(hangs: &str, options: &[&str], stall_ms: u64) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let file = suite(dir.path(), hangs);
    let phpunit = part("CACHETSCOPE_TEST_PHPUNIT");
    let mut argv = vec![phpunit.to_str().unwrap(), "--do-not-cache-result"];
    argv.extend(options);
    argv.push(file.to_str().unwrap());
    let seen = Wrapped::new(&argv).stall_ms(stall_ms).run();
    println!("{}{}", seen.text(), seen.stderr);
    assert_eq!(seen.code, 124);
    assert_eq!(seen.report().ended_for.as_deref(), Some("stall"));
    seen
}

fn php(seen: &Seen) -> &Process {
    let found = seen.evidence().processes.iter().find(|process| process.command.contains("phpunit"));
    found.unwrap_or_else(|| panic!("{:?}", seen.evidence().processes))
}

#[test]
fn a_test_that_sleeps_is_named_with_its_process() {
    let seen = run("$log = fopen('/etc/passwd', 'r'); sleep(4711);", &["--debug"], 5_000);
    let evidence = seen.evidence();
    assert_eq!(evidence.last_test.as_deref(), Some("QueueTest::testDrains"));
    assert_eq!(evidence.reason, "no output for 5s; it slept (no CPU used while silent)");
    assert!(evidence.last_output.iter().any(|line| line.contains("QueueTest::testPushes")));
    let php = php(&seen);
    assert_eq!(php.state, "sleeping");
    assert!(php.waits_for.as_ref().unwrap().starts_with("a timer"), "{php:?}");
    assert!(php.memory_bytes.unwrap() > 5_000_000, "{php:?}");
    assert!(php.memory_growth_bytes.unwrap().abs() < 2_000_000, "{php:?}");
    assert!(php.open.contains(&"/etc/passwd".to_owned()), "{php:?}");
    for words in ["ending the command", "last test started: QueueTest::testDrains", "phpunit", "memory "] {
        assert!(seen.stderr.contains(words), "{}", seen.stderr);
    }
}

#[test]
fn a_test_that_eats_memory_shows_how_fast() {
    // 256 KiB every 10 ms, about 25 MiB a second, and nothing said.
    let eats = "$kept = []; while (true) { $kept[] = str_repeat('x', 262144); usleep(10000); }";
    // Its own limit would end it first, with a message; in the case at hand it had none.
    let seen = run(&format!("ini_set('memory_limit', '-1'); {eats}"), &["--debug"], 3_000);
    assert_eq!(seen.evidence().last_test.as_deref(), Some("QueueTest::testDrains"));
    let php = php(&seen);
    let (memory, growth) = (php.memory_bytes.unwrap(), php.memory_growth_bytes.unwrap());
    assert!(growth > 10_000_000, "{php:?}");
    let reason = &seen.evidence().reason;
    assert!(reason.contains("and its memory grew by"), "{reason}");
    assert!(memory > growth.unsigned_abs(), "{php:?}");
    assert!(seen.stderr.contains("MiB while silent"), "{}", seen.stderr);
    let peak = seen.report().usage.as_ref().unwrap().memory_peak_bytes.unwrap();
    assert!(peak >= memory, "{peak} {memory}");
}

#[test]
fn without_names_it_says_how_to_get_them() {
    let seen = run("sleep(4711);", &[], 2_000);
    assert_eq!(seen.evidence().last_test, None);
    assert!(seen.evidence().reason.contains("run it with --debug"), "{}", seen.evidence().reason);
    assert!(seen.stderr.contains("hint: PHPUnit prints no names"), "{}", seen.stderr);
}
