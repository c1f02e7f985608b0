//! The container's half: from the clone to the exec, as a recipe that reads from top to bottom.
//!
//! Init has the same plan as kase, in copied memory. It must not touch what only kase may (the state, the
//! cgroup), and everything that it opens is close-on-exec. [`added`] is the recipe of a process that joins a container;
//! both end in [`execute`].

pub mod added;
pub mod affinity;
pub mod attributes;
mod cgroup_mount;
mod copy_up;
mod devices;
mod execute;
mod fake_root;
mod filter;
mod flags;
mod fuse;
mod hook_runner;
mod inputs;
mod inside;
mod mounts;
pub mod namespaces;
mod obstacle;
pub mod overlay;
mod partner;
mod paths;
mod pid_namespace;
mod placed;
mod process;
mod program;
mod refusal;
pub mod rootfs;
pub mod session;
mod symlink;
mod sysctl;
mod tasks_files;
mod terminal;

use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::hook;
use crate::host::hierarchies::Hierarchy;
use crate::kernel::file_id::FileId;
use crate::kernel::path::of_descriptor;
use crate::kernel::process::{Dumpable, exit_now, set_dumpable, unshare};
use crate::kernel::{descriptor, mount, net};
use crate::plan::Plan;
use crate::plan::mount_options::Extension;
use crate::plan::mounts::{Mount, What};
use crate::plan::namespaces::Kind;
use crate::plan::payload::Payload;
use crate::plan::scheduling::Affinity;
use crate::trace::{self, Who};
use attributes::Executor;
use cgroup_mount::{CgroupMount, Hierarchies, View};
use execute::{StartContainer, execute};
pub use inputs::{Inputs, Trees};
use mounts::Mounter;
use nix::sys::stat::{Mode, umask};
use partner::Partner;
use placed::Placed;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Runs init, or the hop and then init. Never returns: the process becomes the container's or ends.
pub fn run(plan: &Plan<'_>, payload: &Payload<'_>, inputs: Inputs, kase: InitEnd) -> ! {
    let ahead = plan.namespaces.needs_hop() && !plan.namespaces.joins_pid();
    trace::enter(if ahead { Who::Hop } else { Who::Init });
    let Inputs { gate, trees, hierarchies, state } = inputs;
    // Who made the container may exec in it while it waits for its start, and nothing of the host's is left to be seen
    // then. Only in a user namespace does that take a process that lets itself be looked into.
    let at_gate = if plan.namespaces.has(Kind::User) { Dumpable::Yes } else { Dumpable::No };
    let mut partner = Partner::new(kase, gate, at_gate);
    let init = Init { plan, hierarchies, state: &state };
    let Err(error) = init.recipe(payload, trees, &mut partner);
    partner.refuse(&error);
    exit_now(1)
}

struct Init<'a> {
    plan: &'a Plan<'a>,
    /// The cgroup hierarchies of v1.
    hierarchies: Option<Rc<[Hierarchy]>>,
    /// What hooks are told.
    state: &'a hook::State,
}

