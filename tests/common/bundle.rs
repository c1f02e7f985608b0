//! A bundle: a rootfs with the probe in it, and a config that starts from what `kase spec` writes.

use super::caller::{Caller, Identity};
use super::{peer, programs};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A bundle of one test. Each builder call writes config.json anew.
pub struct Bundle {
    dir: PathBuf,
    spec: Value,
    caller: Caller,
    owner: Identity,
}

impl Bundle {
    /// Makes the directory with a rootfs that holds `/probe`, `/true`, and empty directories to mount on.
    pub fn new(dir: PathBuf, caller: Caller, owner: &Identity, marker: &str) -> Self {
        let bundle = Self { spec: default_spec(marker), dir, caller, owner: owner.clone() };
        fs::create_dir_all(&bundle.dir).unwrap();
        owner.own(&bundle.dir);
        let bundle = bundle.directory("");
        programs::copy_to(programs::probe(), &bundle.rootfs("probe"));
        fs::set_permissions(bundle.rootfs("probe"), fs::Permissions::from_mode(0o755)).unwrap();
        let bundle = bundle.link("true", "/probe");
        let bundle = ["proc", "sys", "dev", "tmp", "etc", "mnt"]
            .iter()
            .fold(bundle, |bundle, name| bundle.directory(name));
        bundle.write();
        bundle
    }

    pub fn args<const N: usize>(self, args: [&str; N]) -> Self {
        self.edit(|spec| spec["process"]["args"] = json!(args.as_slice()))
    }

    /// Changes the config.
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.spec);
        self.write();
        self
    }

    /// Adds a mount.
    pub fn mount(self, mount: Value) -> Self {
        self.edit(|spec| spec["mounts"].as_array_mut().unwrap().push(mount))
    }

    /// Adds a file with this text to the rootfs.
    pub fn file(self, path: &str, text: &str) -> Self {
        fs::write(self.rootfs(path), text).unwrap();
        self.owner.own(&self.rootfs(path));
        self
    }

    /// Adds an executable file to the rootfs.
    pub fn program(self, path: &str, bytes: &[u8]) -> Self {
        fs::write(self.rootfs(path), bytes).unwrap();
        fs::set_permissions(self.rootfs(path), fs::Permissions::from_mode(0o755)).unwrap();
        self.owner.own(&self.rootfs(path));
        self
    }

    /// Makes the rootfs writable to the container.
    pub fn writable(self) -> Self {
        self.edit(|spec| spec["root"]["readonly"] = json!(false))
    }

    /// Takes this namespace out of the config.
    pub fn without_namespace(self, kind: &str) -> Self {
        self.edit(|spec| {
            spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != kind);
        })
    }

    /// Adds a namespace, or puts it in place of the one of its type.
    pub fn namespace(self, namespace: Value) -> Self {
        let bundle = self.without_namespace(namespace["type"].as_str().unwrap());
        bundle.edit(|spec| spec["linux"]["namespaces"].as_array_mut().unwrap().push(namespace))
    }

    pub fn directory(self, path: &str) -> Self {
        fs::create_dir_all(self.rootfs(path)).unwrap();
        self.owner.own(&self.rootfs(path));
        self
    }

    /// Adds a symlink to the rootfs.
    pub fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.rootfs(path)).unwrap();
        self.owner.own(&self.rootfs(path));
        self
    }

    /// Writes config.json as it stands, for configs that are no JSON.
    pub fn config(self, text: &str) -> Self {
        fs::write(self.path("config.json"), text).unwrap();
        self
    }

    /// The index of the last mount, as errors name it.
    pub fn last_mount(&self) -> String {
        format!("mounts[{}]", self.spec["mounts"].as_array().unwrap().len() - 1)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the bundle.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// A path in the rootfs, seen from the host.
    pub fn rootfs(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    fn write(&self) {
        let mut spec = self.spec.clone();
        peer::adapt(&mut spec, self.caller, &self.owner);
        fs::write(self.path("config.json"), serde_json::to_vec_pretty(&spec).unwrap()).unwrap();
    }
}

fn default_spec(marker: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/probe", "true"],
            "env": ["PATH=/bin:/usr/bin", "TERM=xterm", marker],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "kase",
        "mounts": default_mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn default_mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ])
}
