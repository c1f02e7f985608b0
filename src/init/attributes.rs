//! Sets what the kernel remembers of a process beside its ids. Shared by init and by a process that is added.

use super::sysctl::Procfs;
use crate::fault::{Fault, OrFault};
use crate::kernel::schedule;
use crate::plan::attributes::ProcessAttributes;
use crate::plan::labels::Labels;
use crate::plan::memory_policy::MemoryPolicy;
use crate::plan::scheduling::{IoPriority, Scheduler};
use crate::trace;
use oci_spec::runtime::LinuxPersonalityDomain;
use std::io;

/// Who executes the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// This process.
    Own,
    /// One that it makes: a scheduler that is not inherited is for kase to set.
    Successor,
}

/// Sets them all. While this process still has its privileges and no filter: afterwards the kernel, or the
/// container's own seccomp profile, may refuse them.
pub fn set(attributes: &ProcessAttributes<'_>, proc: &Procfs, executor: Executor) -> anyhow::Result<()> {
    trace::step("attributes");
    if let Some(scheduler) = &attributes.scheduler
        && (executor == Executor::Own || scheduler.is_inherited())
    {
        set_scheduler(scheduler, 0)?;
    }
    if let Some(priority) = &attributes.io_priority {
        set_io_priority(priority)?;
    }
    if let Some(domain) = attributes.personality {
        set_personality(domain)?;
    }
    if let Some(policy) = &attributes.memory_policy {
        set_memory_policy(policy)?;
    }
    set_labels(&attributes.labels, proc)
}

/// Sets the scheduler of the process `pid` (0: this one).
pub fn set_scheduler(scheduler: &Scheduler, pid: i32) -> anyhow::Result<()> {
    let Err(error) = schedule::set_scheduler(pid, &scheduler.attributes) else { return Ok(()) };
    let policy = scheduler.policy;
    let (cause, remedy) = match (error.raw_os_error(), policy) {
        (Some(libc::EPERM), "SCHED_DEADLINE") => (
            ": the kernel asks for CAP_SYS_NICE on the host, and for all processors",
            "run kase as root of the host; the process scheduler can't be used together with AllowedCPUs: leave linux.resources.cpu.cpus out",
        ),
        (Some(libc::EPERM), "SCHED_FIFO" | "SCHED_RR") => (
            ": the kernel asks for CAP_SYS_NICE on the host or RLIMIT_RTPRIO, and a cgroup with real-time groups for cpu.rt_runtime_us",
            "run kase as root of the host, or raise the caller's RLIMIT_RTPRIO (ulimit -r)",
        ),
        (Some(libc::EPERM), _) => (
            ": the kernel asks for CAP_SYS_NICE on the host or RLIMIT_NICE",
            "run kase as root of the host, or raise the caller's RLIMIT_NICE (ulimit -e)",
        ),
        (Some(libc::EBUSY), _) => (
            ": the processors have promised too much of their time to others",
            "ask for less runtime in each period",
        ),
        (Some(libc::EOPNOTSUPP), _) => (
            ": this kernel is built without CONFIG_UCLAMP_TASK",
            "leave SCHED_FLAG_UTIL_CLAMP_MIN and _MAX out",
        ),
        _ => ("", "see what sched_setattr(2) takes for this policy"),
    };
    Err(Fault::at("process.scheduler", format!("set the scheduler to {policy}{cause}"))
        .remedy(remedy)
        .caused_by(error))
}

/// Of this process alone: it leads its process group, which has no other, and all that it makes inherit it.
fn set_io_priority(priority: &IoPriority) -> anyhow::Result<()> {
    schedule::set_io_priority(priority.class, priority.level).map_err(|error| {
        let doing = format!("set the I/O priority to {} {}", priority.name, priority.level);
        let cause = match error.raw_os_error() {
            Some(libc::EPERM) => ": the kernel asks for CAP_SYS_ADMIN or CAP_SYS_NICE on the host",
            _ => "",
        };
        Fault::at("process.ioPriority", format!("{doing}{cause}"))
            .remedy("run kase as root of the host, or use IOPRIO_CLASS_BE")
            .caused_by(error)
    })
}

fn set_personality(domain: LinuxPersonalityDomain) -> anyhow::Result<()> {
    /// linux/personality.h.
    const PER_LINUX: libc::c_ulong = 0;
    const PER_LINUX32: libc::c_ulong = 8;
    let (number, word) = match domain {
        LinuxPersonalityDomain::PerLinux => (PER_LINUX, "LINUX"),
        LinuxPersonalityDomain::PerLinux32 => (PER_LINUX32, "LINUX32"),
    };
    schedule::set_personality(number)
        .or_fault(|| Fault::at("linux.personality", format!("set the execution domain to {word}")))
}

fn set_memory_policy(policy: &MemoryPolicy) -> anyhow::Result<()> {
    let Err(error) = schedule::set_memory_policy(policy.mode, policy.nodes.words()) else { return Ok(()) };
    let (cause, remedy) = match error.raw_os_error() {
        Some(libc::ENOSYS) => (": this kernel is built without CONFIG_NUMA", "leave it out"),
        Some(libc::EINVAL) => (
            ": the container has no such nodes, or the kernel no such mode",
            "name nodes that this machine and linux.resources.cpu.mems have (cat /sys/devices/system/node/has_memory), and a mode that this kernel knows (MPOL_PREFERRED_MANY: Linux 5.15, MPOL_WEIGHTED_INTERLEAVE: 6.9)",
        ),
        _ => ("", "see what set_mempolicy(2) takes"),
    };
    let doing = format!("set the memory policy to {}{cause}", policy.shown);
    Err(Fault::at("linux.memoryPolicy", doing).remedy(remedy).caused_by(error))
}

/// What the next exec enters.
fn set_labels(labels: &Labels<'_>, proc: &Procfs) -> anyhow::Result<()> {
    if let Some(profile) = labels.apparmor {
        enter_profile(profile, proc).or_fault(|| {
            Fault::at("process.apparmorProfile", format!("apparmor failed to apply profile {profile:?}"))
                .remedy(format!("load it first (apparmor_parser -r FILE); `aa-status | grep {profile}` shows whether it is"))
        })?;
    }
    if let Some(label) = labels.selinux {
        proc.write("self/attr/exec", label).or_fault(|| {
            Fault::at("process.selinuxLabel", format!("set the label {label:?}"))
                .remedy("use a label of the loaded policy (`ps -eZ` shows some), and one that kase's own may change to")
        })?;
    }
    Ok(())
}

/// Kernels before 5.8 have one set of files for all security modules.
fn enter_profile(profile: &str, proc: &Procfs) -> io::Result<()> {
    let command = format!("exec {profile}");
    match proc.write("self/attr/apparmor/exec", &command) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => proc.write("self/attr/exec", &command),
        done => done,
    }
}

/// Runs `make` with the label that the keys made in it get; without one, just runs it.
///
/// # Errors
/// A label that the policy does not have.
pub fn label_keys(label: Option<&str>, proc: &Procfs, make: impl FnOnce()) -> anyhow::Result<()> {
    const FILE: &str = "self/attr/keycreate";
    let Some(label) = label else {
        make();
        return Ok(());
    };
    let fault = |doing: &str| {
        Fault::at("process.selinuxLabel", format!("{doing} the label of new keys"))
            .remedy("use a label of the loaded policy (`ps -eZ` shows some)")
    };
    proc.write(FILE, label).or_fault(|| fault("set"))?;
    make();
    // A NUL byte clears the label; of an empty text, std would write nothing.
    proc.write(FILE, "\0").or_fault(|| fault("reset"))
}
