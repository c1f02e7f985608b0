//! Where a test's cgroups come from: which version the host has, and who makes them.

use super::caller::{Caller, Identity};
use super::kase::{Kase, wait_until};
use super::{Bundle, Container, Value, json, record_skip};
use nix::unistd::{AccessFlags, access};
use std::cell::Cell;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

const TOP: &str = "/sys/fs/cgroup";

/// A way for a container to get its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// cgroup v1, made by kase as root.
    V1,
    /// cgroup v2, made by kase as root.
    V2,
    /// cgroup v2, made by systemd for root.
    Systemd,
    /// cgroup v2, made by the user's own systemd, without being asked.
    UserSystemd,
}

impl Setting {
    /// Who calls, or why this host has no such setting.
    fn find(self) -> Result<(Caller, Identity), String> {
        let v2 = Path::new(TOP).join("cgroup.controllers").exists();
        let v1 = !v2 && Path::new("/proc/self/cgroup").exists() && Path::new(TOP).join("pids").exists();
        let has_version = if self == Self::V1 { v1 } else { v2 };
        if !has_version {
            return Err(format!("needs cgroup {}", if self == Self::V1 { "v1" } else { "v2" }));
        }
        let caller = if self == Self::UserSystemd { Caller::User } else { Caller::Root };
        let identity = caller.identity()?;
        let by_systemd = matches!(self, Self::Systemd | Self::UserSystemd);
        if by_systemd && !Path::new("/run/systemd/system").exists() {
            return Err("needs systemd".into());
        }
        if self == Self::UserSystemd && !PathBuf::from(format!("/run/user/{}/bus", identity.uid)).exists() {
            return Err(format!("needs a systemd of {}'s: loginctl enable-linger", identity.name));
        }
        let top = if v1 { Path::new(TOP).join("pids") } else { PathBuf::from(TOP) };
        if !by_systemd && access(&top, AccessFlags::W_OK).is_err() {
            return Err(format!("needs a writable {}", top.display()));
        }
        Ok((caller, identity))
    }

    /// Whether containers get this controller here.
    fn has(self, controller: &str, identity: &Identity) -> bool {
        let uid = identity.uid;
        let list = match self {
            Self::V1 => {
                let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
                let lists = own.lines().filter_map(|line| line.split(':').nth(1));
                return lists.flat_map(|list| list.split(',')).any(|name| name == named(self, controller));
            }
            Self::V2 | Self::Systemd => format!("{TOP}/cgroup.controllers"),
            Self::UserSystemd => {
                format!("{TOP}/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers")
            }
        };
        // These belong to the tree itself.
        matches!(controller, "freezer" | "devices")
            || fs::read_to_string(list).unwrap_or_default().split_whitespace().any(|name| name == controller)
    }
}

/// A controller's name in this setting.
fn named(setting: Setting, controller: &str) -> &str {
    match (setting, controller) {
        (Setting::V1, "io") => "blkio",
        _ => controller,
    }
}

/// One test's home in one setting.
pub struct Ground {
    kase: Kase,
    pub setting: Setting,
    count: Cell<u32>,
}

impl Deref for Ground {
    type Target = Kase;

    fn deref(&self) -> &Kase {
        &self.kase
    }
}

impl Ground {
    /// Runs one test in this setting; skips it where that, or the controller it needs, does not exist.
    pub fn with(setting: Setting, needs: &str, deed: fn(&Self)) {
        let (caller, identity) = match setting.find() {
            Ok(found) => found,
            Err(why) => return record_skip(&why),
        };
        if needs != "none" && !setting.has(needs, &identity) {
            return record_skip(&format!("needs the {needs} controller, {setting:?}"));
        }
        let globals: &[&str] = if setting == Setting::Systemd { &["--systemd-cgroup"] } else { &[] };
        deed(&Self { kase: Kase::new(caller, identity, globals), setting, count: Cell::new(0) });
    }

    pub fn is_v1(&self) -> bool {
        self.setting == Setting::V1
    }

