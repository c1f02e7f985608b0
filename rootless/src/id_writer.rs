//! Writing the id maps of a process: by hand, or through newuidmap(1) and newgidmap(1).

use std::ffi::OsStr;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::caller::{Caller, Standing};
use crate::hurdles::{self, Hurdle};
use crate::id_map::{IdMap, IdMaps, Kind, Line};
use crate::subid::{Range, Subordinate, subtract};

/// Where the helpers are when `PATH` does not say: engines may call without one. The last is
/// NixOS's, which has setuid programs nowhere else.
const USUAL_DIRECTORIES: [&str; 5] = ["/usr/bin", "/usr/sbin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// How maps get written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// By this process, into `/proc/PID`.
    Direct(Setgroups),
    /// By the setuid programs that know subuid(5).
    Helpers {
        /// Path of newuidmap(1).
        newuidmap: PathBuf,
        /// Path of newgidmap(1).
        newgidmap: PathBuf,
    },
}

/// What becomes of setgroups(2) in the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setgroups {
    /// It stays as it is.
    Keep,
    /// It is denied for good. The kernel asks that of whoever maps a group without privilege: it
    /// could otherwise leave a group that is denied something (CVE-2014-8989).
    Deny,
}

impl Means {
    /// Chooses for these maps; costs two stat(2) at most where nothing is in odd places.
    ///
    /// Root, of any user namespace, writes itself. So does a user who maps one own id of each kind.
    /// Everything else is for the helpers, both of them, even if one kind alone would do without.
    ///
    /// # Errors
    /// [`Error::NoHelper`], when they are needed and one is not found.
    pub fn choose(caller: &Caller, maps: &IdMaps) -> Result<Self, Error> {
        match caller.standing {
            Standing::Root | Standing::NamespaceRoot => Ok(Self::Direct(Setgroups::Keep)),
            Standing::User if maps.is_single_own(caller) => Ok(Self::Direct(Setgroups::Deny)),
            Standing::User => Self::helpers(std::env::var_os("PATH").as_deref()),
        }
    }

    /// Both helpers, wherever `path` (a search path as in `PATH`) or the usual directories have
    /// them.
    ///
    /// # Errors
    /// [`Error::NoHelper`], when one is not found.
    pub fn helpers(path: Option<&OsStr>) -> Result<Self, Error> {
        let usual: Vec<&Path> = USUAL_DIRECTORIES.iter().map(Path::new).collect();
        Self::helpers_among(path, &usual)
    }

    fn helpers_among(path: Option<&OsStr>, usual: &[&Path]) -> Result<Self, Error> {
        Ok(Self::Helpers {
            newuidmap: program("newuidmap", path, usual)?,
            newgidmap: program("newgidmap", path, usual)?,
        })
    }

    /// Whether setgroups(2) is denied in a namespace whose maps are written so, and with it the
    /// supplementary groups (`process.user.additionalGids`).
    ///
    /// newgidmap(1) denies it as well, when the only gid is the caller's own.
    #[must_use]
    pub fn denies_setgroups(&self, caller: &Caller, maps: &IdMaps) -> bool {
        match self {
            Self::Direct(setgroups) => *setgroups == Setgroups::Deny,
            Self::Helpers { .. } => maps.gids.is_single(caller.gid),
        }
    }
}

/// Writes the maps of process `pid`, which is in a new user namespace without any.
///
/// The helpers run both at once, and no thread is started for them. They want a process that is
/// dumpable (prctl(2), `PR_SET_DUMPABLE`): `/proc/PID` of another belongs to root, and they take it
/// for somebody else's.
///
/// # Errors
/// What failed, with the path or the command line; [`Error::hurdle`] then tells why and what to do.
pub fn write(pid: u32, maps: &IdMaps, means: &Means) -> Result<(), Error> {
    match means {
        Means::Direct(setgroups) => {
            write_file(pid, "uid_map", &maps.uids.to_string())?;
            if *setgroups == Setgroups::Deny {
                // Before gid_map: the kernel refuses an unprivileged gid_map while setgroups is
                // allowed, and refuses "deny" once gid_map is there.
                write_file(pid, "setgroups", "deny")?;
            }
            write_file(pid, "gid_map", &maps.gids.to_string())
        }
        Means::Helpers { newuidmap, newgidmap } => {
            let uids = Helper::start(newuidmap, pid, &maps.uids)?;
            let gids = Helper::start(newgidmap, pid, &maps.gids);
            // The first is waited for even if the second did not start: it must not stay a zombie.
            let uids = uids.finish();
            let gids = gids.and_then(Helper::finish);
            uids.and(gids)
        }
    }
}

