//! What runs before libc: the exec of a command that would otherwise start, only to execute itself again.
//!
//! A program that starts twice starts its libc twice. That is 0.5 ms in a virtual machine, where each of the 52 times
//! that a static glibc asks CPUID is a trap, and everywhere the pages that relocation writes to. So the kernel enters
//! kase here. In the case that nearly always is, a few system calls and the exec are all of the first start; whatever
//! else it may be, and every failure, is left to the ordinary start that follows, which looks at everything anew
//! and alone decides.
//!
//! There is nothing to stand on yet. No relocation is applied, so that no table of pointers can be read, and nothing
//! may be called that libc picks at its start: memcpy and its like, which the compiler calls of its own accord where
//! it recognises one (hence bytes one by one, volatile). No thread-local storage, no allocation, no panic.

use super::mount::{attribute, is_without_writing};
use core::arch::asm;
use core::ffi::{CStr, c_char, c_int, c_long};
use core::mem::MaybeUninit;
use core::ptr::{read_volatile, write_volatile};
use nix::sys::statfs::FsType;

/// Makes `kase_start`, where the kernel enters, as scripts/build.rs tells the linker. It calls `$early` with the
/// stack as the kernel made it, then goes on to libc's start with that and the one register that counts there.
#[macro_export]
macro_rules! entry {
    ($early:path) => {
        #[cfg(target_arch = "x86_64")]
        $crate::entry!(
            $early,
            "mov rdi, rsp",
            "push rdx",
            "push rdx",
            "call {early}",
            "pop rdx",
            "pop rdx",
            "jmp _start",
        );

        #[cfg(target_arch = "aarch64")]
        $crate::entry!(
            $early,
            "mov x1, sp",
            "stp x0, x30, [sp, -16]!",
            "mov x0, x1",
            "bl {early}",
            "ldp x0, x30, [sp], 16",
            "b _start",
        );
    };
    ($early:path, $($instruction:literal,)*) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        extern "C" fn kase_start() -> ! {
            core::arch::naked_asm!($($instruction,)* early = sym $early)
        }
    };
}

/// What the kernel gave to this program: the count of its arguments, these, null, its environment, null.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Stack(*const *const c_char);

/// Words, each of which ends in a zero: a list of strings would be a table of pointers.
pub type Words = &'static str;

/// Executes this program, as it was called, through an overlay of its directory that has no layer to write to: if
/// root calls it for what may be one of `commands`. The overlay's mount ends when the exec closes its descriptor; from
/// then on just the file is left of it.
///
/// Returns if this is not the case, or it is executed like that already, or that cannot be done.
pub fn execute_again(stack: Stack, commands: Words) {
    if stack.calls_one_of(commands) && is_root() {
        overlay(stack);
    }
}

/// Comes back only on failure, with nothing left open.
fn overlay(stack: Stack) -> Option<()> {
    let mut path = MaybeUninit::<[u8; PATH]>::uninit();
    let path = path.as_mut_ptr().cast::<u8>();
    let name = split_own_path(path)?;
    if !can_be_written() {
        return None;
    }
    let directory = Descriptor::open(path)?;
    // The kernel wants a second layer below where there is none above. It may not overlap the first, nor have
    // mounts on it that a user namespace must not see under. Looked for before, since a layer that is missing
    // costs a millisecond of the kernel's log.
    let below = Descriptor::open(c"/sys/class".as_ptr().cast())?;
    let own = identity(libc::AT_FDCWD, OWN.as_ptr().cast(), 0)?;
    // The file may have been replaced. Whether the container can be an owner who is not mapped, the ordinary start
    // finds out.
    if own.owner == OVERFLOW || identity(directory.0, name, libc::AT_SYMLINK_NOFOLLOW)? != own {
        return None;
    }
    let mut layers = MaybeUninit::<[u8; 64]>::uninit();
    let layers = layers.as_mut_ptr().cast::<u8>();
    // By descriptor, since a path might hold the characters that separate layers.
    let end = put_number(put(layers, c"/proc/self/fd/"), directory.0 as usize);
    let end = put_number(put(end, c":/proc/self/fd/"), below.0 as usize);
    write(end, 0);
    execute(&make_overlay(layers)?, name, stack);
    None
}