    pub fn by_systemd(&self) -> bool {
        matches!(self.setting, Setting::Systemd | Setting::UserSystemd)
    }

    pub fn has(&self, controller: &str) -> bool {
        self.setting.has(controller, &self.identity)
    }

    /// A `linux.cgroupsPath` that no other container has.
    pub fn new_path(&self) -> String {
        let number = self.count.replace(self.count.get() + 1);
        let name = format!("{}-c{number}", self.kase.name());
        if self.by_systemd() { format!(":kase:{name}") } else { format!("/{name}") }
    }

    /// A bundle with a cgroup of its own.
    pub fn bundle(&self) -> Bundle {
        let path = self.new_path();
        self.kase.bundle().edit(|spec| spec["linux"]["cgroupsPath"] = json!(path))
    }

    /// A bundle with limits, beside the usual rules for devices.
    pub fn limited(&self, resources: &Value) -> Bundle {
        self.bundle().edit(|spec| {
            for (section, value) in resources.as_object().unwrap() {
                spec["linux"]["resources"][section] = value.clone();
            }
        })
    }

    /// A container with limits that sleeps.
    pub fn sleeper(&self, resources: &Value) -> Container<'_> {
        self.run_detached(&self.limited(resources).args(["/probe", "sleep"]))
    }

    /// The container's cgroup, of this controller where there is one for each.
    pub fn cgroup(&self, container: &Container<'_>, controller: &str) -> PathBuf {
        self.cgroup_of(container.pid(), controller)
    }

    /// As [`cgroup`](Self::cgroup), of any process.
    pub fn cgroup_of(&self, pid: i32, controller: &str) -> PathBuf {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let wanted = if self.is_v1() { named(self.setting, controller) } else { "" };
        let path = text.lines().find_map(|line| {
            let (list, path) = line.split_once(':')?.1.split_once(':')?;
            list.split(',').any(|name| name == wanted).then_some(path)
        });
        let path = path.unwrap_or_else(|| panic!("no {controller} in {text}"));
        Path::new(TOP).join(wanted).join(path.trim_start_matches('/'))
    }

    /// The cgroup of a process in the hierarchy that /proc/PID/cgroup calls `list`, mounted at this name.
    pub fn cgroup_named(&self, pid: i32, list: &str, mounted: &str) -> PathBuf {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let path =
            text.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(list)?.strip_prefix(":/"));
        Path::new(TOP).join(mounted).join(path.unwrap_or("none"))
    }

    /// A file of the container's cgroup, as it is called in v1 and in v2.
    pub fn limit(&self, container: &Container<'_>, v1: &str, v2: &str) -> PathBuf {
        let file = if self.is_v1() { v1 } else { v2 };
        let controller = file.split('.').next().unwrap();
        self.cgroup(container, controller).join(file)
    }

    /// What is in it.
    pub fn read(&self, container: &Container<'_>, v1: &str, v2: &str) -> String {
        let file = self.limit(container, v1, v2);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.trim().to_owned()
    }

    /// Waits until a file's line `KEY VALUE` has a number above this.
    pub fn counts(&self, container: &Container<'_>, file: (&str, &str), key: &str, above: u64) {
        wait_until(&format!("{key} above {above}"), || {
            let text = self.read(container, file.0, file.1);
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
            value.is_some_and(|value| value > above)
        });
    }

    /// What the systemd of this setting answers.
    pub fn systemctl(&self, args: &[&str]) -> String {
        let mut command = self.program("systemctl");
        if !self.is_root() {
            command.arg("--user").env("XDG_RUNTIME_DIR", format!("/run/user/{}", self.identity.uid));
        }
        command.args(args);
        self.finish(command).stdout().to_owned()
    }

    /// Every cgroup on this host with the test's name in it.
    pub fn all(&self) -> Vec<PathBuf> {
        cgroups_of(&self.kase)
    }
}

/// Every cgroup on this host with the test's name in its own.
pub fn cgroups_of(kase: &Kase) -> Vec<PathBuf> {
    super::leftovers::cgroups(kase.name())
}
