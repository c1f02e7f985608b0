//! Parts of the kernel that only some configurations need, looked for only then.

use super::mountinfo;
use crate::fault::{Fault, OrFault};
use crate::kernel::text::read_text;
use std::io;
use std::path::PathBuf;

/// What a configuration can need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// apparmor(7).
    AppArmor,
    /// selinux(8).
    Selinux,
    /// The resctrl file system, by which caches and memory bandwidth are shared out.
    Resctrl,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Facilities {
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled, with a policy loaded.
    pub selinux: bool,
    /// The mounted resctrl file system.
    pub resctrl: Option<Resctrl>,
}

/// A resctrl file system, and what it can share out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resctrl {
    /// Where it is mounted.
    pub root: PathBuf,
    /// Whether it shares out the last-level cache (CAT).
    pub cache: bool,
    /// Whether it shares out memory bandwidth (MBA).
    pub bandwidth: bool,
}

impl Facilities {
    /// Looks for what is asked for, and for nothing else.
    ///
    /// # Errors
    /// A file of the kernel's that is there and cannot be read.
    pub fn look(wanted: &[Facility]) -> anyhow::Result<Self> {
        let asked = |facility| wanted.contains(&facility);
        let mounts = match asked(Facility::Selinux) || asked(Facility::Resctrl) {
            true => read("/proc/self/mountinfo", &[])?,
            false => String::new(),
        };
        Ok(Self {
            apparmor: asked(Facility::AppArmor) && apparmor()?,
            selinux: asked(Facility::Selinux) && selinux(&mounts)?,
            resctrl: if asked(Facility::Resctrl) { resctrl(&mounts)? } else { None },
        })
    }
}

/// The text of a file; nothing where `absent` is what the kernel says of it.
fn read(path: &str, absent: &[i32]) -> anyhow::Result<String> {
    match read_text(path) {
        Err(error) if error.raw_os_error().is_some_and(|number| absent.contains(&number)) => {
            Ok(String::new())
        }
        text => text.or_fault(|| Fault::doing(format!("read {path}"))),
    }
}

fn apparmor() -> anyhow::Result<bool> {
    let enabled = read("/sys/module/apparmor/parameters/enabled", &[libc::ENOENT])?;
    Ok(enabled.starts_with('Y'))
}

/// As in libselinux: its file system is there, and this process has a label of a policy, not the one that the
/// kernel gives before any is loaded.
fn selinux(mounts: &str) -> anyhow::Result<bool> {
    if mounted(mounts, "selinuxfs").is_none() {
        return Ok(false);
    }
    // The answer is EINVAL on a kernel without a security module that has labels.
    let label = read("/proc/self/attr/current", &[libc::ENOENT, libc::EINVAL])?;
    let label = label.trim_end_matches(['\0', '\n']);
    Ok(!label.is_empty() && label != "kernel")
}

fn resctrl(mounts: &str) -> anyhow::Result<Option<Resctrl>> {
    let Some(root) = mounted(mounts, "resctrl") else { return Ok(None) };
    let shown = root.display().to_string();
    Resctrl::at(root).map(Some).or_fault(|| Fault::doing(format!("see what {shown} can share out")))
}

impl Resctrl {
    /// The file system that is mounted at `root`.
    pub fn at(root: PathBuf) -> io::Result<Self> {
        let info = |name: &str| root.join("info").join(name).try_exists();
        let cache = info("L3")? || info("L3CODE")?;
        Ok(Self { cache, bandwidth: info("MB")?, root })
    }
}

/// The first mount point of a file system of this type; proc_pid_mountinfo(5).
fn mounted(mounts: &str, kind: &str) -> Option<PathBuf> {
    let mount = mountinfo::mounts(mounts).find(|mount| mount.kind == kind)?;
    Some(PathBuf::from(mount.point()?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_type() {
        let mounts = "22 1 0:5 / /sys rw - sysfs sysfs rw\n\
                      30 22 0:40 / /sys/fs/res\\040ctrl rw,relatime shared:9 - resctrl resctrl rw\n";
        assert_eq!(mounted(mounts, "resctrl"), Some(PathBuf::from("/sys/fs/res ctrl")));
        assert_eq!(mounted(mounts, "selinuxfs"), None);
    }

    #[test]
    fn a_resctrl_directory_says_what_it_can_do() {
        let root = std::env::temp_dir().join(format!("kase-resctrl-{}", std::process::id()));
        std::fs::create_dir_all(root.join("info/L3")).unwrap();
        let found = Resctrl::at(root.clone()).unwrap();
        std::fs::remove_dir_all(root).unwrap();
        assert_eq!((found.cache, found.bandwidth), (true, false));
    }

    #[test]
    fn what_nobody_asks_for_is_not_looked_for() {
        let found = Facilities::look(&[]).unwrap();
        assert_eq!((found.apparmor, found.selinux, found.resctrl), Default::default());
    }
}
