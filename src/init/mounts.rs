//! Mounts the entries of `mounts`, in their order. The life of one:
//!
//! 1. `plan/mounts.rs` reads the entry of config.json and decides what is mounted where ([`Mount`]): its words by
//!    `plan/mount_options.rs`, its id mapping by `plan/mount_idmap.rs`.
//! 2. `launch/mounts.rs` prepares it in kase, before init is made ([`PreparedMount`]): a symlink that is to be copied is
//!    read, and what init has no right to is opened ([`Source`]). Ids are mapped there too, by `launch/mount_idmap.rs`.
//! 3. Here, in init, [`Mounter`] takes one after the other. `mount_point.rs` finds or makes the mount point,
//!    which no symlink of the image's leads out of the rootfs. `file_system.rs` mounts a new file system,
//!    `cgroup_mount.rs` the cgroups; `bind.rs` makes bind mounts, with the flags of `flags.rs`.
//! 4. A tmpfs becomes read-only only when all mount points in it have been made ([`make_readonly`]).
//!
//! The kernel has two interfaces. A new file system is made by mount(2): one call, where fsopen(2) and those that belong
//! to it are five and more. By descriptors (open_tree(2), fsopen(2), move_mount(2)) is made what must be complete before
//! anybody can reach it, or must not be resolved by a path again: bind mounts, whose flags and ids are changed first;
//! a tmpfs that is filled first (`tmpcopyup`); a file system of other namespaces than init's (proc); and what is mounted
//! on a name in a directory, where a symlink could appear.

use super::bind::{bind, clone_inside, clone_source, copy_symlink, remount};
use super::cgroup_mount::{self, HierarchiesMount};
use super::file_system;
use super::flags::Flags;
use super::mount_point::Rootfs;
use super::namespaces::Entry;
use super::placed::Placed;
use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::host::hierarchies::Hierarchy;
use crate::kernel::mount::{self, Reach, attribute};
use crate::plan::Plan;
use crate::plan::mount_options::Extension;
use crate::plan::mounts::{Mount, What};
use crate::plan::namespaces::Kind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

/// An entry of `mounts`, with what kase has prepared of it.
#[derive(Debug)]
pub struct PreparedMount<'a> {
    /// The entry.
    pub entry: &'a Mount<'a>,
    /// Where what is mounted comes from.
    pub source: Source,
}

/// What is known of an entry's source before init mounts it.
#[derive(Debug)]
pub enum Source {
    /// Nothing: init opens it, or there is none to open.
    ForInit,
    /// It is open: a detached tree, with its ids mapped.
    Tree(OwnedFd),
    /// It is a symlink that leads there, and is copied as such.
    Symlink(PathBuf),
}

/// The entries that are still to be mounted.
pub type Mounts<'a> = std::vec::IntoIter<PreparedMount<'a>>;

/// Mounts one entry after the other.
pub struct Mounter<'a> {
    plan: &'a Plan<'a>,
    rootfs: Rootfs<'a>,
    /// The way into the container's pid namespace, if others are in it.
    joined_pid: Option<&'a mut Entry>,
    /// The cgroup hierarchies of v1, where they are known.
    hierarchies: Option<Rc<[Hierarchy]>>,
    /// Mounts of v1's that have no hierarchies yet.
    unfilled: Vec<HierarchiesMount<'a>>,
    /// What becomes read-only when all else is done.
    pub late_readonly: Vec<OwnedFd>,
}

impl<'a> Mounter<'a> {
    /// For the rootfs with this root.
    pub fn new(
        plan: &'a Plan<'_>,
        root: BorrowedFd<'a>,
        joined_pid: Option<&'a mut Entry>,
        hierarchies: Option<Rc<[Hierarchy]>>,
    ) -> nix::Result<Self> {
        let flags = if plan.namespaces.has(Kind::User) { Flags::Locked } else { Flags::Free };
        let rootfs = Rootfs::of(root, flags)?;
        Ok(Self { plan, rootfs, joined_pid, hierarchies, unfilled: Vec::new(), late_readonly: Vec::new() })
    }

