//! Where a caller's running containers are remembered: gone with the session or the boot.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{env, fmt};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};

use crate::caller::{Caller, Standing};
use crate::diagnose::{of_space, shortage};
use crate::symlink::may_follow;
use crate::sysroot::Sysroot;

/// The state directory of a caller. It need not exist yet: [`make`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateDir {
    /// Where.
    pub path: PathBuf,
    /// Why it is not where the caller would expect it; for a log.
    pub note: Option<String>,
}

impl StateDir {
    /// Finds the place for `product` (the program's name, one path component); makes nothing.
    ///
    /// | who | where |
    /// |---|---|
    /// | root | `/run/<product>` |
    /// | others | `$XDG_RUNTIME_DIR/<product>`, if that is a directory of the caller's |
    /// | a namespace's root, else | `/run/<product>`, if `/run` is its own (a system container) |
    /// | else | `/run/user/<uid>/<product>`, if that is a directory of the caller's |
    /// | else | `/tmp/<product>-<uid>` |
    ///
    /// An empty `XDG_RUNTIME_DIR` counts as unset (Podman hands it down so). One that is set and
    /// of no use is passed over, with a note. The uid of a namespace's root is the one that it has
    /// outside.
    ///
    /// # Errors
    /// No place is fit: the last one tried, and what is wrong with it and `XDG_RUNTIME_DIR`.
    pub fn find(caller: &Caller, product: &str) -> Result<Self, Error> {
        Self::find_in(&Sysroot::host(), env::var_os("XDG_RUNTIME_DIR"), caller, product)
    }

    fn find_in(
        root: &Sysroot,
        runtime_dir: Option<OsString>,
        caller: &Caller,
        product: &str,
    ) -> Result<Self, Error> {
        let run = root.join("/run");
        if caller.standing == Standing::Root {
            return Ok(Self { path: run.join(product), note: None });
        }
        let uid = caller.uid_outside();
        let named = runtime_dir.filter(|value| !value.is_empty()).map(PathBuf::from);
        let own_run = (caller.standing == Standing::NamespaceRoot).then(|| run.clone());
        let places = [named.clone(), own_run, Some(run.join(format!("user/{uid}")))];
        let mut broken = None;
        let placed = |path: PathBuf, broken: Option<String>| {
            let note = broken.map(|broken| format!("{broken}; using {}", path.display()));
            Ok(Self { path, note })
        };
        for directory in places.into_iter().flatten() {
            match usable(&directory, caller) {
                Ok(()) => return placed(directory.join(product), broken),
                Err(why) if !why.stays() => return Err(Error::at(&directory, why)),
                Err(why) if named.as_ref() == Some(&directory) => {
                    broken = Some(format!("XDG_RUNTIME_DIR={} {why}", directory.display()));
                }
                Err(_) => {}
            }
        }
        let temporary = root.join(format!("/tmp/{product}-{uid}"));
        match open_fit(&temporary, caller.uid) {
            Ok(_) => placed(temporary, broken),
            Err(why) => Err(Error { path: temporary, why, broken }),
        }
    }
}

