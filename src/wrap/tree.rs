//! The process tree below this process, as `/proc` tells it at one moment.
//!
//! Found by parent links alone, so also what left the process group. A process that vanishes while
//! it is read is left out; nothing here fails.

use std::collections::HashMap;
use std::time::Instant;

use procfs::process::Stat;

/// All descendants of this process.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub at: Instant,
    /// Parents before their children.
    pub all: Vec<One>,
}

/// One process.
#[derive(Clone, Debug)]
pub(super) struct One {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    /// Ticks since the machine's start: with the pid, its identity.
    pub since: u64,
    /// At most 15 bytes, as the kernel keeps it.
    pub name: String,
    /// As in `proc_pid_stat(5)`.
    pub state: char,
    /// Seconds that it used itself.
    pub cpu: f64,
    /// Seconds of its children that ended and were waited for, and of theirs.
    pub cpu_reaped: f64,
    /// Resident bytes.
    pub memory: u64,
    pub threads: u32,
}

impl One {
    fn new(stat: Stat) -> Self {
        let seconds = |ticks: i64| ticks.max(0) as f64 / procfs::ticks_per_second() as f64;
        let own = i64::try_from(stat.utime + stat.stime).unwrap_or(i64::MAX);
        One {
            pid: stat.pid,
            parent: stat.ppid,
            group: stat.pgrp,
            since: stat.starttime,
            name: stat.comm,
            state: stat.state,
            cpu: seconds(own),
            cpu_reaped: seconds(stat.cutime.saturating_add(stat.cstime)),
            memory: stat.rss.saturating_mul(procfs::page_size()),
            threads: u32::try_from(stat.num_threads).unwrap_or(0),
        }
    }

    /// It has ended and only waits to be waited for.
    pub fn is_over(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    pub fn is(&self, other: &One) -> bool {
        self.pid == other.pid && self.since == other.since
    }
}

/// The pid of this process as `/proc` has it.
pub(super) fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}

impl Tree {
    pub fn scan() -> Self {
        let at = Instant::now();
        let Ok(found) = procfs::process::all_processes() else { return Tree { at, all: Vec::new() } };
        let all = found.flatten().filter_map(|process| process.stat().ok()).map(One::new).collect();
        Tree { at, all: below(own_pid(), all) }
    }

    pub fn alive(&self) -> impl Iterator<Item = &One> {
        self.all.iter().filter(|one| !one.is_over())
    }

    pub fn find(&self, other: &One) -> Option<&One> {
        self.all.iter().find(|one| one.is(other))
    }

    /// Seconds used by all that is there, and by what they waited for. No second is in it twice: a
    /// process adds its time to its parent's only when it is waited for, and then it is gone.
    pub fn cpu(&self) -> f64 {
        self.all.iter().map(|one| one.cpu + one.cpu_reaped).sum()
    }

    /// Resident bytes of all; what they share is counted in each.
    pub fn memory(&self) -> u64 {
        self.all.iter().map(|one| one.memory).sum()
    }
}

/// Those of `all` that descend from `root`, depth first, by rising pid.
fn below(root: i32, all: Vec<One>) -> Vec<One> {
    let mut children: HashMap<i32, Vec<One>> = HashMap::new();
    for one in all {
        children.entry(one.parent).or_default().push(one);
    }
    children.values_mut().for_each(|list| list.sort_by_key(|one| std::cmp::Reverse(one.pid)));
    let mut found = Vec::new();
    let mut open = children.remove(&root).unwrap_or_default();
    while let Some(one) = open.pop() {
        open.extend(children.remove(&one.pid).unwrap_or_default());
        found.push(one);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pid: i32, parent: i32) -> One {
        One {
            pid,
            parent,
            group: 1,
            since: 0,
            name: String::new(),
            state: 'S',
            cpu: 1.0,
            cpu_reaped: 0.5,
            memory: 10,
            threads: 1,
        }
    }

    #[test]
    fn parents_come_before_children_and_strangers_not_at_all() {
        let found =
            below(10, vec![one(13, 12), one(12, 10), one(11, 10), one(9, 1), one(14, 11), one(10, 1)]);
        let pids: Vec<i32> = found.iter().map(|one| one.pid).collect();
        assert_eq!(pids, [11, 14, 12, 13]);
    }

    #[test]
    fn sums_are_over_the_whole_tree() {
        let tree = Tree { at: Instant::now(), all: vec![one(1, 0), one(2, 1)] };
        assert!((tree.cpu() - 3.0).abs() < 1e-9);
        assert_eq!(tree.memory(), 20);
    }
}
