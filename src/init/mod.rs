//! The container's half: from the clone to the exec, as a recipe that reads from top to bottom.
//!
//! Init has the same plan as kase, in copied memory. It must not touch what only kase may (the state, the
//! cgroup), and everything that it opens is close-on-exec.

pub mod added;
pub mod affinity;
pub mod attributes;
mod cgroup_mount;
mod copy_up;
mod devices;
mod fake_root;
mod filter;
mod flags;
mod fuse;
mod inputs;
mod inside;
mod mounts;
pub mod namespaces;
mod obstacle;
pub mod overlay;
mod paths;
mod pid_namespace;
mod process;
mod program;
mod refusal;
mod rootfs;
pub mod session;
mod symlink;
mod sysctl;
mod tasks_files;
mod terminal;

use crate::fault::{Fault, OrFault, Report};
use crate::gate::Starter;
use crate::handshake::{ToInit, ToKase};
use crate::hook;
use crate::kernel::file_id::FileId;
use crate::kernel::path::of_descriptor;
use crate::kernel::process::{Dumpable, exit_now, heed_signals, set_dumpable, unshare};
use crate::kernel::{descriptor, net};
use crate::log;
use crate::plan::Plan;
use crate::plan::mount_options::Extension;
use crate::plan::mounts::What;
use crate::plan::namespaces::Kind;
use crate::plan::scheduling::Affinity;
use crate::trace::{self, Who};
use attributes::Executor;
use cgroup_mount::{CgroupMount, Hierarchies, View};
pub use inputs::{Inputs, Trees};
use namespaces::Entry;
use nix::sys::stat::{Mode, umask};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Runs init, or the hop and then init. Never returns: the process becomes the container's or ends.
pub fn run(plan: &Plan<'_>, inputs: Inputs) -> ! {
    let ahead = plan.namespaces.needs_hop() && !plan.namespaces.joins_pid();
    trace::enter(if ahead { Who::Hop } else { Who::Init });
    let mut init = Init {
        plan,
        inputs,
        begun: false,
        own_cgroups: String::new(),
        joined_pid: None,
        starter: None,
        umask: Mode::empty(),
    };
    let Err(error) = init.recipe();
    let report = Report::of(&error);
    match &init.starter {
        Some(starter) => starter.refuse(&report),
        // When kase is gone there is nobody left to tell.
        None => drop(init.inputs.kase.say(&ToKase::Failed(report))),
    }
    exit_now(1)
}

struct Init<'a> {
    plan: &'a Plan<'a>,
    inputs: Inputs,
    begun: bool,
    own_cgroups: String,
    /// The way into the container's pid namespace, if others are in it: this process stays outside until all is prepared.
    joined_pid: Option<Entry>,
    starter: Option<Starter>,
    /// The caller's.
    umask: Mode,
}

