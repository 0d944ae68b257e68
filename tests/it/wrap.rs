//! Commands under `wrap::run`: what passes through, how they end, and what is found when they stall.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::wrapped::{Wrapped, eventually, runs};

/// The numbers that a script has written, one on a line, once there are `count`.
fn pids(file: &std::path::Path, count: usize) -> Vec<i32> {
    eventually("the script's pids", || {
        let text = fs::read_to_string(file).ok()?;
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (text.ends_with('\n') && pids.len() == count).then_some(pids)
    })
}

#[test]
fn bytes_pass_through_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bytes");
    let mut bytes = vec![0; 4 * 1024 * 1024 + 1];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    fs::write(&file, &bytes).unwrap();
    let seen = Wrapped::new(&["cat", file.to_str().unwrap()]).run();
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    assert!(seen.stdout == bytes);
    assert_eq!(seen.report().usage.as_ref().unwrap().output_bytes, Some(bytes.len() as u64));
}

#[test]
fn each_stream_goes_where_it_belongs_and_the_last_line_needs_no_end() {
    let seen = Wrapped::shell(r"printf '\033[31mred\033[0m'; printf 'bad\377' >&2").run();
    assert_eq!(seen.text(), "\u{1b}[31mred\u{1b}[0m");
    assert_eq!(seen.stderr, "bad\u{fffd}");
    let mut lines = seen.report().last_output.clone();
    lines.sort();
    assert_eq!(lines, ["bad\u{fffd}", "red"]);
}

#[test]
fn where_both_streams_are_one_file_their_order_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = fs::File::create(&path).unwrap();
    let script = "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let running = Wrapped::shell(script).start_with(log.try_clone().unwrap().into(), log.into());
    assert_eq!(running.seen().code, 0);
    let text = fs::read_to_string(path).unwrap();
    let expected: String = (0..500).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert!(text.ends_with(&expected), "{text}");
}

#[test]
fn exit_codes_are_the_commands_own() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        let seen = Wrapped::shell(script).run();
        assert_eq!(seen.code, code, "{script}");
        assert_eq!(seen.report().ended_for, None);
        assert_eq!(seen.report().evidence, None);
    }
}

#[test]
fn what_cannot_be_started_is_told_as_a_shell_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (plain, no_line, no_interpreter) = (
        write("plain", "#!/bin/sh\n", 0o644),
        write("no-line", "\u{7f}not a program", 0o755),
        write("no-interpreter", "#!/nowhere/sh\n", 0o755),
    );
    let table = [
        ("cachetscope-no-such-program", 127, "was not found"),
        ("/no/such/program", 127, "was not found"),
        (plain.as_str(), 126, "chmod +x"),
        (no_line.as_str(), 126, "no script with a #! line"),
        (no_interpreter.as_str(), 126, "interpreter"),
        ("/", 126, "it is a folder"),
    ];
    for (program, code, words) in table {
        let seen = Wrapped::new(&[program]).run();
        assert_eq!((seen.code, seen.report.is_none()), (code, true), "{program}: {}", seen.stderr);
        assert!(seen.stderr.contains(words), "{}", seen.stderr);
    }
    assert_eq!(Wrapped::new(&[]).run().code, 125);
}

#[test]
fn variables_are_added_to_the_environment() {
    let mut wrapped = Wrapped::shell("printf %s,%s \"$TRACEPARENT\" \"${PATH:+inherited}\"");
    wrapped.env = vec![("TRACEPARENT".into(), "00-1-2-01".into())];
    assert_eq!(wrapped.run().text(), "00-1-2-01,inherited");
}

#[test]
fn usage_counts_children_that_have_ended() {
    let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
    let seen = Wrapped::shell(&format!(
        "sh -c '{busy}'; sh -c '{busy}'; head -c 60000000 /dev/zero | tail -c 50000000 | wc -c"
    ))
    .run();
    let usage = seen.report().usage.clone().unwrap();
    assert!(usage.cpu_seconds.unwrap() > 0.05, "{usage:?}");
    assert!(usage.memory_peak_bytes.unwrap() > 40_000_000, "{usage:?}");
    assert_eq!((usage.exit_code, usage.signal), (Some(0), None));
}

