//! The directory that host files are looked up below: `/`, or a stand-in for tests.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::diagnosis::Diagnosis;

/// A file of the host that is there and cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unreadable {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Unreadable {
    pub(crate) fn new(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { path: path.into(), source }
    }

    /// What to do, if it is a matter of rights.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let refused = self.source.kind() == ErrorKind::PermissionDenied && !self.path.starts_with("/proc");
        refused.then(|| format!("run as root: chmod a+r {}", self.path.display()))
    }
}

impl From<Unreadable> for Diagnosis {
    fn from(error: Unreadable) -> Self {
        let path = error.path.display();
        let remedy = error.remedy().unwrap_or_else(|| format!("have root repair {path}"));
        Self::new(format!("{path} cannot be read: {}", error.source), remedy)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {}", self.path.display())
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Where `/etc`, `/proc`, `/run`, `/sys` and `/tmp` are looked up.
#[derive(Debug)]
pub(crate) struct Sysroot(PathBuf);

impl Sysroot {
    /// The host's own `/`.
    pub(crate) fn host() -> Self {
        Self(PathBuf::from("/"))
    }

    /// The path below this root that stands for `absolute`.
    pub(crate) fn join(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The text of a file, or `None` where there is none.
    ///
    /// Bytes that are not UTF-8 become replacement characters: a comment field of `/etc/passwd` in
    /// an old encoding must not hide the other lines.
    pub(crate) fn read(&self, absolute: impl AsRef<Path>) -> Result<Option<String>, Unreadable> {
        match std::fs::read(self.join(&absolute)) {
            Ok(bytes) => Ok(Some(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            })),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(Unreadable::new(absolute.as_ref(), source)),
        }
    }

    /// The text of a file for a diagnosis, which has nothing to say of one that cannot be read.
    pub(crate) fn readable(&self, absolute: &str) -> Option<String> {
        self.read(absolute).ok().flatten()
    }

    /// The first line of a file without its end: for settings in `/proc/sys`, whose absence is an answer too.
    pub(crate) fn setting(&self, absolute: &str) -> Option<String> {
        let text = self.readable(absolute)?;
        Some(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// A field of `/proc/self/status`: proc_pid_status(5).
    pub(crate) fn status(&self, field: &str) -> Option<String> {
        let text = self.readable("/proc/self/status")?;
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    /// The mount points of this process: proc_pid_mountinfo(5).
    pub(crate) fn mount_points(&self) -> Option<Vec<String>> {
        let mounts = self.readable("/proc/self/mountinfo")?;
        Some(mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect())
    }
}

#[cfg(test)]
pub(crate) mod stand_in {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Sysroot;

    /// A directory that stands for `/`, gone when dropped.
    pub(crate) struct StandIn(PathBuf);

    impl StandIn {
        pub(crate) fn new() -> Self {
            static MADE: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("rootless-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn file(self, path: &str, text: &str) -> Self {
            let path = self.root().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            self
        }

        pub(crate) fn directory(self, path: &str) -> Self {
            std::fs::create_dir_all(self.root().join(path)).unwrap();
            self
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn root(&self) -> Sysroot {
            Sysroot(self.0.clone())
        }
    }

    impl Drop for StandIn {
        fn drop(&mut self) {
            // A directory that stays behind in /tmp fails no test.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
