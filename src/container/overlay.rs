//! Makes ready what an overlay keeps on the host.
//!
//! Whoever may write to its directory decides what the container runs, and could lead root's chown elsewhere: so
//! everything in it is reached by descriptors, and a directory that others may write to is refused.

use super::store::Store;
use super::{Status, kill};
use crate::fault::{Fault, OrFault};
use crate::kernel::file_id::FileId;
use crate::kernel::path::{of_descriptor, open, openat};
use crate::plan::Plan;
use crate::plan::overlay::{Overlay, Upper, overlapping, overlaps};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, mkdirat, stat};
use nix::unistd::{Gid, Uid, fchown};
use rootless::caller::{Caller, Standing};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// What the record says of it: an id may be that of another container later.
pub fn directory(plan: &Plan<'_>) -> Option<PathBuf> {
    match &plan.overlay {
        Some(Overlay { upper: Upper::Directory(directory), .. }) => Some(directory.clone()),
        _ => None,
    }
}

/// Makes `upper` and `work` in the overlay's directory where they are missing, and the directory itself. It is what
/// this returns; nobody else gets it until that is closed, and then nobody while the container lives.
///
/// # Errors
/// A directory that leads into the rootfs, that cannot be made, that others may write to, or that another
/// container uses.
pub fn ready(plan: &Plan<'_>, caller: &Caller, store: &Store, id: &str) -> anyhow::Result<Option<File>> {
    let Some(overlay @ Overlay { upper: Upper::Directory(directory), .. }) = &plan.overlay else {
        return Ok(None);
    };
    let doing = || {
        Fault::doing(format!("make the overlay's directory {}", directory.display()))
            .remedy("name one in a directory that exists and that you may write to")
    };
    let top = open_top(directory).or_write_fault(doing)?;
    let real = fs::read_link(of_descriptor(&top)).or_fault(doing)?;
    if overlaps(&real, &fs::canonicalize(&plan.rootfs).or_fault(doing)?) {
        return Err(overlapping("--overlay", directory).into());
    }
    let access = check(&fstat(&top).or_fault(doing)?, directory, caller)?;
    // Whatever way led to the root: by another it would look as if somebody else used the directory.
    take(&top, directory, &fs::canonicalize(store.place_of(id)?).or_fault(doing)?)?;
    let lower = stat(&plan.rootfs).or_fault(doing)?;
    for name in ["upper", "work"] {
        if let Some(new) = make(top.as_fd(), name).or_write_fault(doing)? {
            give_owner_and_mode(&new, name, &lower, owner(overlay, plan, caller, &lower))
                .or_write_fault(doing)?;
            continue;
        }
        // A symlink is refused where the layers are opened, with a message of its own.
        let flags = DIRECTORY | OFlag::O_NOFOLLOW;
        let Ok(there) = openat(&top, name, flags, Mode::empty()) else { continue };
        let stat = fstat(&there).or_fault(doing)?;
        let known = |uid| uid == caller.uid || uid == lower.st_uid || is_mapped(plan, uid);
        if !known(stat.st_uid) || (access == Access::Others && stat.st_mode & OTHERS_WRITE != 0) {
            return Err(unsafe_directory(&real.join(name), &stat).into());
        }
    }
    Ok(Some(top))
}

/// The directory itself, which may be named by a symlink.
fn open_top(directory: &Path) -> nix::Result<File> {
    // Nobody else may reach into it: the container could leave set-user-ID programs there.
    let flags = match nix::unistd::mkdir(directory, Mode::S_IRWXU) {
        Ok(()) => DIRECTORY | OFlag::O_NOFOLLOW,
        Err(Errno::EEXIST) => DIRECTORY,
        Err(errno) => return Err(errno),
    };
    open(directory, flags).map(File::from)
}

/// Who may look for what is in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Owner,
    Others,
}

const OTHERS_WRITE: u32 = 0o022;
const OTHERS_SEARCH: u32 = 0o011;

/// That others may search it is only told: it is so with a rootfs as well, and a bundle's directory may be the
/// overlay's too.
fn check(stat: &FileStat, directory: &Path, caller: &Caller) -> Result<Access, Fault> {
    if stat.st_uid != caller.uid || stat.st_mode & OTHERS_WRITE != 0 {
        return Err(unsafe_directory(directory, stat));
    }
    if stat.st_mode & OTHERS_SEARCH == 0 {
        return Ok(Access::Owner);
    }
    tracing::warn!(
        "--overlay: other users may enter {}, and execute there what the container marks set-user-ID: chmod 700 it",
        directory.display()
    );
    Ok(Access::Others)
}

fn unsafe_directory(directory: &Path, stat: &FileStat) -> Fault {
    let (shown, uid, mode) = (directory.display(), stat.st_uid, stat.st_mode & 0o7777);
    Fault::at(
        "--overlay",
        format!("{shown} is user {uid}'s with mode {mode:04o}: others may change what is in it"),
    )
    .remedy(format!("make it yours alone (chown, chmod go-w), or name a new one instead of {shown}"))
}

/// The file in it that says where the state of the container is that has it.
const USER: &str = "container";

