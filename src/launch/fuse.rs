//! Starts fuse-overlayfs, which answers for an overlay that the kernel refuses.
//!
//! It is nobody's child and in none of the container's namespaces but the user namespace, whose root it is, so that
//! it reaches the layers with the container's ids. It sees them in mounts of its own, which hold names without
//! colons and commas. Of the container's mount it knows nothing, so that this ends with the container, and the
//! program with it.
//!
//! Whoever may trace in the user namespace reaches what the program reaches, by /proc/PID/root, if the pid namespace
//! is the host's. So the program's root holds, from its first instruction, the layers and the host's programs, which
//! are read-only and go when it has loaded what it needs.

use super::mounts::{confines_root, rootfs_tree};
use crate::fault::{Fault, OrFault, Report};
use crate::handshake::pack;
use crate::host::Host;
use crate::init::overlay::{Layers, flags};
use crate::init::{rootfs, session};
use crate::kernel::clone::{Cloned, Parent, clone3};
use crate::kernel::descriptor::{close_all_but, close_inherited_from};
use crate::kernel::mount::{self, Propagation, Reach, attribute};
use crate::kernel::path::open_namespace;
use crate::kernel::process::{Dumpable, exit_now, set_dumpable, setns, unshare, wait_for};
use crate::kernel::socket;
use crate::plan::Plan;
use crate::plan::labels::MountLabel;
use crate::plan::namespaces::Kind;
use crate::plan::overlay::{Overlay, Upper};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup, fchdir, getegid, geteuid, setsid};
use rootless::checks;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it needs beside the plan.
#[derive(Debug)]
pub struct Needs<'a> {
    /// Where the layers are looked for.
    pub host: &'a Host,
    /// The container's, if it has one.
    pub user_namespace: Option<OwnedFd>,
    /// The overlay's directory that was checked.
    pub checked: Option<BorrowedFd<'a>>,
}

/// Opens the user namespace of init, which lets nobody look later.
pub fn user_namespace(plan: &Plan<'_>, init: i32) -> anyhow::Result<Option<OwnedFd>> {
    let path = match plan.namespaces.join(Kind::User) {
        Some(join) => join.path.to_path_buf(),
        None if plan.namespaces.makes(Kind::User) => PathBuf::from(format!("/proc/{init}/ns/user")),
        None => return Ok(None),
    };
    let opened = open_namespace(&path);
    opened.map(Some).or_fault(|| Fault::doing("open the container's user namespace"))
}

/// Starts it, and has it pass its mount to `init`, or what fails. What it says itself goes to `log`.
pub fn serve(plan: &Plan<'_>, needs: &Needs<'_>, init: &OwnedFd, log: &File) -> anyhow::Result<()> {
    let doing = || Fault::doing("start fuse-overlayfs");
    match clone3(0, Parent::Us, None).or_fault(doing)? {
        Cloned::Caller(process) => wait_for(process.pid).map(drop).or_fault(doing),
        Cloned::New => {
            // Whoever adopts orphans waits for it: kase may be gone by then.
            if let Ok(Cloned::New) = clone3(0, Parent::Us, None) {
                let Err(error) = answer(plan, needs, init, log);
                // With init gone there is nobody to tell.
                let _ = socket::send(init.as_fd(), &pack(&Report::of(&error)), None);
            }
            exit_now(0)
        }
    }
}

