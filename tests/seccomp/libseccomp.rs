//! libseccomp, driven as runc drives it: the peer that the compiler is compared with.

use super::seccomp::Instruction;
use oci_spec::runtime::{
    Arch as SpecArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator,
};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::Mutex;

#[repr(C)]
struct Comparison {
    arg: c_uint,
    op: c_int,
    a: u64,
    b: u64,
}

#[link(name = "seccomp")]
unsafe extern "C" {
    fn seccomp_init(action: u32) -> *mut c_void;
    fn seccomp_release(filter: *mut c_void);
    fn seccomp_arch_add(filter: *mut c_void, arch: u32) -> c_int;
    fn seccomp_attr_set(filter: *mut c_void, attribute: c_int, value: u32) -> c_int;
    fn seccomp_syscall_resolve_name(name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_name_arch(arch: u32, name: *const c_char) -> c_int;
    fn seccomp_rule_add_array(
        filter: *mut c_void,
        action: u32,
        call: c_int,
        count: c_uint,
        comparisons: *const Comparison,
    ) -> c_int;
    fn seccomp_export_bpf(filter: *mut c_void, fd: c_int) -> c_int;
}

const OPTIMIZE: c_int = 8; // SCMP_FLTATR_CTL_OPTIMIZE
const UNKNOWN: c_int = -1; // __NR_SCMP_ERROR
const EEXIST: c_int = 17;

/// How libseccomp lays out its search.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(dead_code)] // Each user of this file takes one.
pub enum Layout {
    /// One comparison after another: its default.
    Linear,
    /// `SCMP_FLTATR_CTL_OPTIMIZE` 2: what runc asks for with more than 32 rules.
    Tree,
}

/// Why libseccomp made no program.
#[derive(Debug, Eq, PartialEq)]
pub enum Failure {
    /// Two rules contradict each other.
    Contradiction,
    /// This call of it failed.
    Other(&'static str, c_int),
}

struct Filter(*mut c_void);

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: the pointer is seccomp_init's and nobody has released it.
        unsafe { seccomp_release(self.0) }
    }
}

/// The number of a call on this architecture, negative where there is none.
#[allow(dead_code)]
pub fn number(arch: SpecArch, name: &str) -> i32 {
    let name = CString::new(name).expect("names have no zero byte");
    // SAFETY: the name outlives the call.
    unsafe { seccomp_syscall_resolve_name_arch(arch as u32, name.as_ptr()) }
}

/// Does libseccomp know the name at all?
pub fn knows(name: &str) -> bool {
    resolve(name) != UNKNOWN
}

fn resolve(name: &str) -> c_int {
    let name = CString::new(name).expect("names have no zero byte");
    // SAFETY: the name outlives the call.
    unsafe { seccomp_syscall_resolve_name(name.as_ptr()) }
}

/// The program that libseccomp makes of a profile.
pub fn compile(profile: &LinuxSeccomp, layout: Layout) -> Result<Vec<Instruction>, Failure> {
    // It finds out what the kernel supports when first asked, and says no to all others meanwhile.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let check = |what, result: c_int| match result {
        0 => Ok(()),
        result if result == -EEXIST => Err(Failure::Contradiction),
        result => Err(Failure::Other(what, result)),
    };
    let default = value(profile.default_action(), profile.default_errno_ret());
    // SAFETY: takes a plain number.
    let filter = Filter(unsafe { seccomp_init(default) });
    assert!(!filter.0.is_null());
    for &arch in profile.architectures().iter().flatten() {
        // SAFETY: the filter is live.
        let added = unsafe { seccomp_arch_add(filter.0, arch as u32) };
        // It has the host's own from the start.
        if added != -EEXIST {
            check("seccomp_arch_add", added)?;
        }
    }
    if layout == Layout::Tree {
        // SAFETY: the filter is live.
        check("seccomp_attr_set", unsafe { seccomp_attr_set(filter.0, OPTIMIZE, 2) })?;
    }
    for entry in profile.syscalls().iter().flatten() {
        let action = value(entry.action(), entry.errno_ret());
        if action == default {
            continue;
        }
        let args = entry.args().as_deref().unwrap_or_default();
        let comparisons: Vec<Comparison> = args.iter().map(comparison).collect();
        let repeated = (0..6).any(|index| args.iter().filter(|a| a.index() == index).count() > 1);
        let size = if repeated { 1 } else { comparisons.len() };
        for call in entry.names().iter().map(|name| resolve(name)) {
            if call == UNKNOWN {
                continue;
            }
            let mut chunks: Vec<&[Comparison]> = vec![&[]];
            if size > 0 {
                chunks = comparisons.chunks(size).collect();
            }
            for chunk in chunks {
                let (count, start) = (chunk.len() as c_uint, chunk.as_ptr());
                // SAFETY: the filter is live, and the comparisons outlive the call.
                check("seccomp_rule_add_array", unsafe {
                    seccomp_rule_add_array(filter.0, action, call, count, start)
                })?;
            }
        }
    }
    export(&filter)
}

fn export(filter: &Filter) -> Result<Vec<Instruction>, Failure> {
    let path = std::env::temp_dir().join(format!(
        "kase-filter-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = std::fs::File::create(&path).expect("the temporary directory takes a file");
    // SAFETY: the filter is live and the fd open.
    let result = unsafe { seccomp_export_bpf(filter.0, file.as_raw_fd()) };
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .expect("the file was just written");
    std::fs::remove_file(&path).expect("the file was just written");
    if result != 0 {
        return Err(Failure::Other("seccomp_export_bpf", result));
    }
    let instruction = |b: &[u8; 8]| Instruction {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    Ok(bytes.as_chunks().0.iter().map(instruction).collect())
}

fn value(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    action.as_u32(errno)
}

fn comparison(arg: &LinuxSeccompArg) -> Comparison {
    Comparison {
        arg: arg.index() as c_uint,
        op: match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => 1,
            LinuxSeccompOperator::ScmpCmpLt => 2,
            LinuxSeccompOperator::ScmpCmpLe => 3,
            LinuxSeccompOperator::ScmpCmpEq => 4,
            LinuxSeccompOperator::ScmpCmpGe => 5,
            LinuxSeccompOperator::ScmpCmpGt => 6,
            LinuxSeccompOperator::ScmpCmpMaskedEq => 7,
        },
        a: arg.value(),
        b: arg.value_two().unwrap_or(0),
    }
}
