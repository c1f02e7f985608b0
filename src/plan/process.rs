//! The container's process: what is executed, as whom, and with which limits.

use super::capabilities::{self, Capabilities};
use super::notes::Notes;
use crate::config;
use crate::fault::{Fault, Place};
use crate::kernel::process::Resource;
use crate::kernel::terminal::Size;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, User};
use rootless::id_map::{IdMap, IdMaps};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What becomes of init, or of a process that is added.
#[derive(Debug)]
pub struct ProcessPlan<'spec> {
    /// argv; empty only when config.json has no process.
    pub arguments: Vec<CString>,
    /// `NAME=value`, each name once.
    pub environment: Vec<CString>,
    /// Absolute, inside the container.
    pub cwd: &'spec Path,
    /// Ids inside the container.
    pub user: Ids<'spec>,
    /// The terminal's size, if there is one (0 by 0: leave it).
    pub terminal: Option<Size>,
    /// The five sets.
    pub capabilities: Capabilities,
    /// `process.noNewPrivileges`.
    pub no_new_privileges: bool,
    /// In their order.
    pub limits: Vec<Limit>,
    /// -1000 to 1000; nothing leaves it as it is.
    pub oom_score_adj: Option<i32>,
    /// Whose supplementary groups it has.
    pub groups: Groups,
}

/// Whose supplementary groups the process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Those of `process.user.additionalGids`.
    Configured,
    /// Those of kase's caller.
    Callers,
}

/// What `run.oci.keep_original_groups` asks for: as in crun, anything but 0 keeps the caller's groups.
pub fn groups(annotations: Option<&HashMap<String, String>>) -> Groups {
    match annotations.and_then(|annotations| annotations.get("run.oci.keep_original_groups")) {
        Some(value) if value != "0" => Groups::Callers,
        _ => Groups::Configured,
    }
}

impl ProcessPlan<'_> {
    /// The same process with these groups.
    pub fn with_groups(self, groups: Groups) -> Self {
        Self { groups, ..self }
    }

    /// A container can be created without a process, but has nothing to start then.
    fn nothing() -> Self {
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            cwd: Path::new("/"),
            user: Ids { uid: 0, gid: 0, additional_gids: &[], umask: 0o022 },
            terminal: None,
            capabilities: Capabilities::default(),
            no_new_privileges: true,
            limits: Vec::new(),
            oom_score_adj: None,
            groups: Groups::Configured,
        }
    }
}

/// Who the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids<'spec> {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: &'spec [u32],
    /// File mode creation mask.
    pub umask: u32,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `process.rlimits[i]`.
    pub at: Place,
    /// RLIMIT_*.
    pub resource: Resource,
    /// The specification's name of it.
    pub name: &'static str,
    /// What counts; RLIM_INFINITY is the largest.
    pub soft: u64,
    /// What soft may be raised to.
    pub hard: u64,
}

/// Decides `process`.
///
/// # Errors
/// No arguments, a relative cwd, a NUL byte, ids outside `maps`, a soft limit above its hard one, an
/// `oomScoreAdj` out of range.
pub fn decide<'spec>(
    process: Option<&'spec config::Process>,
    maps: Option<&IdMaps>,
    last_capability: u8,
    notes: &mut Notes,
) -> Result<ProcessPlan<'spec>, Fault> {
    let Some(process) = process else { return Ok(ProcessPlan::nothing()) };
    let arguments = process.args.as_deref().unwrap_or_default();
    if arguments.is_empty() {
        return Err(Fault::at("process.args", "there is no program to run")
            .remedy("set process.args, for example to [\"sh\"]"));
    }
    let cwd = Path::new(&process.cwd);
    if !cwd.is_absolute() {
        return Err(Fault::at(
            "process.cwd",
            format!("{:?} is not an absolute path", cwd.display().to_string()),
        )
        .remedy("begin it with /, which is the container's root"));
    }
    Ok(ProcessPlan {
        arguments: c_strings(arguments.iter().map(String::as_str), "process.args")?,
        environment: environment(process.env.as_deref().unwrap_or_default())?,
        cwd,
        user: ids(&process.user, maps)?,
        terminal: terminal(process)?,
        capabilities: capabilities::decide(process.capabilities.as_ref(), last_capability, notes),
        no_new_privileges: process.no_new_privileges.unwrap_or(false),
        limits: limits(process.rlimits.as_deref().unwrap_or_default())?,
        oom_score_adj: oom_score_adj(process.oom_score_adj)?,
        groups: Groups::Configured,
    })
}