#[test]
fn silence_ends_the_command_and_shows_why() {
    let mut wrapped = Wrapped::shell(
        "echo \"=== RUN   TestQueue\"; echo key is hunter2; exec 7</etc/passwd; sleep 4711; echo never",
    )
    .stall_ms(1_200);
    wrapped.secrets = vec!["hunter2".into()];
    let seen = wrapped.run();
    assert_eq!(seen.code, 124, "{}", seen.stderr);
    assert_eq!(seen.text(), "=== RUN   TestQueue\nkey is hunter2\n");
    let report = seen.report();
    assert_eq!((report.ended_for.as_deref(), report.exit.as_str()), (Some("stall"), "signal 15"));
    let evidence = seen.evidence();
    assert_eq!(evidence.reason, "no output for 1s 200ms; it slept (no CPU used while silent)");
    assert_eq!(evidence.last_test.as_deref(), Some("TestQueue"));
    assert_eq!(evidence.last_output, ["=== RUN   TestQueue", "key is ***"]);
    let [shell, sleep] = evidence.processes.as_slice() else { panic!("{:?}", evidence.processes) };
    assert_eq!(sleep.command, "sleep 4711");
    assert_eq!((sleep.parent, sleep.state.as_str()), (Some(shell.pid), "sleeping"));
    assert_eq!(sleep.waits_for.as_deref(), Some("a timer (clock_nanosleep)"));
    assert!(shell.waits_for.as_ref().unwrap().starts_with("a child process to end"));
    assert!(shell.open.contains(&"/etc/passwd".to_owned()), "{:?}", shell.open);
    assert!(shell.command.contains("key is ***"), "{}", shell.command);
    assert!(!seen.stderr.contains("hunter2"), "{}", seen.stderr);
    assert!(!runs(shell.pid) && !runs(sleep.pid));
    let told = [
        "no output for 1s 200ms; ending the command",
        "sleep 4711",
        "TestQueue",
        "sleeping, waits for a timer",
    ];
    assert!(told.iter().all(|words| seen.stderr.contains(words)), "{}", seen.stderr);
}

#[test]
fn memory_that_grows_in_silence_is_seen() {
    // A shell variable that doubles up to 64 MiB, then one more second of work at a time.
    let script = "x=0123456789abcdef; n=0; while [ $n -lt 40 ]; do [ ${#x} -lt 30000000 ] && x=$x$x; \
                  read -t 0.1 y <&9; n=$((n+1)); done; read y <&9";
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let bash = format!("exec 9<>{}; read -t 0.5 y <&9; {script}", fifo.display());
    let seen = Wrapped::new(&["bash", "-c", &bash]).stall_ms(4_000).run();
    assert_eq!(seen.code, 124, "{}", seen.stderr);
    let bash = &seen.evidence().processes[0];
    assert!(bash.memory_bytes.unwrap() > 30_000_000, "{bash:?}");
    assert!(bash.memory_growth_bytes.unwrap() > 20_000_000, "{bash:?}");
    assert!(seen.stderr.contains("MiB while silent"), "{}", seen.stderr);
}

#[test]
fn a_busy_silence_is_told_from_a_sleep() {
    let seen = Wrapped::shell("while :; do :; done").stall_ms(1_500).run();
    assert_eq!(seen.code, 124);
    assert!(seen.evidence().reason.contains("it used "), "{}", seen.evidence().reason);
    assert_eq!(seen.evidence().processes[0].state, "running");
}

#[test]
fn output_keeps_a_command_alive_until_its_time_limit() {
    let mut wrapped = Wrapped::shell("while :; do echo tick; sleep 0.1; done").stall_ms(1_000);
    wrapped.timeout_ms = Some(2_000);
    let seen = wrapped.run();
    assert_eq!((seen.code, seen.report().ended_for.as_deref()), (124, Some("timeout")));
    assert!(seen.evidence().reason.starts_with("still running after 2s, its time limit"));
    assert!(seen.text().lines().count() > 5);
}

#[test]
fn the_whole_tree_is_ended_also_what_left_the_group_or_ignores_term() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let script = format!(
        "exec 3>>{}; echo $$ >&3; (sh -c 'echo $$ >&3; sleep 4711' &) ; \
         setsid sh -c 'trap \"\" TERM HUP; echo $$ >&3; while :; do sleep 0.1; done' >/dev/null 2>&1 & \
         setsid -f sleep 4712 >/dev/null 2>&1; sleep 4713",
        file.display()
    );
    let running = Wrapped::shell(&script).stall_ms(1_500).grace_ms(700).start();
    let mut started = pids(&file, 3);
    let seen = running.seen();
    assert_eq!(seen.code, 124, "{}", seen.stderr);
    let found: Vec<&str> = seen.evidence().processes.iter().map(|p| p.command.as_str()).collect();
    for command in ["sleep 4711", "sleep 4712", "sleep 4713"] {
        assert!(found.contains(&command), "{found:?}");
    }
    started.extend(seen.evidence().processes.iter().map(|p| p.pid));
    assert!(started.iter().all(|pid| !runs(*pid)), "{started:?}");
    assert!(seen.stderr.contains("did not end on TERM within 700ms; killed"), "{}", seen.stderr);
}

#[test]
fn a_stopped_command_is_shown_as_stopped_and_ended() {
    let seen = Wrapped::shell("kill -STOP $$").stall_ms(1_000).run();
    assert_eq!(seen.code, 124);
    assert_eq!(seen.evidence().processes[0].state, "stopped");
    assert_eq!(seen.report().exit, "signal 15");
}