/// Makes a state directory, mode 0700, and those above it that are missing, and opens it.
///
/// One that is there must be a directory of the caller's, or a symbolic link to one, as of [`open`],
/// and not writable to others: whoever can write it can have the caller signal or delete anything.
///
/// Except for root the sticky bit is set too, by which clean-up services know what to keep in
/// `$XDG_RUNTIME_DIR` (XDG Base Directory Specification).
///
/// # Errors
/// It cannot be made, or is not fit.
pub fn make(path: &Path, caller: &Caller) -> Result<OwnedFd, Error> {
    let make = || {
        if let Some(directory) = open_fit(path, caller.uid)? {
            return Ok(directory);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // Looked at again: a recursive creation takes a directory that somebody else was quicker to make.
        let directory = open_fit(path, caller.uid)?.ok_or(Unfit::Missing)?;
        if caller.standing != Standing::Root {
            fchmod(&directory, Mode::from_bits_truncate(0o1700))?;
        }
        Ok(directory)
    };
    make().map_err(|why| Error::at(path, why))
}

/// Opens a state directory for reading; `None` where there is none.
///
/// It may be a symbolic link that [`may_follow`] lets `uid`, the caller, follow.
pub fn open(path: &Path, uid: u32) -> Result<Option<OwnedFd>, Error> {
    open_any(path, uid).map_err(|why| Error::at(path, why))
}

/// As [`open`], for a directory that nobody has named: in /tmp anybody can have made it. What is open
/// is looked at, since the name may be another's by then.
///
/// # Errors
/// As [`open`], and a directory that is not the caller's or that others may write to.
pub fn open_own(path: &Path, uid: u32) -> Result<Option<OwnedFd>, Error> {
    open_fit(path, uid).map_err(|why| Error::at(path, why))
}

fn open_any(path: &Path, uid: u32) -> Result<Option<OwnedFd>, Unfit> {
    /// As many as the kernel follows.
    const MOST_SYMLINKS: usize = 40;
    const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);
    let mut start = None;
    let mut rest = path.to_path_buf();
    for followed in 0..=MOST_SYMLINKS {
        // A slash at the end would have a link followed.
        rest = rest.components().collect();
        match open_at(&start, &rest, DIRECTORY) {
            Ok(directory) => return Ok(Some(directory)),
            Err(Errno::ENOENT) if followed == 0 => return Ok(None),
            Err(Errno::ENOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
        let parent = rest.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let holder = Some(open_at(&start, parent, OFlag::O_PATH | OFlag::O_DIRECTORY)?);
        let link = open_at(
            &holder,
            Path::new(rest.file_name().unwrap_or_default()),
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
        )?;
        let found = fstat(&link)?;
        if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFLNK {
            return Err(Unfit::NotADirectory);
        }
        if !may_follow(&found, &fstat(directory_of(&holder))?, uid) {
            return Err(Unfit::Symlink(found.st_uid));
        }
        (start, rest) = (holder, readlinkat(&link, "")?.into());
    }
    Err(Errno::ELOOP.into())
}

fn directory_of(start: &Option<OwnedFd>) -> BorrowedFd<'_> {
    start.as_ref().map_or(AT_FDCWD, AsFd::as_fd)
}

/// Repeated when a signal interrupts it.
fn open_at(start: &Option<OwnedFd>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    loop {
        match openat(directory_of(start), path, flags | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::EINTR) => {}
            opened => return opened,
        }
    }
}

fn open_fit(path: &Path, uid: u32) -> Result<Option<OwnedFd>, Unfit> {
    let Some(directory) = open_any(path, uid)? else { return Ok(None) };
    let found = fstat(&directory)?;
    if found.st_uid != uid {
        return Err(Unfit::Owner(found.st_uid, uid));
    }
    if found.st_mode & 0o022 != 0 {
        return Err(Unfit::Mode(found.st_mode & 0o7777));
    }
    Ok(Some(directory))
}

/// No fit state directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    /// Which place.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Unfit,
    /// What is wrong with `XDG_RUNTIME_DIR`, if it was the first choice.
    pub broken: Option<String>,
}

/// What is wrong with a directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unfit {
    /// Not an absolute path.
    Relative,
    /// Not there.
    Missing,
    /// A symbolic link of this uid that the caller must not follow.
    Symlink(u32),
    /// Something else than a directory.
    NotADirectory,
    /// Owned by the first uid, not by the second, the caller's.
    Owner(u32, u32),
    /// Others may write to it, by this mode.
    Mode(u32),
    /// The kernel's answer.
    Other(io::Error),
}

impl Unfit {
    /// Whether the next look will find the same. What does not is no reason to look for containers
    /// in another place, or to make them there.
    fn stays(&self) -> bool {
        const ANSWERS: [Errno; 4] = [Errno::EACCES, Errno::ELOOP, Errno::ENAMETOOLONG, Errno::ENOTDIR];
        match self {
            Self::Other(error) => ANSWERS.iter().any(|answer| error.raw_os_error() == Some(*answer as i32)),
            _ => true,
        }
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Other(error)
    }
}

impl From<Errno> for Unfit {
    fn from(error: Errno) -> Self {
        Self::Other(error.into())
    }
}

impl Error {
    fn at(path: &Path, why: Unfit) -> Self {
        Self { path: path.to_path_buf(), why, broken: None }
    }

