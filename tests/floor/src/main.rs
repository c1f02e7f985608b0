//! The floor of the benchmarks: one container by hand. It makes the same namespaces, mounts, devices and
//! cgroups as a runtime does for the config of `kase spec`, executes `/true`, waits and cleans up; it reads
//! no config, keeps no state and checks nothing. What its container sees is what one of kase sees. Never shipped.
//!
//! `floor MODE ROOTFS [HIERARCHY:DIRECTORY…]`, where MODE is `root`, `one-id` or `ranges=UID:GID` (the first
//! subordinate ids, of 65,536), with `,limits` and `,filter` behind it for limits of memory and processes
//! and for a system call filter. A hierarchy is an option of a cgroup v1 mount (`cpu`, `name=systemd`) or
//! `unified`; root makes DIRECTORY in it, an ordinary user only mounts it.
#![no_main]

mod cgroup;
mod kernel;
mod mounts;
mod process;

use cgroup::Cgroup;
use kernel::Gate;
use std::process::{Command, exit};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// What the command line asks for.
pub struct Floor {
    ids: Ids,
    /// User and group outside.
    caller: (u32, u32),
    rootfs: std::ffi::CString,
    cgroups: Vec<Cgroup>,
    limits: bool,
    filter: bool,
}

/// Whose ids the container has.
#[derive(Clone, Copy, PartialEq)]
pub enum Ids {
    /// The machine's own.
    Root,
    /// The caller's, as root.
    One,
    /// The caller's and a range of subordinate ones, from these on.
    Ranges(u32, u32),
}

/// Without Rust's own start, which is 20 system calls.
#[unsafe(no_mangle)]
extern "C" fn main(count: libc::c_int, arguments: *const *const libc::c_char) -> libc::c_int {
    let floor = Floor::from_args(kernel::arguments(count, arguments));
    let unified = floor.cgroups.iter().find(|cgroup| cgroup.is_unified());
    if floor.ids == Ids::Root {
        floor.cgroups.iter().for_each(|cgroup| cgroup.make(floor.limits));
    }
    let gate = Gate::new();
    let pid = match unified {
        Some(cgroup) if floor.ids == Ids::Root => kernel::clone_into(cgroup.open(), floor.namespaces()),
        _ => kernel::clone(floor.namespaces()),
    };
    if pid == 0 {
        process::run(&floor, &gate);
    }
    INIT.store(pid, Relaxed);
    match floor.ids {
        Ids::Root => {
            floor.cgroups.iter().filter(|cgroup| !cgroup.is_unified()).for_each(|cgroup| cgroup.attach(pid));
            gate.open();
        }
        Ids::One => {}
        Ids::Ranges(uid, gid) => {
            map_ranges(pid, floor.caller, (uid, gid));
            gate.open();
        }
    }
    let code = kernel::wait(pid);
    if floor.ids == Ids::Root {
        floor.cgroups.iter().for_each(Cgroup::remove);
    }
    code
}

impl Floor {
    fn from_args(arguments: Vec<String>) -> Self {
        let mut args = arguments.into_iter().skip(1);
        let (Some(mode), Some(rootfs)) = (args.next(), args.next()) else {
            die("floor MODE ROOTFS [HIERARCHY:DIRECTORY…]");
        };
        let mut words = mode.split(',');
        let ids = match words.next() {
            Some("root") => Ids::Root,
            Some("one-id") => Ids::One,
            Some(ranges) => {
                let starts = ranges.strip_prefix("ranges=").and_then(|starts| starts.split_once(':'));
                let starts = starts.and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
                starts.map_or_else(|| die("unknown mode"), |(uid, gid)| Ids::Ranges(uid, gid))
            }
            None => die("no mode"),
        };
        let (mut limits, mut filter) = (false, false);
        for word in words {
            limits |= word == "limits";
            filter |= word == "filter";
        }
        let cgroups = args.map(|arg| Cgroup::new(&arg)).collect();
        Self { ids, caller: kernel::own_ids(), rootfs: kernel::text(&rootfs), cgroups, limits, filter }
    }

    /// Those of `kase spec`; an ordinary user's config has the host's network.
    fn namespaces(&self) -> libc::c_int {
        let always = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        match self.ids {
            Ids::Root => always | libc::CLONE_NEWNET,
            _ => always | libc::CLONE_NEWUSER,
        }
    }
}

/// Both helpers at once.
fn map_ranges(pid: libc::pid_t, caller: (u32, u32), first: (u32, u32)) {
    let helper = |program: &str, own: u32, first: u32| {
        let pid = pid.cast_unsigned();
        let words = [pid, 0, own, 1, 1, first, 65536].map(|word| word.to_string());
        Command::new(program).args(words).env_clear().spawn().unwrap_or_else(|_| die(program))
    };
    let helpers =
        [helper("/usr/bin/newuidmap", caller.0, first.0), helper("/usr/bin/newgidmap", caller.1, first.1)];
    for mut helper in helpers {
        if !helper.wait().is_ok_and(|status| status.success()) {
            die("a helper failed");
        }
    }
}

/// The container's process, once there is one; 0 in itself.
static INIT: AtomicI32 = AtomicI32::new(0);

/// Ends with what was tried and why the kernel refused it.
fn die(what: &str) -> ! {
    eprintln!("floor: {what}: {}", std::io::Error::last_os_error());
    kernel::kill(INIT.load(Relaxed));
    exit(1)
}