#[test]
fn a_zombie_is_shown_and_does_not_hold_the_end_up() {
    // `exec` leaves the shell's child to a program that never waits for it.
    let seen = Wrapped::shell("true & exec sleep 4711").stall_ms(1_000).run();
    assert_eq!(seen.code, 124);
    let [sleep, zombie] = seen.evidence().processes.as_slice() else { panic!("{:?}", seen.evidence()) };
    assert_eq!((sleep.command.as_str(), zombie.state.as_str()), ("sleep 4711", "zombie"));
    assert_eq!((zombie.parent, zombie.memory_bytes), (Some(sleep.pid), Some(0)));
    assert!(seen.report().seconds < 5.0);
}

#[test]
fn what_stays_in_the_background_is_neither_waited_for_nor_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    // It goes on writing, so that only its being there cannot be told from the command's own output.
    let script =
        format!("(while :; do echo more; sleep 0.05; done) & echo $! > {}; echo done", file.display());
    let mut running = Wrapped::shell(&script).start();
    let background = pids(&file, 1)[0];
    let status = eventually("the wrapper to go", || running.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let seen = running.seen();
    assert!(seen.text().contains("done\n"));
    assert!(seen.report().seconds < 10.0);
    let _ = Command::new("kill").arg(background.to_string()).stderr(Stdio::null()).status();
}

#[test]
fn signals_reach_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let script = format!(
        "trap 'wait; echo told; exit 9' TERM; trap 'echo one' USR1; \
         sh -c 'trap \"echo child; exit 0\" TERM; trap \"echo two\" USR1; echo $$ >> {0}; \
         while :; do sleep 0.02; done' & echo $$ >> {0}; while :; do sleep 0.02; done",
        file.display()
    );
    let running = Wrapped::shell(&script).start();
    pids(&file, 2);
    running.signal("USR1");
    running.signal("TERM");
    let seen = running.seen();
    assert_eq!(seen.code, 9, "{}", seen.stderr);
    let mut said: Vec<String> = seen.text().lines().map(str::to_owned).collect();
    said.sort();
    assert_eq!(said, ["child", "one", "told", "two"]);
    let report = seen.report();
    assert_eq!((report.ended_for.as_deref(), report.exit.as_str()), (Some("signal 15"), "code 9"));
    assert!(seen.evidence().reason.starts_with("told to stop by SIGTERM after"));
}

#[test]
fn a_second_signal_is_handed_on_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let script = format!(
        "n=0; trap 'n=$((n+1)); echo $n > {0}; [ $n -lt 2 ] || exit 5' INT; echo 0 > {0}; \
         while :; do sleep 0.02; done",
        file.display()
    );
    let running = Wrapped::shell(&script).start();
    for n in 0..2 {
        eventually("the signal's count", || (pids(&file, 1) == [n]).then_some(()));
        running.signal("INT");
    }
    let seen = running.seen();
    assert_eq!((seen.code, seen.report().ended_for.as_deref()), (5, Some("signal 2")));
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let wrapped =
        Wrapped::shell(&format!("echo $$ > {}; sed -n s/^SigIgn:.//p /proc/$$/status", file.display()));
    // HUP is the lowest bit.
    let ignored = |text: String| u64::from_str_radix(text.trim(), 16).unwrap() & 1;
    // Whoever runs the tests may ignore it already, as `nohup` does.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().to_owned();
    assert_eq!(ignored(wrapped.run().text()), ignored(own));
    assert_eq!(ignored(wrapped.start_ignoring_hup().seen().text()), 1);
}

#[test]
fn a_closed_stdout_ends_the_command_as_a_pipe_does() {
    let mut running = Wrapped::shell("yes; exit $?").start();
    running.close_stdout_once_it_began();
    let seen = running.seen();
    // The shell says what `yes` died of: SIGPIPE.
    assert_eq!(seen.code, 141, "{}", seen.stderr);
}

#[test]
fn a_reader_that_takes_nothing_is_no_stall_of_the_command() {
    let mut running = Wrapped::shell("head -c 3000000 /dev/zero; exec sleep 0.01").stall_ms(300).start();
    let mut stdout = running.child.stdout.take().unwrap();
    let began = std::time::Instant::now();
    eventually("time to pass", || (began.elapsed() > Duration::from_millis(1_500)).then_some(()));
    assert_eq!(running.child.try_wait().unwrap(), None);
    let mut all = Vec::new();
    stdout.read_to_end(&mut all).unwrap();
    let seen = running.seen();
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    assert!(all.len() >= 3_000_000);
}

#[test]
fn a_reader_that_takes_nothing_does_not_keep_us_from_ending() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    // More than our reader's pipe and what we hold, so that we wait in write when it has ended.
    let script = format!("echo $$ > {}; head -c 100000 /dev/zero", file.display());
    let mut running = Wrapped::shell(&script).start();
    let command = pids(&file, 1)[0];
    eventually("the command to end", || (!runs(command)).then_some(()));
    assert_eq!(running.child.try_wait().unwrap(), None);
    running.signal("TERM");
    let status = eventually("the wrapper to end", || running.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