/// Takes the directory for the container whose state is at `place`: another's may be in any state root. The lock
/// is for as long as the container is being made; from then on its state shows whether it lives.
fn take(top: &File, directory: &Path, place: &Path) -> anyhow::Result<()> {
    // On a file system without locks, such as some NFS, the file alone has to do.
    let locked = !matches!(top.try_lock(), Err(TryLockError::WouldBlock));
    let shown = directory.join(USER);
    let doing = || Fault::doing(format!("write who uses {}", shown.display()));
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mode = Mode::from_bits_truncate(0o600);
    let others = || {
        let (shown, what) = (shown.display(), "which kase would write who uses the directory into");
        Fault::at("--overlay", format!("{shown}, {what}, is there already and none of kase's"))
            .remedy("give the file another name, or name another directory")
    };
    let file = match openat(top, USER, flags | OFlag::O_CLOEXEC, mode) {
        // A symlink.
        Err(Errno::ELOOP) => return Err(others().into()),
        opened => opened.map(File::from).or_write_fault(doing)?,
    };
    let user = user(&file).or_fault(doing)?.ok_or_else(others)?;
    let known = user != place && lives(&user, &fstat(top)?)?;
    if !locked || known {
        return Err(in_use(directory, Some(user).filter(|_| known)).into());
    }
    let write = || file.set_len(0).and_then(|()| file.write_all_at(place.as_os_str().as_bytes(), 0));
    write().or_write_fault(doing)
}

/// Where the state of the container is that the file names; an empty path when it was made and not written yet, and
/// nothing when it is somebody else's file.
fn user(file: &File) -> io::Result<Option<PathBuf>> {
    const MOST: u64 = libc::PATH_MAX as u64;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    let user = PathBuf::from(OsStr::from_bytes(&text));
    let id = user.file_name().and_then(OsStr::to_str);
    let is_ours = user.is_absolute() && id.is_some_and(|id| super::id::check(id).is_ok());
    Ok(Some(user).filter(|_| text.is_empty() || is_ours && !text.contains(&b'\n')))
}

/// By the container at this place, or by one that is being made and has not said where.
fn in_use(directory: &Path, place: Option<PathBuf>) -> Fault {
    let directory = directory.display();
    let Some(place) = place else {
        let what = format!("{directory} is in use by a container that is being created");
        return Fault::at("--overlay", what).remedy("wait until that is done, or name another directory");
    };
    let root = place.parent().unwrap_or(&place).display();
    let id = place.file_name().unwrap_or_default().to_string_lossy();
    Fault::at("--overlay", format!("{directory} is in use by container {id:?} of {root}"))
        .remedy(format!("stop that one first (kase --root {root} kill {id} KILL), or name another directory"))
}

/// Whether a container with its state there and this directory has processes.
fn lives(place: &Path, top: &FileStat) -> anyhow::Result<bool> {
    let (Some(root), Some(id)) = (place.parent(), place.file_name().and_then(OsStr::to_str)) else {
        return Ok(false);
    };
    let same = |path: &PathBuf| FileId::at(path) == Ok(top.into());
    let found = match Store::at(root).look(id) {
        // A container of this user's would be in a directory that this user may look into.
        Err(error) if error.downcast_ref() == Some(&Errno::EACCES) => None,
        found => found?,
    };
    let Some(found) = found else { return Ok(false) };
    Ok(found.facts().and_then(|facts| facts.overlay.as_ref()).is_some_and(same)
        && (found.status()? != Status::Stopped || kill::has_processes(&found)?))
}

/// Opens it if it was made now.
fn make(top: BorrowedFd<'_>, name: &str) -> nix::Result<Option<OwnedFd>> {
    match mkdirat(top, name, Mode::S_IRWXU) {
        Ok(()) => openat(top, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()).map(Some),
        Err(Errno::EEXIST) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn give_owner_and_mode(
    new: &OwnedFd,
    name: &str,
    lower: &FileStat,
    owner: Option<(u32, u32)>,
) -> nix::Result<()> {
    if let Some((uid, gid)) = owner {
        fchown(new, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    // The root of the overlay is what the upper layer's is.
    if name == "upper" {
        fchmod(new, Mode::from_bits_truncate(lower.st_mode & 0o7777))?;
    }
    Ok(())
}

/// The rootfs's, or where the container has not got that id, its root. A user can only keep what it makes.
fn owner(overlay: &Overlay, plan: &Plan<'_>, caller: &Caller, lower: &FileStat) -> Option<(u32, u32)> {
    let known = plan.maps.as_ref().is_none_or(|maps| {
        maps.uids.inside(lower.st_uid).is_some() && maps.gids.inside(lower.st_gid).is_some()
    });
    let lower = (lower.st_uid, lower.st_gid);
    (caller.standing != Standing::User).then(|| if known { lower } else { overlay.root.unwrap_or(lower) })
}

/// Whether the container has that user: it may have given its root to any of them.
fn is_mapped(plan: &Plan<'_>, uid: u32) -> bool {
    plan.maps.as_ref().is_some_and(|maps| maps.uids.inside(uid).is_some())
}
