//! CVE-2019-5736: the container must not reach a file of kase's that it could write.
//!
//! Init is a clone of kase, and a container may execute `/proc/self/exe` or name it as an interpreter. Either
//! way /proc/PID/exe leads a process of the container to the host's binary, which it can hold open until kase
//! has ended and then write. Where it could, kase first executes itself again from a file that nobody can:
//!
//! ```text
//!  who makes the container            owner of the binary        others     the file        so
//!  ─────────────────────────────────  ─────────────────────────  ─────────  ──────────────  ────────
//!  root, or a user with capabilities  any                        any        ordinary        execute again
//!  root of a user namespace           mapped there               any        ordinary        execute again
//!  an ordinary user                   the user, or an id that    any        ordinary        execute again
//!                                     /etc/subuid gives anyone
//!  not root                           neither                    may write  ordinary        execute again
//!  not root                           neither                    may not    any             go on
//!  any                                any                        any        nobody writes   go on
//! ```
//!
//! An owner that the container cannot be is enough: CAP_FOWNER and CAP_DAC_OVERRIDE count only for files whose
//! owner the user namespace maps. The container's maps are never wider than what the caller may map, so this
//! needs nothing from config.json, which is not read yet. Root's container may have a user namespace that
//! leaves the owner out; then this was not needed, which is cheaper than to parse config.json twice.
//!
//! Nobody writes to a memfd that is sealed against it, to a file system without the code to write, and to an
//! overlay of lower layers only. A read-only mount proves nothing, nor does a superblock that is read-only for
//! the moment: a privileged container remounts the one or the other (of a file that is a mount's root, which a
//! bind mount of the binary would make it, by fspick(2) on /proc/PID/exe itself).
//!
//! The overlay is faster, and shares its pages with the binary. It takes root, who is nearly always the one to
//! need it, so it is made before all of this, without a start that would be for nothing: `kernel/early.rs`. Here
//! is the memfd, which does without privileges and without overlayfs, on a stack of file systems that is too high
//! for one more, and for a binary that was replaced meanwhile. Neither leaves a descriptor, a variable or an
//! argument behind.

use crate::fault::{Fault, OrFault};
use crate::kernel::capability;
use crate::kernel::errno;
use crate::kernel::file_id::FileId;
use crate::kernel::mount::is_without_writing;
use crate::kernel::process::execute_file;
use crate::kernel::text::read_text;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_name;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use nix::unistd::{AccessFlags, faccessat};
use rootless::caller::{Caller, Standing};
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The commands that put a copy of kase into a container, each with a zero at its end.
pub const COMMANDS: &str = "create\0exec\0run\0";
const OWN: &str = "/proc/self/exe";

/// Makes sure that no container which `command` has to do with can write kase's binary. Executes this process
/// again if need be, and then does not return; the second time it finds itself sealed.
///
/// # Errors
/// When that is needed and there is no way to do it.
pub fn seal(command: &str, caller: &Caller, arguments: &[OsString]) -> anyhow::Result<()> {
    if !COMMANDS.split_terminator('\0').any(|word| word == command) {
        return Ok(());
    }
    match decide(exposure(caller)?, medium) {
        Action::GoOn => Ok(()),
        Action::TakeName => take_name(arguments),
        Action::ExecuteAgain => execute_again(caller, arguments).map(|never| match never {}),
    }
}

/// What the container can do to the binary, by who makes it. Root's may be whoever the owner is.
fn exposure(caller: &Caller) -> anyhow::Result<Exposure> {
    let maker = maker(caller);
    if maker == Maker::Privileged {
        return Ok(Exposure { maker, owner: Owner::Mapped, others: Others::Write });
    }
    let binary = fs::metadata(OWN)
        .or_fault(|| Fault::doing(format!("look at {OWN}")).remedy("mount procfs on /proc"))?;
    let owner = match caller.standing {
        Standing::Root => Owner::Mapped,
        Standing::NamespaceRoot => namespace_holds(binary.uid()),
        Standing::User => user_holds(binary.uid(), caller.uid),
    };
    Ok(Exposure { maker, owner, others: others(&binary) })
}

