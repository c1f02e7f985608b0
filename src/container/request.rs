//! A container that is asked for.

use crate::plan::adapt::Adapt;
use crate::plan::cgroup::Manager;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line says about a container that is to be made.
#[derive(Debug, Default)]
pub struct Request {
    pub id: String,
    /// `--bundle`.
    pub bundle: PathBuf,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`, relative to the working directory.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `NAME=value` for the container, beside config.json's.
    pub environment: Vec<String>,
    /// Where somebody waits to hear that the container is ready.
    pub notify_socket: Option<OsString>,
    /// `--rootless`.
    pub adapt: Adapt,
    /// `--strict`.
    pub strictness: Strictness,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`, and those of LISTEN_FDS.
    pub preserve_fds: u32,
    /// `--cgroup-manager`, `--systemd-cgroup`, `--systemd-properties`.
    pub cgroups: Manager,
    /// `--overlay`: a directory, or `tmpfs`.
    pub overlay: Option<PathBuf>,
    /// `--fake-root`.
    pub fake_root: bool,
}

/// Whether config.json must be without fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// As the specification has it: what is unknown is ignored.
    #[default]
    Lenient,
    /// What `kase lint` calls an error is refused.
    Strict,
}

/// Who lets init go on to the exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// `kase start`, later.
    Gate,
    /// This process.
    Us,
}

/// Where the container's terminal is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// On our own, in the foreground.
    Ours,
    /// By whoever listens on `--console-socket`.
    Socket,
}
