//! Puts the process under its system call filter, at the last moment.
//!
//! After the start, with nothing left to do but the exec: so a profile need not allow what kase does, only
//! execve (and, without no_new_privs, the capset that gives CAP_SYS_ADMIN up, and prctl for ambient
//! capabilities). A filter that notifies goes in before, since its listener has to reach the agent while the
//! container is created.

use super::process::set_capabilities;
use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToKase};
use crate::kernel::capability;
use crate::kernel::process::set_no_new_privileges;
use crate::kernel::seccomp::{Installed, Instruction, install};
use crate::plan::process::Process;
use crate::seccomp::Program;
use crate::trace;

/// The privileges of the process from here on, in their order with the filter.
///
/// # Errors
/// What the kernel refuses.
pub fn confine(plan: &Process<'_>, program: Option<&Program>, kase: Option<&InitEnd>) -> anyhow::Result<()> {
    // What the filter allows from here on is the container's affair.
    match program {
        Some(_) => trace::leave(),
        None => trace::step("capabilities"),
    }
    // Asked before the filter is there, which may not allow the question.
    let own = capability::permitted()?;
    if plan.no_new_privileges {
        set_capabilities(&plan.capabilities, own)?;
        set_no_new_privileges()?;
        return put(program, kase);
    }
    if program.is_some() {
        // Without no_new_privs the kernel asks for CAP_SYS_ADMIN.
        capability::set(own, own, 0).or_fault(|| Fault::doing("raise kase's own capabilities"))?;
    }
    put(program, kase)?;
    set_capabilities(&plan.capabilities, own)
}

fn put(program: Option<&Program>, kase: Option<&InitEnd>) -> anyhow::Result<()> {
    let Some(program) = program else { return Ok(()) };
    let instructions: Vec<Instruction> = program
        .instructions
        .iter()
        .map(|one| Instruction { code: one.code, jt: one.jt, jf: one.jf, k: one.k })
        .collect();
    let installed = install(&instructions, program.flags).or_fault(|| {
        Fault::at("linux.seccomp", "install the filter").remedy(
            "set process.noNewPrivileges to true if kase lacks CAP_SYS_ADMIN, and leave out flags that are newer than the kernel",
        )
    })?;
    match (installed, kase) {
        (Installed::Listener(listener), Some(kase)) => kase.say(&ToKase::Listener(listener)),
        _ => Ok(()),
    }
}
