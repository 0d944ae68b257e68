//! Open files and sockets of processes, by what they lead to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use procfs::net::{TcpState, UnixState};
use procfs::process::{FDInfo, FDTarget, Process};

/// File descriptors looked at, of one process.
const LOOKED_AT_MAX: usize = 256;
/// Sockets of the machine looked at, of one kind.
const SOCKETS_MAX: usize = 50_000;

/// What leads where, for a set of processes.
#[derive(Default)]
pub(super) struct OpenFiles {
    /// By pid, in the order of the descriptors.
    of: HashMap<i32, Vec<FDInfo>>,
    /// Which processes hold a pipe, by its inode.
    pipes: HashMap<u64, Vec<i32>>,
    names: HashMap<i32, String>,
    /// By inode of the network namespace, then by inode of the socket.
    sockets: HashMap<u64, HashMap<u64, String>>,
    /// The pipes that lead to us.
    own_pipes: Vec<u64>,
}

impl OpenFiles {
    /// Reads the descriptors of each; those that cannot be read have none. Besides `processes` only
    /// this process is looked into, for its pipes.
    pub fn read(processes: &[(Process, String)]) -> Self {
        let mut files = OpenFiles::default();
        if let Ok(own) = Process::myself() {
            files.own_pipes = pipes(&descriptors(&own)).collect();
        }
        for (process, name) in processes {
            let found = descriptors(process);
            for pipe in pipes(&found) {
                let holders = files.pipes.entry(pipe).or_default();
                if !holders.contains(&process.pid) {
                    holders.push(process.pid);
                }
            }
            let has_sockets = found.iter().any(|fd| matches!(fd.target, FDTarget::Socket(_)));
            if has_sockets {
                files.sockets.entry(network(process)).or_insert_with(|| sockets(process));
            }
            files.of.insert(process.pid, found);
            files.names.insert(process.pid, name.clone());
        }
        files
    }

    /// At most `max` of a process, without the pipes that lead to us and without repetitions.
    pub fn list(&self, process: &Process, max: usize) -> Vec<String> {
        let mut shown: Vec<String> = Vec::new();
        for fd in self.of.get(&process.pid).into_iter().flatten() {
            if matches!(fd.target, FDTarget::Pipe(pipe) if self.own_pipes.contains(&pipe)) {
                continue;
            }
            if let Some(text) = self.text(process, &fd.target)
                && text != "/dev/null"
                && !shown.contains(&text)
            {
                shown.push(text);
            }
        }
        if shown.len() > max {
            let more = shown.len() - (max - 1);
            shown.truncate(max - 1);
            shown.push(format!("and {more} more"));
        }
        shown
    }

    /// What is behind one descriptor.
    pub fn target(&self, process: &Process, fd: i32) -> Option<String> {
        let found = self.of.get(&process.pid)?.iter().find(|info| info.fd == fd)?;
        self.text(process, &found.target)
    }

    fn text(&self, process: &Process, target: &FDTarget) -> Option<String> {
        Some(match target {
            FDTarget::Path(path) => path.display().to_string(),
            FDTarget::Pipe(inode) if self.own_pipes.contains(inode) => "the output that we read".into(),
            FDTarget::Pipe(inode) => {
                let others = self.pipes.get(inode).into_iter().flatten().filter(|pid| **pid != process.pid);
                let mut others = others.map(|pid| format!("{} ({pid})", self.names[pid]));
                match others.next() {
                    Some(other) => format!("a pipe shared with {other}"),
                    None => "a pipe".into(),
                }
            }
            FDTarget::Socket(inode) => {
                let known = self.sockets.get(&network(process)).and_then(|all| all.get(inode));
                known.cloned().unwrap_or_else(|| "a socket".into())
            }
            FDTarget::MemFD(name) => format!("memory file {name}"),
            // Timers, event queues and the like.
            FDTarget::AnonInode(_) => return None,
            FDTarget::Net(_) | FDTarget::Other(..) | FDTarget::Unknown(..) => return None,
        })
    }
}

fn descriptors(process: &Process) -> Vec<FDInfo> {
    let Ok(found) = process.fd() else { return Vec::new() };
    let mut found: Vec<FDInfo> = found.flatten().take(LOOKED_AT_MAX).collect();
    found.sort_by_key(|fd| fd.fd);
    found
}

fn pipes(descriptors: &[FDInfo]) -> impl Iterator<Item = u64> + '_ {
    descriptors.iter().filter_map(|fd| match fd.target {
        FDTarget::Pipe(inode) => Some(inode),
        _ => None,
    })
}

/// Inode of its network namespace; 0 if it cannot be read.
fn network(process: &Process) -> u64 {
    std::fs::metadata(format!("/proc/{}/ns/net", process.pid)).map_or(0, |found| found.ino())
}

/// All sockets of the network namespace of a process, by inode.
fn sockets(process: &Process) -> HashMap<u64, String> {
    let mut all = HashMap::new();
    let tcp = [process.tcp(), process.tcp6()];
    for entry in tcp.into_iter().flatten().flatten().take(SOCKETS_MAX) {
        all.insert(entry.inode, tcp_text(entry.local_address, entry.remote_address, &entry.state));
    }
    let udp = [process.udp(), process.udp6()];
    for entry in udp.into_iter().flatten().flatten().take(SOCKETS_MAX) {
        let text = if entry.remote_address.port() == 0 {
            format!("udp {}", entry.local_address)
        } else {
            format!("udp {} → {}", entry.local_address, entry.remote_address)
        };
        all.insert(entry.inode, text);
    }
    for entry in process.unix().into_iter().flatten().take(SOCKETS_MAX) {
        let state = match entry.state {
            UnixState::UNCONNECTED => "not connected",
            UnixState::CONNECTING => "connecting",
            UnixState::CONNECTED => "connected",
            UnixState::DISCONNECTING => "disconnecting",
        };
        let path = entry.path.map(|path| format!(" {}", path.display())).unwrap_or_default();
        all.insert(entry.inode, format!("local socket{path} ({state})"));
    }
    all
}

fn tcp_text(local: SocketAddr, remote: SocketAddr, state: &TcpState) -> String {
    let words = match state {
        TcpState::Listen => return format!("tcp {local} (listening)"),
        TcpState::Established => "connected",
        TcpState::SynSent => "connecting",
        TcpState::SynRecv | TcpState::NewSynRecv => "being connected",
        TcpState::CloseWait => "closed by the other side",
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => "closing",
        TcpState::TimeWait | TcpState::Close => "closed",
    };
    format!("tcp {local} → {remote} ({words})")
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn sockets_and_files_are_named_by_where_they_lead() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = vec![(Process::myself().unwrap(), "own".to_owned())];
        let files = OpenFiles::read(&own);
        let shown = files.list(&own[0].0, usize::MAX);
        let client = stream.local_addr().unwrap();
        assert!(shown.contains(&format!("tcp {address} (listening)")), "{shown:?}");
        assert!(shown.contains(&format!("tcp {client} → {address} (connected)")), "{shown:?}");
        assert!(shown.contains(&file.path().display().to_string()), "{shown:?}");
        assert_eq!(files.list(&own[0].0, 2).len(), 2);
    }
}
