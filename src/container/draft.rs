//! The plan of a container that is asked for, before anything of it is made.

use super::request::{Request, Strictness};
use super::store::Store;
use super::{id, readiness};
use crate::bundle::Bundle;
use crate::cgroup::layout::Layout;
use crate::cgroup::systemd::which;
use crate::config::Config;
use crate::fault::Fault;
use crate::host::{Host, Subids};
use crate::kernel::file_id::FileId;
use crate::lint;
use crate::plan::cgroup::Driver;
use crate::plan::cgroup::Systemd;
use crate::plan::host_paths::rootfs_refused;
use crate::plan::namespaces::Kind;
use crate::plan::notes::Notes;
use crate::plan::{Options, Plan, attributes, id_maps};
use crate::trace;
use rootless::caller::{Caller, Standing};
use rootless::id_map::IdMaps;
use std::fs;
use std::path::Path;

/// Reads the bundle that `request` names, with what the command line and the environment add to config.json.
///
/// # Errors
/// An id that is none, a file that is no configuration or, where that matters, one with errors.
pub fn open(store: &Store, request: &Request) -> anyhow::Result<Bundle> {
    id::check(&request.id)?;
    let mut bundle = Bundle::open(&request.bundle, request.config.as_deref())?;
    if request.strictness == Strictness::Strict {
        lint::strict(&bundle.text)?;
    }
    extend(&mut bundle.config, store, request)?;
    Ok(bundle)
}

fn extend(config: &mut Config, store: &Store, request: &Request) -> anyhow::Result<()> {
    if let Some(process) = config.process.as_mut().filter(|_| !request.environment.is_empty()) {
        process.env.get_or_insert_default().extend_from_slice(&request.environment);
    }
    if request.notify_socket.is_some() {
        readiness::announce(config, &store.place_of(&request.id)?);
    }
    Ok(())
}

/// Draws the plan of `bundle` for this host and its cgroups, as `request` wants it.
pub fn draw<'spec>(
    bundle: &'spec Bundle,
    caller: Caller,
    request: &Request,
) -> anyhow::Result<(Host, Layout, Plan<'spec>)> {
    trace::step("host");
    let layout = Layout::look()?;
    let config = &bundle.config;
    let needs = attributes::needs(config.process.as_deref(), config.linux.as_deref());
    let subids = subids(config, &caller);
    let host = Host::look(caller, subids, &needs)?;
    let options = Options {
        bundle: &bundle.directory,
        adapt: request.adapt,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserve_fds: request.preserve_fds,
        id: &request.id,
        version: layout.version(),
        systemd: systemd(request.cgroups.driver, &host.caller),
        cgroups: request.cgroups,
        overlay: request.overlay.as_deref(),
        fake_root: request.fake_root,
    };
    trace::step("plan");
    let plan = Plan::draw(config, &host, &options)?;
    check_rootfs(&plan.rootfs)?;
    check_sysctl(&plan)?;
    Ok((host, layout, plan))
}

/// The systemd that may make cgroups for us, if it runs. Root has to ask for it.
fn systemd(driver: Driver, caller: &Caller) -> Option<Systemd> {
    match (driver, caller.standing) {
        (Driver::Systemd, _) | (Driver::Auto, Standing::User | Standing::NamespaceRoot) => which(caller),
        (Driver::Auto, Standing::Root) | (Driver::Cgroupfs | Driver::Disabled, _) => None,
    }
}

/// A map of one's own id needs nothing from /etc/subuid.
fn subids(config: &Config, caller: &Caller) -> Subids {
    let single = config.linux.as_deref().is_some_and(|linux| {
        let map = |maps: &Option<Vec<_>>| id_maps::lines(maps.as_deref().unwrap_or_default());
        caller.are_own(&IdMaps { uids: map(linux.uid_mappings()), gids: map(linux.gid_mappings()) })
    });
    if single { Subids::Unneeded } else { Subids::Needed }
}

/// A namespace that is joined may be the one that we are in. What cannot be looked at, cannot be joined either.
fn check_sysctl(plan: &Plan<'_>) -> anyhow::Result<()> {
    for setting in &plan.sysctl {
        let Some(join) = plan.namespaces.join(setting.kind) else { continue };
        let file = if setting.kind == Kind::Network { "net" } else { setting.kind.word() };
        let own = format!("/proc/self/ns/{file}");
        if FileId::at(own.as_str()).is_ok_and(|own| Ok(own) == FileId::at(join.path)) {
            return Err(setting.is_hosts(join.path).into());
        }
    }
    Ok(())
}

/// Before anything is made: the most frequent mistake, and init could only say it later.
fn check_rootfs(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).map_err(|error| rootfs_refused(path, error))?;
    if metadata.is_dir() {
        return Ok(());
    }
    Err(Fault::at("root.path", format!("{} is not a directory", path.display()))
        .remedy("name the directory that holds the container's files")
        .into())
}

/// Refuses a container that could not even be started.
///
/// # Errors
/// config.json without a process.
pub fn check_process(config: &Config) -> anyhow::Result<()> {
    if config.process.is_some() {
        return Ok(());
    }
    Err(Fault::at("process", "is missing, and there is nothing to run without it")
        .remedy("add process to config.json; `kase spec` writes a complete one")
        .into())
}

/// Logs what planning has to say.
pub fn log_notes(notes: &Notes) {
    for (level, text) in notes.iter() {
        match *level {
            tracing::Level::WARN => tracing::warn!("{text}"),
            tracing::Level::INFO => tracing::info!("{text}"),
            _ => tracing::debug!("{text}"),
        }
    }
}
