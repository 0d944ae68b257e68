//! Starts the command with its pipes, and says why it cannot be started.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::process::Child;

use super::Command;

/// Why a command could not be started, with the exit code that a shell gives for it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("`{0}` was not found; give its path, or a program that is in PATH")]
    NotFound(String),
    #[error("`{0}` cannot be executed: {1}")]
    NotExecutable(String, String),
    #[error("failed to run the command: {0}")]
    Other(String),
}

impl StartError {
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::NotFound(..) => 127,
            StartError::NotExecutable(..) => 126,
            StartError::Other(..) => 125,
        }
    }
}

/// One stream: where it comes from, and where it goes.
pub(super) struct Stream {
    pub from: PipeReader,
    pub to: File,
}

/// The running command.
pub(super) struct Started {
    pub child: Child,
    pub pid: i32,
    /// stdout, and stderr unless both are one.
    pub streams: Vec<Stream>,
}

fn other(error: impl std::fmt::Display) -> StartError {
    StartError::Other(error.to_string())
}

/// Our stdout and stderr, past the buffers of the standard library.
fn own_streams() -> io::Result<(File, File)> {
    let own = |fd: io::Result<OwnedFd>| fd.map(File::from);
    let out = own(io::stdout().as_fd().try_clone_to_owned())?;
    let err = own(io::stderr().as_fd().try_clone_to_owned())?;
    Ok((out, err))
}

fn same(a: &File, b: &File) -> bool {
    matches!((a.metadata(), b.metadata()), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

fn pipes() -> io::Result<(Vec<Stream>, PipeWriter, PipeWriter)> {
    let (out, err) = own_streams()?;
    let (out_from, out_in) = pipe()?;
    if same(&out, &err) {
        let err_in = out_in.try_clone()?;
        return Ok((vec![Stream { from: out_from, to: out }], out_in, err_in));
    }
    let (err_from, err_in) = pipe()?;
    Ok((vec![Stream { from: out_from, to: out }, Stream { from: err_from, to: err }], out_in, err_in))
}

pub(super) fn start(command: &Command, own_group: bool) -> Result<Started, StartError> {
    let Some((program, arguments)) = command.argv.split_first() else {
        return Err(other("no command was given; name one after `--`"));
    };
    let (streams, out, err) = pipes().map_err(other)?;
    let mut starting = tokio::process::Command::new(program);
    starting.args(arguments).stdout(out).stderr(err);
    starting.envs(command.env.iter().map(|(name, value)| (name, value)));
    if own_group {
        starting.process_group(0);
    }
    let child = starting.spawn().map_err(|error| refused(Path::new(program), &error))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.ok_or_else(|| other("the command has no process id"))?;
    Ok(Started { child, pid, streams })
}

fn refused(program: &Path, error: &io::Error) -> StartError {
    const ENOEXEC: i32 = nix::errno::Errno::ENOEXEC as i32;
    let name = program.display().to_string();
    match error.kind() {
        ErrorKind::NotFound if name.contains('/') && program.exists() => {
            StartError::NotExecutable(name, "the interpreter that its first line names does not exist".into())
        }
        ErrorKind::NotFound => StartError::NotFound(name),
        ErrorKind::PermissionDenied if program.is_dir() => {
            StartError::NotExecutable(name, "it is a folder".into())
        }
        ErrorKind::PermissionDenied => StartError::NotExecutable(
            name,
            "permission denied; is it marked as executable (chmod +x)?".into(),
        ),
        ErrorKind::ArgumentListTooLong => {
            StartError::NotExecutable(name, "its arguments and environment are too long".into())
        }
        _ if error.raw_os_error() == Some(ENOEXEC) => StartError::NotExecutable(
            name,
            "it is no program for this machine, and no script with a #! line".into(),
        ),
        _ => StartError::Other(format!("`{name}`: {error}")),
    }
}
