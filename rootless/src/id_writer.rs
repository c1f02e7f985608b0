//! Writing the id maps of a process: by hand, or through newuidmap(1) and newgidmap(1).

use std::ffi::OsStr;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::errno::Errno;

use crate::caller::{Caller, Standing};
use crate::diagnose::helpers;
use crate::diagnose::namespaces::{lacks_capability, user_namespace_in};
use crate::diagnose::ranges::{no_ranges, unread_lines};
use crate::diagnosis::Diagnosis;
use crate::id_map::{IdKind, IdMap, IdMaps, Line};
use crate::program::{self, find};
use crate::range::Range;
use crate::subid::Subordinate;
use crate::sysroot::Sysroot;

/// Where the helpers are when `PATH` does not say: engines may call without one. The last is
/// NixOS's, which has setuid programs nowhere else.
const USUAL_DIRECTORIES: [&str; 5] = ["/usr/bin", "/usr/sbin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// How maps get written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Chooses for these maps. The helpers cost a stat(2) for each directory of `PATH` before theirs.
    ///
    /// Root, of any user namespace, writes itself. So does a user who maps one own id of each kind.
    /// Everything else is for the helpers, both of them, even if one kind alone would do without.
    ///
    /// # Errors
    /// [`Error::NoHelper`], when they are needed and one is not found.
    pub fn choose(caller: &Caller, maps: &IdMaps) -> Result<Self, Error> {
        match caller.standing {
            Standing::Root | Standing::NamespaceRoot => Ok(Self::Direct(Setgroups::Keep)),
            Standing::User if caller.are_own(maps) => Ok(Self::Direct(Setgroups::Deny)),
            Standing::User => Self::helpers(std::env::var_os("PATH").as_deref()),
        }
    }

    /// Both helpers, wherever `path` (a search path as in `PATH`) or the usual directories have
    /// them.
    ///
    /// # Errors
    /// [`Error::NoHelper`], when one is not found; [`Error::Unmapped`].
    pub fn helpers(path: Option<&OsStr>) -> Result<Self, Error> {
        let usual: Vec<&Path> = USUAL_DIRECTORIES.iter().map(Path::new).collect();
        Self::helpers_among(path, &usual)
    }

    fn helpers_among(path: Option<&OsStr>, usual: &[&Path]) -> Result<Self, Error> {
        let newuidmap = helper("newuidmap", path, usual)?;
        // One package brings both, so the search is rarely made twice.
        let beside = newuidmap.with_file_name("newgidmap");
        let newgidmap = match program::runnable(&beside) {
            Some(_) => beside,
            None => helper("newgidmap", path, usual)?,
        };
        Ok(Self::Helpers { newuidmap, newgidmap })
    }

    /// Whether setgroups(2) is denied in a namespace whose maps are written so, and with it
    /// supplementary groups.
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
/// What failed, with the path or the command line; [`Error::diagnosis`] then tells why and what to do.
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
    for kind in [IdKind::Uid, IdKind::Gid] {
        let (own, have) = match kind {
            IdKind::Uid => (caller.uid, &subordinate.uids),
            IdKind::Gid => (caller.gid, &subordinate.gids),
        };
        let yours = |line: &Line| match caller.standing {
            Standing::Root => true,
            Standing::NamespaceRoot => have.iter().any(|r| line.outside_range().subtract(&[*r]).is_empty()),
            Standing::User => {
                (line.count == 1 && line.outside == own) || line.outside_range().subtract(have).is_empty()
            }
        };
        if let Some((index, line)) = maps.kind(kind).0.iter().enumerate().find(|(_, line)| !yours(line)) {
            return Err(NotYours {
                kind,
                line: index,
                range: line.outside_range(),
                have: have.clone(),
                passed_over: subordinate.passed_over.clone(),
                user: caller.called(),
            });
        }
    }
    Ok(())
}

/// A line of a map that the caller may not write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotYours {
    /// Which map.
    pub kind: IdKind,
    /// Which line of it, from 0.
    pub line: usize,
    /// The ids that the line asks for, outside.
    pub range: Range,
    /// The ids that the caller may have, besides its own.
    pub have: Vec<Range>,
    /// Where it has more that newuidmap(1) does not read.
    pub passed_over: Vec<String>,
    /// Who asked, by name or uid.
    pub user: String,
}

impl NotYours {
    /// What to do. Reads the host, so that a range it proposes is nobody's.
    #[must_use]
    pub fn remedy(&self, caller: &Caller) -> String {
        if let Some(diagnosis) = unread_lines(&self.passed_over) {
            return diagnosis.remedy;
        }
        let kind = self.kind;
        let have: Vec<String> = self.have.iter().map(ToString::to_string).collect();
        let have = have.join(", ");
        match caller.standing {
            Standing::User if self.have.is_empty() => no_ranges(caller).remedy,
            Standing::User => {
                format!("map {kind}s out of {have}, or have root add a range to /etc/sub{kind}")
            }
            // Not across two of them, even where they adjoin: so the kernel has it.
            Standing::Root | Standing::NamespaceRoot => {
                format!("map {kind}s out of {have}, each line within one of these")
            }
        }
    }
}

