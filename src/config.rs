//! config.json's types: oci-spec's, but for the top and for `process`.
//!
//! These two are ours because oci-spec's refuse capabilities that are newer than the crate, bring a regular
//! expression engine for `execCPUAffinity` (600 kB of the binary), and parse other systems' sections, which
//! kase never reads. Everything is optional that the specification says may be left out; planning says what is
//! missing, in its own words.

use oci_spec::runtime::{Hooks, Linux, Mount, PosixRlimit, Root, User};
use serde::Deserialize;
use std::collections::HashMap;

/// config.json, as far as it is about Linux.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The version of the specification that it follows.
    #[serde(default)]
    pub oci_version: String,
    /// The rootfs.
    pub root: Option<Root>,
    /// What is executed. Boxed, like `linux`: as part of it they would take a page of the stack from each function that
    /// hands the whole on.
    pub process: Option<Box<Process>>,
    /// In their order.
    pub mounts: Option<Vec<Mount>>,
    /// Of the uts namespace.
    pub hostname: Option<String>,
    /// The NIS domain of the uts namespace.
    pub domainname: Option<String>,
    /// Programs around the container's life.
    pub hooks: Option<Hooks>,
    /// Handed through to state and hooks; some are kase's own.
    pub annotations: Option<HashMap<String, String>>,
    /// All the rest.
    pub linux: Option<Box<Linux>>,
}

/// `process`, and the whole of exec's `--process` file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal.
    pub terminal: Option<bool>,
    /// The terminal's size.
    pub console_size: Option<ConsoleSize>,
    /// Ids inside the container.
    #[serde(default)]
    pub user: User,
    /// argv.
    pub args: Option<Vec<String>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Working directory inside the container.
    #[serde(default)]
    pub cwd: String,
    /// Without it, none.
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    pub rlimits: Option<Vec<PosixRlimit>>,
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: Option<bool>,
    /// The profile that the exec enters.
    pub apparmor_profile: Option<String>,
    /// The label that the exec enters.
    pub selinux_label: Option<String>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// ioprio_set(2).
    pub io_priority: Option<IoPriority>,
    /// sched_setattr(2).
    pub scheduler: Option<Scheduler>,
    /// The processors of an exec.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// In characters.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    #[serde(default)]
    pub height: u64,
    /// Columns.
    #[serde(default)]
    pub width: u64,
}

/// Names as in capabilities(7), unknown ones included.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Capabilities {
    /// What an exec can ever give.
    pub bounding: Option<Vec<String>>,
    /// What counts.
    pub effective: Option<Vec<String>>,
    /// What a file's inheritable set lets through an exec.
    pub inheritable: Option<Vec<String>>,
    /// What may be made effective.
    pub permitted: Option<Vec<String>>,
    /// What an exec of a plain program keeps.
    pub ambient: Option<Vec<String>>,
}

/// An I/O scheduling class and the priority in it.
#[derive(Debug, Clone, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`.
    pub class: String,
    /// 0 (highest) to 7.
    #[serde(default)]
    pub priority: i64,
}

/// A CPU scheduling policy and its parameters.
#[derive(Debug, Clone, Deserialize)]
pub struct Scheduler {
    /// `SCHED_OTHER` and so on.
    pub policy: String,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// Of the real-time policies.
    pub priority: Option<i32>,
    /// `SCHED_FLAG_*`.
    pub flags: Option<Vec<String>>,
    /// Of SCHED_DEADLINE, in nanoseconds.
    pub runtime: Option<u64>,
    /// Of SCHED_DEADLINE, in nanoseconds.
    pub deadline: Option<u64>,
    /// Of SCHED_DEADLINE, in nanoseconds.
    pub period: Option<u64>,
}

/// Lists of processors, as `0-3,7`.
#[derive(Debug, Clone, Deserialize)]
pub struct ExecCpuAffinity {
    /// While the process is set up.
    pub initial: Option<String>,
    /// For the program.
    #[serde(rename = "final")]
    pub last: Option<String>,
}
