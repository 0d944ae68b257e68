//! Takes out of command lines and output what looks like a secret.
//!
//! It errs on the side of hiding: a masked path is a small loss.

use std::sync::LazyLock;

use regex::Regex;

use crate::model::Secret;

const MASK: &str = "***";
/// A shorter value is no secret but a part of half the words.
const VALUE_MIN: usize = 3;

/// Names whose value is a secret, wherever they stand in the name of an option or a variable.
const NAME: &str = r"[\w.-]*(?:token|passw(?:or)?d|passphrase|secret|credential|api[_-]?key|access[_-]?key|private[_-]?key|_pwd)[\w.-]*|[\w.-]*[_-](?:pass|auth|key)|-{1,2}(?:pass|auth|key)";

#[expect(clippy::expect_used, reason = "constants of this file, compiled by its tests")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

/// `--password=…`, `FOO_TOKEN='…'`, also within a shell's script.
static ASSIGNED: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"(?i)((?:{NAME})=)("[^"]*"|'[^']*'|[^\s&;|]+)"#)));
/// `--password …`; as two arguments of a command the value may hold spaces, see [`command`].
static FOLLOWED: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"(?i)(--?(?:{NAME}) +)("[^"]*"|'[^']*'|[^\s&;|-][^\s&;|]*)"#)));
/// `password: …`, `"apiToken": "…"`. A name that only holds such a word may be that of a test.
static LABELLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)([\w.-]*(?:token|passw(?:or)?d|passphrase|secret|credentials?|(?:api|access|private)[_-]?key)(?:["']\s*:\s*|\s*:\s+))("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;}]+)"#,
    )
});
/// Programs that take a password in a short option, wherever they stand in a line.
static SHORT: LazyLock<[Regex; 4]> = LazyLock::new(|| {
    let value = r#"("[^"]*"|'[^']*'|[^\s&;|]+)"#;
    [
        pattern(&format!(r"(\b(?:mysql|mariadb)[\w-]*\b[^|;&\n]*?\s-p){value}")),
        pattern(&format!(r"(\bsshpass\b[^|;&\n]*?\s-p *){value}")),
        pattern(&format!(r"(\blogin\b[^|;&\n]*?\s-p[ =]*){value}")),
        pattern(&format!(r"(\bredis-cli\b[^|;&\n]*?\s-a *){value}")),
    ]
});
/// `-u name:password`, as curl and its like take it.
static LOGIN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(\s(?:-u|--user)[ =]?["']?[^\s:/"']+:)[^\s"']+"#));
/// The same as a whole argument.
static OPTION: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i)^--?(?:{NAME})$")));
/// `scheme://user:password@host`, or `https://token@host`.
static IN_URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)([a-z][a-z0-9+.-]*://[^\s/@:]*):[^\s/@]+@"));
static ALONE_IN_URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(https?://)[^\s/@:]+@"));
/// `Authorization: Bearer …` and its like.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"(?i)\b((?:proxy-)?authorization|cookie|[a-z-]*(?:token|api-key|secret))(: *)[^"'\r\n]+"#)
});

/// The given secrets and what looks like one, in any text.
pub(super) fn text(text: &str, secrets: &[Secret]) -> String {
    let mut masked = text.to_owned();
    let mut values: Vec<&str> = secrets.iter().map(Secret::reveal).filter(|v| v.len() >= VALUE_MIN).collect();
    // One secret may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in values {
        masked = masked.replace(value, MASK);
    }
    let masked = IN_URL.replace_all(&masked, "${1}:***@");
    let masked = ALONE_IN_URL.replace_all(&masked, "${1}***@");
    let masked = HEADER.replace_all(&masked, "${1}${2}***");
    let masked = ASSIGNED.replace_all(&masked, "${1}***");
    let masked = FOLLOWED.replace_all(&masked, "${1}***");
    let masked = LABELLED.replace_all(&masked, "${1}***");
    let mut masked = LOGIN.replace_all(&masked, "${1}***").into_owned();
    for short in SHORT.iter() {
        masked = short.replace_all(&masked, "${1}***").into_owned();
    }
    masked
}