fn c_strings<'a>(texts: impl Iterator<Item = &'a str>, list: &'static str) -> Result<Vec<CString>, Fault> {
    texts
        .enumerate()
        .map(|(index, text)| {
            CString::new(text).map_err(|_| {
                Fault::at(Place::nth(list, index), "a NUL byte cannot be passed to a program")
                    .remedy("take it out")
            })
        })
        .collect()
}

/// Of a repeated name the last wins, in the first one's place, as in runc.
fn environment(listed: &[String]) -> Result<Vec<CString>, Fault> {
    let mut variables: Vec<&str> = Vec::with_capacity(listed.len() + 1);
    // Kubernetes adds variables for each service of a namespace, which can be thousands: a list would be searched
    // for each of them.
    let mut places = BTreeMap::new();
    for (index, entry) in listed.iter().enumerate() {
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            // The message leaves the entry out, since it may be a secret.
            return Err(Fault::at(Place::nth("process.env", index), "this is no NAME=value")
                .remedy("write it as NAME=value; the value may be empty"));
        };
        let place = *places.entry(name).or_insert(variables.len());
        match variables.get_mut(place) {
            Some(variable) => *variable = entry,
            None => variables.push(entry),
        }
    }
    c_strings(variables.into_iter(), "process.env")
}

/// The kernel's NGROUPS_MAX.
const MOST_GROUPS: usize = 65_536;

fn ids<'spec>(user: &'spec User, maps: Option<&IdMaps>) -> Result<Ids<'spec>, Fault> {
    let ids = Ids {
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().as_deref().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
    };
    if ids.umask > 0o777 {
        return Err(Fault::at("process.user.umask", format!("{:o} is no file mode mask", ids.umask))
            .remedy("use at most 0777 (511 in decimal)"));
    }
    if ids.additional_gids.len() > MOST_GROUPS {
        let count = ids.additional_gids.len();
        return Err(Fault::at(
            "process.user.additionalGids",
            format!("{count} groups, but the kernel takes {MOST_GROUPS}"),
        )
        .remedy(format!("list at most {MOST_GROUPS}")));
    }
    valid(Place::of("process.user.uid"), ids.uid)?;
    valid(Place::of("process.user.gid"), ids.gid)?;
    for (index, gid) in ids.additional_gids.iter().enumerate() {
        valid(Place::nth("process.user.additionalGids", index), *gid)?;
    }
    if let Some(maps) = maps {
        mapped(Place::of("process.user.uid"), ids.uid, &maps.uids, "linux.uidMappings")?;
        mapped(Place::of("process.user.gid"), ids.gid, &maps.gids, "linux.gidMappings")?;
        for (index, gid) in ids.additional_gids.iter().enumerate() {
            mapped(Place::nth("process.user.additionalGids", index), *gid, &maps.gids, "linux.gidMappings")?;
        }
    }
    Ok(ids)
}

/// The kernel takes -1 for "leave it as it is", which would be root; setresuid(2), chown(2).
pub(super) fn valid(at: Place, id: u32) -> Result<(), Fault> {
    match id {
        u32::MAX => {
            Err(Fault::at(at, format!("{id} is nobody's id")).remedy("use a number from 0 to 4294967294"))
        }
        _ => Ok(()),
    }
}

fn mapped(at: Place, id: u32, map: &IdMap, field: &str) -> Result<(), Fault> {
    if map.outside(id).is_some() {
        return Ok(());
    }
    let have: Vec<_> =
        map.0.iter().map(|line| format!("{}-{}", line.inside, line.inside + (line.count - 1))).collect();
    Err(Fault::at(at, format!("{id} is not mapped into the container's user namespace, which has {}", have.join(", ")))
        .remedy(format!("use one of these ids, or map {id} in {field} (an ordinary user needs a range in /etc/subuid and /etc/subgid for that)")))
}

fn terminal(process: &config::Process) -> Result<Option<Size>, Fault> {
    if process.terminal != Some(true) {
        return Ok(None);
    }
    let side = |length: u64, at| {
        u16::try_from(length).map_err(|_| {
            Fault::at(at, format!("{length} is more than any terminal has"))
                .remedy("use a number from 0 to 65535")
        })
    };
    let (rows, columns) = process.console_size.map_or((0, 0), |size| (size.height, size.width));
    Ok(Some(Size {
        rows: side(rows, "process.consoleSize.height")?,
        columns: side(columns, "process.consoleSize.width")?,
    }))
}

