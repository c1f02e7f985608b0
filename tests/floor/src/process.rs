//! The container's process, from the clone to its exec.

use crate::kernel::Gate;
use crate::{Floor, Ids, kernel, mounts};

/// The capabilities that `kase spec` leaves: AUDIT_WRITE, KILL, NET_BIND_SERVICE.
const KEPT: u64 = 1 << 29 | 1 << 5 | 1 << 10;

pub fn run(floor: &Floor, gate: &Gate) -> ! {
    match floor.ids {
        Ids::Root => {}
        Ids::One => kernel::map_one_id(floor.caller),
        Ids::Ranges(..) => gate.wait(),
    }
    kernel::begin_session();
    if floor.ids == Ids::Root {
        kernel::loopback_up();
    }
    mounts::mount_all(floor);
    if floor.ids == Ids::Root {
        // Its cgroups are given beside the mounts; a cgroup namespace begins at them.
        gate.wait();
    }
    if !floor.cgroups.is_empty() {
        kernel::unshare_cgroups();
        mounts::mount_cgroups(floor);
    }
    kernel::pivot();
    kernel::name_host(c"floor");
    mounts::close_off();
    kernel::umask(0o022);
    kernel::limit_files(1024);
    kernel::keep_capabilities(KEPT);
    if floor.ids != Ids::One {
        kernel::drop_groups();
    }
    kernel::set_capabilities(KEPT);
    kernel::no_new_privileges();
    if floor.filter {
        kernel::filter();
    }
    kernel::exec(c"/true")
}
