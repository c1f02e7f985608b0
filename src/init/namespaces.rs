//! Joins namespaces, and goes ahead as the hop where the kernel forces one.

use super::hook_runner::HookRunner;
use crate::fault::{Fault, OrFault, Place};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::hook;
use crate::kernel::clone::{Cloned, Parent, clone3};
use crate::kernel::file_id::FileId;
use crate::kernel::path::open_namespace;
use crate::kernel::process;
use crate::plan::Plan;
use crate::plan::namespaces::{Join, Kind, Namespaces, Offset};
use crate::trace::{self, Who};
use nix::errno::Errno;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use rootless::diagnose;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};

/// Enters and makes what clone3(2) has not made, through the hop where the kernel forces one: see
/// [`needs_hop`](Namespaces::needs_hop). Returns the way into a pid namespace that others are in, which comes last: see
/// [`pid_namespace`](super::pid_namespace).
///
/// # Errors
/// A path that is missing, of another kind, or not ours to join; what the kernel refuses.
pub fn set_up(plan: &Plan<'_>, kase: &InitEnd, state: &hook::State) -> anyhow::Result<Option<Entry>> {
    let namespaces = &plan.namespaces;
    match (namespaces.join(Kind::Pid), namespaces.needs_hop()) {
        (Some(pid), _) => beside_pid(pid, plan, kase, state).map(Some),
        (None, true) => hop(plan, kase).map(|()| None),
        (None, false) => join(&namespaces.joined).map(|()| None),
    }
}