fn answer(plan: &Plan<'_>, needs: &Needs<'_>, init: &OwnedFd, log: &File) -> anyhow::Result<Infallible> {
    let flags = enter(plan, needs)?;
    let program = checks::fuse_overlayfs()
        .map_err(|diagnosis| Fault::doing(diagnosis.cause).remedy(diagnosis.remedy))?;
    let device = File::options().read(true).write(true).open(checks::FUSE)?;
    let mount = mount_of(&device, plan, flags).or_fault(|| Fault::doing("mount a file system of fuse"))?;
    let place = File::open(PLACE)?;
    let lent =
        lend_programs(&program).or_fault(|| Fault::doing("lend the host's programs to fuse-overlayfs"))?;
    let process = match clone3(0, Parent::Us, None)? {
        Cloned::New => execute(plan, place.as_fd(), device, log),
        Cloned::Caller(process) => process,
    };
    // Without it, the end of the program is the end of what it answers for.
    drop(device);
    // Answered when the program has opened all that it needs.
    fstat(&mount).or_fault(|| {
        Fault::doing("fuse-overlayfs could not help").remedy("name a directory on ext4, XFS, Btrfs or tmpfs")
    })?;
    // Its own root may be another one than ours.
    fchdir(&place)?;
    for name in lent {
        umount2(name, MntFlags::MNT_DETACH)
            .or_fault(|| Fault::doing("take the host's programs from fuse-overlayfs"))?;
    }
    socket::send(init.as_fd(), b"m", Some(mount.as_fd()))?;
    keep_running(Pid::from_raw(process.pid))
}

/// Enters the user namespace and mounts of the program's own, with the layers at [`PLACE`]. Returns the flags of the
/// overlay's mount.
fn enter(plan: &Plan<'_>, needs: &Needs<'_>) -> anyhow::Result<u64> {
    let Some(Overlay { upper, .. }) = &plan.overlay else { anyhow::bail!("there is no overlay") };
    let of_host = || match upper {
        Upper::Memory => Ok(None),
        Upper::Directory(directory) => Layers::of_host(directory, needs.checked).map(Some),
    };
    close_inherited_from(3)?;
    setsid()?;
    // What the container's root may not reach is opened before we are that.
    let early = match confines_root(plan, needs.host) {
        true => Some((rootfs_tree(plan)?, of_host()?)),
        false => None,
    };
    if let Some(namespace) = &needs.user_namespace {
        // Whoever else is root of it could trace us from there on, until the exec.
        set_dumpable(Dumpable::No);
        setns(namespace.as_fd(), Kind::User.flag())?;
        session::take_root(plan)?;
    }
    // A container that shares our pid namespace may trace the program, which is to have no more of the host than it.
    unshare([Kind::Mount, Kind::Network, Kind::Ipc, Kind::Uts].map(Kind::flag).iter().sum())?;
    let root = File::open("/")?;
    mount::set_propagation(root.as_fd(), Propagation::Slave, Reach::Recursive)?;
    let (lower, layers) = match early {
        Some(trees) => trees,
        None => (rootfs_tree(plan)?, of_host()?),
    };
    let layers = match layers {
        Some(layers) => layers,
        None => Layers::in_memory(lower.as_fd())?,
    };
    let flags = flags(lower.as_fd())? | flags(layers.tree())?;
    lay_out(lower.as_fd(), layers.tree())?;
    if let (Upper::Directory(directory), Err(error)) = (upper, fs::metadata(format!("{PLACE}/changes/upper")))
    {
        let (shown, what) =
            (directory.display(), "the container's root, as whom fuse-overlayfs runs, may not enter");
        let fault = Fault::doing(format!("{what} {shown}")).remedy(format!("run as root: chmod a+x {shown}"));
        return Err(fault.caused_by(error));
    }
    Ok(flags)
}

/// Becomes the program, with what is at [`PLACE`] as its root.
fn execute(plan: &Plan<'_>, place: BorrowedFd<'_>, device: File, log: &File) -> ! {
    let options = "lowerdir=/lower,upperdir=/changes/upper,workdir=/changes/work";
    let become_it = || -> anyhow::Result<Infallible> {
        // By what procfs shows of it, it reaches its own descriptors.
        let own = mount::clone_host_tree(c"/proc/self", Reach::One)?;
        mount::attach(own.as_fd(), File::open(Path::new(PLACE).join("proc/self"))?.as_fd())?;
        let mut command = Command::new("/program");
        command.stdin(File::open("/dev/null")?).stdout(log.try_clone()?).stderr(log.try_clone()?);
        rootfs::exchange(plan.pivot, place)?;
        // The only descriptor that crosses the exec.
        let device = dup(device)?;
        command.arg0("fuse-overlayfs").current_dir("/");
        command.args(["-f", "-o", options, &format!("/dev/fd/{}", device.as_raw_fd())]);
        Err(command.exec().into())
    };
    let Err(error) = become_it();
    // Who waits for its answer hears that there is none.
    let _ = writeln!(&mut &*log, "{error:#}");
    exit_now(1)
}

