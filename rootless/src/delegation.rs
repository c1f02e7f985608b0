//! Which cgroups a user was given by systemd, and how to be given more.
//!
//! systemd runs a manager for each user who is logged in (or lingers) and hands its cgroup over to the user,
//! with the controllers that `Delegate=` of `user@.service` lists: by default memory and pids only.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::caller::{Caller, Standing};
use crate::hurdles::Hurdle;
use crate::root::Root;

/// What every cgroup v2 limit of a container may need.
const CONTROLLERS: &str = "cpu cpuset io memory pids";

/// The socket of the caller's own message bus, behind which their systemd answers. Found also where the
/// environment was lost, as under sudo or cron.
///
/// | tried in this order | |
/// |---|---|
/// | `$DBUS_SESSION_BUS_ADDRESS` | its first `unix:path=` |
/// | `$XDG_RUNTIME_DIR/bus` | |
/// | `/run/user/<uid>/bus` | by the uid that the caller has outside of its user namespace |
#[must_use]
pub fn user_bus(caller: &Caller) -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    user_bus_in(&Root::host(), variable("DBUS_SESSION_BUS_ADDRESS"), variable("XDG_RUNTIME_DIR"), caller)
}

/// As [`user_bus`], with `/run` below another root and other variables.
#[must_use]
pub fn user_bus_in(
    root: &Root,
    address: Option<OsString>,
    runtime_dir: Option<OsString>,
    caller: &Caller,
) -> Option<PathBuf> {
    let said = address.as_ref().and_then(|address| {
        let one = address.to_str()?.split(';').find_map(|one| one.strip_prefix("unix:path="))?;
        Some(PathBuf::from(one.split(',').next()?))
    });
    let usual = runtime_dir.map(|directory| Path::new(&directory).join("bus"));
    let last = || Some(root.join(format!("/run/user/{}/bus", caller.uid_outside())));
    said.into_iter().chain(usual).chain(last()).find(|path| path.exists())
}

/// Where the caller's systemd has its cgroup, below the mount point of cgroup v2.
#[must_use]
pub fn manager_cgroup(caller: &Caller) -> PathBuf {
    let uid = caller.uid_outside();
    PathBuf::from(format!("user.slice/user-{uid}.slice/user@{uid}.service"))
}

/// Why an ordinary user lacks `controller`, and the drop-in that delegates it. Nothing for root, to whom
/// nothing needs to be delegated.
#[must_use]
pub fn missing(controller: &str) -> Option<Hurdle> {
    let caller = Caller::look().ok()?;
    missing_in(&Root::host(), &caller, controller)
}

/// As [`missing`], with `/sys` below another root.
#[must_use]
pub fn missing_in(root: &Root, caller: &Caller, controller: &str) -> Option<Hurdle> {
    if caller.standing == Standing::Root {
        return None;
    }
    let uid = caller.uid_outside();
    let cgroup = Path::new("/sys/fs/cgroup").join(manager_cgroup(caller));
    let file = cgroup.join("cgroup.controllers");
    let shown = file.display();
    let remedy = match root.read(&file.to_string_lossy()).ok().flatten() {
        Some(given) if given.split_whitespace().any(|given| given == controller) => {
            return Some(Hurdle {
                cause: format!("uid {uid} was given {controller} in {shown}, but we are not below it"),
                remedy: "run kase in the user's own systemd: `systemd-run --user --scope kase …`, \
                         or set XDG_RUNTIME_DIR so that kase finds its bus"
                    .to_owned(),
            });
        }
        Some(given) => Hurdle {
            cause: format!("uid {uid} was given {:?} only ({shown})", given.trim()),
            remedy: drop_in(controller),
        },
        None => {
            // The unified hierarchy is what can be delegated safely; cgroup v1 cannot be.
            let unified = root.join("/sys/fs/cgroup/cgroup.controllers").exists();
            Hurdle {
                cause: format!("no cgroup was delegated to uid {uid} (there is no {shown})"),
                remedy: match unified {
                    true => format!(
                        "log in as that user, or run `loginctl enable-linger {uid}` as root, so that systemd \
                         starts its manager; then {}",
                        drop_in(controller)
                    ),
                    false => "leave linux.resources out, run kase as root, or boot with cgroup v2 \
                              (systemd.unified_cgroup_hierarchy=1)"
                        .to_owned(),
                },
            }
        }
    };
    Some(remedy)
}