/// Room for a path and its zero.
const PATH: usize = libc::PATH_MAX as usize;
const OWN: &CStr = c"/proc/self/exe";
/// The owner of what a user namespace does not map; and in some, of what it does.
const OVERFLOW: libc::uid_t = 65534;

impl Stack {
    /// Whether the command may be one of these. Which options have a value is not known here, so the word after one
    /// may be that value or the command; to take it for a command too often costs no more than time.
    fn calls_one_of(self, commands: Words) -> bool {
        let mut after_option = false;
        for at in 1..self.count() {
            let argument = self.argument(at);
            let is_option = read(argument, 0) == b'-';
            if !is_option && (is_one_of(argument, commands) || !after_option) {
                return is_one_of(argument, commands);
            }
            after_option = is_option && !has_value(argument);
        }
        false
    }

    fn argument(self, at: usize) -> *const u8 {
        // SAFETY: there are `count` of them.
        unsafe { *self.arguments().wrapping_add(at) }.cast()
    }

    fn count(self) -> usize {
        // SAFETY: the kernel puts it there.
        unsafe { *self.0.cast::<usize>() }
    }

    fn arguments(self) -> *const *const c_char {
        self.0.wrapping_add(1)
    }

    fn environment(self) -> *const *const c_char {
        self.arguments().wrapping_add(self.count()).wrapping_add(1)
    }
}

/// Whether the option has its value in itself.
fn has_value(option: *const u8) -> bool {
    let mut at = 0;
    while read(option, at) != 0 && read(option, at) != b'=' {
        at += 1;
    }
    read(option, at) == b'='
}

fn is_one_of(argument: *const u8, words: Words) -> bool {
    let (mut word, end) = (words.as_ptr(), words.as_ptr().wrapping_add(words.len()));
    while word != end {
        let mut at = 0;
        while read(word, at) != 0 && read(word, at) == read(argument, at) {
            at += 1;
        }
        if read(word, at) == read(argument, at) {
            return true;
        }
        while read(word, at) != 0 {
            at += 1;
        }
        word = word.wrapping_add(at + 1);
    }
    false
}

fn is_root() -> bool {
    // SAFETY: it takes nothing.
    unsafe { call(libc::SYS_geteuid, 0, 0, 0, 0, 0) == Some(0) }
}

/// Whether this program lies where anything can be written.
fn can_be_written() -> bool {
    let mut system = MaybeUninit::<libc::statfs>::uninit();
    let system = system.as_mut_ptr();
    // SAFETY: a C string, and room for the answer.
    let found = unsafe { call(libc::SYS_statfs, OWN.as_ptr() as usize, system as usize, 0, 0, 0) };
    // SAFETY: the kernel has filled it.
    found.is_some() && !is_without_writing(FsType(unsafe { (*system).f_type }))
}

/// Puts the directory in which this program lies into `path`, and answers with its name there. At the top it lies in
/// none: there the overlay's file is, and a memfd.
fn split_own_path(path: *mut u8) -> Option<*const u8> {
    // SAFETY: a C string, and room for as many bytes and a zero.
    let length = unsafe { call(libc::SYS_readlink, OWN.as_ptr() as usize, path as usize, PATH - 1, 0, 0) }?;
    write(path.wrapping_add(length), 0);
    let slash = (1..length).rev().find(|at| read(path, *at) == b'/')?;
    write(path.wrapping_add(slash), 0);
    Some(path.wrapping_add(slash + 1))
}

/// Which file it is, and whose.
#[derive(PartialEq, Eq)]
struct Identity {
    device: libc::dev_t,
    inode: libc::ino_t,
    owner: libc::uid_t,
}

/// Of the file at `path` below the open directory `directory`, or of that name alone.
fn identity(directory: c_int, path: *const u8, flags: c_int) -> Option<Identity> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    let stat = stat.as_mut_ptr();
    // SAFETY: a C string, and room for the answer.
    unsafe {
        call(libc::SYS_newfstatat, directory as usize, path as usize, stat as usize, flags as usize, 0)
    }?;
    // SAFETY: the kernel has filled it.
    let stat = unsafe { &*stat };
    Some(Identity { device: stat.st_dev, inode: stat.st_ino, owner: stat.st_uid })
}

