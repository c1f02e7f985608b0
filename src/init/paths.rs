//! Masks paths and makes them read-only, once the rootfs is the root.

use super::inside;
use crate::fault::{Fault, OrFault, Place};
use crate::kernel::mount::{self, Reach, attribute};
use crate::plan::labels::MountLabel;
use crate::trace;
use nix::fcntl::OFlag;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Makes each path, and what is mounted below it, read-only. What is not there needs no protection.
pub fn readonly(root: BorrowedFd<'_>, paths: &[(Place, &Path)]) -> anyhow::Result<()> {
    trace::step("read-only paths");
    for (at, path) in paths {
        one_readonly(root, path).or_fault(|| Fault::at(at, format!("make {} read-only", path.display())))?;
    }
    Ok(())
}

fn one_readonly(root: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let Some(target) = open(root, path)? else { return Ok(()) };
    let tree = mount::clone_mount(target.as_fd(), Reach::Recursive)?;
    mount::add_attributes(tree.as_fd(), attribute::RDONLY, Reach::Recursive)?;
    mount::attach(tree.as_fd(), target.as_fd())
}

/// Hides each path: a file behind the container's /dev/null, a directory behind an empty read-only tmpfs.
pub fn mask(
    root: BorrowedFd<'_>,
    paths: &[(Place, &Path)],
    label: Option<MountLabel<'_>>,
) -> anyhow::Result<()> {
    trace::step("masked paths");
    let mut covers = Covers { null: None, empty: None, label };
    for (at, path) in paths {
        one_masked(root, path, &mut covers).or_fault(|| Fault::at(at, format!("mask {}", path.display())))?;
    }
    Ok(())
}

fn one_masked(root: BorrowedFd<'_>, path: &Path, covers: &mut Covers<'_>) -> anyhow::Result<()> {
    let Some(target) = open(root, path)? else { return Ok(()) };
    match inside::is_directory(target.as_fd())? {
        true => Ok(covers.hide_directory(target.as_fd())?),
        false => covers.hide_file(root, target.as_fd()),
    }
}

/// What hides paths: each is found or made once.
struct Covers<'a> {
    null: Option<OwnedFd>,
    /// One tmpfs serves all directories: a second superblock costs more than a second mount of the first.
    empty: Option<OwnedFd>,
    label: Option<MountLabel<'a>>,
}

impl Covers<'_> {
    fn hide_file(&mut self, root: BorrowedFd<'_>, target: BorrowedFd<'_>) -> anyhow::Result<()> {
        let null = match self.null.take() {
            Some(null) => null,
            None => inside::null_device(root, OFlag::O_PATH).map_err(no_null)?,
        };
        let copy = mount::clone_mount(self.null.insert(null).as_fd(), Reach::One)?;
        Ok(mount::attach(copy.as_fd(), target)?)
    }

    fn hide_directory(&mut self, target: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(empty) = &self.empty {
            let copy = mount::clone_mount(empty.as_fd(), Reach::One)?;
            return mount::attach(copy.as_fd(), target);
        }
        let small = [("source", "tmpfs"), ("nr_blocks", "1"), ("nr_inodes", "1"), ("mode", "755")];
        let small = small.map(|(name, value)| (name, Some(value)));
        let options = small.into_iter().chain(self.label.map(MountLabel::as_option));
        let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
        let empty = mount::make_file_system("tmpfs", options, attributes)?;
        mount::attach(empty.as_fd(), target)?;
        self.empty = Some(empty);
        Ok(())
    }
}

/// What hides files is the container's null device.
fn no_null(error: io::Error) -> anyhow::Error {
    let cause = match error.raw_os_error() {
        Some(libc::ELOOP) => "/dev/null in the container is a symlink, or behind one",
        Some(libc::ENODEV) => "/dev/null in the container is not the null device",
        Some(libc::ENOENT | libc::ENOTDIR) => "the container has no /dev/null to hide files behind",
        _ => return Fault::doing("open /dev/null in the container").caused_by(error),
    };
    Fault::doing(cause)
        .remedy("let it be the null device: leave /dev to kase, or bind the host's")
        .caused_by(error)
}

fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
    match inside::open(root, path) {
        Ok(target) => Ok(Some(target)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
