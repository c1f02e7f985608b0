//! The container's file systems, by name: the bench's rootfs is nobody else's.

use crate::kernel::{exists, mkdir, mknod, mount, readonly, symlink, touch};
use crate::{Floor, Ids, kernel};
use libc::{MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, MS_SLAVE, MS_STRICTATIME};
use std::ffi::CStr;

const LOCKED: u64 = MS_NOSUID | MS_NODEV | MS_NOEXEC;

const DEVICES: [(&CStr, &CStr, u32, u32); 6] = [
    (c"dev/null", c"/dev/null", 1, 3),
    (c"dev/random", c"/dev/random", 1, 8),
    (c"dev/full", c"/dev/full", 1, 7),
    (c"dev/tty", c"/dev/tty", 5, 0),
    (c"dev/zero", c"/dev/zero", 1, 5),
    (c"dev/urandom", c"/dev/urandom", 1, 9),
];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
    (c"pts/ptmx", c"dev/ptmx"),
];

const MASKED_FILES: [&CStr; 8] = [
    c"/proc/interrupts",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/sched_debug",
    c"/proc/scsi",
];

const MASKED_DIRECTORIES: [&CStr; 4] =
    [c"/proc/acpi", c"/proc/asound", c"/sys/firmware", c"/sys/devices/virtual/powercap"];

const READONLY: [&CStr; 5] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

/// Everything that needs no cgroup; the working directory is the rootfs afterwards.
pub fn mount_all(floor: &Floor) {
    kernel::umask(0);
    mount(c"none", c"/", c"none", MS_REC | MS_SLAVE, c"");
    mount(&floor.rootfs, &floor.rootfs, c"none", MS_REC | MS_BIND, c"");
    kernel::chdir(&floor.rootfs);
    mount(c"proc", c"proc", c"proc", 0, c"");
    mount(c"tmpfs", c"dev", c"tmpfs", MS_NOSUID | MS_STRICTATIME, c"mode=755,size=65536k");
    mkdir(c"dev/pts");
    let terminals = match floor.ids {
        Ids::Root => c"newinstance,ptmxmode=0666,mode=0620,gid=5",
        _ => c"newinstance,ptmxmode=0666,mode=0620",
    };
    mount(c"devpts", c"dev/pts", c"devpts", MS_NOSUID | MS_NOEXEC, terminals);
    mkdir(c"dev/shm");
    mount(c"shm", c"dev/shm", c"tmpfs", LOCKED, c"mode=1777,size=65536k");
    mkdir(c"dev/mqueue");
    mount(c"mqueue", c"dev/mqueue", c"mqueue", LOCKED, c"");
    if floor.ids == Ids::Root {
        mount(c"sysfs", c"sys", c"sysfs", LOCKED | MS_RDONLY, c"");
    } else {
        mount(c"/sys", c"sys", c"none", MS_REC | MS_BIND, c"");
        readonly(c"sys");
    }
    devices(floor);
}

/// `/sys/fs/cgroup`, seen from a cgroup namespace that begins at the container's own cgroups.
pub fn mount_cgroups(floor: &Floor) {
    if let [only] = floor.cgroups.as_slice()
        && only.is_unified()
    {
        mount(c"cgroup", c"sys/fs/cgroup", c"cgroup2", LOCKED | MS_RDONLY, c"");
        return;
    }
    mount(c"tmpfs", c"sys/fs/cgroup", c"tmpfs", LOCKED, c"mode=755");
    kernel::chdir(c"sys/fs/cgroup");
    for cgroup in floor.cgroups.iter().filter(|cgroup| !cgroup.is_unified()) {
        mkdir(cgroup.name());
        mount(c"cgroup", cgroup.name(), c"cgroup", LOCKED | MS_RDONLY, cgroup.hierarchy());
    }
    kernel::chdir(&floor.rootfs);
    readonly(c"sys/fs/cgroup");
}

fn devices(floor: &Floor) {
    for (path, of_host, major, minor) in DEVICES {
        if floor.ids == Ids::Root {
            mknod(path, major, minor);
        } else {
            touch(path);
            mount(of_host, path, c"none", MS_BIND, c"");
        }
    }
    for (target, path) in LINKS {
        symlink(target, path);
    }
}

/// After the pivot: what the container may not see or write.
pub fn close_off() {
    readonly(c"/");
    for path in READONLY.into_iter().filter(|path| exists(path)) {
        mount(path, path, c"none", MS_REC | MS_BIND, c"");
        readonly(path);
    }
    for path in MASKED_FILES.into_iter().filter(|path| exists(path)) {
        mount(c"/dev/null", path, c"none", MS_BIND, c"");
    }
    let mut empty = None;
    for path in MASKED_DIRECTORIES.into_iter().filter(|path| exists(path)) {
        match empty {
            None => mount(c"tmpfs", path, c"tmpfs", LOCKED | MS_RDONLY, c"nr_blocks=1,nr_inodes=1"),
            Some(empty) => mount(empty, path, c"none", MS_BIND, c""),
        }
        empty = empty.or(Some(path));
    }
}
