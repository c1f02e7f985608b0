//! The container's half: from the clone to the exec, as a recipe that reads from top to bottom.
//!
//! Init has the same plan as kase, in copied memory. It must not touch what only kase may (the state, the
//! cgroup), and everything that it opens is close-on-exec. [`added`] is the recipe of a process that joins a container;
//! both end in [`mod@execute`].

pub mod added;
pub mod affinity;
pub mod attributes;
mod bind;
mod cgroup_mount;
mod copy_up;
mod devices;
mod execute;
mod fake_root;
mod file_system;
mod filter;
mod flags;
mod fuse;
mod hook_runner;
mod inputs;
mod inside;
mod mount_point;
pub mod mounts;
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
mod sysctl;
mod tasks_files;
mod terminal;

use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::hook;
use crate::host::hierarchies::Hierarchy;
use crate::kernel::path::of_descriptor;
use crate::kernel::process::{Dumpable, exit_now, set_dumpable, unshare};
use crate::kernel::{descriptor, net};
use crate::plan::Plan;
use crate::plan::mounts::What;
use crate::plan::namespaces::Kind;
use crate::plan::payload::Payload;
use crate::plan::scheduling::Affinity;
use crate::trace::{self, Who};
use attributes::Executor;
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
pub fn run(plan: &Plan<'_>, payload: &Payload<'_>, inputs: Inputs<'_>, kase: InitEnd) -> ! {
    let ahead = plan.namespaces.needs_hop() && !plan.namespaces.joins_pid();
    trace::enter(if ahead { Who::Hop } else { Who::Init });
    let Inputs { gate, trees, hierarchies, state } = inputs;
    // Who made the container may exec in it while it waits for its start. To join a user namespace, that takes a process
    // which lets itself be looked into; nothing of the host's is left to be seen by then.
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
        mut trees: Trees<'_>,
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
        let mut joined_pid = namespaces::set_up(plan, &partner.kase, self.state)?;
        let executor = if joined_pid.is_some() { Executor::Successor } else { Executor::Own };
        let in_user_namespace = plan.namespaces.has(Kind::User);
        // With the ids that kase has, v1 lets this process into its cgroups.
        let placed = in_user_namespace.then(|| self.place(partner)).transpose()?;
        // What this process makes from here on is the container's.
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
        let root = overlay::mount(plan, root, trees.overlay, &partner.kase)?;
        // Mount points and devices get exactly the modes that they are made with.
        let callers_umask = umask(Mode::empty());
        trace::step("mounts");
        let mut mounts = trees.mounts.into_iter();
        let mut mounter = Mounter::new(plan, root.as_fd(), joined_pid.as_mut(), self.hierarchies.clone())?;
        let placed = match placed {
            Some(placed) => placed,
            None => {
                mounter.mount_before_placed(&mut mounts)?;
                self.place(partner)?
            }
        };
        mounter.mount_placed(mounts, &placed, &partner.kase)?;
        let late_readonly = mounter.late_readonly;
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
                let null_of = Some(root.as_fd()).filter(|_| !plan.devices.is_empty());
                process::adopt_stdio(null_of, &proc, &plan.process.user)?;
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
        // Without any, no call is made that the filter would have to allow.
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
        mounts::make_readonly(late)?;
        if self.plan.readonly {
            rootfs::make_readonly(root)?;
        }
        paths::readonly(root, &self.plan.readonly_paths)?;
        paths::mask(root, &self.plan.masked, self.plan.mount_label)
    }
}