/// Detached, with `layers` below.
fn make_overlay(layers: *const u8) -> Option<Descriptor> {
    const CLOSE_ON_EXEC: usize = 1;
    let attributes = (attribute::RDONLY | attribute::NOSUID | attribute::NODEV) as usize;
    let (set, create) = (libc::FSCONFIG_SET_STRING as usize, libc::FSCONFIG_CMD_CREATE as usize);
    let (kind, option) = (c"overlay".as_ptr() as usize, c"lowerdir".as_ptr() as usize);
    // SAFETY: a C string.
    let context = Descriptor::new(unsafe { call(libc::SYS_fsopen, kind, CLOSE_ON_EXEC, 0, 0, 0) })?;
    let number = context.0 as usize;
    // SAFETY: C strings.
    unsafe { call(libc::SYS_fsconfig, number, set, option, layers as usize, 0) }?;
    // SAFETY: plain integers.
    unsafe { call(libc::SYS_fsconfig, number, create, 0, 0, 0) }?;
    // SAFETY: plain integers.
    Descriptor::new(unsafe { call(libc::SYS_fsmount, number, CLOSE_ON_EXEC, attributes, 0, 0) })
}

/// Comes back only on failure.
fn execute(directory: &Descriptor, name: *const u8, stack: Stack) {
    let (arguments, environment) = (stack.arguments() as usize, stack.environment() as usize);
    // SAFETY: a C string, and the stack's own arrays, each of which ends in null.
    unsafe { call(libc::SYS_execveat, directory.0 as usize, name as usize, arguments, environment, 0) };
}

/// Closed when dropped.
struct Descriptor(c_int);

impl Descriptor {
    fn new(number: Option<usize>) -> Option<Self> {
        number.map(|number| Self(number as c_int))
    }

    fn open(path: *const u8) -> Option<Self> {
        let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as usize;
        // SAFETY: a C string.
        Self::new(unsafe { call(libc::SYS_openat, libc::AT_FDCWD as usize, path as usize, flags, 0, 0) })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: nobody else has the number.
        unsafe { call(libc::SYS_close, self.0 as usize, 0, 0, 0, 0) };
    }
}

/// Puts `text` at `to`, and answers with where it ends.
fn put(to: *mut u8, text: &'static CStr) -> *mut u8 {
    let mut at = 0;
    while read(text.as_ptr().cast(), at) != 0 {
        write(to.wrapping_add(at), read(text.as_ptr().cast(), at));
        at += 1;
    }
    to.wrapping_add(at)
}

/// Puts `number` at `to`, and answers with where it ends.
fn put_number(to: *mut u8, number: usize) -> *mut u8 {
    let to = if number < 10 { to } else { put_number(to, number / 10) };
    write(to, b'0' + (number % 10) as u8);
    to.wrapping_add(1)
}

/// The byte at `at`. Volatile, lest a loop of it become a strlen.
fn read(text: *const u8, at: usize) -> u8 {
    // SAFETY: callers have C strings, and go no further than their zeros.
    unsafe { read_volatile(text.wrapping_add(at)) }
}

/// Puts a byte. Volatile, lest a loop of it become a memcpy.
fn write(to: *mut u8, byte: u8) {
    // SAFETY: callers have room for it.
    unsafe { write_volatile(to, byte) };
}

/// A system call, by the kernel's own convention: without errno, which is not there yet. Nothing on failure.
///
/// # Safety
/// That of the call.
unsafe fn call(
    number: c_long,
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
) -> Option<usize> {
    let answer: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel changes no other registers. What the call does is the caller's to answer for.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") first, in("rsi") second, in("rdx") third,
            in("r10") fourth, in("r8") fifth, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel changes no other registers. What the call does is the caller's to answer for.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") first as isize => answer, in("x1") second, in("x2") third,
            in("x3") fourth, in("x4") fifth, options(nostack));
    }
    usize::try_from(answer).ok()
}