/// Who makes the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// The host's root, or somebody with a part of its power.
    Privileged,
    /// Whoever can hand on no more than the ids that are mapped.
    Unprivileged,
}

/// Whether the container may have the binary's owner among its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Mapped,
    Unmapped,
}

/// What the binary's permissions give to others than its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Write,
    NoWrite,
}

/// What a container can do to the binary, by its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exposure {
    maker: Maker,
    owner: Owner,
    others: Others,
}

/// What the binary is kept on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    /// Something that whoever has the permission can write.
    Ordinary,
    /// A memfd that is sealed.
    Memfd,
    /// The overlay that we made.
    Overlay,
    /// A file system that can only be read.
    WithoutWriting,
}

/// What follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Nothing.
    GoOn,
    /// Nothing but to be called as before: the kernel has named this process after the memfd.
    TakeName,
    /// kase is to be executed from another file.
    ExecuteAgain,
}

/// The table above. The medium is looked at only where it matters.
fn decide(exposure: Exposure, medium: impl FnOnce() -> Medium) -> Action {
    match exposure {
        Exposure { maker: Maker::Unprivileged, owner: Owner::Unmapped, others: Others::NoWrite } => {
            Action::GoOn
        }
        _ => match medium() {
            Medium::Ordinary => Action::ExecuteAgain,
            Medium::Memfd => Action::TakeName,
            Medium::Overlay | Medium::WithoutWriting => Action::GoOn,
        },
    }
}

fn maker(caller: &Caller) -> Maker {
    // A user may have ambient capabilities, or a real uid of 0 behind the effective one. The capabilities of a
    // namespace's root reach only what is mapped there.
    let has_some = || capability::permitted().map_or(true, |set| set != 0);
    match caller.standing {
        Standing::Root => Maker::Privileged,
        Standing::User if has_some() => Maker::Privileged,
        Standing::User | Standing::NamespaceRoot => Maker::Unprivileged,
    }
}

/// An owner that our namespace does not map looks like the overflow uid, which may be mapped as well. What
/// tells them apart is O_NOATIME: the kernel wants the owner for it, or CAP_FOWNER and an owner that is mapped.
fn namespace_holds(owner: u32) -> Owner {
    const OVERFLOW: u32 = 65534;
    const FOWNER: u64 = 1 << 3;
    if owner != OVERFLOW || !capability::effective().is_ok_and(|set| set & FOWNER != 0) {
        return Owner::Mapped;
    }
    match OpenOptions::new().read(true).custom_flags(libc::O_NOATIME).open(OWN) {
        Err(error) if errno(&error) == Errno::EPERM => Owner::Unmapped,
        _ => Owner::Mapped,
    }
}

/// The kernel lets an ordinary user map its own id, newuidmap what subuid(5) or a directory service gives.
fn user_holds(owner: u32, user: u32) -> Owner {
    let read = |path| match read_text(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read,
    };
    if owner == user {
        return Owner::Mapped;
    }
    match (read("/etc/subuid"), read("/etc/nsswitch.conf")) {
        (Ok(subuid), Ok(nsswitch)) if !may_give(&subuid, owner) && !has_service(&nsswitch) => Owner::Unmapped,
        _ => Owner::Mapped,
    }
}

/// Whether a line of subuid(5) may cover `id`. Whose line it is does not matter here: nobody has a range with
/// an owner of programs in it, so that the user's name need not be looked up.
fn may_give(subuid: &str, id: u32) -> bool {
    // newuidmap takes octal and hexadecimal numbers too. A line with one is taken for one that may cover the id.
    let number = |text: &str| match text.strip_prefix('0') {
        Some(rest) if !rest.is_empty() => None,
        _ => text.parse::<u64>().ok(),
    };
    subuid.lines().any(|line| {
        let mut fields = line.split(':').skip(1);
        let (Some(start), Some(count)) = (fields.next(), fields.next()) else { return false };
        match (number(start), number(count)) {
            (Some(start), Some(count)) => (start..start.saturating_add(count)).contains(&id.into()),
            _ => true,
        }
    })
}

