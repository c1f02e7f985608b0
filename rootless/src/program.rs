//! Programs of the host.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The first program of this name in `$PATH`.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    find(name, std::env::var_os("PATH").as_deref(), &[]).map(|(path, _)| path)
}

/// The first program of this name on a search path, or else in the usual directories.
pub(crate) fn find(name: &str, path: Option<&OsStr>, usual: &[&Path]) -> Option<(PathBuf, Metadata)> {
    let on_path = path.into_iter().flat_map(std::env::split_paths);
    on_path
        // A relative entry would mean whatever directory the caller happens to be in.
        .filter(|directory| directory.is_absolute())
        .chain(usual.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find_map(|path| runnable(&path).map(|found| (path, found)))
}

/// As execvp(3), that goes on where a directory may not be searched.
pub(crate) fn runnable(path: &Path) -> Option<Metadata> {
    path.metadata().ok().filter(|found| found.is_file() && found.mode() & 0o111 != 0)
}
