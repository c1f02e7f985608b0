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
    said.into_iter().chain(usual).chain(last()).find(|path| {
        // Whoever connects learns why it cannot be looked at.
        path.try_exists().unwrap_or(true)
    })
}

/// Where the caller's systemd has its cgroup, below the mount point of cgroup v2.
#[must_use]
pub fn manager_cgroup(caller: &Caller) -> PathBuf {
    let uid = caller.uid_outside();
    PathBuf::from(format!("user.slice/user-{uid}.slice/user@{uid}.service"))
}

/// What systemd has given the caller, as far as cgroup v2 shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The cgroup of the caller's manager, absolute.
    pub cgroup: PathBuf,
    /// Its controllers; nothing where no manager runs.
    pub controllers: Option<Vec<String>>,
    /// Whether cgroup v2 has the controllers of this host.
    pub unified: Unified,
}

/// Which version has the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unified {
    /// v2.
    Yes,
    /// v1, which cannot be delegated safely, or none.
    No,
}

impl Given {
    /// Looks.
    #[must_use]
    pub fn look(caller: &Caller) -> Self {
        Self::look_in(&Root::host(), caller)
    }

    /// As [`Given::look`], with `/sys` below another root.
    #[must_use]
    pub fn look_in(root: &Root, caller: &Caller) -> Self {
        let cgroup = Path::new("/sys/fs/cgroup").join(manager_cgroup(caller));
        let text = root.read(&cgroup.join("cgroup.controllers").to_string_lossy()).ok().flatten();
        let controllers = text.map(|text| text.split_whitespace().map(str::to_owned).collect());
        let unified = match root.join("/sys/fs/cgroup/cgroup.controllers").exists() {
            true => Unified::Yes,
            false => Unified::No,
        };
        Self { cgroup, controllers, unified }
    }

    /// Whether the caller may limit containers by this controller.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().flatten().any(|given| given == controller)
    }
}

/// A bus whose socket is there and where nobody answers, as after its user's manager was killed.
#[must_use]
pub fn dead_bus(uid: u32, path: &Path, error: &std::io::Error) -> Hurdle {
    Hurdle::new(
        format!("nobody answers at {}: {error}", path.display()),
        format!("unset DBUS_SESSION_BUS_ADDRESS, log in again, or run as root: systemctl restart user@{uid}"),
    )
}

/// Why an ordinary user lacks `controller`, and what delegates it. Nothing for root, to whom nothing needs to be
/// delegated.
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
    let given = Given::look_in(root, caller);
    let file = given.cgroup.join("cgroup.controllers");
    let shown = file.display();
    Some(match &given.controllers {
        Some(_) if given.has(controller) => Hurdle::new(
            format!("uid {uid} was given {controller} in {shown}, but we are not below it"),
            "run kase in the user's own systemd: `systemd-run --user --scope kase …`, \
             or set XDG_RUNTIME_DIR so that kase finds its bus",
        ),
        _ if matches!(given.unified, Unified::Yes) && !is_systemds(controller) => Hurdle::new(
            format!("systemd delegates {CONTROLLERS} to users, but never {controller}"),
            "leave this limit out, or run kase as root",
        ),
        Some(list) => {
            let remedy = drop_in(&format!("systemctl restart user@{uid}"));
            Hurdle::new(
                format!("uid {uid} was given {:?} only ({shown})", list.join(" ")),
                format!("this ends that user's services, not its logins; run as root: {remedy}"),
            )
        }
        None => {
            let cause = format!("no cgroup was delegated to uid {uid} (there is no {shown})");
            // The unified hierarchy is what can be delegated safely; cgroup v1 cannot be.
            let remedy = match given.unified {
                Unified::Yes if BY_DEFAULT.contains(&controller) => {
                    format!("log in as that user, or run as root: loginctl enable-linger {uid}")
                }
                Unified::Yes => {
                    format!("run as root: {}", drop_in(&format!("loginctl enable-linger {uid}")))
                }
                Unified::No => {
                    "leave linux.resources out, run kase as root, have root give you a directory in the \
                                controller's v1 hierarchy, or boot with cgroup v2 \
                                (systemd.unified_cgroup_hierarchy=1)"
                        .to_owned()
                }
            };
            Hurdle::new(cause, remedy)
        }
    })
}

/// What systemd delegates to a user's manager without being told.
const BY_DEFAULT: [&str; 2] = ["memory", "pids"];

/// Whether systemd knows this controller at all: others it leaves out of `Delegate=`.
fn is_systemds(controller: &str) -> bool {
    CONTROLLERS.split(' ').any(|known| known == controller)
}

/// The command that has systemd delegate more, ending with the one by which the user gets it.
fn drop_in(last: &str) -> String {
    format!(
        "mkdir -p {DIRECTORY} && printf '[Service]\\nDelegate={CONTROLLERS}\\n' >{DIRECTORY}/delegate.conf && \
         systemctl daemon-reload && {last}"
    )
}

/// Where systemd reads what is added to every user's manager.
const DIRECTORY: &str = "/etc/systemd/system/user@.service.d";

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
        assert!(odd.cause.contains("never hugetlb") && odd.remedy.contains("as root"), "{odd:?}");
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