    /// What to do about it, for the caller that it stopped.
    #[must_use]
    pub fn remedy(&self, caller: &Caller) -> String {
        if let Unfit::Other(error) = &self.why {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            if let Some(remedy) = shortage(errno).or_else(|| of_space(errno)) {
                return remedy;
            }
        }
        let path = self.path.display();
        let here = match &self.why {
            Unfit::Mode(_) => return format!("run chmod go-w {path}, if you trust what is in it"),
            Unfit::Relative => return "name it by an absolute path".to_owned(),
            Unfit::Missing | Unfit::Other(_) => format!("make {path} a directory of your own"),
            Unfit::Symlink(_) | Unfit::NotADirectory | Unfit::Owner(..) => format!("have {path} removed"),
        };
        match caller.standing {
            Standing::Root => here,
            Standing::NamespaceRoot | Standing::User => {
                format!("set XDG_RUNTIME_DIR to a directory of your own, or {here}")
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state directory {} {}", self.path.display(), self.why)?;
        self.broken.iter().try_for_each(|broken| write!(f, ", and {broken}"))
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative => write!(f, "is not an absolute path"),
            Self::Missing => write!(f, "does not exist"),
            Self::Symlink(theirs) => {
                write!(f, "is a symbolic link of uid {theirs}, who may point it anywhere")
            }
            Self::NotADirectory => write!(f, "is not a directory"),
            Self::Owner(theirs, ours) => write!(f, "belongs to uid {theirs}, not to uid {ours}"),
            Self::Mode(mode) => write!(f, "can be written by others (mode {mode:04o})"),
            Self::Other(error) => write!(f, "cannot be used: {error}"),
        }
    }
}

/// Whether a directory that somebody else provides can hold ours.
fn usable(directory: &Path, caller: &Caller) -> Result<(), Unfit> {
    if !directory.is_absolute() {
        return Err(Unfit::Relative);
    }
    let found = directory.metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unfit::Missing,
        _ => Unfit::Other(error),
    })?;
    if !found.is_dir() {
        return Err(Unfit::NotADirectory);
    }
    if found.uid() != caller.uid {
        return Err(Unfit::Owner(found.uid(), caller.uid));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::unistd::geteuid;

    use super::*;
    use crate::sysroot::stand_in::StandIn;

    fn user() -> Caller {
        Caller::assumed(Standing::User, geteuid().as_raw(), 1000).with_name(Some("alice"))
    }

    /// A user who does not own what the test makes.
    fn stranger() -> Caller {
        Caller::assumed(Standing::User, geteuid().as_raw() + 1, 1000).with_name(Some("mallory"))
    }

    fn namespace_root() -> Caller {
        let map: crate::IdMap = "0 1000 1\n".parse().unwrap();
        Caller::assumed(Standing::NamespaceRoot, geteuid().as_raw(), 0)
            .with_maps(crate::IdMaps { uids: map.clone(), gids: map })
    }

    fn find(host: &StandIn, runtime_dir: Option<&str>, caller: &Caller) -> Result<StateDir, Error> {
        let runtime_dir = runtime_dir.map(|path| match path.strip_prefix('/') {
            Some(path) => host.path().join(path).into_os_string(),
            None => path.into(),
        });
        StateDir::find_in(&host.root(), runtime_dir, caller, "engine")
    }

    fn found(host: &StandIn, runtime_dir: Option<&str>, caller: &Caller) -> (String, bool) {
        let StateDir { path, note } = find(host, runtime_dir, caller).unwrap();
        (path.strip_prefix(host.path()).unwrap().display().to_string(), note.is_some())
    }

    #[test]
    fn root_keeps_its_state_in_run_whatever_the_environment_says() {
        let root = Caller::assumed(Standing::Root, 0, 0);
        let host = StandIn::new().directory("/run/user/0");
        assert_eq!(found(&host, Some("/run/user/0"), &root), ("run/engine".into(), false));
    }

    #[test]
    fn the_runtime_directory_is_the_first_choice() {
        let host = StandIn::new().directory("/xdg");
        assert_eq!(found(&host, Some("/xdg"), &user()), ("xdg/engine".into(), false));
        assert_eq!(found(&host, Some("/xdg"), &namespace_root()), ("xdg/engine".into(), false));
    }

    #[test]
    fn an_empty_runtime_directory_counts_as_unset() {
        let host = StandIn::new();
        let uid = geteuid();
        assert_eq!(found(&host, Some(""), &user()), (format!("tmp/engine-{uid}"), false));
        assert_eq!(found(&host, None, &user()), (format!("tmp/engine-{uid}"), false));
    }

    #[test]
    fn run_user_is_used_where_the_variable_is_unset() {
        let uid = geteuid();
        let host = StandIn::new().directory(&format!("/run/user/{uid}"));
        assert_eq!(found(&host, None, &user()), (format!("run/user/{uid}/engine"), false));
    }

    #[test]
    fn a_runtime_directory_of_no_use_is_passed_over_with_a_note() {
        let host = StandIn::new().file("/file", "");
        for (value, why) in [
            ("/missing", "does not exist"),
            ("/file", "is not a directory"),
            ("relative/path", "is not an absolute path"),
        ] {
            let note = find(&host, Some(value), &user()).unwrap().note.unwrap();
            assert!(note.starts_with("XDG_RUNTIME_DIR=") && note.contains(why), "{note}");
        }
        let host = StandIn::new().directory("/xdg");
        let note = find(&host, Some("/xdg"), &stranger()).unwrap().note.unwrap();
        assert!(note.contains("belongs to uid"), "{note}");
    }

    #[test]
    fn the_root_of_a_system_container_keeps_its_state_in_run() {
        let host = StandIn::new().directory("/run");
        assert_eq!(found(&host, None, &namespace_root()), ("run/engine".into(), false));
        assert_eq!(found(&host, Some("/missing"), &namespace_root()), ("run/engine".into(), true));
    }

    #[test]
    fn a_namespace_root_is_known_by_its_uid_outside() {
        let host = StandIn::new();
        assert_eq!(
            found(&host, None, &namespace_root()).0,
            format!("tmp/engine-{}", namespace_root().uid_outside())
        );
    }

    #[test]
    fn no_fit_place_is_an_error_that_names_both() {
        let user = user();
        let name = format!("/tmp/engine-{}", user.uid);
        let host = StandIn::new().file(&name, "");
        let error = find(&host, Some("/missing"), &user).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&name) && text.contains("XDG_RUNTIME_DIR="), "{text}");
        assert!(error.remedy(&user).starts_with("set XDG_RUNTIME_DIR"));
    }

    #[test]
    fn a_link_is_followed_if_it_is_the_callers() {
        let user = user();
        let host = StandIn::new().directory("/tmp").directory("/elsewhere");
        let link = host.path().join(format!("tmp/engine-{}", user.uid));
        symlink("../elsewhere", &link).unwrap();
        // Else root's would be the stranger's to follow too.
        std::fs::set_permissions(host.path().join("tmp"), Permissions::from_mode(0o777)).unwrap();
        for path in [link.clone(), link.join("")] {
            let opened = make(&path, &user).unwrap();
            let elsewhere = host.path().join("elsewhere").metadata().unwrap();
            assert_eq!(fstat(&opened).unwrap().st_ino, elsewhere.ino());
            assert!(open_own(&path, user.uid).unwrap().is_some());
            assert!(matches!(open(&path, stranger().uid).unwrap_err().why, Unfit::Symlink(_)));
            assert!(matches!(make(&path, &stranger()).unwrap_err().why, Unfit::Symlink(_)));
        }
        std::fs::remove_dir(host.path().join("elsewhere")).unwrap();
        assert!(matches!(open(&link, user.uid).unwrap_err().why, Unfit::Other(_)), "a link to nowhere");
    }

    #[test]
    fn a_directory_that_others_own_or_write_to_is_refused() {
        let host = StandIn::new().directory("/state");
        let path = host.path().join("state");
        assert!(matches!(make(&path, &stranger()).unwrap_err().why, Unfit::Owner(..)));
        std::fs::set_permissions(&path, Permissions::from_mode(0o1777)).unwrap();
        let error = make(&path, &user()).unwrap_err();
        assert!(matches!(error.why, Unfit::Mode(0o1777)));
        assert!(error.remedy(&user()).starts_with("run chmod go-w"));
    }

    #[test]
    fn what_is_made_is_private_and_sticky_except_for_root() {
        let host = StandIn::new();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        let path = host.path().join("a/b");
        make(&path, &user()).unwrap();
        assert_eq!((mode(&path), mode(&host.path().join("a"))), (0o1700, 0o700));
        make(&path, &user()).unwrap();

        let path = host.path().join("c");
        make(&path, &Caller::assumed(Standing::Root, geteuid().as_raw(), 0)).unwrap();
        assert_eq!(mode(&path), 0o700);
    }
}
