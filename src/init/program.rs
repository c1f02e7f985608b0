//! Finds the program, executes it, and explains afterwards why that failed.

use crate::fault::Fault;
use crate::kernel::process::execve;
use crate::plan::process::search_path;
use crate::trace;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
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
    let mut denied = None;
    for directory in search_path(environment) {
        let candidate = directory.join(program);
        match executable(&candidate) {
            Ok(()) => return Ok(CString::new(candidate.into_os_string().into_encoded_bytes())?),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                denied = denied.or(Some((candidate, error)));
            }
            Err(_) => {}
        }
    }
    Err(match denied {
        Some((candidate, error)) => not_executable(&candidate, &error),
        None => Fault::at("process.args[0]", format!("exec: {:?}: executable file not found in $PATH", program.display().to_string()))
            .remedy("install the program in the rootfs, add its directory to PATH in process.env, or give its whole path"),
    }
    .into())
}

fn executable(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        // What execve(2) says of a directory too.
        return Err(ErrorKind::PermissionDenied.into());
    }
    Ok(faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)?)
}

fn not_executable(path: &Path, error: &io::Error) -> Fault {
    let path = path.display();
    let (said, remedy) = match error.kind() {
        ErrorKind::NotFound => (
            "no such file or directory".to_string(),
            format!("add {path} to the rootfs, or correct process.args"),
        ),
        ErrorKind::PermissionDenied if Path::new(&path.to_string()).is_dir() => {
            ("is a directory: permission denied".to_string(), "name a program".to_string())
        }
        ErrorKind::PermissionDenied => denied(Path::new(&path.to_string())).unwrap_or_else(|| {
            let remedy = format!("make it executable (chmod +x {path}), or choose a user who may execute it");
            ("permission denied".to_string(), remedy)
        }),
        _ => (error.to_string(), format!("check {path} in the rootfs")),
    };
    Fault::at("process.args[0]", format!("exec: \"{path}\": {said}")).remedy(remedy)
}

/// What the mount has against it.
fn denied(path: &Path) -> Option<(String, String)> {
    let hurdle = rootless::hurdles::noexec(path)?;
    Some((format!("permission denied ({})", hurdle.cause), hurdle.remedy))
}

/// Executes the program. Returns only to say why not.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> anyhow::Error {
    const NONE: &str = "no such file or directory";
    trace::leave();
    let error = execve(path, arguments, environment);
    let shown = path.to_string_lossy();
    let fault = |said: String| Fault::doing(format!("exec {shown}: {said}"));
    match error.raw_os_error() {
        // Without a remedy where it could only repeat the line: this is what engines show of a container's end.
        Some(libc::ENOENT) => match interpreter(path) {
            Some((missing, Interpreter::Script)) => fault(format!("{NONE}: its interpreter {} is missing", missing.display())),
            Some((missing, Interpreter::Loader)) => {
                let missing = missing.display();
                fault(format!("{NONE}: its loader {missing} is missing")).remedy(format!("add the C library's package, which has {missing}, to the image, or link the program statically"))
            }
            None => fault(NONE.into()),
        },
        Some(libc::ENOEXEC) => fault(format!("exec format error: {}", foreign(path))).remedy(format!(
            "use an image for {}, or begin a script with #! and its interpreter",
            std::env::consts::ARCH
        )),
        Some(libc::EACCES) => {
            // It may be executed, as was seen before; so it is its interpreter that may not.
            match named_interpreter(path).and_then(|(interpreter, _)| denied(&interpreter)) {
                Some((said, remedy)) => fault(said).remedy(remedy),
                None => fault("permission denied".into())
                    .remedy(format!("check that {shown} and its interpreter are executable")),
            }
        }
        _ => fault(error.to_string()),
    }
    .into()
}

/// Who runs a program that the kernel does not run by itself.
enum Interpreter {
    Script,
    Loader,
}

/// The interpreter that a script or a dynamic program names, if it is not there.
fn interpreter(path: &CStr) -> Option<(PathBuf, Interpreter)> {
    named_interpreter(path).filter(|(name, _)| !name.exists())
}

fn named_interpreter(path: &CStr) -> Option<(PathBuf, Interpreter)> {
    let head = head(path)?;
    let kind = if head.starts_with(b"#!") { Interpreter::Script } else { Interpreter::Loader };
    let name = match head.strip_prefix(b"#!") {
        Some(line) => line
            .split(|byte| *byte == b'\n')
            .next()?
            .trim_ascii()
            .split(u8::is_ascii_whitespace)
            .next()?
            .to_vec(),
        None => elf_interpreter(&head)?,
    };
    Some((PathBuf::from(OsStr::from_bytes(&name)), kind))
}

/// What makes the file no program here.
fn foreign(path: &CStr) -> String {
    let Some(head) = head(path) else { return "it cannot be read".into() };
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

fn head(path: &CStr) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(OsStr::from_bytes(path.to_bytes())).ok()?.take(16 << 10).read_to_end(&mut head).ok()?;
    Some(head)
}

/// PT_INTERP of a 64-bit little-endian ELF file; elf(5).
fn elf_interpreter(head: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| usize::try_from(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?)).ok();
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?)));
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (word(32)?, half(54)?, half(56)?);
    (0..count).map(|index| table.checked_add(index * size)).find_map(|at| {
        let at = at?;
        if head.get(at..at + 4)? != 3u32.to_le_bytes() {
            return None;
        }
        let (offset, length) = (word(at + 8)?, word(at + 32)?);
        let name = head.get(offset..offset.checked_add(length)?)?;
        Some(name.strip_suffix(b"\0").unwrap_or(name).to_vec())
    })
}