/// Whether nsswitch.conf(5) has newuidmap ask somebody else than the files.
fn has_service(nsswitch: &str) -> bool {
    nsswitch.lines().any(|line| {
        let sources = line.trim_start().strip_prefix("subid:");
        sources.is_some_and(|sources| sources.split_whitespace().any(|source| source != "files"))
    })
}

/// With an access control list, the group's bits are the most that anyone in it has. Where a server decides, it
/// is asked.
fn others(binary: &Metadata) -> Others {
    let may = faccessat(AT_FDCWD, OWN, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok();
    if may || binary.mode() & 0o022 != 0 { Others::Write } else { Others::NoWrite }
}

/// Whatever cannot be found out makes it an ordinary file.
fn medium() -> Medium {
    match statfs(OWN).map(|system| system.filesystem_type()) {
        Ok(kind) if is_without_writing(kind) => Medium::WithoutWriting,
        Ok(OVERLAYFS_SUPER_MAGIC) if is_our_overlay() => Medium::Overlay,
        _ if is_sealed() => Medium::Memfd,
        _ => Medium::Ordinary,
    }
}

fn is_sealed() -> bool {
    let wanted = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    let seals = File::open(OWN).map(|file| fcntl(&file, FcntlArg::F_GET_SEALS));
    // The kernel answers EINVAL where the file is no memfd.
    seals.is_ok_and(|seals| seals.is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(wanted)))
}

/// Whether the superblock is read-only and its mount is nowhere, which `kernel::early` makes and
/// nobody else. With no mount there is nothing through which it could be remounted.
fn is_our_overlay() -> bool {
    // Of a running program the kernel refuses this always: first for the superblock (EROFS), then because it
    // runs (ETXTBSY), and for the mount (EROFS again) only after that.
    let write = OpenOptions::new().write(true).open(OWN);
    let readonly = write.is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem);
    readonly && !fs::read_link(OWN).is_ok_and(|path| leads_here(&path))
}

fn leads_here(path: &Path) -> bool {
    let Ok(found) = FileId::at(path) else { return false };
    // Of a file system that cannot be looked at, the worst is assumed.
    FileId::at(OWN).map_or(true, |own| own == found)
}

fn take_name(arguments: &[OsString]) -> anyhow::Result<()> {
    let name = arguments.first().and_then(|called| Path::new(called).file_name()).unwrap_or("kase".as_ref());
    Ok(set_name(&CString::new(name.as_bytes())?)?)
}

/// Returns only on failure.
fn execute_again(caller: &Caller, arguments: &[OsString]) -> anyhow::Result<Infallible> {
    let Err(error) = memfd(arguments);
    Err(Fault::doing(format!(
        "keep the container from writing kase's own binary (CVE-2019-5736): copy {OWN}"
    ))
    .remedy(remedy(caller.standing, &error))
    .caused_by(error))
}

fn remedy(standing: Standing, error: &io::Error) -> &'static str {
    match (error.raw_os_error(), standing) {
        (Some(libc::EACCES | libc::EPERM), Standing::Root) => {
            "load the kernel module overlay, or allow executable memfds: sysctl vm.memfd_noexec=1"
        }
        (Some(libc::EACCES | libc::EPERM), Standing::User | Standing::NamespaceRoot) => {
            "install kase for everyone (as root, make install/kase), so that it is root's; or make it readable \
             (chmod +r), and have root allow executable memfds: sysctl vm.memfd_noexec=1"
        }
        (Some(libc::ENOENT), _) => "mount /proc: mount -t proc proc /proc",
        _ => "free memory and descriptors: a copy of kase's binary needs some",
    }
}