fn limits(listed: &[PosixRlimit]) -> Result<Vec<Limit>, Fault> {
    let mut limits: Vec<Limit> = Vec::with_capacity(listed.len());
    for (index, entry) in listed.iter().enumerate() {
        let at = Place::nth("process.rlimits", index);
        let (name, resource) = resource(entry.typ());
        if limits.iter().any(|earlier| earlier.resource == resource) {
            return Err(
                Fault::at(at, format!("{name} is listed twice")).remedy("leave one of the two entries out")
            );
        }
        if entry.soft() > entry.hard() {
            return Err(Fault::at(
                at,
                format!("the soft limit {} is above the hard limit {}", entry.soft(), entry.hard()),
            )
            .remedy("lower soft or raise hard"));
        }
        limits.push(Limit { at, resource, name, soft: entry.soft(), hard: entry.hard() });
    }
    Ok(limits)
}

fn resource(typ: PosixRlimitType) -> (&'static str, Resource) {
    use PosixRlimitType as T;
    match typ {
        T::RlimitCpu => ("RLIMIT_CPU", libc::RLIMIT_CPU),
        T::RlimitFsize => ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
        T::RlimitData => ("RLIMIT_DATA", libc::RLIMIT_DATA),
        T::RlimitStack => ("RLIMIT_STACK", libc::RLIMIT_STACK),
        T::RlimitCore => ("RLIMIT_CORE", libc::RLIMIT_CORE),
        T::RlimitRss => ("RLIMIT_RSS", libc::RLIMIT_RSS),
        T::RlimitNproc => ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
        T::RlimitNofile => ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
        T::RlimitMemlock => ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
        T::RlimitAs => ("RLIMIT_AS", libc::RLIMIT_AS),
        T::RlimitLocks => ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
        T::RlimitSigpending => ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
        T::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
        T::RlimitNice => ("RLIMIT_NICE", libc::RLIMIT_NICE),
        T::RlimitRtprio => ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
        T::RlimitRttime => ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    }
}

fn oom_score_adj(value: Option<i32>) -> Result<Option<i32>, Fault> {
    match value {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Fault::at("process.oomScoreAdj", format!("{score} is out of range"))
                .remedy("use a number from -1000 (never killed) to 1000"))
        }
        value => Ok(value),
    }
}

/// The directories of PATH in `environment`, in order; the C library's default without one.
pub fn search_path(environment: &[CString]) -> impl Iterator<Item = &Path> {
    const DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let path = environment.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(DEFAULT)
        .split(|byte| *byte == b':')
        .map(|directory| Path::new(OsStr::from_bytes(if directory.is_empty() { b"." } else { directory })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_variable_the_last_wins_in_the_first_ones_place() {
        let listed = ["A=1", "B=2", "A=3"].map(String::from);
        let expected = [c"A=3", c"B=2"].map(CString::from);
        assert_eq!(environment(&listed).unwrap(), expected);
    }

    #[test]
    fn thousands_of_variables_take_no_longer_than_that() {
        let listed: Vec<String> = (0..40_000).map(|number| format!("SERVICE_{number}=1")).collect();
        let before = std::time::Instant::now();
        assert_eq!(environment(&listed).unwrap().len(), listed.len());
        assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    }

    #[test]
    fn a_variable_without_a_name_is_refused_by_its_index() {
        let listed = ["A=1", "=2"].map(String::from);
        assert_eq!(environment(&listed).unwrap_err().to_string(), "process.env[1]: this is no NAME=value");
    }

    #[test]
    fn the_callers_groups_are_kept_unless_the_annotation_is_0() {
        let groups = |value: &str| {
            let annotation = ("run.oci.keep_original_groups".to_string(), value.to_string());
            groups(Some(&HashMap::from([annotation])))
        };
        assert_eq!((groups("1"), groups("0")), (Groups::Callers, Groups::Configured));
        assert_eq!(super::groups(None), Groups::Configured);
    }

    #[test]
    fn the_search_path_is_the_containers() {
        let environment = [c"A=1", c"PATH=/a::/b"].map(CString::from);
        let path: Vec<_> = search_path(&environment).collect();
        assert_eq!(path, [Path::new("/a"), Path::new("."), Path::new("/b")]);
    }
}