/// A command line, its arguments joined by spaces.
pub(super) fn command(argv: &[String], secrets: &[Secret]) -> String {
    let mut hide_next = false;
    let mut parts = Vec::with_capacity(argv.len());
    for (i, argument) in argv.iter().enumerate() {
        if std::mem::take(&mut hide_next) && !argument.starts_with("--") {
            parts.push(MASK);
            continue;
        }
        hide_next = i > 0 && OPTION.is_match(argument);
        parts.push(argument);
    }
    text(&parts.join(" "), secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &[&str]) -> String {
        let argv: Vec<String> = line.iter().map(|s| (*s).to_owned()).collect();
        command(&argv, &[Secret::new("s3cr3t"), Secret::new("s3cr3t-and-longer"), Secret::new("x")])
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let table: &[(&[&str], &str)] = &[
            (&["a", "--token", "abc", "b"], "a --token *** b"),
            (&["a", "--token=abc", "--pass", "x y"], "a --token=*** --pass ***"),
            (&["a", "--token", "--verbose"], "a --token --verbose"),
            (&["env", "GITHUB_TOKEN=abc", "make"], "env GITHUB_TOKEN=*** make"),
            (&["mysql", "-uroot", "-phunter2", "db"], "mysql -uroot -p*** db"),
            (&["/usr/bin/mysqldump", "-phunter2"], "/usr/bin/mysqldump -p***"),
            (&["sshpass", "-p", "hunter2", "ssh", "h"], "sshpass -p *** ssh h"),
            (
                &["sh", "-c", "set -x; mysql -uroot -phunter2A db; true"],
                "sh -c set -x; mysql -uroot -p*** db; true",
            ),
            (&["/bin/sh", "/opt/mysql", "-uroot", "-phunter2A", "db"], "/bin/sh /opt/mysql -uroot -p*** db"),
            (&["docker", "login", "-u", "me", "-p", "hunter2B", "reg"], "docker login -u me -p *** reg"),
            (&["redis-cli", "-a", "hunter2C", "ping"], "redis-cli -a *** ping"),
            (&["curl", "-ume:hunter2D", "h"], "curl -ume:*** h"),
            (&["curl", "-u", "me:pw", "https://me:pw@h/x"], "curl -u me:*** https://me:***@h/x"),
            (&["git", "clone", "https://ghp_abc@h/x"], "git clone https://***@h/x"),
            (&["curl", "-H", "Authorization: Bearer abc"], "curl -H Authorization: ***"),
            (&["curl", "-H", "X-Cachet-Token: abc"], "curl -H X-Cachet-Token: ***"),
            (&["curl", "http://h/?api_key=abc&x=1"], "curl http://h/?api_key=***&x=1"),
            (&["sh", "-c", "MYSQL_PWD='a b' x --password abc; y"], "sh -c MYSQL_PWD=*** x --password ***; y"),
            (&["a", "pre-s3cr3t-and-longer-s3cr3t"], "a pre-***-***"),
        ];
        for (line, expected) in table {
            assert_eq!(masked(line), *expected);
        }
    }

    #[test]
    fn output_is_masked_as_command_lines_are() {
        let table = [
            ("+ tool --password hunter2E", "+ tool --password ***"),
            ("password: hunter2F", "password: ***"),
            (r#"{"password":"hunt\"er2G","user":"me"}"#, r#"{"password":***,"user":"me"}"#),
            ("db.api_key: abc, next", "db.api_key: ***, next"),
            ("  - PasswordResetTest::test_token", "  - PasswordResetTest::test_token"),
            ("TokenTest: 3 failures", "TokenTest: 3 failures"),
            (
                "mysql: [Warning] Using a password on the command line",
                "mysql: [Warning] Using a password on the command line",
            ),
        ];
        for (line, expected) in table {
            assert_eq!(text(line, &[]), expected);
        }
    }

    #[test]
    fn what_does_not_is_left() {
        for line in [
            &["phpunit", "--debug", "tests/TokenTest.php"][..],
            &["cp", "-p", "a", "b"],
            &["ssh", "-p", "2222", "git@host"],
            &["ls", "--color=auto", "/x/y"],
            &["env", "PWD=/home", "ssh://git@host/x"],
        ] {
            assert_eq!(masked(line), line.join(" "));
        }
    }
}