/// Executes a copy of the binary in memory that is sealed.
fn memfd(arguments: &[OsString]) -> io::Result<Infallible> {
    // MFD_EXEC, which nix lacks: vm.memfd_noexec=1 asks for it, 2 forbids it, and kernels before 6.3 do not know it.
    let executable = MFdFlags::from_bits_retain(0x10);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memfd = match memfd_create(c"kase", flags | executable) {
        Err(nix::Error::EINVAL) => memfd_create(c"kase", flags)?,
        made => made?,
    };
    let mut copy = File::from(memfd);
    io::copy(&mut File::open(OWN)?, &mut copy)?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    // On a busy host something else in the kernel may hold one of the pages, and for longer than fcntl waits.
    let mut again = 0..20;
    while let Err(errno) = fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)) {
        if errno != Errno::EBUSY || again.next().is_none() {
            return Err(errno.into());
        }
    }
    Err(execute_file(copy.as_fd(), arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKERS: [Maker; 2] = [Maker::Privileged, Maker::Unprivileged];
    const OWNERS: [Owner; 2] = [Owner::Mapped, Owner::Unmapped];
    const OTHERS: [Others; 2] = [Others::Write, Others::NoWrite];

    /// Every row that meets the condition.
    fn rows(condition: impl Fn(Exposure) -> bool) -> Vec<Exposure> {
        let all = MAKERS.into_iter().flat_map(|maker| {
            OWNERS.into_iter().flat_map(move |owner| {
                OTHERS.into_iter().map(move |others| Exposure { maker, owner, others })
            })
        });
        all.filter(|row| condition(*row)).collect()
    }

    fn on(medium: Medium) -> impl Fn(Exposure) -> Action {
        move |exposure| decide(exposure, || medium)
    }

    #[test]
    fn whatever_root_makes_needs_another_file() {
        let rows = rows(|row| row.maker == Maker::Privileged);
        assert!(rows.into_iter().map(on(Medium::Ordinary)).all(|action| action == Action::ExecuteAgain));
    }

    #[test]
    fn an_owner_that_the_container_can_be_needs_another_file() {
        let rows = rows(|row| row.owner == Owner::Mapped);
        assert!(rows.into_iter().map(on(Medium::Ordinary)).all(|action| action == Action::ExecuteAgain));
    }

    #[test]
    fn a_file_that_others_may_write_needs_another_file() {
        let rows = rows(|row| row.others == Others::Write);
        assert!(rows.into_iter().map(on(Medium::Ordinary)).all(|action| action == Action::ExecuteAgain));
    }

    #[test]
    fn a_file_that_only_a_foreign_owner_may_write_is_not_even_looked_at() {
        let exposure =
            Exposure { maker: Maker::Unprivileged, owner: Owner::Unmapped, others: Others::NoWrite };
        assert_eq!(decide(exposure, || panic!("looked at")), Action::GoOn);
    }

    #[test]
    fn a_file_that_nobody_writes_is_never_left_for_another() {
        for medium in [Medium::Overlay, Medium::WithoutWriting] {
            assert!(rows(|_| true).into_iter().map(on(medium)).all(|action| action == Action::GoOn));
        }
        assert!(
            rows(|_| true).into_iter().map(on(Medium::Memfd)).all(|action| action != Action::ExecuteAgain)
        );
    }

    #[test]
    fn a_range_of_anybody_that_covers_the_owner_counts() {
        let subuid = "alice:100000:65536\nbob:1000:1\n";
        assert!(may_give(subuid, 100_000) && may_give(subuid, 165_535) && may_give(subuid, 1000));
        assert!(!may_give(subuid, 0) && !may_give(subuid, 165_536) && !may_give(subuid, 1001));
        assert!(may_give("eve:0:1", 0));
        assert!(may_give("eve:4294967295:18446744073709551615", u32::MAX));
    }

    #[test]
    fn numbers_that_are_read_in_more_than_one_way_count_as_covering() {
        for line in ["eve:0x0:1", "eve:00:1", "eve: 0:1", "eve:-1:5", "eve:100000:010", "eve::1"] {
            assert!(may_give(line, 7), "{line}");
        }
    }

    #[test]
    fn lines_that_are_no_ranges_give_nothing() {
        assert!(!may_give("# alice\n\nalice\nalice:100000\n", 0));
    }

    #[test]
    fn a_directory_service_is_seen_in_nsswitch() {
        assert!(has_service("passwd: files sss\nsubid: files sss\n"));
        assert!(!has_service("passwd: files sss\nsubid: files\n"));
        assert!(!has_service(""));
    }

    #[test]
    fn this_very_test_runs_from_an_ordinary_file() {
        assert_eq!(medium(), Medium::Ordinary);
    }
}
