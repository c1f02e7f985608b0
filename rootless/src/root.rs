//! The directory that host files are looked up below: `/`, or a stand-in for tests.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file of the host that is there and cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Which.
    pub path: &'static str,
    /// Why.
    pub source: io::Error,
}

impl Unreadable {
    /// What to do, if it is a matter of rights.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        (self.source.kind() == io::ErrorKind::PermissionDenied)
            .then(|| format!("run as root: chmod a+r {}", self.path))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {}", self.path)
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Where `/etc`, `/proc`, `/run` and `/tmp` are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The host's own `/`.
    #[must_use]
    pub fn host() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A directory that stands for `/`.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_path_buf())
    }

    /// The path below this root that stands for `absolute`.
    #[must_use]
    pub fn join(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The text of a file, or `None` where there is none.
    ///
    /// Bytes that are not UTF-8 become replacement characters: a comment field of `/etc/passwd` in
    /// an old encoding must not hide the other lines.
    ///
    /// # Errors
    /// Whatever open(2) or read(2) say, other than that the file does not exist.
    pub fn read(&self, absolute: &str) -> io::Result<Option<String>> {
        match std::fs::read(self.join(absolute)) {
            Ok(bytes) => Ok(Some(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The first line of a file without its end, or `None` where it cannot be read: for settings
    /// in `/proc/sys`, whose absence is an answer too.
    #[must_use]
    pub(crate) fn setting(&self, absolute: &str) -> Option<String> {
        let text = self.read(absolute).ok()??;
        Some(text.lines().next().unwrap_or_default().trim().to_owned())
    }
}

#[cfg(test)]
pub(crate) mod stand_in {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Root;

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

        pub(crate) fn root(&self) -> Root {
            Root::at(&self.0)
        }
    }

    impl Drop for StandIn {
        fn drop(&mut self) {
            // A directory that stays behind in /tmp fails no test.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