fn drop_in(controller: &str) -> String {
    let known = CONTROLLERS.split(' ').any(|known| known == controller);
    let list = if known { CONTROLLERS.to_owned() } else { format!("{CONTROLLERS} {controller}") };
    format!(
        "as root, write \"[Service]\\nDelegate={list}\\n\" to \
         /etc/systemd/system/user@.service.d/delegate.conf (printf knows \\n), run `systemctl daemon-reload` and \
         log in again"
    )
}

/// The caller's cgroup at `directory` is theirs: they own it and its process list.
#[must_use]
pub fn is_delegated(directory: &Path, caller: &Caller) -> bool {
    let owner = |path: &Path| path.metadata().map(|found| found.uid()).ok();
    owner(directory) == Some(caller.uid) && owner(&directory.join("cgroup.procs")) == Some(caller.uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Stand(PathBuf);

    impl Stand {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("delegation-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn with(self, path: &str, text: &str) -> Self {
            let path = self.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn root(&self) -> Root {
            Root::at(&self.0)
        }
    }

    impl Drop for Stand {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn alice() -> Caller {
        Caller::assumed(Standing::User, 1000, 1000)
    }

    const GIVEN: &str = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers";

    #[test]
    fn a_bus_is_found_though_the_environment_was_lost() {
        let stand = Stand::new("bus").with("/run/user/1000/bus", "");
        let lost = user_bus_in(&stand.root(), None, None, &alice());
        assert_eq!(lost, Some(stand.root().join("/run/user/1000/bus")));
        let elsewhere = Some(OsString::from("unix:abstract=/tmp/x;unix:path=/nowhere/bus,guid=1"));
        let broken = user_bus_in(&stand.root(), elsewhere, Some("/nowhere".into()), &alice());
        assert_eq!(broken, lost);
    }

    #[test]
    fn a_missing_controller_names_the_drop_in_that_delegates_it() {
        let stand =
            Stand::new("given").with("/sys/fs/cgroup/cgroup.controllers", "").with(GIVEN, "memory pids\n");
        let hurdle = missing_in(&stand.root(), &alice(), "cpu").unwrap();
        assert_eq!(hurdle.cause, format!("uid 1000 was given \"memory pids\" only ({GIVEN})"));
        assert!(hurdle.remedy.contains("Delegate=cpu cpuset io memory pids\\n"), "{}", hurdle.remedy);
        assert!(hurdle.remedy.contains("/etc/systemd/system/user@.service.d/delegate.conf"));
        let odd = missing_in(&stand.root(), &alice(), "hugetlb").unwrap();
        assert!(odd.remedy.contains("Delegate=cpu cpuset io memory pids hugetlb\\n"));
        let outside = missing_in(&stand.root(), &alice(), "memory").unwrap();
        assert!(outside.cause.ends_with("but we are not below it"), "{}", outside.cause);
    }

    #[test]
    fn without_a_manager_or_without_v2_the_remedy_says_so() {
        let v2 = Stand::new("v2").with("/sys/fs/cgroup/cgroup.controllers", "");
        assert!(missing_in(&v2.root(), &alice(), "cpu").unwrap().remedy.contains("enable-linger 1000"));
        let v1 = Stand::new("v1");
        assert!(missing_in(&v1.root(), &alice(), "cpu").unwrap().remedy.contains("boot with cgroup v2"));
    }

    #[test]
    fn root_is_not_told_about_delegation() {
        assert_eq!(missing_in(&Root::host(), &Caller::assumed(Standing::Root, 0, 0), "cpu"), None);
    }
}
