//! The registers of a process that is stopped as it enters or leaves a system call.

use nix::Result;
use nix::sys::ptrace::{getregs, setregs};
use nix::unistd::Pid;

/// The number of the call that it enters.
#[cfg(target_arch = "x86_64")]
pub fn number(pid: Pid) -> Result<u64> {
    Ok(getregs(pid)?.orig_rax)
}

/// The number of the call that it enters.
#[cfg(target_arch = "aarch64")]
pub fn number(pid: Pid) -> Result<u64> {
    Ok(getregs(pid)?.regs[8])
}

/// The first two arguments of the call that it enters, either of which may be the address of a path.
#[cfg(target_arch = "x86_64")]
pub fn arguments(pid: Pid) -> Result<[u64; 2]> {
    let registers = getregs(pid)?;
    Ok([registers.rdi, registers.rsi])
}

/// The first two arguments of the call that it enters, either of which may be the address of a path.
#[cfg(target_arch = "aarch64")]
pub fn arguments(pid: Pid) -> Result<[u64; 2]> {
    let registers = getregs(pid)?;
    Ok([registers.regs[0], registers.regs[1]])
}

/// Puts a call that does not exist in place of the one that it enters.
#[cfg(target_arch = "x86_64")]
pub fn skip(pid: Pid) -> Result<()> {
    let mut registers = getregs(pid)?;
    registers.orig_rax = u64::MAX;
    setregs(pid, registers)
}

/// Puts a call that does not exist in place of the one that it enters: its number is a register set of its own.
#[cfg(target_arch = "aarch64")]
pub fn skip(pid: Pid) -> Result<()> {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut number: libc::c_int = -1;
    let mut vector = libc::iovec { iov_base: (&raw mut number).cast(), iov_len: size_of_val(&number) };
    // SAFETY: the kernel reads one number through the vector, and both outlive the call.
    let result =
        unsafe { libc::ptrace(libc::PTRACE_SETREGSET, pid.as_raw(), NT_ARM_SYSTEM_CALL, &raw mut vector) };
    nix::errno::Errno::result(result).map(drop)
}

/// Lets the call that it leaves have failed with this errno.
pub fn fail(pid: Pid, errno: i32) -> Result<()> {
    let mut registers = getregs(pid)?;
    let value = i64::from(-errno).cast_unsigned();
    #[cfg(target_arch = "x86_64")]
    {
        registers.rax = value;
    }
    #[cfg(target_arch = "aarch64")]
    {
        registers.regs[0] = value;
    }
    setregs(pid, registers)
}
