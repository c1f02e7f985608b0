//! A directory for the targets that read files: one a process, where temporary files are.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::cell::OnceCell;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub struct Directory(PathBuf);

thread_local! {
    static DIRECTORY: OnceCell<Directory> = const { OnceCell::new() };
}

impl Directory {
    pub fn with<T>(with: impl FnOnce(&Self) -> T) -> T {
        DIRECTORY.with(|directory| with(directory.get_or_init(Self::new)))
    }

    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("kase-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory can be made");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn open(&self, name: &str) -> OwnedFd {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(&self.0.join(name), flags, Mode::empty()).expect("it is there")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
