//! What a process waits for, in words: from the system call it is in, and where that cannot be read
//! from the kernel function it sleeps in.
//!
//! Both need the right to trace the process (`ptrace(2)`, PTRACE_MODE_ATTACH); without it nothing is
//! known, and nothing is said.

use libc::c_long;
use procfs::process::{Process, Syscall};

/// How the first argument of a call belongs into the words.
#[derive(Clone, Copy)]
enum Words {
    Plain(&'static str),
    /// Followed by the file or socket.
    On(&'static str),
}

use Words::{On, Plain};

const SOME_CALLS: [(c_long, &str, Words); 25] = [
    (libc::SYS_read, "read", On("data from")),
    (libc::SYS_readv, "readv", On("data from")),
    (libc::SYS_pread64, "pread64", On("data from")),
    (libc::SYS_recvfrom, "recvfrom", On("data from")),
    (libc::SYS_recvmsg, "recvmsg", On("data from")),
    (libc::SYS_write, "write", On("room to write to")),
    (libc::SYS_writev, "writev", On("room to write to")),
    (libc::SYS_sendto, "sendto", On("room to write to")),
    (libc::SYS_sendmsg, "sendmsg", On("room to write to")),
    (libc::SYS_connect, "connect", On("a connection by")),
    (libc::SYS_accept, "accept", On("somebody to connect to")),
    (libc::SYS_accept4, "accept4", On("somebody to connect to")),
    (libc::SYS_flock, "flock", On("a lock on")),
    (libc::SYS_fcntl, "fcntl", On("a lock on")),
    (libc::SYS_fsync, "fsync", On("the disk, for")),
    (libc::SYS_fdatasync, "fdatasync", On("the disk, for")),
    (libc::SYS_futex, "futex", Plain("another thread or a lock")),
    (libc::SYS_nanosleep, "nanosleep", Plain("a timer")),
    (libc::SYS_clock_nanosleep, "clock_nanosleep", Plain("a timer")),
    (libc::SYS_wait4, "wait4", Plain("a child process to end")),
    (libc::SYS_waitid, "waitid", Plain("a child process to end")),
    (libc::SYS_ppoll, "ppoll", Plain("one of its files or sockets, or a timer")),
    (libc::SYS_pselect6, "pselect6", Plain("one of its files or sockets, or a timer")),
    (libc::SYS_epoll_pwait, "epoll_pwait", Plain("one of its files or sockets, or a timer")),
    (libc::SYS_rt_sigsuspend, "rt_sigsuspend", Plain("a signal")),
];

/// Calls that newer machines no longer have.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(c_long, &str, Words)] = &[
    (libc::SYS_poll, "poll", Plain("one of its files or sockets, or a timer")),
    (libc::SYS_select, "select", Plain("one of its files or sockets, or a timer")),
    (libc::SYS_epoll_wait, "epoll_wait", Plain("one of its files or sockets, or a timer")),
    (libc::SYS_pause, "pause", Plain("a signal")),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(c_long, &str, Words)] = &[];

/// Beginnings of the names of kernel functions; they change from release to release.
const FUNCTIONS: [(&str, &str); 17] = [
    ("hrtimer_nanosleep", "a timer"),
    ("do_nanosleep", "a timer"),
    ("futex", "another thread or a lock"),
    ("do_wait", "a child process to end"),
    ("pipe_read", "data from a pipe"),
    ("anon_pipe_read", "data from a pipe"),
    ("pipe_write", "room to write to a pipe"),
    ("anon_pipe_write", "room to write to a pipe"),
    ("ep_poll", "one of its files or sockets, or a timer"),
    ("do_epoll", "one of its files or sockets, or a timer"),
    ("poll_schedule", "one of its files or sockets, or a timer"),
    ("do_select", "one of its files or sockets, or a timer"),
    ("inet_csk_accept", "somebody to connect"),
    ("unix_stream", "a local socket"),
    ("locks_", "a lock on a file"),
    ("io_schedule", "the disk"),
    ("folio_wait", "the disk"),
];

/// `target` names what is behind a file descriptor of the process.
pub(super) fn words(process: &Process, target: impl Fn(i32) -> Option<String>) -> Option<String> {
    match process.syscall() {
        Ok(Syscall::Blocked { syscall_number, argument_registers, .. }) => {
            by_call(syscall_number, argument_registers[0], target).or_else(|| by_function(process))
        }
        Ok(_) => None,
        Err(_) => by_function(process),
    }
}

fn by_call(number: i64, first: u64, target: impl Fn(i32) -> Option<String>) -> Option<String> {
    let (_, name, words) = SOME_CALLS.iter().chain(OLD_CALLS).find(|call| call.0 == number)?;
    Some(match words {
        Plain(words) => format!("{words} ({name})"),
        On(words) => {
            let fd = i32::try_from(first).ok();
            let what = fd.and_then(|fd| target(fd).or(Some(format!("file descriptor {fd}"))));
            format!("{words} {} ({name})", what.as_deref().unwrap_or("a file"))
        }
    })
}

fn by_function(process: &Process) -> Option<String> {
    let function = process.wchan().ok()?;
    if function.is_empty() || function == "0" {
        return None;
    }
    let words = FUNCTIONS.iter().find(|(start, _)| function.starts_with(start));
    Some(words.map_or(function.clone(), |(_, words)| format!("{words} ({function})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_names_its_file() {
        let target = |fd| (fd == 5).then(|| "tcp 127.0.0.1:5432".to_owned());
        assert_eq!(by_call(libc::SYS_read, 5, target).unwrap(), "data from tcp 127.0.0.1:5432 (read)");
        assert_eq!(by_call(libc::SYS_read, 6, target).unwrap(), "data from file descriptor 6 (read)");
        assert_eq!(by_call(libc::SYS_wait4, 5, target).unwrap(), "a child process to end (wait4)");
        assert_eq!(by_call(-1, 5, target), None);
    }
}