impl fmt::Display for NotYours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, range, user, .. } = self;
        write!(f, "{user} may not map the {kind}s {range}")
    }
}

impl std::error::Error for NotYours {}

/// Why maps were not written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A helper is nowhere.
    NoHelper(&'static str),
    /// This user namespace does not map the helper's owner, so that it cannot become root.
    Unmapped(PathBuf),
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
    pub fn diagnosis(&self, caller: &Caller) -> Option<Diagnosis> {
        self.diagnosis_in(&Sysroot::host(), caller)
    }

    /// The helpers themselves are looked at where the error says that they are.
    fn diagnosis_in(&self, root: &Sysroot, caller: &Caller) -> Option<Diagnosis> {
        match self {
            Self::NoHelper(name) => Some(helpers::missing(root, name)),
            Self::Unmapped(_) => Some(Diagnosis::new(
                self.to_string(),
                "run this outside of the user namespace, or in one that maps uid 0 and your subordinate ids, as of \
                 unshare --map-root-user --map-auto",
            )),
            Self::Helper { program, said, .. } => helpers::failed(root, program, said, caller),
            Self::Start { .. } => None,
            Self::Write { source, .. } => match Errno::from_raw(source.raw_os_error()?) {
                Errno::EPERM if caller.uid == 0 => lacks_capability(root),
                errno @ (Errno::EPERM | Errno::EACCES) => user_namespace_in(root, errno),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHelper(name) => write!(f, "{name} is not installed"),
            Self::Unmapped(path) => {
                let path = path.display();
                write!(f, "{path} gains no privilege in this user namespace, which does not map uid 0")
            }
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
            Self::NoHelper(_) | Self::Unmapped(_) | Self::Helper { .. } => None,
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

fn helper(name: &'static str, path: Option<&OsStr>, usual: &[&Path]) -> Result<PathBuf, Error> {
    /// What the kernel shows for an owner that is not mapped (`/proc/sys/kernel/overflowuid`).
    const NOBODY: u32 = 65_534;
    match find(name, path, usual) {
        Some((path, found)) if found.uid() == NOBODY => Err(Error::Unmapped(path)),
        Some((path, _)) => Ok(path),
        None => Err(Error::NoHelper(name)),
    }
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
        // As much of it as can be read.
        let shown = arguments.get(..16).map_or_else(|| arguments.join(" "), |some| some.join(" ") + " ...");
        let command = format!("{} {shown}", program.display());
        let child = Command::new(program)
            .args(&arguments)
            // What it says is matched by `diagnose`, and wants to be English.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sysroot::stand_in::StandIn;

    const ALICE: u32 = 1000;

    fn caller(standing: Standing) -> Caller {
        let id = if standing == Standing::User { ALICE } else { 0 };
        Caller::assumed(standing, id, id).with_name(Some("alice"))
    }

    fn ranges(ranges: &[(u32, u32)]) -> Subordinate {
        let ranges: Vec<Range> = ranges.iter().map(|&(start, count)| Range { start, count }).collect();
        Subordinate::new(ranges.clone(), ranges)
    }

    fn maps(uids: &str, gids: &str) -> IdMaps {
        IdMaps { uids: uids.parse().unwrap(), gids: gids.parse().unwrap() }
    }

    fn refused(standing: Standing, have: &Subordinate, maps: &IdMaps) -> Option<(IdKind, usize)> {
        permitted(&caller(standing), have, maps).err().map(|refusal| (refusal.kind, refusal.line))
    }

    fn with_program(host: StandIn, path: &str, mode: u32) -> StandIn {
        let host = host.file(path, "");
        std::fs::set_permissions(host.root().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        host
    }

    #[test]
    fn root_of_any_namespace_writes_by_hand_and_keeps_setgroups() {
        for standing in [Standing::Root, Standing::NamespaceRoot] {
            let means = Means::choose(&caller(standing), &maps("0 0 5", "0 0 5")).unwrap();
            assert_eq!(means, Means::Direct(Setgroups::Keep));
        }
    }

    #[test]
    fn one_own_id_of_each_kind_is_written_by_hand_without_setgroups() {
        let (alice, maps) = (caller(Standing::User), maps("0 1000 1", "7 1000 1"));
        let means = Means::choose(&alice, &maps).unwrap();
        assert_eq!(means, Means::Direct(Setgroups::Deny));
        assert!(means.denies_setgroups(&alice, &maps));
    }

    #[test]
    fn helpers_are_found_on_the_path_first_and_only_if_they_can_run() {
        let host = with_program(StandIn::new(), "/a/newuidmap", 0o644);
        let host = with_program(host, "/b/newuidmap", 0o755);
        let host = with_program(host, "/usual/newuidmap", 0o755);
        let host = with_program(host, "/usual/newgidmap", 0o755).directory("/b/newgidmap");
        let at = |path: &str| host.root().join(path);
        let path = std::env::join_paths([at("/a"), "b".into(), at("/b")]).unwrap();
        let found = Means::helpers_among(Some(&path), &[&at("/usual")]).unwrap();
        let expected = Means::Helpers { newuidmap: at("/b/newuidmap"), newgidmap: at("/usual/newgidmap") };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_helper_that_is_nowhere_is_named() {
        let host = with_program(StandIn::new(), "/bin/newuidmap", 0o755);
        let error = Means::helpers_among(None, &[&host.root().join("/bin")]).unwrap_err();
        assert_eq!(error.to_string(), "newgidmap is not installed");
    }

    #[test]
    fn newgidmap_denies_setgroups_for_the_own_gid_alone() {
        let helpers = Means::Helpers { newuidmap: "/u".into(), newgidmap: "/g".into() };
        let alice = caller(Standing::User);
        assert!(helpers.denies_setgroups(&alice, &maps("0 1000 1\n1 100000 5", "0 1000 1")));
        assert!(!helpers.denies_setgroups(&alice, &maps("0 1000 1", "0 1000 1\n1 100000 5")));
    }

    #[test]
    fn a_user_may_map_its_own_id_and_its_ranges() {
        let have = ranges(&[(100_000, 10), (110_000, 10), (100_010, 10)]);
        let own = "0 1000 1";
        for uids in [own, "0 100000 10", "5 1000 1\n6 100003 4", "0 100005 15"] {
            assert_eq!(refused(Standing::User, &have, &maps(uids, own)), None, "{uids}");
        }
        for (uids, line) in [("0 1000 2", 0), ("0 1000 1\n1 100015 6", 1), ("0 0 1", 0), ("0 99999 2", 0)] {
            let found = refused(Standing::User, &have, &maps(uids, own));
            assert_eq!(found, Some((IdKind::Uid, line)), "{uids}");
        }
        assert_eq!(refused(Standing::User, &have, &maps(own, "0 1001 1")), Some((IdKind::Gid, 0)));
    }

    #[test]
    fn root_may_map_anything() {
        assert_eq!(refused(Standing::Root, &ranges(&[]), &maps("0 0 4294967295", "0 7 9")), None);
    }

    #[test]
    fn a_line_of_a_namespace_root_lies_within_one_line_of_its_namespace() {
        let have = ranges(&[(0, 1), (1, 65_536)]);
        let whole = maps("0 0 1\n1 1 65536", "0 0 1");
        assert_eq!(refused(Standing::NamespaceRoot, &have, &whole), None);
        let across = maps("0 0 1", "0 0 65537");
        assert_eq!(refused(Standing::NamespaceRoot, &have, &across), Some((IdKind::Gid, 0)));
    }

    #[test]
    fn a_refusal_says_who_may_not_map_what_and_what_to_do() {
        let alice = caller(Standing::User);
        let have = ranges(&[(100_000, 10)]);
        let refusal = permitted(&alice, &have, &maps("0 200000 10", "0 1000 1")).unwrap_err();
        assert_eq!(refusal.to_string(), "alice may not map the uids 200000-200009");
        assert_eq!(
            refusal.remedy(&alice),
            "map uids out of 100000-100009, or have root add a range to /etc/subuid"
        );
    }

    #[test]
    fn a_failed_helper_is_quoted_with_its_command_line() {
        let means = Means::Helpers { newuidmap: "/bin/cat".into(), newgidmap: "/bin/true".into() };
        let text = write(12, &maps("0 1 1", "0 1 1"), &means).unwrap_err().to_string();
        assert!(text.starts_with("/bin/cat 12 0 1 1: exit status: 1: "), "{text}");
        assert!(text.contains("cat: 12: ") && text.contains("; ") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_second_helper_that_does_not_start_is_the_error() {
        let means = Means::Helpers { newuidmap: "/bin/true".into(), newgidmap: "/nowhere".into() };
        let error = write(12, &maps("0 1 1", "0 1 1"), &means).unwrap_err();
        assert!(matches!(error, Error::Start { .. }), "{error}");
        assert_eq!(error.to_string(), "run /nowhere 12 0 1 1");
    }

    #[test]
    fn a_refused_write_names_the_file_and_the_text() {
        let error = write(0, &maps("0 1 1", "0 1 1"), &Means::Direct(Setgroups::Keep)).unwrap_err();
        assert_eq!(error.to_string(), "write \"0 1 1\" to /proc/0/uid_map");
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn root_without_its_capabilities_cannot_write_maps() {
        let host = StandIn::new().file("/proc/self/status", "CapEff:\t00000000a80425fb\n");
        let refused = |errno: Errno| Error::Write {
            path: "/proc/1/uid_map".into(),
            text: String::new(),
            source: errno.into(),
        };
        let root = Caller::assumed(Standing::NamespaceRoot, 0, 0);
        let diagnosis = refused(Errno::EPERM).diagnosis_in(&host.root(), &root).unwrap();
        assert_eq!(diagnosis.remedy, "start what surrounds this with CAP_SYS_ADMIN");
        assert_eq!(refused(Errno::EINVAL).diagnosis_in(&host.root(), &root), None);
    }
}