impl Init<'_> {
    fn recipe(&mut self) -> anyhow::Result<Infallible> {
        let plan = self.plan;
        // What kase was started with must not leak, nor be held open until the start; what the container is to
        // inherit comes first.
        let of_kase = descriptor::close_inherited_from(3 + plan.preserve_fds)
            .or_fault(|| Fault::doing("close the descriptors that kase was started with"))?;
        // Only now: later /proc/self is no longer ours to write.
        if let Some(score) = plan.process.oom_score_adj {
            process::set_oom_score(score)?;
        }
        // Other processes of a shared pid namespace must not look into this one (CVE-2016-9962).
        if plan.maps.is_none() {
            set_dumpable(Dumpable::No);
        }
        self.joined_pid = namespaces::beside_pid(plan, &self.inputs.kase)?;
        match (&self.joined_pid, plan.namespaces.needs_hop()) {
            (Some(_), _) => {}
            (None, true) => namespaces::hop(plan, &self.inputs.kase)?,
            (None, false) => namespaces::join(&plan.namespaces.joined)?,
        }
        // With the ids that kase has, v1 lets this process into its cgroups.
        if plan.namespaces.has(Kind::User) {
            self.begin()?;
        }
        // What is made from here on is its own.
        session::take_root(plan)?;
        // With maps to be written, only now: their helpers have to see that the process is the user's own. And whoever
        // joins a user namespace or changes ids may be looked into again (fs.suid_dumpable).
        if plan.namespaces.has(Kind::User) {
            set_dumpable(Dumpable::No);
        }
        let proc = sysctl::Procfs::open()?;
        let keyring = plan.keyring.then_some(self.inputs.keyring.as_c_str());
        if self.joined_pid.is_none() {
            session::lead()?;
        }
        session::begin(keyring, plan.attributes.labels.selinux, &proc)?;
        if plan.namespaces.makes(Kind::Network) {
            trace::step("loopback");
            net::loopback_up().or_fault(|| Fault::doing("bring the loopback interface up"))?;
        }
        let root = rootfs::prepare(plan, &mut self.inputs.trees)?;
        let root = self.overlay(root)?;
        // Mount points and devices get exactly the modes that they are made with.
        self.umask = umask(Mode::empty());
        // What is copied out of the image into memory is the container's, and counts as such.
        if plan.mounts.iter().any(|mount| mount.options.extension == Extension::CopyUp) {
            self.begin()?;
        }
        let late = self.furnish(&root)?;
        self.begin()?;
        self.hooks(&root)?;
        rootfs::enter(plan, root.as_fd())?;
        self.names()?;
        if let Some(size) = plan.process.terminal {
            let owner = plan.process.user.uid;
            terminal::take(root.as_fd(), size, owner, terminal::Console::Bound, &self.inputs.kase)?;
        }
        // Parameters before paths become read-only: /proc/sys is one of these.
        sysctl::write(&proc, &plan.sysctl)?;
        process::make_cwd(root.as_fd(), plan.process.cwd)?;
        self.close_paths(&root, late)?;
        if plan.process.terminal.is_none() {
            process::adopt_stdio(root.as_fd(), &proc, &plan.process.user, !plan.devices.is_empty())?;
        }
        let mut environment = process::environment(&plan.process, root.as_fd());
        if plan.tells_apt {
            fake_root::tell(&mut environment, root.as_fd());
        }
        // Before the privileges go, and before a filter that may know nothing of these calls.
        let executor = match self.joined_pid {
            Some(_) => Executor::Successor,
            None => Executor::Own,
        };
        attributes::set(&plan.attributes, &proc, executor)?;
        drop((proc, root));
        process::tell_missing(&plan.process.capabilities)?;
        match &mut self.joined_pid {
            Some(entry) => {
                entry.enter()?;
                log::leave();
                self.inputs.close_all_others(plan)?;
            }
            None => descriptor::close_directories(&of_kase),
        }
        process::become_user(&plan.process, self.inputs.last_capability)?;
        let filter = plan.seccomp.as_ref().map(|filter| &filter.program);
        filter::reduce(&plan.process, filter)?;
        let mut filter = filter;
        if self.joined_pid.is_some() {
            filter = pid_namespace::enter(&self.inputs.kase, &plan.process, filter)?;
            session::lead()?;
        }
        // Only now: the path may be one of procfs's, which shows nothing of a process outside.
        let program = match plan.process.arguments.first() {
            Some(name) => Some(program::find(name, &environment)?),
            None => None,
        };
        if plan.process.terminal.is_some() {
            terminal::make_controlling()?;
        }
        let early = filter.filter(|filter| filter.notifies());
        if let Some(filter) = early {
            filter::install(&plan.process, filter, Some(&self.inputs.kase))?;
        }
        self.wait_for_start()?;
        // The profile need not allow it.
        process::set_limits(&plan.process.limits)?;
        if let (Some(filter), None) = (filter, early) {
            filter::install(&plan.process, filter, None)?;
        }
        let hooks = plan.hooks.of(hook::Name::StartContainer);
        // Without any, nothing is asked of the filter.
        if !hooks.is_empty() {
            let state = self.inputs.state.now("created", Some(std::process::id().cast_signed()));
            let environment = hook::Environment::OfContainer(&environment);
            let around = hook::Around { directory: Path::new("."), environment, partner: None };
            hook::run(hook::Name::StartContainer, hooks, &state, around)?;
        }
        let Some(program) = program else {
            tracing::warn!("process is not set in config.json: there is nothing to run");
            exit_now(0);
        };
        Err(program::execute(&program, &plan.process.arguments, &environment))
    }

    /// Waits until kase has recorded this process, mapped its ids and made its cgroup, and is in that then. Whoever
    /// needs one of these calls it; the second call does nothing.
    fn begin(&mut self) -> anyhow::Result<()> {
        if self.begun {
            return Ok(());
        }
        trace::step("wait for ids and cgroup");
        let tasks = self.inputs.kase.expect(ToInit::Begin)?;
        trace::step("set-up");
        self.begun = true;
        tasks_files::enter(tasks)?;
        affinity::settle(&Affinity::default())?;
        if self.plan.mounts.iter().any(|mount| mount.what == What::Cgroup) {
            self.own_cgroups = cgroup_mount::own()?;
        }
        // Its root is the cgroup that this process is in, so not before that is the right one.
        if self.plan.namespaces.makes(Kind::Cgroup) {
            unshare(Kind::Cgroup.flag())
                .or_fault(|| Fault::at("linux.namespaces", "make a cgroup namespace"))?;
        }
        Ok(())
    }

    /// What the container changes from here on goes elsewhere.
    fn overlay(&mut self, root: OwnedFd) -> anyhow::Result<OwnedFd> {
        match &self.plan.overlay {
            Some(overlay) => overlay::lay(
                overlay,
                overlay::Ground {
                    rootfs: root.as_fd(),
                    layers: self.inputs.trees.layers.take(),
                    checked: self.inputs.trees.checked.take(),
                    label: self.plan.mount_label,
                    kase: &self.inputs.kase,
                },
            ),
            None => Ok(root),
        }
    }

    /// Mounts and devices. Returns what becomes read-only when the rest is done.
    fn furnish(&mut self, root: &OwnedFd) -> anyhow::Result<Vec<OwnedFd>> {
        let plan = self.plan;
        trace::step("mounts");
        let mut mounter = mounts::Mounter {
            root: root.as_fd(),
            identity: FileId::of(root)?,
            sources: std::mem::take(&mut self.inputs.trees.sources),
            flags: match plan.namespaces.has(Kind::User) {
                true => flags::Flags::Locked,
                false => flags::Flags::Free,
            },
            links: std::mem::take(&mut self.inputs.trees.links),
            joined_pid: self.joined_pid.take(),
            late_readonly: Vec::new(),
        };
        let mut waiting: Vec<Hierarchies<'_>> = Vec::new();
        for (index, mount) in plan.mounts.iter().enumerate() {
            let shows = matches!(mount.what, What::Inside { .. });
            if waiting.iter().any(|hierarchies| shows || hierarchies.holds(mount.destination)) {
                self.fill(&mut waiting, &mut mounter)?;
            }
            match (&mount.what, &mount.idmap) {
                (What::Inside { path, reach }, Some(_)) => {
                    let tree = mounter.clone_inside(mount, path, *reach)?;
                    mounter.bind(mount, self.map_ids(index, tree)?)?;
                }
                (What::Cgroup, _) => {
                    match CgroupMount::begin(&mounter, mount, self.inputs.hierarchies.as_ref())? {
                        CgroupMount::None => {}
                        CgroupMount::Unified => {
                            self.begin()?;
                            cgroup_mount::unified(&mounter, mount, self.view(), &self.own_cgroups)?;
                        }
                        CgroupMount::Legacy(hierarchies) => {
                            waiting.push(hierarchies);
                            // Where kase may still be at its cgroups, there is other work to do.
                            if self.begun {
                                self.fill(&mut waiting, &mut mounter)?;
                            }
                        }
                    }
                }
                _ => mounter.mount(index, mount)?,
            }
        }
        devices::make(root.as_fd(), &plan.devices, plan.device_origin)?;
        if plan.tells_apt {
            fake_root::write(root.as_fd())
                .or_fault(|| Fault::at("--fake-root", "tell apt of it in the container's /dev"))?;
        }
        self.fill(&mut waiting, &mut mounter)?;
        self.joined_pid = mounter.joined_pid;
        Ok(mounter.late_readonly)
    }

    fn fill(
        &mut self,
        waiting: &mut Vec<Hierarchies<'_>>,
        mounter: &mut mounts::Mounter<'_>,
    ) -> anyhow::Result<()> {
        for hierarchies in waiting.drain(..) {
            self.begin()?;
            trace::step("cgroup mount");
            mounter.late_readonly.extend(hierarchies.fill(self.view(), &self.own_cgroups)?);
        }
        Ok(())
    }

    fn view(&self) -> View {
        match self.plan.namespaces.has(Kind::Cgroup) {
            true => View::Namespace,
            false => View::Host,
        }
    }

    /// Has kase map a tree's ids: it asks for rights over the file system that init may have given up.
    fn map_ids(&mut self, index: usize, tree: OwnedFd) -> anyhow::Result<OwnedFd> {
        self.begin()?;
        self.inputs.kase.say(&ToKase::MapMountIds(u32::try_from(index)?, tree.try_clone()?))?;
        self.inputs.kase.expect(ToInit::IdsMapped)?;
        Ok(tree)
    }

    /// The hooks before the root changes: kase's own first, then ours, in the container's namespaces.
    fn hooks(&self, root: &OwnedFd) -> anyhow::Result<()> {
        let hooks = &self.plan.hooks;
        if hooks.runtime_has_some() {
            trace::step("wait for hooks");
            self.inputs.kase.say(&ToKase::RunHooks)?;
            self.inputs.kase.expect(ToInit::HooksDone)?;
        }
        let listed = hooks.of(hook::Name::CreateContainer);
        if listed.is_empty() {
            return Ok(());
        }
        let state = self.inputs.state.now("created", Some(std::process::id().cast_signed()));
        // In the rootfs, as with runc: its mounts are there, wherever its path leads outside.
        let directory = of_descriptor(root);
        let environment = hook::Environment::Empty;
        let around =
            hook::Around { directory: &directory, environment, partner: Some(self.inputs.kase.as_fd()) };
        // What these make has the modes that the caller's mask leaves, as what the other hooks of the host's make.
        let exact = umask(self.umask);
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

    fn close_paths(&self, root: &OwnedFd, late: Vec<OwnedFd>) -> anyhow::Result<()> {
        let change =
            crate::kernel::mount::Attributes { set: crate::kernel::mount::attribute::RDONLY, clear: 0 };
        for mounted in late {
            crate::kernel::mount::set_attributes(mounted.as_fd(), change, crate::kernel::mount::Reach::One)
                .or_fault(|| Fault::at("mounts", "make a tmpfs read-only"))?;
        }
        if self.plan.readonly {
            rootfs::make_readonly(root.as_fd())?;
        }
        paths::readonly(root.as_fd(), &self.plan.readonly_paths)?;
        paths::mask(root.as_fd(), &self.plan.masked, self.plan.mount_label)
    }

    fn wait_for_start(&mut self) -> anyhow::Result<()> {
        match self.inputs.gate {
            Some(_) => {
                // Who made a container may end it before its start, and not by SIGKILL alone: at once, so this
                // is before kase is told that it is there.
                heed_signals();
                // Who made the container may exec in it now, and nothing of the host's is left to be seen. Only in a user
                // namespace does that take a process that lets itself be looked into.
                if self.plan.namespaces.has(Kind::User) {
                    set_dumpable(Dumpable::Yes);
                }
                // Whoever knocks comes after the trace.
                trace::leave();
            }
            None => trace::step("wait for the start"),
        }
        self.inputs.kase.say(&ToKase::Ready)?;
        match &self.inputs.gate {
            // It stays until the exec, which is the start.
            Some(gate) => self.starter = Some(gate.wait()?),
            None => drop(self.inputs.kase.expect(ToInit::Start)?),
        }
        Ok(())
    }
}
