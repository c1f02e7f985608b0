//! Puts the process under its system call filter, at the last moment.
//!
//! After the start, with nothing left to do but the exec: so a profile need not allow what kase does, only execve
//! (and, without no_new_privs, the capset that gives CAP_SYS_ADMIN up). A filter that notifies goes in before, since
//! its listener has to reach the agent while the container is created. So may one in a pid namespace that others are
//! in: see [`pid_namespace`](super::pid_namespace).

use super::process::set_capabilities;
use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToKase};
use crate::kernel::capability;
use crate::kernel::seccomp::{self, sock_filter};
use crate::plan::process::ProcessPlan;
use crate::seccomp::{Instruction, Program};
use crate::trace;
use nix::sys::prctl::set_no_new_privs;

/// Gives up all privileges that the program does not get, but the one that the filter still needs.
pub fn reduce(plan: &ProcessPlan<'_>, program: Option<&Program>) -> anyhow::Result<()> {
    trace::step("capabilities");
    set_capabilities(&plan.capabilities, capability::permitted()?, needed(plan, program))?;
    if plan.no_new_privileges {
        set_no_new_privs()?;
    }
    Ok(())
}

/// Without no_new_privs the kernel asks for CAP_SYS_ADMIN.
fn needed(plan: &ProcessPlan<'_>, program: Option<&Program>) -> u64 {
    const SYS_ADMIN: u64 = 1 << 21;
    if program.is_some() && !plan.no_new_privileges { SYS_ADMIN } else { 0 }
}

/// The privileges that the program does not get and that are kept for the filter's sake.
pub fn surplus(plan: &ProcessPlan<'_>, program: &Program) -> u64 {
    needed(plan, Some(program)) & !(plan.capabilities.effective & plan.capabilities.permitted)
}

/// Installs the filter, and gives up what only that needed. What the filter allows from here on is the container's
/// affair.
pub fn install(plan: &ProcessPlan<'_>, program: &Program, kase: &InitEnd) -> anyhow::Result<()> {
    trace::leave();
    let sets = &plan.capabilities;
    let surplus = surplus(plan, program);
    // Asked before the filter is there, which may not allow the question.
    let own = if surplus == 0 { 0 } else { capability::permitted()? };
    put(program, kase)?;
    if own & surplus == 0 {
        return Ok(());
    }
    let own = own & sets.permitted;
    capability::set(sets.effective & own, own, sets.inheritable & own)
        .or_fault(|| Fault::doing("give CAP_SYS_ADMIN up under the filter"))
}

fn put(program: &Program, kase: &InitEnd) -> anyhow::Result<()> {
    let instruction = |one: &Instruction| sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k };
    let instructions: Vec<_> = program.instructions.iter().map(instruction).collect();
    let listener = seccomp::install(&instructions, program.flags).map_err(|error| {
        let (cause, remedy) = match error.raw_os_error() {
            Some(libc::EACCES) => (
                ": the kernel asks for CAP_SYS_ADMIN or noNewPrivileges",
                "set process.noNewPrivileges to true, or run as root",
            ),
            Some(libc::EINVAL) => (
                ": this kernel does not know one of its flags",
                "leave out linux.seccomp.flags that are newer than the kernel",
            ),
            _ => ("", "see `dmesg`, which may say more"),
        };
        Fault::at("linux.seccomp", format!("install the filter{cause}")).remedy(remedy).caused_by(error)
    })?;
    listener.map_or(Ok(()), |listener| kase.say(&ToKase::Listener(listener)))
}
