//! bpf(2), as far as it decides about devices of a cgroup.

use super::{answer, new_descriptor};
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Programs of this cgroup and of those above all have to say yes.
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

/// An instruction: `struct bpf_insn` of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BpfInsn {
    /// What to do.
    pub code: u8,
    /// Destination in the low half, source in the high one.
    pub registers: u8,
    /// Of a jump, or into memory.
    pub offset: i16,
    /// The constant.
    pub immediate: i32,
}

/// Calls bpf(2). `attributes` is the command's part of `union bpf_attr`; the kernel takes a short one.
fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    let size = size_of_val(attributes);
    // SAFETY: the attributes are a live, exclusively borrowed struct of that size; the pointers in it are
    // those of slices that each caller below keeps alive over the call.
    answer(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) })
}

/// Has the kernel check and take over a device program.
///
/// # Errors
/// EPERM without CAP_BPF or CAP_SYS_ADMIN, EINVAL for a program that the kernel refuses.
pub fn load_device_program(instructions: &[BpfInsn]) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        expected_attach_type: u32,
    }
    let mut load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        name: *b"kase_devices\0\0\0\0",
        expected_attach_type: CGROUP_DEVICE,
        ..Load::default()
    };
    new_descriptor(bpf(PROG_LOAD, &mut load)?)
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// Attaches a device program to a cgroup; in the place of another one, without a moment between.
///
/// # Errors
/// EPERM; EINVAL without CONFIG_CGROUP_BPF.
pub fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attach = Attach {
        target: number(cgroup),
        program: number(program),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI | if replaced.is_some() { REPLACE } else { 0 },
        replaced: replaced.map_or(0, number),
    };
    bpf(PROG_ATTACH, &mut attach).map(drop)
}

/// Takes a device program off a cgroup.
///
/// # Errors
/// ENOENT when it is not attached.
pub fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut detach =
        Attach { target: number(cgroup), program: number(program), kind: CGROUP_DEVICE, ..Attach::default() };
    bpf(PROG_DETACH, &mut detach).map(drop)
}

/// The device programs that are attached to a cgroup itself.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN or CAP_SYS_ADMIN.
pub fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target: u32,
        kind: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
    }
    /// The kernel's BPF_CGROUP_MAX_PROGS.
    const MOST: usize = 64;
    let mut ids = [0u32; MOST];
    let mut query = Query {
        target: number(cgroup),
        kind: CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut query)?;
    let count = (query.count as usize).min(MOST);
    ids[..count].iter().map(|id| by_id(*id)).collect()
}

fn by_id(id: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Get {
        id: u32,
        next: u32,
        flags: u32,
    }
    new_descriptor(bpf(PROG_GET_FD_BY_ID, &mut Get { id, ..Get::default() })?)
}
