//! The container's cgroups: one directory a hierarchy, made by root before the clone.

use crate::{die, kernel};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::OwnedFd;

/// A directory in a hierarchy.
pub struct Cgroup {
    hierarchy: CString,
    directory: String,
}

/// What `kase spec` asks for (nothing), with the devices that every container has.
const ALLOWED: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:8 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:5 rwm",
    "c 1:9 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
];

impl Cgroup {
    /// Of `HIERARCHY:DIRECTORY`.
    pub fn new(arg: &str) -> Self {
        let (hierarchy, directory) = arg.split_once(':').unwrap_or_else(|| die(arg));
        Self { hierarchy: kernel::text(hierarchy), directory: directory.into() }
    }

    pub fn is_unified(&self) -> bool {
        self.is(c"unified")
    }

    /// The option with which it is mounted.
    pub fn hierarchy(&self) -> &CStr {
        &self.hierarchy
    }

    /// The directory at which it is mounted.
    pub fn name(&self) -> &CStr {
        let whole = self.hierarchy.to_bytes_with_nul();
        whole
            .strip_prefix(b"name=")
            .and_then(|name| CStr::from_bytes_with_nul(name).ok())
            .unwrap_or(&self.hierarchy)
    }

    pub fn open(&self) -> OwnedFd {
        fs::File::open(&self.directory).unwrap_or_else(|_| die(&self.directory)).into()
    }

    pub fn make(&self, limits: bool) {
        fs::create_dir(&self.directory).unwrap_or_else(|_| die(&self.directory));
        if self.is(c"cpuset") {
            self.inherit("cpuset.cpus");
            self.inherit("cpuset.mems");
        }
        if self.is(c"devices") {
            self.write("devices.deny", "a");
            let rules = kernel::open_for_writing(&self.file("devices.allow"));
            ALLOWED.iter().for_each(|rule| kernel::write(&rules, rule));
        }
        if self.is_unified() && fs::exists(self.file("memory.max")).is_ok_and(|exists| exists) {
            kernel::attach_device_program(&self.open());
        }
        if limits {
            self.limit();
        }
    }

    pub fn attach(&self, pid: libc::pid_t) {
        self.write("cgroup.procs", &pid.to_string());
    }

    pub fn remove(&self) {
        fs::remove_dir(&self.directory).unwrap_or_else(|_| die(&self.directory));
    }

    fn limit(&self) {
        let limits: &[(&str, &str)] = match self.hierarchy.to_bytes() {
            b"memory" => &[("memory.limit_in_bytes", "67108864")],
            b"pids" => &[("pids.max", "64")],
            b"unified" => &[("memory.max", "67108864"), ("pids.max", "64")],
            _ => &[],
        };
        for (file, value) in limits {
            // The unified hierarchy beside version 1 has neither.
            if fs::exists(self.file(file)).is_ok_and(|exists| exists) {
                self.write(file, value);
            }
        }
    }

    fn is(&self, hierarchy: &CStr) -> bool {
        self.hierarchy.as_c_str() == hierarchy
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn write(&self, name: &str, value: &str) {
        kernel::write(&kernel::open_for_writing(&self.file(name)), value);
    }

    /// A new cpuset is empty, and takes no process.
    fn inherit(&self, name: &str) {
        let above = format!("{}/../{name}", self.directory);
        let value = fs::read_to_string(&above).unwrap_or_else(|_| die(&above));
        self.write(name, value.trim_end());
    }
}
