//! config.json's types: oci-spec's, but for the top and for `process`; and the names of all its fields.
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
    #[serde(default)]
    pub height: u64,
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

/// The fields of version 1.3: `name`, `name{…}` for an object or a list of objects with these fields, `name*` for
/// one whose names are anybody's, with the fields of what they name behind it. Text, since a tree of pointers
/// would have to be relocated at each start of kase.
pub const FIELDS: &str = "ociVersion hostname domainname annotations* solaris* windows* vm* zos* freebsd* \
    root{path readonly} \
    process{terminal cwd env args commandLine apparmorProfile noNewPrivileges oomScoreAdj selinuxLabel \
        consoleSize{height width} \
        user{uid gid umask additionalGids username} \
        rlimits{type hard soft} \
        capabilities{bounding effective inheritable permitted ambient} \
        ioPriority{class priority} \
        scheduler{policy nice priority flags runtime deadline period} \
        execCPUAffinity{initial final}} \
    mounts{destination type source options \
        uidMappings{containerID hostID size} gidMappings{containerID hostID size}} \
    hooks{prestart{path args env timeout} createRuntime{path args env timeout} \
        createContainer{path args env timeout} startContainer{path args env timeout} \
        poststart{path args env timeout} poststop{path args env timeout}} \
    linux{cgroupsPath rootfsPropagation maskedPaths readonlyPaths mountLabel sysctl* \
        uidMappings{containerID hostID size} gidMappings{containerID hostID size} \
        namespaces{type path} \
        devices{type path major minor fileMode uid gid} \
        netDevices*{name} \
        timeOffsets*{secs nanosecs} \
        personality{domain flags} \
        memoryPolicy{mode nodes flags} \
        intelRdt{closID schemata l3CacheSchema memBwSchema enableMonitoring enableCMT enableMBM} \
        seccomp{defaultAction defaultErrnoRet architectures flags listenerPath listenerMetadata \
            syscalls{names action errnoRet args{index value valueTwo op}}} \
        resources{unified* \
            devices{allow type major minor access} \
            memory{limit reservation swap kernel kernelTCP swappiness disableOOMKiller useHierarchy \
                checkBeforeUpdate} \
            cpu{shares quota burst period realtimeRuntime realtimePeriod cpus mems idle} \
            pids{limit} \
            blockIO{weight leafWeight weightDevice{major minor weight leafWeight} \
                throttleReadBpsDevice{major minor rate} throttleWriteBpsDevice{major minor rate} \
                throttleReadIOPSDevice{major minor rate} throttleWriteIOPSDevice{major minor rate}} \
            hugepageLimits{pageSize limit} \
            network{classID priorities{name priority}} \
            rdma*{hcaHandles hcaObjects}}}";

/// A field that the specification has.
#[derive(Clone, Copy)]
pub struct Known {
    pub name: &'static str,
    /// Whether it is a map by names that are not the specification's.
    pub is_map: bool,
    /// The text between its braces.
    pub fields: &'static str,
}

/// The fields in a text like [`FIELDS`].
pub fn fields(text: &'static str) -> impl Iterator<Item = Known> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let length = rest.find(['{', ' ', '*']).unwrap_or(rest.len());
        let (name, mut after) = rest.split_at(length);
        let is_map = after.starts_with('*');
        after = after.trim_start_matches('*');
        let mut fields = "";
        if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner);
            (fields, after) = (&inner[..end], inner.get(end + 1..).unwrap_or(""));
        }
        rest = after;
        (!name.is_empty()).then_some(Known { name, is_map, fields })
    })
}

/// Where the brace is that closes what has been opened before the text.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    let end = text.bytes().position(|byte| {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        depth == 0
    });
    end.unwrap_or(text.len())
}
