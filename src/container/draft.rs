//! The plan of a container that is asked for, before anything of it is made.

use super::create::Request;
use crate::bundle::Bundle;
use crate::cgroup::layout::Layout;
use crate::config::Config;
use crate::fault::{Fault, OrFault};
use crate::host::{Host, Subids};
use crate::plan::cgroup::Driver;
use crate::plan::cgroup::unit::Bus;
use crate::plan::mounts::rootfs_missing;
use crate::plan::{Cgroups, Options, Plan, attributes};
use rootless::caller::{Caller, Standing};
use rootless::delegation;
use std::fs;
use std::path::Path;

/// Draws the plan of `bundle` for this host, as `request` wants it.
///
/// # Errors
/// Whatever cannot work.
pub fn draw<'spec>(
    bundle: &'spec Bundle,
    caller: Caller,
    layout: &Layout,
    request: &Request,
) -> anyhow::Result<(Host, Plan<'spec>)> {
    let config = &bundle.config;
    let needs = attributes::needs(config.process.as_ref(), config.linux.as_ref());
    let host = Host::look(caller, subids(config), &needs)?;
    let options = Options {
        bundle: &bundle.directory,
        adapt: request.adapt,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserve_fds: request.preserve_fds,
        id: &request.id,
        cgroups: Cgroups {
            version: layout.version(),
            systemd: systemd(request.cgroup_driver, &host.caller),
            driver: request.cgroup_driver,
        },
    };
    let plan = Plan::draw(config, &host, &options)?;
    check_rootfs(&plan.rootfs)?;
    Ok((host, plan))
}

/// The systemd that may make cgroups for us, if it runs. Root has to ask for it.
fn systemd(driver: Driver, caller: &Caller) -> Option<Bus> {
    match (driver, caller.standing) {
        (Driver::Systemd, Standing::Root) => Path::new("/run/systemd/system").exists().then_some(Bus::System),
        (Driver::Systemd | Driver::Auto, Standing::User | Standing::NamespaceRoot) => {
            delegation::user_bus(caller).map(|_| Bus::User)
        }
        _ => None,
    }
}

/// A map of one's own id needs nothing from /etc/subuid.
fn subids(config: &Config) -> Subids {
    let single = config.linux.as_ref().is_some_and(|linux| {
        let one = |maps: &Option<Vec<oci_spec::runtime::LinuxIdMapping>>| {
            matches!(maps.as_deref(), Some([map]) if map.size() == 1)
        };
        one(linux.uid_mappings()) && one(linux.gid_mappings())
    });
    if single { Subids::Unneeded } else { Subids::Needed }
}

/// Before anything is made: the most frequent mistake, and init could only say it later.
fn check_rootfs(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).or_fault(|| rootfs_missing(path))?;
    if metadata.is_dir() {
        return Ok(());
    }
    Err(Fault::at("root.path", format!("{} is not a directory", path.display()))
        .remedy("name the directory that holds the container's files")
        .into())
}