/// Stays until the program has ended, and has it go on whenever it is stopped: whoever waits for its answers would
/// wait with it, and not even SIGKILL ends that.
fn keep_running(program: Pid) -> ! {
    // What is not closed, nobody may wait for the end of: then the program does without.
    if close_all_but(&[], 0).is_err() {
        exit_now(1);
    }
    loop {
        match waitpid(program, Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(..)) => {
                // It may have ended meanwhile.
                let _ = kill(program, Signal::SIGCONT);
            }
            Err(Errno::EINTR) => {}
            _ => exit_now(0),
        }
    }
}

/// The kernel takes the device only from the user namespace that the mount is made in, which is the container's.
fn mount_of(device: &File, plan: &Plan<'_>, flags: u64) -> anyhow::Result<OwnedFd> {
    let (fd, uid, gid) = (device.as_raw_fd().to_string(), geteuid().to_string(), getegid().to_string());
    let mut options = vec![
        ("source", Some("fuse-overlayfs")),
        ("fd", Some(fd.as_str())),
        ("rootmode", Some("40000")),
        ("user_id", Some(uid.as_str())),
        ("group_id", Some(gid.as_str())),
        ("default_permissions", None),
        ("allow_other", None),
    ];
    options.extend(plan.mount_label.map(MountLabel::as_option));
    Ok(mount::make_file_system("fuse", options, flags)?)
}

/// A directory that every host has and that the program has no use for.
const PLACE: &str = "/sys";

/// Puts the layers where they have plain names.
fn lay_out(lower: BorrowedFd<'_>, changes: BorrowedFd<'_>) -> anyhow::Result<()> {
    let place = mount::make_file_system("tmpfs", [("mode", Some("755"))], 0)?;
    for name in ["lower", "changes", "proc", "proc/self"] {
        mkdirat(&place, name, Mode::S_IRWXU)?;
    }
    mount::attach(place.as_fd(), File::open(PLACE)?.as_fd())?;
    for (name, tree) in [("lower", lower), ("changes", changes)] {
        mount::attach(tree, File::open(Path::new(PLACE).join(name))?.as_fd())?;
    }
    Ok(())
}

/// Where hosts have what programs load (ld.so(8)), and what this one reads before it answers.
const PROGRAMS: [&str; 12] = [
    "bin",
    "etc/ld.so.cache",
    "gnu",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "nix",
    "proc/sys/kernel/overflowgid",
    "proc/sys/kernel/overflowuid",
    "sbin",
    "usr",
];

/// Mounts them read-only beside the layers, and the program itself, wherever it is. Returns what is mounted.
fn lend_programs(program: &Path) -> anyhow::Result<Vec<&'static str>> {
    let sources = PROGRAMS.map(|name| (Path::new("/").join(name), name));
    let program = fs::canonicalize(program)?;
    let mut lent = Vec::new();
    for (source, name) in sources.into_iter().chain([(program, "program")]) {
        let there = Path::new(PLACE).join(name);
        let kind = match fs::symlink_metadata(&source) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found?.file_type(),
        };
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, there)?;
            continue;
        }
        match kind.is_dir() {
            true => fs::create_dir(&there)?,
            false => {
                fs::create_dir_all(there.parent().unwrap_or(&there))?;
                File::create(&there)?;
            }
        }
        let tree = mount::clone_host_tree(&source, Reach::Recursive)?;
        mount::add_attributes(tree.as_fd(), attribute::RDONLY, Reach::Recursive)?;
        mount::attach(tree.as_fd(), File::open(there)?.as_fd())?;
        lent.push(name);
    }
    Ok(lent)
}
