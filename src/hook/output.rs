//! Where the output of hooks goes: into the error of the one that fails, or to files that annotations name.

use crate::fault::{Fault, OrFault};
use crate::output_file;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The files, where there are any.
#[derive(Debug, Default)]
pub struct Output {
    /// For standard output.
    pub stdout: Option<File>,
    /// For standard error.
    pub stderr: Option<File>,
}

impl Output {
    /// What it holds open.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.stdout, &self.stderr].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Opens the files of `run.oci.hooks.stdout` and `run.oci.hooks.stderr`, made if missing, to be appended to.
    /// Before the root changes: they are the host's.
    ///
    /// # Errors
    /// A file that cannot be opened, with its annotation.
    pub fn open(annotations: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        Ok(Self {
            stdout: file(annotations, "run.oci.hooks.stdout")?,
            stderr: file(annotations, "run.oci.hooks.stderr")?,
        })
    }
}

fn file(annotations: &BTreeMap<String, String>, name: &str) -> anyhow::Result<Option<File>> {
    let Some(path) = annotations.get(name) else { return Ok(None) };
    let open = || -> io::Result<File> {
        let file = output_file::append(Path::new(path), Mode::S_IRUSR | Mode::S_IWUSR, OFlag::empty())?;
        // A hook may wait until a pipe takes what it writes.
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        Ok(file)
    };
    open().map(Some).or_write_fault(|| {
        Fault::at(format!("annotations[{name:?}]"), format!("open {path:?}"))
            .remedy("name a file on the host that you may write, by its whole path")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Report;

    #[test]
    fn a_file_that_cannot_be_opened_is_named_with_its_annotation() {
        for path in ["", "/", "/no/such/directory/file"] {
            let annotations = BTreeMap::from([("run.oci.hooks.stderr".to_string(), path.to_string())]);
            let line = Report::of(&Output::open(&annotations).unwrap_err()).line;
            assert!(line.starts_with("annotations[\"run.oci.hooks.stderr\"]: open"), "{line}");
        }
        assert!(Output::open(&BTreeMap::new()).unwrap().stdout.is_none());
    }
}
