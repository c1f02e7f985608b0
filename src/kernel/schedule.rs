//! What the schedulers and the memory manager are told about a process, and the ABI that it sees.

use super::done;
use std::io;
use std::mem::{size_of, size_of_val};

/// `struct sched_attr` of linux/sched/types.h, as of Linux 5.3; sched_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// The size of this struct; the call fills it in.
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99 for the real-time policies, 0 for all others.
    pub priority: u32,
    /// Of SCHED_DEADLINE, in nanoseconds.
    pub runtime: u64,
    /// Of SCHED_DEADLINE, in nanoseconds.
    pub deadline: u64,
    /// Of SCHED_DEADLINE, in nanoseconds; 0 is the deadline.
    pub period: u64,
    /// With SCHED_FLAG_UTIL_CLAMP_MIN.
    pub util_min: u32,
    /// With SCHED_FLAG_UTIL_CLAMP_MAX.
    pub util_max: u32,
}

/// Sets how the process `pid` (0: this one) is scheduled.
///
/// # Errors
/// Those of sched_setattr(2): EPERM without CAP_SYS_NICE or a resource limit that allows it, EBUSY when the
/// deadlines of all cannot be met, EOPNOTSUPP for what the kernel was built without.
pub fn set_scheduler(pid: i32, attributes: &SchedAttr) -> io::Result<()> {
    let attributes = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attributes };
    // SAFETY: the struct has the size that it names, and outlives the call.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0) })
}

/// Sets the I/O priority of this process: a class (1 real-time, 2 best-effort, 3 idle) and a level from 0
/// (highest) to 7 in it.
///
/// # Errors
/// Those of ioprio_set(2): EPERM for the real-time class without CAP_SYS_ADMIN or CAP_SYS_NICE.
pub fn set_io_priority(class: u8, level: u8) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    let priority = libc::c_int::from(class) << CLASS_SHIFT | libc::c_int::from(level);
    // SAFETY: plain integers.
    done(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) })
}

/// Sets the processors that the process `pid` (0: this one) may run on; bit n is processor n. Those that its
/// cpuset lacks are masked out by the kernel.
///
/// # Errors
/// Those of sched_setaffinity(2): EINVAL when none is left.
pub fn set_affinity(pid: i32, processors: &[libc::c_ulong]) -> io::Result<()> {
    let size = size_of_val(processors);
    // SAFETY: the pointer and the size are those of one slice, which outlives the call.
    done(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size, processors.as_ptr()) })
}

/// Sets where this process's memory comes from: a MPOL_* mode with its MPOL_F_* flags, and the nodes that it
/// is about; bit n is node n.
///
/// # Errors
/// Those of set_mempolicy(2): EINVAL when no node is there, ENOSYS without NUMA in the kernel.
pub fn set_memory_policy(mode: i32, nodes: &[libc::c_ulong]) -> io::Result<()> {
    // The kernel reads one bit less than it is told.
    let bits = size_of_val(nodes) * 8 + 1;
    // SAFETY: the mask has as many bits as are named, less one, and outlives the call.
    done(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), bits) })
}

/// Sets the execution domain that this process and the programs that it executes see (PER_*).
pub fn set_personality(domain: libc::c_ulong) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::personality(domain) })
}