impl Init<'_> {
    fn recipe(
        &self,
        payload: &Payload<'_>,
        mut trees: Trees,
        partner: &mut Partner,
    ) -> anyhow::Result<Infallible> {
        let plan = self.plan;
        // What kase was started with must not leak, nor be held open until the start; what the container is to
        // inherit comes first.
        descriptor::close_inherited_from(3 + plan.preserve_fds)
            .or_fault(|| Fault::doing("close the descriptors that kase was started with"))?;
        // Only now: later /proc/self is no longer ours to write.
        if let Some(score) = plan.process.oom_score_adj {
            process::set_oom_score(score)?;
        }
        // Other processes of a shared pid namespace must not look into this one (CVE-2016-9962).
        if plan.maps.is_none() {
            set_dumpable(Dumpable::No);
        }
        let joined_pid = namespaces::set_up(plan, &partner.kase, self.state)?;
        let executor = if joined_pid.is_some() { Executor::Successor } else { Executor::Own };
        let in_user_namespace = plan.namespaces.has(Kind::User);
        // With the ids that kase has, v1 lets this process into its cgroups.
        let placed = in_user_namespace.then(|| self.place(partner)).transpose()?;
        // What is made from here on is its own.
        session::take_root(plan)?;
        // With maps to be written, only now: their helpers have to see that the process is the user's own. And whoever
        // joins a user namespace or changes ids may be looked into again (fs.suid_dumpable).
        if in_user_namespace {
            set_dumpable(Dumpable::No);
        }
        let proc = sysctl::Procfs::open()?;
        session::begin(executor, payload.keyring.as_deref(), plan.attributes.labels.selinux, &proc)?;
        if plan.namespaces.makes(Kind::Network) {
            trace::step("loopback");
            net::loopback_up().or_fault(|| Fault::doing("bring the loopback interface up"))?;
        }
        let root = rootfs::prepare(plan, &mut trees)?;
        let root = self.overlay(root, &mut trees, &partner.kase)?;
        // Mount points and devices get exactly the modes that they are made with.
        let callers_umask = umask(Mode::empty());
        let mut mounter = Mounter {
            root: root.as_fd(),
            identity: FileId::of(&root)?,
            sources: trees.sources,
            flags: match in_user_namespace {
                true => flags::Flags::Locked,
                false => flags::Flags::Free,
            },
            links: trees.links,
            joined_pid,
            late_readonly: Vec::new(),
        };
        // Everything of kase's that is still open is closed here: its number may be another descriptor's later.
        drop((trees.rootfs, trees.layers, trees.checked));
        self.mount_all(&mut mounter, placed, partner)?;
        let Mounter { joined_pid, late_readonly, .. } = mounter;
        devices::make(root.as_fd(), &plan.devices, plan.device_origin)?;
        if plan.tells_apt {
            fake_root::write(root.as_fd())
                .or_fault(|| Fault::at("--fake-root", "tell apt of it in the container's /dev"))?;
        }
        self.hooks(&root, callers_umask, &partner.kase, joined_pid.as_ref())?;
        rootfs::enter(plan, root.as_fd())?;
        self.names()?;
        match plan.process.terminal {
            Some(size) => {
                let owner = plan.process.user.uid;
                terminal::take(root.as_fd(), size, owner, terminal::Console::Bound, &partner.kase)?;
            }
            None => {
                process::adopt_stdio(root.as_fd(), &proc, &plan.process.user, !plan.devices.is_empty())?;
            }
        }
        // Parameters before paths become read-only: /proc/sys is one of these.
        sysctl::write(&proc, &plan.sysctl)?;
        process::make_cwd(root.as_fd(), plan.process.cwd)?;
        self.close_paths(root.as_fd(), late_readonly)?;
        if plan.process.arguments.is_empty() {
            tracing::warn!("process is not set in config.json: there is nothing to run");
        }
        // What this process makes is in the container's pid namespace from here on.
        joined_pid.map_or(Ok(()), |mut entry| entry.enter())?;
        let hooks = plan.hooks.of(hook::Name::StartContainer);
        // Without any, nothing is asked of the filter.
        let hooks = (!hooks.is_empty()).then_some(StartContainer { hooks, state: self.state });
        execute(payload, executor, partner, root, proc, hooks)
    }

    /// Waits until this process is in its cgroup, and makes the cgroup namespace, whose root is that.
    fn place(&self, partner: &Partner) -> anyhow::Result<Placed> {
        let mut placed = Placed::wait(&partner.kase, &Affinity::default())?;
        if self.plan.mounts.iter().any(|mount| mount.what == What::Cgroup) {
            placed.own_cgroups = cgroup_mount::own()?;
        }
        if self.plan.namespaces.makes(Kind::Cgroup) {
            unshare(Kind::Cgroup.flag())
                .or_fault(|| Fault::at("linux.namespaces", "make a cgroup namespace"))?;
        }
        Ok(placed)
    }

    /// What the container changes from here on goes elsewhere.
    fn overlay(&self, root: OwnedFd, trees: &mut Trees, kase: &InitEnd) -> anyhow::Result<OwnedFd> {
        match &self.plan.overlay {
            Some(overlay) => overlay::lay(
                overlay,
                overlay::Ground {
                    rootfs: root.as_fd(),
                    layers: trees.layers.take(),
                    checked: trees.checked.take(),
                    label: self.plan.mount_label,
                    kase,
                },
            ),
            None => Ok(root),
        }
    }

    /// Makes the mounts. While kase is still at the cgroups, those that do not need them; then the rest.
    fn mount_all(
        &self,
        mounter: &mut Mounter<'_>,
        placed: Option<Placed>,
        partner: &Partner,
    ) -> anyhow::Result<()> {
        trace::step("mounts");
        let first = if placed.is_some() { 0 } else { self.before_placed() };
        let (before, after) = self.plan.mounts.split_at(first);
        let mut unfilled = Vec::new();
        for (index, mount) in before.iter().enumerate() {
            match mount.what {
                What::Cgroup => {
                    unfilled.push(Hierarchies::begin(mounter, mount, self.hierarchies.as_ref())?);
                }
                _ => mounter.mount(index, mount)?,
            }
        }
        let placed = placed.map_or_else(|| self.place(partner), Ok)?;
        for hierarchies in unfilled {
            mounter.late_readonly.extend(hierarchies.fill(self.view(), &placed.own_cgroups)?);
        }
        for (index, mount) in (first..).zip(after) {
            match (&mount.what, &mount.idmap) {
                (What::Inside { path, reach }, Some(_)) => {
                    let tree = mounter.clone_inside(mount, path, *reach)?;
                    mounter.bind(mount, map_ids(index, tree, &partner.kase)?)?;
                }
                (What::Cgroup, _) => match CgroupMount::begin(mounter, mount, self.hierarchies.as_ref())? {
                    CgroupMount::None => {}
                    CgroupMount::Unified => {
                        cgroup_mount::unified(mounter, mount, self.view(), &placed.own_cgroups)?;
                    }
                    CgroupMount::Legacy(hierarchies) => {
                        let filled = hierarchies.fill(self.view(), &placed.own_cgroups)?;
                        mounter.late_readonly.extend(filled);
                    }
                },
                _ => mounter.mount(index, mount)?,
            }
        }
        Ok(())
    }

    /// How many mounts come before the first that needs this process to be placed: one that fills memory of the
    /// container's, or asks kase for its ids, or shows the cgroups. v1's directories can be made before, and are filled
    /// when all that comes before is mounted, unless it is to be mounted on them.
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

    fn view(&self) -> View {
        match self.plan.namespaces.has(Kind::Cgroup) {
            true => View::Namespace,
            false => View::Host,
        }
    }

    /// The hooks before the root changes: kase's own first, then ours, in the container's namespaces.
    fn hooks(
        &self,
        root: &OwnedFd,
        callers_umask: Mode,
        kase: &InitEnd,
        joined_pid: Option<&namespaces::Entry>,
    ) -> anyhow::Result<()> {
        let hooks = &self.plan.hooks;
        if hooks.runtime_has_some() {
            trace::step("wait for hooks");
            kase.say(&ToKase::RunHooks)?;
            kase.expect(ToInit::HooksDone)?;
        }
        let listed = hooks.of(hook::Name::CreateContainer);
        if listed.is_empty() {
            return Ok(());
        }
        if let Some(runner) = joined_pid.and_then(|entry| entry.hook_runner.as_ref()) {
            return runner.run(root.as_fd());
        }
        let state = self.state.now("created", Some(std::process::id().cast_signed()));
        // In the rootfs, as with runc: its mounts are there, wherever its path leads outside.
        let directory = of_descriptor(root);
        let environment = hook::Environment::Empty;
        let around = hook::Around { directory: &directory, environment, partner: Some(kase.as_fd()) };
        // What these make has the modes that the caller's mask leaves, as what the other hooks of the host's make.
        let exact = umask(callers_umask);
        let done = hook::run(hook::Name::CreateContainer, listed, &state, around);
        umask(exact);
        done
    }

    fn names(&self) -> anyhow::Result<()> {
        if let Some(name) = self.plan.hostname {
            nix::unistd::sethostname(name)
                .or_fault(|| Fault::at("hostname", format!("set it to {name:?}")))?;
        }
        if let Some(name) = self.plan.domainname {
            crate::kernel::process::set_domain_name(name)
                .or_fault(|| Fault::at("domainname", format!("set it to {name:?}")))?;
        }
        Ok(())
    }

    fn close_paths(&self, root: BorrowedFd<'_>, late: Vec<OwnedFd>) -> anyhow::Result<()> {
        let change = mount::Attributes { set: mount::attribute::RDONLY, clear: 0 };
        for mounted in late {
            mount::set_attributes(mounted.as_fd(), change, mount::Reach::One)
                .or_fault(|| Fault::at("mounts", "make a tmpfs read-only"))?;
        }
        if self.plan.readonly {
            rootfs::make_readonly(root)?;
        }
        paths::readonly(root, &self.plan.readonly_paths)?;
        paths::mask(root, &self.plan.masked, self.plan.mount_label)
    }
}

/// Has kase map a tree's ids: it asks for rights over the file system that init may have given up.
fn map_ids(index: usize, tree: OwnedFd, kase: &InitEnd) -> anyhow::Result<OwnedFd> {
    kase.say(&ToKase::MapMountIds(u32::try_from(index)?, tree.try_clone()?))?;
    kase.expect(ToInit::IdsMapped)?;
    Ok(tree)
}