/// Whether the caller may map these ids: its own, one in a line, and the subordinate ones.
///
/// Root may map any. For the root of a user namespace, each line must lie within one line of that
/// namespace's map, as the kernel asks. Told before any process exists; pure but for
/// `/etc/passwd`, when it has to name the refused user.
///
/// # Errors
/// The first line that is not the caller's to map.
pub fn permitted(caller: &Caller, subordinate: &Subordinate, maps: &IdMaps) -> Result<(), NotYours> {
    for kind in [Kind::Uid, Kind::Gid] {
        let (own, have) = match kind {
            Kind::Uid => (caller.uid, &subordinate.uids),
            Kind::Gid => (caller.gid, &subordinate.gids),
        };
        let yours = |line: &Line| match caller.standing {
            Standing::Root => true,
            Standing::NamespaceRoot => have.iter().any(|r| subtract(line.outside_range(), &[*r]).is_empty()),
            Standing::User => {
                (line.count == 1 && line.outside == own) || subtract(line.outside_range(), have).is_empty()
            }
        };
        if let Some((index, line)) = maps.kind(kind).0.iter().enumerate().find(|(_, line)| !yours(line)) {
            return Err(NotYours {
                kind,
                line: index,
                range: line.outside_range(),
                have: have.clone(),
                user: caller.called(),
                standing: caller.standing,
            });
        }
    }
    Ok(())
}

/// A line of a map that the caller may not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotYours {
    /// Which map.
    pub kind: Kind,
    /// Which line of it, from 0.
    pub line: usize,
    /// The ids that the line asks for, outside.
    pub range: Range,
    /// The ids that the caller may have, besides its own.
    pub have: Vec<Range>,
    /// The caller's name or uid.
    pub user: String,
    /// What the caller is.
    pub standing: Standing,
}

impl NotYours {
    /// What to do: read from the host, so that the range it proposes is nobody's.
    #[must_use]
    pub fn remedy(&self) -> String {
        if self.standing != Standing::User {
            return format!(
                "map only {}s that the surrounding user namespace maps, each line within one of its lines",
                self.kind
            );
        }
        if self.have.is_empty() {
            return hurdles::no_ranges(&self.user).remedy;
        }
        let have: Vec<String> = self.have.iter().map(ToString::to_string).collect();
        format!("map {}s out of {}, or have root give {} more of them", self.kind, have.join(", "), self.user)
    }
}

impl fmt::Display for NotYours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, range, user, .. } = self;
        write!(f, "{user} may not map {kind}s {range}")
    }
}

impl std::error::Error for NotYours {}

/// Why maps were not written.
#[derive(Debug)]
pub enum Error {
    /// A helper is nowhere.
    NoHelper(&'static str),
    /// A helper did not start.
    Start {
        /// Its command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A helper failed.
    Helper {
        /// Its path.
        program: PathBuf,
        /// Its command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// The kernel refused a write.
    Write {
        /// Where to.
        path: PathBuf,
        /// What.
        text: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The host setting behind this failure, if one is to blame: for a message, after failing.
    #[must_use]
    pub fn hurdle(&self, caller: &Caller) -> Option<Hurdle> {
        hurdles::id_writer(self, caller)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHelper(name) => write!(f, "{name} is not installed"),
            Self::Start { command, .. } => write!(f, "run {command}"),
            Self::Helper { command, status, said, .. } if said.is_empty() => write!(f, "{command}: {status}"),
            Self::Helper { command, status, said, .. } => write!(f, "{command}: {status}: {said}"),
            Self::Write { path, text, .. } => write!(f, "write {:?} to {}", text.trim_end(), path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. } | Self::Write { source, .. } => Some(source),
            Self::NoHelper(_) | Self::Helper { .. } => None,
        }
    }
}

fn write_file(pid: u32, name: &str, text: &str) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    // By one write(2): the kernel takes a map once and whole. `write_all` would offer it the rest of
    // a short write, which these files never make.
    let written =
        OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::Write { path, text: text.to_owned(), source })
}

fn program(name: &'static str, path: Option<&OsStr>, usual: &[&Path]) -> Result<PathBuf, Error> {
    let on_path = path.into_iter().flat_map(std::env::split_paths);
    let runnable = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    on_path
        // A relative entry would mean whatever directory the engine happens to be in.
        .filter(|directory| directory.is_absolute())
        .chain(usual.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(runnable)
        .ok_or(Error::NoHelper(name))
}

/// A running newuidmap or newgidmap.
struct Helper {
    program: PathBuf,
    command: String,
    child: Child,
}

impl Helper {
    fn start(program: &Path, pid: u32, map: &IdMap) -> Result<Self, Error> {
        let mut arguments = vec![pid.to_string()];
        for Line { inside, outside, count } in &map.0 {
            arguments.extend([inside, outside, count].map(ToString::to_string));
        }
        let command = format!("{} {}", program.display(), arguments.join(" "));
        let child = Command::new(program)
            .args(&arguments)
            // What it says is matched by the hurdles, and wants to be English.
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => Ok(Self { program: program.to_path_buf(), command, child }),
            Err(source) => Err(Error::Start { command, source }),
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        let mut said = Vec::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // Read to its end before waiting, so that a full pipe holds nobody up. What cannot be
            // read is only missing from a message.
            let _ = stderr.read_to_end(&mut said);
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
                Err(Error::Helper { program: self.program, command: self.command, status, said })
            }
            Err(source) => Err(Error::Start { command: self.command, source }),
        }
    }
}
