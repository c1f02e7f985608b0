//! One file of an engine's configuration, changed and put back.
//!
//! Three files make the way back exact: NAME.before-kase, the backup (absent if there was no file), NAME.with-kase,
//! what was written, and NAME.made-by-kase, the directories that were missing (absent if none was). Where the file
//! still is what was written, the backup comes back; where somebody changed it since, only what is kase's goes, and
//! what it hid comes back.

use crate::fault::{Fault, OrFault};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Nobody expects a configuration that is larger.
const MOST: u64 = 16 << 20;

/// The text of a file; nothing if it is not there.
///
/// # Errors
/// It is not to be read, no regular file, or no text.
pub fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let read = || -> io::Result<String> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if metadata.len() > MOST {
            return Err(io::Error::other(format!("it is larger than {} MiB", MOST >> 20)));
        }
        String::from_utf8(fs::read(path)?).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            io::Error::other(format!("line {line}: it is not UTF-8"))
        })
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => text.map(Some).or_fault(|| {
            let doing = format!("read {}", path.display());
            Fault::doing(doing).remedy("put a text file in its place that you may read, or remove it")
        }),
    }
}

/// A file with its records.
pub struct Configuration {
    /// As its engine names it.
    pub path: PathBuf,
    /// Of a symlink, the file that it leads to.
    target: PathBuf,
    /// What it was before kase.
    pub before: PathBuf,
    with: PathBuf,
    made: PathBuf,
    /// Where what somebody wrote into a file of our own is kept, since the engine does not read it there.
    pub changed: PathBuf,
}

impl Configuration {
    /// The file at `path`; its records are called `records` and an ending each.
    pub fn find(path: PathBuf, records: &Path) -> anyhow::Result<Self> {
        let target = resolve(&path).or_fault(|| {
            let doing = format!("find {}", path.display());
            Fault::doing(doing).remedy("name another directory with --config-dir")
        })?;
        let record = |ending| {
            let mut name = records.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let [before, with, made] = [".before-kase", ".with-kase", ".made-by-kase"].map(record);
        Ok(Self { path, target, before, with, made, changed: record(".changed") })
    }

    /// What is in it.
    pub fn text(&self) -> anyhow::Result<Option<String>> {
        read(&self.target)
    }

    /// Whether kase was added and not removed since.
    pub fn has_kase(&self) -> anyhow::Result<bool> {
        Ok(read(&self.with)?.is_some())
    }

    /// What it would be without kase, and nothing if there would be no file. `remove` takes kase out of a text that
    /// somebody changed, and is also told what there was before kase.
    pub fn without_kase(
        &self,
        remove: impl FnOnce(&str, Option<&str>) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<Option<String>> {
        let Some(now) = self.text()? else { return Ok(None) };
        match read(&self.with)? {
            None => Ok(Some(now)),
            Some(with) if with == now => read(&self.before),
            Some(_) => remove(&now, read(&self.before)?.as_deref()),
        }
    }

    /// Writes a new text, so that it can be put back from `before` even if this is interrupted. Of the new file,
    /// which is not yet in its place, `check` says whether it will do.
    ///
    /// # Errors
    /// Those of `check`; a file that cannot be written.
    pub fn add(
        &self,
        text: &str,
        before: Option<&str>,
        check: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let parent = self.target.parent().unwrap_or(&self.target);
        let parent = std::path::absolute(parent).or_fault(|| cannot_write(parent))?;
        let made: String = parent
            .ancestors()
            .take_while(|directory| !directory.exists())
            .map(|directory| format!("{}\n", directory.display()))
            .collect();
        fs::create_dir_all(&parent).or_write_fault(|| cannot_write(&parent))?;
        let add = || {
            let new = self.prepare(&self.target, text)?;
            check(&new.path)?;
            match before {
                Some(before) => self.record(&self.before, before)?,
                None => remove(&self.before)?,
            }
            if !made.is_empty() {
                self.record(&self.made, &made)?;
            }
            self.record(&self.with, text)?;
            new.replace(&self.target)
        };
        add().inspect_err(|_| remove_empty(&made))
    }

    /// Writes the text as it is without kase, or removes the file.
    pub fn restore(&self, text: Option<&str>) -> anyhow::Result<()> {
        match text {
            Some(text) => self.record(&self.target, text)?,
            None => remove(&self.target)?,
        }
        let made = read(&self.made)?.unwrap_or_default();
        [&self.with, &self.before, &self.made].into_iter().try_for_each(|record| remove(record))?;
        remove_empty(&made);
        Ok(())
    }

    /// Writes a file beside the configuration, with the owner and mode that it has.
    pub fn record(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        self.prepare(path, text)?.replace(path)
    }

    fn prepare(&self, path: &Path, text: &str) -> anyhow::Result<Unplaced> {
        let mut name = OsString::from(path);
        name.push(format!(".{}", std::process::id()));
        let write = || -> io::Result<Unplaced> {
            // Of one that was killed.
            remove_file(Path::new(&name))?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name)?;
            let new = Unplaced { path: name.into() };
            file.write_all(text.as_bytes())?;
            match fs::metadata(&self.target) {
                Ok(like) => {
                    own_as(&file, &like)?;
                    file.set_permissions(like.permissions())?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    file.set_permissions(Permissions::from_mode(0o644))?;
                }
                Err(error) => return Err(error),
            }
            file.sync_all()?;
            Ok(new)
        };
        write().or_write_fault(|| cannot_write(path))
    }
}

/// Gives the file the owner and the group of another. What an ordinary user writes stays that user's.
fn own_as(file: &File, like: &Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    let [uid, gid] = [(like.uid(), now.uid()), (like.gid(), now.gid())]
        .map(|(wanted, has)| (wanted != has).then_some(wanted));
    for (uid, gid) in [(uid, None), (None, gid)] {
        match fchown(file, uid, gid) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            owned => owned?,
        }
    }
    Ok(())
}

/// A new file under a name of its own; it is removed unless it is put in its place.
struct Unplaced {
    path: PathBuf,
}

impl Unplaced {
    fn replace(self, path: &Path) -> anyhow::Result<()> {
        fs::rename(&self.path, path).or_write_fault(|| cannot_write(path))
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        // After success it is not there any more, and where it cannot be removed an error was returned before.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    remove_file(path).or_write_fault(|| cannot_write(path))
}

/// The file is not there afterwards.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes directories, one a line, the innermost first.
fn remove_empty(directories: &str) {
    for directory in directories.lines() {
        // It stays if somebody has put a file there.
        let _ = fs::remove_dir(directory);
    }
}

fn cannot_write(path: &Path) -> Fault {
    Fault::doing(format!("write {}", path.display()))
        .remedy("call it as root, or with --config-dir for a directory that is yours")
}

/// The file that a symlink leads to, where perhaps there is none yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match (fs::read_link(path), path.parent()) {
            (Ok(target), Some(parent)) => resolve(&parent.join(target)),
            _ => Ok(path.to_owned()),
        },
        resolved => resolved,
    }
}