    /// Mounts those that come before the first that needs this process to be placed: one that fills memory of the
    /// container's, or asks kase for its ids, or shows the cgroups. So it is done while kase is still at the cgroups. Of
    /// v1's cgroups only the hierarchies are left out, unless something is to be mounted on them.
    pub fn mount_before_placed(&mut self, mounts: &mut Mounts<'a>) -> anyhow::Result<()> {
        for PreparedMount { entry, source } in mounts.by_ref().take(self.before_placed()) {
            match entry.what {
                What::Cgroup => {
                    let known = self.hierarchies.as_ref();
                    self.unfilled.push(HierarchiesMount::begin(&self.rootfs, entry, known)?);
                }
                _ => self.one(entry, source)?,
            }
        }
        Ok(())
    }

    fn before_placed(&self) -> usize {
        let mounts = &self.plan.mounts;
        let is_v1 = |mount: &Mount<'_>| mount.what == What::Cgroup && self.hierarchies.is_some();
        let needs = |(index, mount): (usize, &Mount<'_>)| {
            let inside = matches!(mount.what, What::Inside { .. });
            let mut v1 = mounts[..index].iter().filter(|before| is_v1(before));
            mount.options.extension == Extension::CopyUp
                || inside && mount.idmap.is_some()
                || mount.what == What::Cgroup && !is_v1(mount)
                || v1.any(|v1| inside || mount.destination.starts_with(v1.destination))
        };
        mounts.iter().enumerate().position(needs).unwrap_or(mounts.len())
    }

    /// Mounts the rest.
    pub fn mount_placed(
        &mut self,
        mounts: Mounts<'a>,
        placed: &Placed,
        kase: &InitEnd,
    ) -> anyhow::Result<()> {
        for cgroups in self.unfilled.drain(..) {
            self.late_readonly.extend(cgroups.fill(self.plan, placed)?);
        }
        let first = self.plan.mounts.len() - mounts.len();
        for (index, PreparedMount { entry, source }) in (first..).zip(mounts) {
            match &entry.what {
                What::Inside { path, reach } if entry.idmap.is_some() => {
                    let tree = clone_inside(&self.rootfs, entry, path, *reach)?;
                    // It asks for rights over the file system that this process may have given up.
                    kase.say(&ToKase::MapMountIds(u32::try_from(index)?, tree.try_clone()?))?;
                    kase.expect(ToInit::IdsMapped)?;
                    bind(&self.rootfs, entry, &tree)?;
                }
                What::Cgroup => {
                    let known = self.hierarchies.as_ref();
                    let late = cgroup_mount::mount(&self.rootfs, entry, self.plan, known, placed)?;
                    self.late_readonly.extend(late);
                }
                _ => self.one(entry, source)?,
            }
        }
        Ok(())
    }

    /// Mounts one that needs kase no more.
    fn one(&mut self, entry: &Mount<'_>, source: Source) -> anyhow::Result<()> {
        let rootfs = &self.rootfs;
        match (&entry.what, source) {
            (_, Source::Symlink(target)) => copy_symlink(rootfs.root, entry, &target),
            (_, Source::Tree(tree)) => bind(rootfs, entry, &tree),
            (What::Bind { .. }, Source::ForInit) if entry.options.remount => remount(rootfs, entry),
            (What::Bind { source, reach }, Source::ForInit) => {
                bind(rootfs, entry, &clone_source(entry, source, *reach)?)
            }
            (What::Inside { path, reach }, Source::ForInit) => {
                bind(rootfs, entry, &clone_inside(rootfs, entry, path, *reach)?)
            }
            (What::FileSystem { kind, source, fallback }, Source::ForInit) => {
                let what = (*kind, *source, *fallback);
                let late = file_system::mount(rootfs, entry, what, self.joined_pid.as_deref_mut())?;
                self.late_readonly.extend(late);
                Ok(())
            }
            // Whoever calls this mounts them by itself.
            (What::Cgroup, Source::ForInit) => Ok(()),
        }
    }
}

/// Makes read-only what was to become so when all else is done.
pub fn make_readonly(late: Vec<OwnedFd>) -> anyhow::Result<()> {
    late.iter().try_for_each(|mounted| {
        mount::add_attributes(mounted.as_fd(), attribute::RDONLY, Reach::One)
            .or_fault(|| Fault::at("mounts", "make a tmpfs read-only"))
    })
}
