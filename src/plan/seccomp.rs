//! The container's system call filter, compiled.

use super::fake_root;
use super::notes::Notes;
use crate::fault::Fault;
use crate::seccomp::{Arch, Program, compile};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};
use std::collections::HashMap;
use std::path::Path;

/// A filter and who hears its notifications.
#[derive(Debug)]
pub struct Filter<'spec> {
    /// What the kernel runs.
    pub program: Program,
    /// The agent's socket and the text for it, if a rule notifies.
    pub listener: Option<Listener<'spec>>,
}

/// `linux.seccomp.listenerPath` and `listenerMetadata`.
#[derive(Debug, Clone, Copy)]
pub struct Listener<'spec> {
    /// A unix socket of the host.
    pub path: &'spec Path,
    /// Handed on as it is.
    pub metadata: Option<&'spec str>,
}

impl<'spec> Listener<'spec> {
    /// The profile's, if it names one.
    pub fn of(profile: &'spec LinuxSeccomp) -> Option<Self> {
        let path = profile.listener_path().as_deref()?;
        Some(Self { path, metadata: profile.listener_metadata().as_deref() })
    }
}

/// With this annotation, a name that no architecture has is an error; crun(1).
const STRICT: &str = "run.oci.seccomp_fail_unknown_syscall";

/// Compiles `linux.seccomp`, and with `fake_root` what that adds.
pub fn decide<'spec>(
    profile: Option<&'spec LinuxSeccomp>,
    faked: bool,
    annotations: Option<&HashMap<String, String>>,
    notes: &mut Notes,
) -> Result<Option<Filter<'spec>>, Fault> {
    if profile.is_none() && !faked {
        return Ok(None);
    }
    let native = Arch::native().ok_or_else(|| {
        Fault::at("linux.seccomp", "kase has no system call table for this machine's architecture")
            .remedy("leave linux.seccomp out, at your own risk")
    })?;
    let faked = faked.then(|| fake_root::profile(profile, notes));
    let Some(compiled) = faked.as_ref().or(profile) else { return Ok(None) };
    let program = compile(compiled, native)
        .map_err(|refusal| Fault::at(refusal.place, refusal.what).remedy(refusal.remedy))?;
    // runc's words, which its own test suite looks for.
    notes.debug(format!("seccomp filter flags: {}", program.flags));
    let strict = annotations.is_some_and(|annotations| annotations.contains_key(STRICT));
    for unknown in &program.unknown {
        if strict {
            return Err(Fault::at(
                &unknown.place,
                format!("no architecture has the system call {}", unknown.name),
            )
            .remedy(format!("correct the name, or leave the annotation {STRICT} out")));
        }
        notes.debug(format!(
            "{}: no architecture has the system call {}; it is passed over",
            unknown.place, unknown.name
        ));
    }
    let listener = match profile.filter(|_| program.notifies()) {
        Some(profile) => Some(listener(profile)?),
        None => None,
    };
    if program.refuses_execve {
        return Err(Fault::at(
            "linux.seccomp",
            "the filter refuses execve, so that no program could be started",
        )
        .remedy("add execve to a rule with SCMP_ACT_ALLOW in linux.seccomp.syscalls"));
    }
    Ok(Some(Filter { program, listener }))
}

fn listener(profile: &LinuxSeccomp) -> Result<Listener<'_>, Fault> {
    let asks = |entry: &LinuxSyscall| {
        entry.action() == LinuxSeccompAction::ScmpActNotify
            && entry.names().iter().any(|name| name == "sendmsg")
    };
    // Init hands the listener to kase by sendmsg(2), under the filter: nobody could answer for it yet.
    if profile.syscalls().iter().flatten().any(asks) {
        return Err(Fault::at("linux.seccomp.syscalls", "SCMP_ACT_NOTIFY cannot be used for sendmsg")
            .remedy("leave sendmsg out of the rules that notify"));
    }
    Listener::of(profile).filter(|listener| listener.path.is_absolute()).ok_or_else(|| {
        Fault::at("linux.seccomp.listenerPath", "is no absolute path")
            .remedy("give the agent's socket by its whole path")
    })
}
