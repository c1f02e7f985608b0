//! Which cgroups a user was given by systemd, and how to be given more.
//!
//! systemd runs a manager for each user who is logged in (or lingers) and hands its cgroup over to the user,
//! with the controllers that `Delegate=` of `user@.service` lists: by default memory and pids only.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::caller::{Caller, Standing};
use crate::diagnosis::Diagnosis;
use crate::sysroot::{Sysroot, Unreadable};

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
    user_bus_in(&Sysroot::host(), variable("DBUS_SESSION_BUS_ADDRESS"), variable("XDG_RUNTIME_DIR"), caller)
}

fn user_bus_in(
    root: &Sysroot,
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

/// What systemd has given the caller, as far as cgroup v2 shows it: cgroups(7).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delegation {
    /// The cgroup of the caller's manager, absolute.
    pub cgroup: PathBuf,
    /// Its controllers; nothing where no manager runs.
    pub controllers: Option<Vec<String>>,
    /// Whether cgroup v2 has the controllers of this host: version 1 cannot be delegated safely.
    pub unified: bool,
}

impl Delegation {
    /// Looks.
    ///
    /// # Errors
    /// A file of cgroup v2 is there and cannot be read.
    pub fn look(caller: &Caller) -> Result<Self, Unreadable> {
        Self::look_in(&Sysroot::host(), caller)
    }

    fn look_in(root: &Sysroot, caller: &Caller) -> Result<Self, Unreadable> {
        const MOUNT: &str = "/sys/fs/cgroup";
        const FILE: &str = "cgroup.controllers";
        let cgroup = Path::new(MOUNT).join(manager_cgroup(caller));
        let text = root.read(cgroup.join(FILE))?;
        let controllers = text.map(|text| text.split_whitespace().map(str::to_owned).collect());
        let unified = controllers.is_some() || root.read(Path::new(MOUNT).join(FILE))?.is_some();
        Ok(Self { cgroup, controllers, unified })
    }

    /// Whether the caller may limit containers by this controller.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().flatten().any(|given| given == controller)
    }

    /// Why `caller` has no limits by `controller`, as [`missing`] tells.
    pub(crate) fn missing(&self, caller: &Caller, controller: &str) -> Option<Diagnosis> {
        if caller.standing == Standing::Root {
            return None;
        }
        let uid = caller.uid_outside();
        let file = self.cgroup.join("cgroup.controllers");
        let shown = file.display();
        Some(match &self.controllers {
            Some(_) if self.has(controller) => Diagnosis::new(
                format!("uid {uid} was given {controller} in {shown}, but we are not below it"),
                "run this in the user's own systemd (systemd-run --user --scope), or set XDG_RUNTIME_DIR so that \
                 its bus is found",
            ),
            _ if self.unified && !is_systemds(controller) => Diagnosis::new(
                format!("systemd delegates {CONTROLLERS} to users, but never {controller}"),
                "run this as root",
            ),
            Some(list) => {
                let remedy = drop_in(&format!("systemctl restart user@{uid}"));
                Diagnosis::new(
                    format!("uid {uid} was given {:?} only ({shown})", list.join(" ")),
                    format!("this ends that user's services, not its logins; run as root: {remedy}"),
                )
            }
            None => Diagnosis::new(
                format!("no cgroup was delegated to uid {uid} (there is no {shown})"),
                match self.unified {
                    true if BY_DEFAULT.contains(&controller) => {
                        format!("log in as that user, or run as root: loginctl enable-linger {uid}")
                    }
                    true => format!("run as root: {}", drop_in(&format!("loginctl enable-linger {uid}"))),
                    false => {
                        "run this as root, have root give you a directory in the controller's v1 hierarchy, \
                              or boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)"
                            .to_owned()
                    }
                },
            ),
        })
    }
}

/// A bus whose socket is there and where nobody answers, as after its user's manager was killed.
#[must_use]
pub fn dead_bus(uid: u32, path: &Path, error: &std::io::Error) -> Diagnosis {
    Diagnosis::new(
        format!("nobody answers at {}: {error}", path.display()),
        format!("unset DBUS_SESSION_BUS_ADDRESS, log in again, or run as root: systemctl restart user@{uid}"),
    )
}

/// Why an ordinary user has no limits by `controller`, and what delegates it. Nothing for root, to whom nothing needs
/// to be delegated.
#[must_use]
pub fn missing(controller: &str) -> Option<Diagnosis> {
    let look = || {
        let caller = Caller::look()?;
        Ok(Delegation::look(&caller)?.missing(&caller, controller))
    };
    look().unwrap_or_else(|error: Unreadable| Some(error.into()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysroot::stand_in::StandIn;

    fn missing_in(stand: &StandIn, controller: &str) -> Diagnosis {
        Delegation::look_in(&stand.root(), &alice()).unwrap().missing(&alice(), controller).unwrap()
    }

    fn alice() -> Caller {
        Caller::assumed(Standing::User, 1000, 1000)
    }

    const GIVEN: &str = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers";

    #[test]
    fn a_bus_is_found_though_the_environment_was_lost() {
        let stand = StandIn::new().file("/run/user/1000/bus", "");
        let lost = user_bus_in(&stand.root(), None, None, &alice());
        assert_eq!(lost, Some(stand.root().join("/run/user/1000/bus")));
        let elsewhere = Some(OsString::from("unix:abstract=/tmp/x;unix:path=/nowhere/bus,guid=1"));
        let broken = user_bus_in(&stand.root(), elsewhere, Some("/nowhere".into()), &alice());
        assert_eq!(broken, lost);
    }

    #[test]
    fn a_missing_controller_names_the_drop_in_that_delegates_it() {
        let stand = StandIn::new().file("/sys/fs/cgroup/cgroup.controllers", "").file(GIVEN, "memory pids\n");
        let diagnosis = missing_in(&stand, "cpu");
        assert_eq!(diagnosis.cause, format!("uid 1000 was given \"memory pids\" only ({GIVEN})"));
        assert!(diagnosis.remedy.contains("Delegate=cpu cpuset io memory pids\\n"), "{}", diagnosis.remedy);
        assert!(diagnosis.remedy.contains("/etc/systemd/system/user@.service.d/delegate.conf"));
        let odd = missing_in(&stand, "hugetlb");
        assert!(odd.cause.contains("never hugetlb") && odd.remedy.contains("as root"), "{odd:?}");
        let outside = missing_in(&stand, "memory");
        assert!(outside.cause.ends_with("but we are not below it"), "{}", outside.cause);
    }

    #[test]
    fn without_a_manager_or_without_v2_the_remedy_says_so() {
        let v2 = StandIn::new().file("/sys/fs/cgroup/cgroup.controllers", "");
        assert!(missing_in(&v2, "cpu").remedy.contains("enable-linger 1000"));
        let v1 = StandIn::new();
        assert!(missing_in(&v1, "cpu").remedy.contains("boot with cgroup v2"));
    }

    #[test]
    fn root_is_not_told_about_delegation() {
        let root = Caller::assumed(Standing::Root, 0, 0);
        assert_eq!(Delegation::look_in(&StandIn::new().root(), &root).unwrap().missing(&root, "cpu"), None);
    }

    #[test]
    fn controllers_that_cannot_be_read_are_an_error() {
        let stand = StandIn::new().directory(GIVEN);
        assert!(Delegation::look_in(&stand.root(), &alice()).is_err());
    }
}
