//! Finds the program, executes it, and explains afterwards why that failed.

use crate::fault::Fault;
use crate::interpreter;
use crate::kernel::process::execve;
use crate::plan::process::search_path;
use crate::trace;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat, geteuid};
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The path of `process.args[0]`, looked for in the container, as its user.
///
/// # Errors
/// The words that engines match, `executable file not found in $PATH`, `no such file or directory` and
/// `permission denied`, from which they make exit codes 127 and 126.
pub fn find(name: &CStr, environment: &[CString]) -> anyhow::Result<CString> {
    let program = Path::new(OsStr::from_bytes(name.to_bytes()));
    if name.to_bytes().contains(&b'/') {
        return match executable(program) {
            Ok(()) => Ok(name.to_owned()),
            Err(error) => Err(not_executable(program, &error).into()),
        };
    }
    let (mut denied, mut closed) = (None, None);
    // An empty name would lead to the directories of PATH themselves, and a directory is no program.
    let names = search_path(environment).filter(|_| !name.is_empty());
    for candidate in names.map(|directory| directory.join(program)) {
        match executable(&candidate) {
            Ok(()) => return Ok(CString::new(candidate.into_os_string().into_encoded_bytes())?),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => match closed_directory(&candidate) {
                Some(directory) => closed = closed.or(Some(directory)),
                None => denied = denied.or(Some((candidate, error))),
            },
            Err(_) => {}
        }
    }
    if let Some((candidate, error)) = denied {
        return Err(not_executable(&candidate, &error).into());
    }
    let said = format!("exec: {:?}: executable file not found in $PATH", program.display().to_string());
    Err(match closed {
        Some(directory) => Fault::at("process.args[0]", format!("{said}, of which {}", unsearchable(&directory)))
            .remedy(opening(&directory)),
        None => Fault::at("process.args[0]", said)
            .remedy("install the program in the rootfs, add its directory to PATH in process.env, or give its whole path"),
    }
    .into())
}

fn executable(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        // execve(2) has the same answer for a directory.
        return Err(ErrorKind::PermissionDenied.into());
    }
    Ok(may_execute(path)?)
}

fn may_execute(path: &Path) -> nix::Result<()> {
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

/// The first directory on the way to `path` that this user may not search.
fn closed_directory(path: &Path) -> Option<PathBuf> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    above.into_iter().find(|directory| may_execute(directory) == Err(Errno::EACCES)).map(Path::to_path_buf)
}

fn unsearchable(directory: &Path) -> String {
    format!("{} may not be searched by uid {}", directory.display(), geteuid())
}

fn opening(directory: &Path) -> String {
    format!(
        "let others search it in the rootfs (chmod o+x {}), or choose a user who may",
        directory.display()
    )
}

fn not_executable(path: &Path, error: &io::Error) -> Fault {
    let shown = path.display();
    let (said, remedy) = match error.kind() {
        ErrorKind::NotFound => (
            "no such file or directory".to_string(),
            format!("add {shown} to the rootfs, or correct process.args"),
        ),
        ErrorKind::PermissionDenied if path.is_dir() => {
            ("is a directory: permission denied".to_string(), "name a program".to_string())
        }
        ErrorKind::PermissionDenied => match closed_directory(path) {
            Some(directory) => {
                (format!("permission denied: {}", unsearchable(&directory)), opening(&directory))
            }
            None => denied(path).unwrap_or_else(|| {
                let remedy =
                    format!("make it executable (chmod +x {shown}), or choose a user who may execute it");
                ("permission denied".to_string(), remedy)
            }),
        },
        _ => (error.to_string(), format!("check {shown} in the rootfs")),
    };
    Fault::at("process.args[0]", format!("exec: \"{shown}\": {said}")).remedy(remedy)
}

/// What the mount has against it.
fn denied(path: &Path) -> Option<(String, String)> {
    let point = rootless::diagnose::noexec(path)?;
    let remedy = if point == Path::new("/") {
        "put the bundle on a file system that is mounted with exec, or run as root: mount -o remount,exec on the one that \
         has its rootfs"
            .to_string()
    } else {
        format!("leave noexec out of the options of the mount on {} in config.json", point.display())
    };
    let shown = path.display();
    Some((format!("permission denied ({shown} is on a file system that is mounted noexec)"), remedy))
}

/// Executes the program. Returns only to say why not.
pub fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> anyhow::Error {
    const NONE: &str = "no such file or directory";
    trace::leave();
    let error = execve(path, arguments, environment);
    let shown = path.to_string_lossy();
    let file = Path::new(OsStr::from_bytes(path.to_bytes()));
    let fault = |said: String| Fault::doing(format!("exec {shown}: {said}"));
    match error.raw_os_error() {
        // There is no remedy where it could only repeat the line, which is what engines show of a container's end.
        Some(libc::ENOENT) => match interpreter::missing(file) {
            Some(missing) => missing.fault(file),
            None => fault(NONE.into()),
        },
        Some(libc::ENOEXEC) => fault(format!("exec format error: {}", foreign(file))).remedy(format!(
            "use an image for {}, or begin a script with #! and its interpreter",
            std::env::consts::ARCH
        )),
        Some(libc::E2BIG) => fault(error.to_string()).remedy(
            "shorten process.args and process.env: one may have 128 KiB, all together a quarter of the limit of the stack \
             (RLIMIT_STACK), 6 MiB at most",
        ),
        Some(libc::EACCES) => {
            // The search has found the program executable, so it is its interpreter that is not.
            match interpreter::named(file).and_then(|interpreter| denied(&interpreter.path)) {
                Some((said, remedy)) => fault(said).remedy(remedy),
                None => fault("permission denied".into())
                    .remedy(format!("check that {shown} and its interpreter are executable")),
            }
        }
        _ => fault(error.to_string()),
    }
    .into()
}

/// What makes the file no program here.
fn foreign(path: &Path) -> String {
    let Some(head) = interpreter::head(path) else { return "it cannot be read".into() };
    match (head.get(..4), head.get(18..20)) {
        (Some(b"\x7fELF"), Some(machine)) => {
            let machine = u16::from_le_bytes([machine[0], machine[1]]);
            let known = [
                (3, "x86"),
                (40, "arm"),
                (62, "x86_64"),
                (183, "aarch64"),
                (243, "riscv64"),
                (21, "ppc64"),
                (22, "s390x"),
                (258, "loongarch64"),
            ];
            let name = known
                .iter()
                .find(|(number, _)| *number == machine)
                .map_or("another architecture", |(_, name)| name);
            format!("it is a program for {name}")
        }
        _ => "it is neither a program nor a script with an interpreter".into(),
    }
}