/// Joins everything that `linux.namespaces` gives a path for, but for the pid namespace, which counts only for what
/// this process makes.
///
/// Before the user namespace, whatever our privileges outside allow; the rest after it, with those inside. So
/// a namespace that the user namespace does not own can be joined too.
fn join(joins: &[Join<'_>]) -> anyhow::Result<()> {
    trace::step("join namespaces");
    // All are opened first: joining a mount namespace changes what the paths mean.
    let joins = joins.iter().filter(|join| join.kind != Kind::Pid);
    let mut open: Vec<(&Join<'_>, OwnedFd)> =
        joins.map(|join| Ok((join, open_one(join)?))).collect::<anyhow::Result<_>>()?;
    for (join, mounts) in open.iter().filter(|(join, _)| join.kind == Kind::Mount) {
        other_than_ours(join, mounts)?;
    }
    if let Some(user) = open.iter().position(|(join, _)| join.kind == Kind::User) {
        let (join, user) = open.remove(user);
        open.retain(|(join, fd)| process::setns(fd.as_fd(), join.kind.flag()).is_err());
        process::setns(user.as_fd(), join.kind.flag()).map_err(|error| refused(join, error))?;
    }
    for (join, fd) in open {
        process::setns(fd.as_fd(), join.kind.flag()).map_err(|error| refused(join, error))?;
    }
    Ok(())
}

fn open_one(join: &Join<'_>) -> anyhow::Result<OwnedFd> {
    let open = || match open_namespace(join.path)? {
        // It is entered last, when other things would have failed for it.
        file if join.kind == Kind::Pid && fstatfs(&file)?.filesystem_type() != NSFS_MAGIC => {
            Err(Errno::EINVAL)
        }
        file => Ok(file),
    };
    open().map_err(|error| {
        let doing = format!("open {}", join.path.display());
        match error {
            Errno::EACCES | Errno::EPERM => {
                Fault::at(join.at, format!("{doing}: only who may trace the process may join its namespaces"))
                    .remedy("run as the user who made the namespace, or as root")
            }
            Errno::EINVAL => Fault::at(join.at, format!("{doing}: it is no namespace"))
                .remedy("name a pid namespace; ls -l /proc/PID/ns shows a process's"),
            _ => Fault::at(join.at, doing)
                .remedy("check that the namespace's process or bind mount is still there"),
        }
        .caused_by(error)
    })
}

/// In the mount namespace that kase is in, the container's mounts and its root would be the host's.
fn other_than_ours(join: &Join<'_>, mounts: &OwnedFd) -> anyhow::Result<()> {
    if FileId::of(mounts)? != FileId::at("/proc/self/ns/mnt")? {
        return Ok(());
    }
    let doing = format!("{} is the mount namespace that kase runs in", join.path.display());
    Err(Fault::at(join.at, doing)
        .remedy("leave the path out, so that the container gets a mount namespace of its own")
        .into())
}

fn refused(join: &Join<'_>, error: io::Error) -> anyhow::Error {
    let word = join.kind.word();
    let (cause, remedy) = match (error.raw_os_error(), join.kind) {
        (Some(libc::EINVAL), Kind::User) => (
            ": it is no user namespace, or the one that kase is in",
            "name another user namespace, or leave the entry out".to_string(),
        ),
        (Some(libc::EINVAL), _) => (
            ": it is of another kind",
            format!("name a {word} namespace; ls -l /proc/PID/ns shows a process's"),
        ),
        (Some(libc::EPERM), _) => (
            ": kase has no CAP_SYS_ADMIN in the user namespace that owns it",
            "join that user namespace too, or run as root".to_string(),
        ),
        _ => ("", format!("check that it is a {word} namespace")),
    };
    Fault::at(join.at, format!("join the {word} namespace {}{cause}", join.path.display()))
        .remedy(remedy)
        .caused_by(error)
}

/// Enters all namespaces but the pid namespace that others are in, and makes those that are new.
fn beside_pid(
    join_pid: &Join<'_>,
    plan: &Plan<'_>,
    kase: &InitEnd,
    state: &hook::State,
) -> anyhow::Result<Entry> {
    let namespaces = &plan.namespaces;
    let (namespace, at) = (open_one(join_pid)?, join_pid.at);
    let mut entry = Entry { namespace, at, is_entered: false, hook_runner: None };
    // While our privileges outside may allow it, if the container's user namespace does not own it. Then what this
    // process makes is in there from now on.
    if namespaces.has(Kind::User) && !is_owned_by_joined(namespaces, &entry)? {
        let runner = HookRunner::make(plan, kase, state)?;
        // It is tried once more from inside.
        entry.hook_runner = entry.enter().ok().and(runner);
    }
    join(&namespaces.joined)?;
    let made = owned_offsets(plan, kase)?;
    process::unshare(made)
        .map_err(|error| not_made(Fault::at("linux.namespaces", "make the namespaces"), error))?;
    kase.say(&ToKase::Namespaces)?;
    Ok(entry)
}

/// Whether the user namespace that is joined owns the pid namespace, so that its root may enter that at any time.
fn is_owned_by_joined(namespaces: &Namespaces<'_>, entry: &Entry) -> anyhow::Result<bool> {
    let Some(user) = namespaces.join(Kind::User) else { return Ok(false) };
    let owner = match process::owner_of(entry.namespace.as_fd()) {
        // It is not below ours.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(false),
        owner => owner.or_fault(|| Fault::at(entry.at, "look who owns the pid namespace"))?,
    };
    Ok(FileId::of(owner)? == FileId::of(open_one(user)?)?)
}

/// The way into a pid namespace that others are in.
#[derive(Debug)]
pub struct Entry {
    namespace: OwnedFd,
    at: Place,
    /// Whether what this process makes is in it.
    is_entered: bool,
    /// Runs hooks, where what this process makes is in the namespace before they have run.
    pub hook_runner: Option<HookRunner>,
}

impl Entry {
    /// Has what this process makes from here on be in the pid namespace. The second call does nothing.
    pub fn enter(&mut self) -> anyhow::Result<()> {
        if !self.is_entered {
            process::setns(self.namespace.as_fd(), Kind::Pid.flag()).or_fault(|| {
                Fault::at(self.at, "join the pid namespace").remedy(
                    "check that you have CAP_SYS_ADMIN in the user namespace that owns it: join that one too",
                )
            })?;
            self.is_entered = true;
        }
        Ok(())
    }
}

/// Runs as the hop: enters what must be entered before init exists, makes init as kase's child, and ends.
/// Returns only as init.
fn hop(plan: &Plan<'_>, kase: &InitEnd) -> anyhow::Result<()> {
    join(&plan.namespaces.joined)?;
    let made = owned_offsets(plan, kase)?;
    match clone3(made, Parent::Same, None)
        .map_err(|error| not_made(Fault::at("linux.namespaces", "make the namespaces"), error))?
    {
        Cloned::New => {
            trace::enter(Who::Init);
            Ok(())
        }
        Cloned::Caller(init) => {
            trace::leave();
            // If kase does not hear of it, it ends at its first word.
            kase.say(&ToKase::Continues(init.pidfd))?;
            process::exit_now(0)
        }
    }
}

/// Makes the time namespace if it has offsets, and the user namespace that owns it. Returns the CLONE_NEW* flags of those
/// that are still to be made.
fn owned_offsets(plan: &Plan<'_>, kase: &InitEnd) -> anyhow::Result<u64> {
    let namespaces = &plan.namespaces;
    // The cgroup namespace is made in the cgroup.
    let mut made = namespaces.made() & !Kind::Cgroup.flag();
    if !namespaces.offsets.is_empty() {
        // The offsets are set by the owner of the new time namespace, and are fixed once it has a process.
        if namespaces.makes(Kind::User) {
            made &= !Kind::User.flag();
            process::unshare(Kind::User.flag())
                .map_err(|error| not_made(Fault::doing("make a user namespace"), error))?;
            kase.say(&ToKase::MapOwnIds)?;
            kase.expect(ToInit::IdsMapped)?;
        }
        made &= !Kind::Time.flag();
        process::unshare(Kind::Time.flag()).map_err(|error| {
            not_made(Fault::at("linux.timeOffsets", "make a time namespace (Linux 5.6 or later)"), error)
        })?;
        write_offsets(&namespaces.offsets)?;
    }
    Ok(made)
}

fn write_offsets(offsets: &[Offset]) -> anyhow::Result<()> {
    let lines: String = offsets
        .iter()
        .map(|offset| format!("{} {} {}\n", offset.clock, offset.seconds, offset.nanoseconds))
        .collect();
    std::fs::write("/proc/self/timens_offsets", lines).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => "run as root, or add a user namespace",
            _ => "keep each clock between 0 and some 146 years",
        };
        Fault::at("linux.timeOffsets", "set the clocks").remedy(remedy).caused_by(error)
    })
}

/// The fault of a process or namespace that could not be made, with what helps against the limit that it met.
pub fn not_made(fault: Fault, error: io::Error) -> anyhow::Error {
    let errno = crate::kernel::errno(&error);
    let remedy = match errno {
        Errno::ENOSPC | Errno::EUSERS => diagnose::user_namespace(errno).map(|diagnosis| diagnosis.remedy),
        _ => diagnose::of_processes(errno),
    };
    remedy.into_iter().fold(fault, Fault::remedy).caused_by(error)
}
